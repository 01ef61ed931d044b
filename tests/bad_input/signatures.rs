//! Wrong signatures: 401, counted, kept, and verified again once the secret is right.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::callbacks::{RongQuery, huanxin_text, now_ms, post, rongcloud_text, sign_huanxin};
use crate::support::consumer::{metric_is, series_of, subscribe, take, texts, until};
use crate::support::sidecar::Sidecar;
use crate::support::vendors::{HUANXIN_SECRET, RONGCLOUD_SECRET};
use crate::{config, huanxin, is_well, kept_aside, rongcloud};

const BAD_SIGNATURE: u8 = 0;

/// The same hex with one bit of what it spells turned round.
fn flipped(hex: &str, bit: usize) -> String {
    let at = bit / 4;
    let digit = u8::from_str_radix(&hex[at..=at], 16).unwrap() ^ 1 << (bit % 4);
    format!("{}{digit:x}{}", &hex[..at], &hex[at + 1..])
}

/// Every way to spoil Huanxin's signature.
fn spoiled_huanxin(number: &mut u32) -> Vec<Value> {
    let mut next = || {
        *number += 1;
        huanxin_text(&number.to_string(), "alice", "bob", "never delivered", now_ms())
    };
    let mut spoiled = Vec::new();
    for bit in 0..128 {
        let mut body = next();
        body["security"] = json!(flipped(body["security"].as_str().unwrap(), bit));
        spoiled.push(body);
    }
    let changes: [fn(&mut Value); 8] = [
        |body| body["security"] = json!(""),
        |body| body["security"] = json!(body["security"].as_str().unwrap()[..31]),
        |body| body["security"] = json!(format!("{}0", body["security"].as_str().unwrap())),
        |body| body["security"] = json!("z".repeat(32)),
        |body| body["security"] = Value::Null,
        |body| body["timestamp"] = json!(body["timestamp"].as_i64().unwrap() + 1),
        |body| body["callId"] = json!(format!("{}0", body["callId"].as_str().unwrap())),
        |body| {
            body.as_object_mut().unwrap().remove("security");
        },
    ];
    for change in changes {
        let mut body = next();
        change(&mut body);
        spoiled.push(body);
    }
    spoiled.push(sign_huanxin(next(), RONGCLOUD_SECRET));
    spoiled
}

/// Every way to spoil RongCloud's, as query strings.
fn spoiled_rongcloud() -> Vec<String> {
    let good = RongQuery::signed(now_ms());
    let with_signature = |signature: String| RongQuery { signature, ..good.clone() }.text();
    let mut spoiled: Vec<String> = (0..160).map(|bit| with_signature(flipped(&good.signature, bit))).collect();
    spoiled.extend([
        with_signature(String::new()),
        with_signature(good.signature[..38].to_owned()),
        with_signature(format!("{}00", good.signature)),
        with_signature("z".repeat(40)),
        RongQuery { nonce: format!("{}1", good.nonce), ..good.clone() }.text(),
        RongQuery { nonce: String::new(), ..good.clone() }.text(),
        RongQuery { timestamp: (now_ms() + 1).to_string(), ..good.clone() }.text(),
        RongQuery { timestamp: String::new(), ..good.clone() }.text(),
        RongQuery::signed_with(HUANXIN_SECRET, &good.timestamp).text(),
        String::new(),
    ]);
    spoiled
}

#[tokio::test]
async fn every_spoiled_signature_gets_401_is_counted_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    subscribe(&sidecar, "all", &["messages", "unrecognised"]).await;

    let mut bodies = Vec::new();
    let spoiled = spoiled_huanxin(&mut 0);
    for body in &spoiled {
        assert_eq!(post(huanxin(&sidecar, body)).await, StatusCode::UNAUTHORIZED, "{}", body["security"]);
        bodies.push(body.to_string().into_bytes());
    }
    let queries = spoiled_rongcloud();
    for (number, query) in queries.iter().enumerate() {
        let body = rongcloud_text(&format!("BAD-{number}"), "alice", "bob", "never delivered", now_ms());
        assert_eq!(post(rongcloud(&sidecar, query, body.clone())).await, StatusCode::UNAUTHORIZED, "{query}");
        bodies.push(body.into_bytes());
    }
    for (provider, count) in [("huanxin", spoiled.len()), ("rongcloud", queries.len())] {
        let series = format!("switchboard_ingest_callbacks_total{{provider=\"{provider}\",outcome=\"bad_signature\"}}");
        metric_is(&sidecar, &series, count as f64).await;
    }
    until("all are kept byte for byte", async || {
        let mut kept = kept_aside(directory.path(), BAD_SIGNATURE);
        kept.sort();
        bodies.sort();
        kept == bodies
    })
    .await;

    // Another app's callback is refused as well, and told apart.
    let other = RongQuery { app_key: "another".to_owned(), ..RongQuery::signed(now_ms()) }.text();
    assert_eq!(post(rongcloud(&sidecar, &other, "x=y")).await, StatusCode::UNAUTHORIZED);
    let series = "switchboard_ingest_callbacks_total{provider=\"rongcloud\",outcome=\"wrong_app\"}";
    assert!((series_of(&sidecar, series).await - 1.0).abs() < 0.5);

    // What is right still comes through, and it is the first thing that does.
    is_well(&sidecar).await;
    assert_eq!(post(huanxin(&sidecar, &huanxin_text("900", "alice", "bob", "good", now_ms()))).await, StatusCode::OK);
    assert_eq!(texts(&take(&sidecar, "all", 1).await), ["good"]);
}

#[tokio::test]
async fn what_was_refused_for_a_wrong_secret_is_delivered_once_it_is_corrected() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = config().replace(HUANXIN_SECRET, "last-months-secret").replace(RONGCLOUD_SECRET, "a-typing-error");
    let mut sidecar = Sidecar::start(directory.path(), &wrong);
    subscribe(&sidecar, "all", &["messages", "unrecognised"]).await;
    for n in 0..3 {
        let body = huanxin_text(&n.to_string(), "alice", "bob", &format!("huanxin {n}"), now_ms());
        assert_eq!(post(huanxin(&sidecar, &body)).await, StatusCode::UNAUTHORIZED);
        let body = rongcloud_text(&format!("AAAA-{n}"), "carol", "dave", &format!("rongcloud {n}"), now_ms());
        let query = RongQuery::signed(now_ms()).text();
        assert_eq!(post(rongcloud(&sidecar, &query, body)).await, StatusCode::UNAUTHORIZED);
    }
    // A forgery stays one under any secret of ours.
    let forged = RongQuery::signed_with("nobody's", &now_ms().to_string()).text();
    let body = rongcloud_text("FORGED", "mallory", "dave", "forged", now_ms());
    assert_eq!(post(rongcloud(&sidecar, &forged, body)).await, StatusCode::UNAUTHORIZED);
    until("all are kept", async || kept_aside(directory.path(), BAD_SIGNATURE).len() == 7).await;
    assert!(sidecar.terminate().success());

    let mut sidecar = Sidecar::start(directory.path(), &config());
    let deliveries = take(&sidecar, "all", 6).await;
    let mut seen = texts(&deliveries);
    seen.sort_unstable();
    assert_eq!(seen, ["huanxin 0", "huanxin 1", "huanxin 2", "rongcloud 0", "rongcloud 1", "rongcloud 2"]);
    until("they have left quarantine", async || kept_aside(directory.path(), BAD_SIGNATURE).len() == 1).await;
    assert!(sidecar.terminate().success());

    // A further start finds nothing to verify, and nothing comes twice.
    let sidecar = Sidecar::start(directory.path(), &config());
    assert_eq!(post(huanxin(&sidecar, &huanxin_text("9", "alice", "bob", "fence", now_ms()))).await, StatusCode::OK);
    assert_eq!(texts(&take(&sidecar, "all", 1).await), ["fence"]);
    assert_eq!(kept_aside(directory.path(), BAD_SIGNATURE).len(), 1);
}
