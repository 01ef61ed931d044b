//! Files: as they came, digested, limited, and tried again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use support::{Act, JumpClock, Vendor, client, config, status};
use switchboard_contract::{ErrorKind, Retry};
use switchboard_outbound::{Download, HeaderMap};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzEncoder::new(text, flate2::Compression::default()).read_to_end(&mut out).unwrap();
    out
}

fn file(vendor: &Vendor) -> Download {
    let url = format!("{}/hour.gz?Signature=sesame", vendor.url).parse().unwrap();
    Download { url, headers: HeaderMap::new(), operation: "hour_file" }
}

#[tokio::test]
async fn a_compressed_file_comes_as_it_is_after_a_broken_try() {
    let packed = gzip(b"line 1\nline 2\n");
    let vendor =
        Vendor::start(vec![Act::Cut, status(500), Act::Reply(200, "content-encoding: gzip", packed.clone())]).await;
    let client = client(config(&[&vendor]), &Arc::new(JumpClock::default()));
    let done = client.download(&file(&vendor)).await.unwrap();
    assert_eq!(done.bytes, packed.len() as u64);
    assert_eq!(done.sha256, <[u8; 32]>::from(Sha256::digest(&packed)));
    let mut text = String::new();
    GzDecoder::new(done.file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "line 1\nline 2\n");
    assert_eq!(vendor.seen().len(), 3);
}

#[tokio::test]
async fn a_file_above_the_limit_is_given_up() {
    let vendor = Vendor::start(vec![Act::Reply(200, "", vec![0; 5000])]).await;
    let mut config = config(&[&vendor]);
    config.max_download_bytes = 4999;
    let error = client(config, &Arc::new(JumpClock::default())).download(&file(&vendor)).await.unwrap_err();
    assert_eq!((error.kind(), vendor.seen().len()), (ErrorKind::TooLarge, 1));
}

#[tokio::test]
async fn a_refused_file_is_told_apart_and_its_address_stays_secret() {
    for (code, kind) in [(404, ErrorKind::NotFound), (403, ErrorKind::Forbidden), (302, ErrorKind::Unavailable)] {
        let vendor = Vendor::start(vec![status(code)]).await;
        let client = client(config(&[&vendor]), &Arc::new(JumpClock::default()));
        let error = client.download(&file(&vendor)).await.unwrap_err();
        assert_eq!((error.kind(), error.retry(), vendor.seen().len()), (kind, Retry::Never, 1));
        assert!(!format!("{error:?} {:?}", file(&vendor)).contains("sesame"));
    }
    let gone = support::nobody().await;
    let client = client(config(&[&gone]), &Arc::new(JumpClock::default()));
    let error = client.download(&file(&gone)).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Exhausted { attempts: 4 });
    assert!(!format!("{error:?}").contains("sesame"));
}
