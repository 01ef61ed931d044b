//! Hourly logs: from the address in an answer to the golden messages.

use bytes::Bytes;
use switchboard_contract::{
    ErrorKind, HistoryFile, HistoryFiles, Inbound, InboundData, Provider, RawCallback, Timestamp, VerifiedCallback,
};
use switchboard_rongcloud::{LogZone, RongCloud};

use crate::support::vendor::{Answer, Vendor, reply, with_fixture};
use crate::support::{fixture, fixture_json, fixture_text, golden, offline};

const HOUR: Timestamp = Timestamp(1_795_053_600_000);

/// A vendor that names a file on itself, and serves it.
async fn serving(file: Answer) -> Vendor {
    let address = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let known = address.clone();
    let vendor = Vendor::start(move |_, asked| match asked.path.as_str() {
        "/message/history.json" => {
            let mut answer = fixture_json("history_response.json");
            answer["url"] = format!("{}9/2026111910/log.zip", known.get().unwrap()).into();
            reply(200, answer.to_string())
        }
        "/9/2026111910/log.zip" => file.clone(),
        other => panic!("unexpected {other}"),
    })
    .await;
    address.set(vendor.url().to_string()).unwrap();
    vendor
}

async fn lines(provider: &RongCloud) -> (u64, [u8; 32], Vec<Inbound>) {
    let HistoryFile::Ready(file) = provider.fetch(HOUR).await.unwrap() else { panic!("absent") };
    (file.bytes, file.digest, file.events().collect::<Result<Vec<_>, _>>().unwrap())
}

#[tokio::test]
async fn the_published_archive_decodes_to_the_golden_messages() {
    let archive = fixture("history_archive_2026111910.zip");
    let vendor = serving(reply(200, archive.clone())).await;
    let (bytes, digest, lines) = lines(&vendor.provider()).await;
    assert_eq!(bytes, archive.len() as u64);
    assert_eq!(digest, <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&archive)));
    golden::check("history_archive_2026111910_zip", &lines);
    let download = &vendor.asked()[1];
    assert_eq!(download.method, "GET");
    assert!(!download.headers.contains_key("signature"), "credentials do not go to the file's host");
}

#[tokio::test]
async fn the_published_text_is_what_the_archive_holds() {
    let vendor = serving(reply(200, fixture("history_log_2026-11-19-10.txt"))).await;
    let (_, _, from_text) = lines(&vendor.provider()).await;
    golden::check("history_archive_2026111910_zip", &from_text);
    let vendor = serving(reply(200, fixture("history_archive_2026111910.zip"))).await;
    let (_, _, from_archive) = lines(&vendor.provider()).await;
    assert_eq!(from_text, from_archive);
}

#[tokio::test]
async fn single_published_lines_decode_to_the_golden_messages() {
    for name in ["history_line_raw.txt", "history_line_raw_old_form.txt"] {
        let vendor = serving(reply(200, fixture(name))).await;
        let (_, _, found) = lines(&vendor.provider()).await;
        golden::check(&name.replace('.', "_"), &found);
    }
    for name in ["history_line.json", "history_line_group.json"] {
        // Published with line ends inside; in a log they stand on one line.
        let vendor = serving(reply(200, fixture_json(name).to_string())).await;
        let (_, _, found) = lines(&vendor.provider()).await;
        golden::check(&name.replace('.', "_"), &found);
    }
    let prefix = "2026/11/19 10:15:30";
    let raw = fixture_text("history_line_raw.txt");
    let object: serde_json::Value = serde_json::from_str(raw.trim_end().strip_prefix(prefix).unwrap()).unwrap();
    assert_eq!(object, fixture_json("history_line.json"));
}

/// The log and the callback of one message are one event.
#[tokio::test]
async fn a_line_and_its_callback_say_the_same() {
    let vendor = serving(reply(200, fixture("history_archive_2026111910.zip"))).await;
    let (_, _, found) = lines(&vendor.provider()).await;
    let callbacks = [
        "callback_message_route_private.form",
        "callback_message_route_group.form",
        "callback_message_route_chatroom.form",
        "callback_message_route_recall.form",
    ];
    assert_eq!(found.len(), callbacks.len());
    for (line, name) in found.iter().zip(callbacks) {
        let raw = RawCallback {
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            body: Bytes::from(fixture(name)),
            received_at: Timestamp(0),
        };
        let provider = offline();
        let routed = provider.callbacks().unwrap().decode(&VerifiedCallback::assume_verified(raw, true)).remove(0);
        assert_eq!((&line.key, &line.place, line.sent_at), (&routed.key, &routed.place, routed.sent_at), "{name}");
        assert_eq!((&line.data, &line.sort_key), (&routed.data, &routed.sort_key), "{name}");
    }
}

#[tokio::test]
async fn an_hour_without_a_file_is_absent() {
    let empty = Vendor::always(with_fixture("history_response_no_data.json")).await;
    assert!(matches!(empty.provider().fetch(HOUR).await.unwrap(), HistoryFile::Absent));
    let gone = serving(reply(404, "")).await;
    assert!(matches!(gone.provider().fetch(HOUR).await.unwrap(), HistoryFile::Absent));
    for name in ["history_response_no_data.json", "history_response.json"] {
        let answer = fixture_json(name);
        assert_eq!((&answer["code"], &answer["date"]), (&200.into(), &"2026111910".into()));
    }
    assert_eq!(
        fixture_json("history_response.json")["url"],
        "https://log-download.example.test/9/2026111910/5f0d6a1e-0000-4000-8000-000000000001.zip"
    );
}

#[tokio::test]
async fn a_service_not_ordered_is_no_empty_hour() {
    let vendor = Vendor::always(reply(430, fixture("rest_error_430_1009.json"))).await;
    let error = vendor.provider().fetch(HOUR).await.unwrap_err();
    assert_eq!((error.kind(), error.vendor_code()), (ErrorKind::Unsupported, Some("1009")));
    let error = vendor.provider().fetch(Timestamp(HOUR.as_millis() + 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn hours_are_named_in_the_zone_of_the_data_centre_or_as_set() {
    let vendor = Vendor::always(with_fixture("history_response_no_data.json")).await;
    let mut config = vendor.config();
    config.data_centre = switchboard_rongcloud::DataCentre::Singapore;
    crate::support::provider(config.clone()).fetch(HOUR).await.unwrap();
    config.history.log_zone = Some(LogZone::Beijing);
    crate::support::provider(config).fetch(HOUR).await.unwrap();
    let dates: Vec<_> = vendor.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(dates, ["date=2026111902", "date=2026111910"]);
}

#[tokio::test]
async fn a_damaged_archive_and_a_too_large_one_are_errors() {
    let archive = fixture("history_archive_2026111910.zip");
    let cut = serving(reply(200, archive[..archive.len() - 30].to_vec())).await;
    assert_eq!(cut.provider().fetch(HOUR).await.unwrap_err().kind(), ErrorKind::Decode);
    let whole = serving(reply(200, archive)).await;
    let mut config = whole.config();
    config.history.max_log_bytes = 1000;
    assert_eq!(crate::support::provider(config).fetch(HOUR).await.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_bad_line_does_not_spoil_its_file() {
    let good = fixture_text("history_line_raw.txt");
    let log = format!("{good}\n\n???\n{}", good.replace("D1U6-B6SI-O124-3K1R", "D1U6-B6SI-O124-3K1S"));
    let vendor = serving(reply(200, log)).await;
    let (_, _, found) = lines(&vendor.provider()).await;
    let kinds: Vec<_> = found.iter().map(|event| matches!(event.data, InboundData::Message(_))).collect();
    assert_eq!(kinds, [true, false, true]);
    assert_eq!(found[1].raw, "???");
    assert_eq!(found[1].sent_at, Timestamp(HOUR.as_millis() + 3_600_000));
}

#[test]
fn the_limits_are_those_of_the_vendors_pages() {
    let limits = HistoryFiles::limits(&offline());
    assert_eq!(limits.kept.as_secs(), 3 * 86_400);
    assert_eq!(limits.earliest.as_secs(), 1200);
    assert_eq!(limits.final_after.as_secs(), 7200);
    assert!(limits.own_sends);
}
