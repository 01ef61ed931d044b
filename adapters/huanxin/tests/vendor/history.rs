//! Hourly files: their links, their lines, and the ways they can be missing.

use std::io::Read;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use switchboard_contract::{ErrorKind, HistoryFile, HistoryFiles, HourFile, Inbound, InboundPlace, Timestamp};

use crate::support::{JumpClock, Vendor, compare_golden, config, fixture, json_fixture};

/// 2026-11-20 10:00 in Beijing.
const HOUR: Timestamp = Timestamp(1_795_140_000_000);

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzEncoder::new(bytes, Compression::default()).read_to_end(&mut out).unwrap();
    out
}

/// The published answer with its link led to the listener.
fn link(vendor: &Vendor, count: usize) -> Vec<u8> {
    let mut answer = json_fixture("rest_history_file_response.json");
    let published = answer["data"][0]["url"].as_str().unwrap();
    let address = published.replace("https://history.example.test", &vendor.url);
    assert_ne!(address, published);
    answer["data"] = (0..count).map(|_| json!({"url": address})).collect();
    answer.to_string().into_bytes()
}

fn ready(file: HistoryFile) -> HourFile {
    match file {
        HistoryFile::Ready(file) => file,
        HistoryFile::Absent => panic!("the file is there"),
    }
}

fn all(file: HourFile) -> Vec<Inbound> {
    file.events().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_published_file_decodes_to_its_golden_messages() {
    let vendor = Vendor::start().await;
    let packed = pack(&fixture("history_file_sample.jsonl"));
    vendor.answer(200, link(&vendor, 1)).answer(200, packed.clone());
    let file = ready(vendor.client().fetch(HOUR).await.unwrap());
    assert_eq!((file.bytes, file.digest), (packed.len() as u64, Sha256::digest(&packed).into()));
    compare_golden("history_file_sample", &all(file));
    let seen = vendor.seen();
    assert_eq!(seen[0].line, "GET /acme-im/bridge/chatmessages/2026112010");
    assert_eq!(
        seen[1].line,
        "GET /history/acme-im/bridge/2026112010.gz?Expires=1795201800&OSSAccessKeyId=FIXTUREKEYID&Signature=RklYVFVSRQ%3D%3D"
    );
    assert_eq!(seen[1].header("authorization"), None, "the token stays with the vendor's own host");
}

#[tokio::test]
async fn a_single_line_decodes_and_keeps_its_bytes() {
    let vendor = Vendor::start().await;
    let line = fixture("history_file_line_txt.json");
    let line = serde_json::from_slice::<Value>(&line).unwrap().to_string();
    vendor.answer(200, link(&vendor, 1)).answer(200, format!("{line}\n"));
    let events = all(ready(vendor.client().fetch(HOUR).await.unwrap()));
    assert_eq!(events[0].raw, Bytes::from(line), "an unpacked file is read as well");
    compare_golden("history_file_line_txt", &events);
}

#[tokio::test]
async fn the_payload_names_the_parties_and_groupchat_is_a_group() {
    let vendor = Vendor::start().await;
    let mut line = json_fixture("history_file_line_txt.json");
    line["from"] = json!("internal");
    line["to"] = json!("internal");
    let mut group = line.clone();
    group["chat_type"] = json!("groupchat");
    group["payload"]["to"] = json!("281474976710657");
    vendor.answer(200, link(&vendor, 1)).answer(200, format!("{line}\n{group}\nnot json\n"));
    let events = all(ready(vendor.client().fetch(HOUR).await.unwrap()));
    assert_eq!(events[0].place, InboundPlace::Direct { from: "lin_qiao".into(), to: "wei.chen".into() });
    assert_eq!(events[1].place, InboundPlace::Group { group: "281474976710657".into(), channel: None });
    assert_eq!((events.len(), events[2].raw.as_ref()), (3, &b"not json"[..]));
}

#[tokio::test]
async fn every_link_is_read_and_the_digest_covers_all() {
    let vendor = Vendor::start().await;
    let packed = pack(&fixture("history_file_sample.jsonl"));
    vendor.answer(200, link(&vendor, 2)).answer(200, packed.clone()).answer(200, packed.clone());
    let file = ready(vendor.client().fetch(HOUR).await.unwrap());
    assert_eq!(file.bytes, 2 * packed.len() as u64);
    assert_ne!(file.digest, <[u8; 32]>::from(Sha256::digest(&packed)));
    assert_eq!(all(file).len(), 18);
}

#[tokio::test]
async fn a_missing_file_is_absent_however_the_vendor_says_it() {
    for (status, body) in [
        (400, fixture("error_400_history_expired_or_unstored.json")),
        (404, fixture("error_404_history_not_found.json")),
        (200, br#"{"data":[]}"#.to_vec()),
    ] {
        let vendor = Vendor::start().await;
        vendor.answer(status, body);
        assert!(matches!(vendor.client().fetch(HOUR).await.unwrap(), HistoryFile::Absent), "{status}");
    }
    let vendor = Vendor::start().await;
    vendor.answer_with(400, "error_400_history_bad_time.json");
    assert_eq!(vendor.client().fetch(HOUR).await.unwrap_err().kind(), ErrorKind::InvalidInput, "not absent: wrong");
}

#[tokio::test]
async fn an_expired_link_is_asked_for_again_once() {
    let vendor = Vendor::start().await;
    let packed = pack(&fixture("history_file_sample.jsonl"));
    vendor.answer(200, link(&vendor, 1)).answer(403, "<Error/>").answer(200, link(&vendor, 1)).answer(200, packed);
    assert_eq!(all(ready(vendor.client().fetch(HOUR).await.unwrap())).len(), 9);

    let vendor = Vendor::start().await;
    for _ in 0..2 {
        vendor.answer(200, link(&vendor, 1)).answer(403, "<Error/>");
    }
    assert_eq!(vendor.client().fetch(HOUR).await.unwrap_err().kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn hours_are_asked_for_in_the_clusters_zone_and_only_whole() {
    let vendor = Vendor::start().await;
    vendor.answer_with(404, "error_404_history_not_found.json");
    let overseas = config(&vendor.url, "history.zone = 'utc'").build(JumpClock::new()).unwrap();
    overseas.fetch(HOUR).await.unwrap();
    assert_eq!(vendor.seen()[0].line, "GET /acme-im/bridge/chatmessages/2026112002");
    let error = overseas.fetch(Timestamp(HOUR.0 + 1)).await.unwrap_err();
    assert_eq!((error.kind(), vendor.seen().len()), (ErrorKind::InvalidInput, 1));
}

#[tokio::test]
async fn a_damaged_file_gives_its_lines_and_then_says_so() {
    let vendor = Vendor::start().await;
    let mut packed = pack(&fixture("history_file_sample.jsonl"));
    packed.truncate(packed.len() - 4);
    vendor.answer(200, link(&vendor, 1)).answer(200, packed);
    let lines: Vec<_> = ready(vendor.client().fetch(HOUR).await.unwrap()).events().collect();
    assert_eq!(lines.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(lines.iter().filter(|line| line.is_err()).count(), 1);
}
