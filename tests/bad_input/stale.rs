//! Good signatures outside their time: 200, so that the vendor stops, and quarantine instead of delivery.

use reqwest::StatusCode;

use crate::support::callbacks::{RongQuery, huanxin_text, now_ms, post, rongcloud_text};
use crate::support::consumer::{metric_is, subscribe, take, texts, until};
use crate::support::sidecar::Sidecar;
use crate::{config, huanxin, is_well, kept_aside, rongcloud};

const STALE: u8 = 1;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const YEAR: i64 = 365 * 24 * 60 * MINUTE;

#[tokio::test]
async fn a_stale_signature_gets_200_and_quarantine() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    subscribe(&sidecar, "all", &["messages", "unrecognised"]).await;

    // Time passes while the test runs: a margin of 45 s on either side of each border.
    let margin = 45 * SECOND;
    for (off, text) in [
        (-YEAR, "huanxin, a year late"),
        (10 * MINUTE - margin, "huanxin, ahead within the window"),
        (10 * MINUTE + margin, "stale"),
    ] {
        let body = huanxin_text(&off.to_string(), "alice", "bob", text, now_ms() + off);
        assert_eq!(post(huanxin(&sidecar, &body)).await, StatusCode::OK, "{text}");
    }
    for (off, text) in [
        (-10 * MINUTE - margin, "stale"),
        (-10 * MINUTE + margin, "rongcloud, late within the window"),
        (10 * MINUTE - margin, "rongcloud, ahead within the window"),
        (10 * MINUTE + margin, "stale"),
    ] {
        let body = rongcloud_text(&format!("UID-{off}"), "carol", "dave", text, now_ms());
        let query = RongQuery::signed(now_ms() + off).text();
        assert_eq!(post(rongcloud(&sidecar, &query, body)).await, StatusCode::OK, "{text}");
    }
    for (provider, stale) in [("huanxin", 1.0), ("rongcloud", 2.0)] {
        let series = format!("switchboard_ingest_callbacks_total{{provider=\"{provider}\",outcome=\"stale\"}}");
        metric_is(&sidecar, &series, stale).await;
    }
    until("three are in quarantine", async || kept_aside(directory.path(), STALE).len() == 3).await;
    for body in kept_aside(directory.path(), STALE) {
        assert!(String::from_utf8(body).unwrap().contains("stale"));
    }

    let body = huanxin_text("fence", "alice", "bob", "fence", now_ms());
    assert_eq!(post(huanxin(&sidecar, &body)).await, StatusCode::OK);
    let deliveries = take(&sidecar, "all", 5).await;
    assert_eq!(
        texts(&deliveries),
        [
            "huanxin, a year late",
            "huanxin, ahead within the window",
            "rongcloud, late within the window",
            "rongcloud, ahead within the window",
            "fence",
        ]
    );
    is_well(&sidecar).await;
}
