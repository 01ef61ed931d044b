//! Callbacks that are too large, that are none, and that nobody has heard of yet.

use bytes::Bytes;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::callbacks::{RongQuery, huanxin_text, now_ms, post, sign_huanxin};
use crate::support::consumer::{metric_is, subscribe, take, texts};
use crate::support::sidecar::Sidecar;
use crate::support::vendors::{HUANXIN_APP, HUANXIN_SECRET, RONGCLOUD_SECRET};
use crate::{config, huanxin, is_well, rongcloud};

/// `max_body_bytes` of the configuration.
const LARGEST: usize = 65_536;

fn counted(provider: &str, outcome: &str) -> String {
    format!("switchboard_ingest_callbacks_total{{provider=\"{provider}\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn a_body_too_large_gets_413_whether_its_length_is_told_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    subscribe(&sidecar, "all", &["messages", "unrecognised"]).await;

    let mut body = huanxin_text("1", "alice", "bob", "", now_ms());
    let spare = LARGEST - body.to_string().len();
    body["payload"]["bodies"][0]["msg"] = json!("x".repeat(spare));
    assert_eq!(body.to_string().len(), LARGEST);
    assert_eq!(post(huanxin(&sidecar, &body)).await, StatusCode::OK, "the largest that is allowed");
    body["payload"]["bodies"][0]["msg"] = json!("x".repeat(spare + 1));
    assert_eq!(post(huanxin(&sidecar, &body)).await, StatusCode::PAYLOAD_TOO_LARGE);

    let query = RongQuery::signed(now_ms()).text();
    let pieces = (0..LARGEST / 1024 + 1).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1024])));
    let unmeasured = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    assert_eq!(post(rongcloud(&sidecar, &query, unmeasured)).await, StatusCode::PAYLOAD_TOO_LARGE);

    metric_is(&sidecar, &counted("huanxin", "too_large"), 1.0).await;
    metric_is(&sidecar, &counted("rongcloud", "too_large"), 1.0).await;
    assert_eq!(texts(&take(&sidecar, "all", 1).await)[0].len(), spare);
    is_well(&sidecar).await;
}

#[tokio::test]
async fn what_is_no_callback_gets_400_and_an_unknown_provider_404() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    let callback = format!("{}/callbacks/huanxin", sidecar.url);
    let bodies = ["", "not json", "[]", "null", "{\"callId\": {}}", "{", "\u{0}"];
    for body in bodies {
        let request = sidecar.http.post(&callback).header("content-type", "application/json").body(body);
        assert_eq!(post(request).await, StatusCode::BAD_REQUEST, "{body:?}");
    }
    let mut timeless = huanxin_text("1", "alice", "bob", "hi", now_ms());
    timeless.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(post(huanxin(&sidecar, &timeless)).await, StatusCode::BAD_REQUEST);
    metric_is(&sidecar, &counted("huanxin", "malformed"), (bodies.len() + 1) as f64).await;

    let query = RongQuery::signed_with(RONGCLOUD_SECRET, "yesterday").text();
    assert_eq!(post(rongcloud(&sidecar, &query, "a=b")).await, StatusCode::BAD_REQUEST);
    metric_is(&sidecar, &counted("rongcloud", "malformed"), 1.0).await;

    let unknown = format!("{}/callbacks/nobody", sidecar.url);
    assert_eq!(post(sidecar.http.post(unknown).body("x")).await, StatusCode::NOT_FOUND);
    metric_is(&sidecar, "switchboard_ingest_unknown_provider_total", 1.0).await;
    // Only POST is a callback; a vendor's console that probes with GET must see that.
    assert_eq!(post(sidecar.http.get(&callback)).await, StatusCode::METHOD_NOT_ALLOWED);
    is_well(&sidecar).await;
}

#[tokio::test]
async fn what_verifies_and_is_unknown_is_kept_counted_and_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    subscribe(&sidecar, "all", &["unrecognised"]).await;

    let holiday = sign_huanxin(
        json!({
            "callId": format!("{HUANXIN_APP}_1"), "eventType": "holiday", "appkey": HUANXIN_APP,
            "timestamp": now_ms(), "payload": { "beach": "sunny", "空": ["☀", 1.50] },
        }),
        HUANXIN_SECRET,
    );
    assert_eq!(post(huanxin(&sidecar, &holiday)).await, StatusCode::OK);
    let query = RongQuery::signed(now_ms()).text();
    // Not even text.
    let noise: &[u8] = &[0, 159, 146, 150, 255];
    assert_eq!(post(rongcloud(&sidecar, &query, noise)).await, StatusCode::OK);

    let deliveries = take(&sidecar, "all", 2).await;
    let event = &deliveries[0]["event"];
    assert_eq!(event["type"], "switchboard.unrecognised");
    assert_eq!(event["data"]["kind"], "holiday");
    assert_eq!(event["data"]["raw"], holiday.to_string(), "byte for byte");
    let data = &deliveries[1]["event"]["data"];
    assert_eq!((&data["raw"], &data["base64"]), (&json!("AJ+Slv8="), &json!(true)));
    let series = "switchboard_ingest_unknown_events_total{provider=\"huanxin\",kind=\"holiday\"}";
    metric_is(&sidecar, series, 1.0).await;
    metric_is(&sidecar, "switchboard_ingest_unknown_events_total{provider=\"rongcloud\"}", 1.0).await;

    // The vendor's retry is the same event.
    assert_eq!(post(huanxin(&sidecar, &holiday)).await, StatusCode::OK);
    metric_is(&sidecar, "switchboard_ingest_events_total{provider=\"huanxin\",outcome=\"known\"}", 1.0).await;
}

#[tokio::test]
async fn one_bad_item_of_a_batch_does_not_spoil_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    subscribe(&sidecar, "all", &["presence", "unrecognised"]).await;
    let status = |user: &str| json!({ "userid": user, "status": "0", "os": "iOS", "time": now_ms(), "clientIp": "203.0.113.20:1", "sessionId": user });
    let batch = json!([status("alice"), { "userid": ["who"], "status": {} }, 7, status("bob")]);
    let query = RongQuery::signed(now_ms()).text();
    let request = rongcloud(&sidecar, &query, batch.to_string()).header("content-type", "application/json");
    assert_eq!(post(request).await, StatusCode::OK);
    let deliveries = take(&sidecar, "all", 4).await;
    let told: Vec<&Value> = deliveries.iter().map(|delivery| &delivery["event"]["type"]).collect();
    let expected = ["presence", "unrecognised", "unrecognised", "presence"].map(|kind| format!("switchboard.{kind}"));
    assert_eq!(told, expected.each_ref());
    assert_eq!(deliveries[0]["event"]["data"]["user"], "alice");
    assert_eq!(deliveries[3]["event"]["data"]["user"], "bob");
}
