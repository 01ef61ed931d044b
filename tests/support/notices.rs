//! Signed callbacks of a Huanxin app nobody emulates: for tests that want nothing but notices, many of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::sidecar::Sidecar;

const SECRET: &str = "callback-test-secret";

/// The provider `main`, whose vendor nobody can reach.
pub const PROVIDER: &str = r#"
[providers.main]
kind = "huanxin"
app_key = "acme#crash"
client_id = "id"
client_secret = "secret"
callback_secret = "callback-test-secret"
base_url = "http://127.0.0.1:9"
"#;

/// The callback for message `number`; the same for the same number.
pub fn callback(number: u64) -> Value {
    let call_id = format!("acme#crash_{number}");
    let timestamp = 1_795_200_000_000_u64 + number;
    let security = hex::encode(Md5::digest(format!("{call_id}{SECRET}{timestamp}")));
    let (from, to) = (format!("user{}", number % 7), format!("peer{}", number % 5));
    json!({
        "callId": call_id, "eventType": "chat", "chat_type": "chat", "from": from, "to": to,
        "msg_id": number.to_string(), "content_type": "chat:user:text", "appkey": "acme#crash",
        "payload": { "ext": {}, "bodies": [{ "msg": text(number), "type": "txt" }], "from": from, "to": to, "type": "chat" },
        "timestamp": timestamp, "security": security,
    })
}

/// What message `number` says; no message says a part of what another says.
pub fn text(number: u64) -> String {
    format!("message {number}.")
}

/// Posts message `number`; the status of the answer.
pub async fn post(http: &reqwest::Client, url: &str, number: u64) -> reqwest::Result<u16> {
    Ok(http.post(format!("{url}/callbacks/main")).json(&callback(number)).send().await?.status().as_u16())
}

/// Posts messages that must be taken.
pub async fn post_all(sidecar: &Sidecar, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        assert_eq!(post(&sidecar.http, &sidecar.url, number).await.unwrap(), 200, "message {number}");
    }
}

/// Posts messages that must be taken, many at once and so in no order.
pub async fn post_many(sidecar: &Sidecar, numbers: impl IntoIterator<Item = u64>) {
    let posts = numbers.into_iter().map(|number| post(&sidecar.http, &sidecar.url, number));
    let statuses: Vec<_> = futures::stream::iter(posts).buffer_unordered(64).collect().await;
    assert!(statuses.into_iter().all(|status| status.unwrap() == 200));
}

/// Makes a subscriber of all messages.
pub async fn subscribe(sidecar: &Sidecar, name: &str, topics: &[&str]) {
    sidecar.send(reqwest::Method::PUT, &format!("/v1/subscribers/{name}"), &json!({ "topics": topics })).await;
}

/// Pulls, acknowledging, until `enough`; fails after a minute. Everything that came, in order.
pub async fn pull_until(sidecar: &Sidecar, name: &str, mut enough: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    let (mut events, mut cursor) = (Vec::new(), String::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let page = sidecar.get(&format!("/v1/subscribers/{name}/events?limit=256&wait=1{cursor}")).await;
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
        let came = page["deliveries"].as_array().unwrap();
        events.extend(came.iter().map(|delivery| delivery["event"].clone()));
        // An empty page: what came before it is acknowledged.
        if came.is_empty() && enough(&events) {
            return events;
        }
        assert!(Instant::now() < deadline, "only {} events came within a minute", events.len());
    }
}

/// The numbers of the messages among events.
pub fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().filter_map(|event| event["data"]["vendor_id"].as_str()?.parse().ok()).collect()
}

/// Pulls until all of `wanted` came; they must come once. The numbers of everything that came.
pub async fn pull_all(sidecar: &Sidecar, name: &str, wanted: &BTreeSet<u64>) -> BTreeSet<u64> {
    let events = pull_until(sidecar, name, |events| {
        let came: BTreeSet<u64> = numbers(events).into_iter().collect();
        came.is_superset(wanted)
    });
    let came = numbers(&events.await);
    let distinct: BTreeSet<u64> = came.iter().copied().collect();
    assert_eq!(distinct.len(), came.len(), "something came twice");
    distinct
}

/// Waits until `/readyz` answers this status; the body.
pub async fn ready_as(sidecar: &Sidecar, status: u16) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (answer, body) = sidecar.ready().await;
        if answer == status {
            return body;
        }
        assert!(Instant::now() < deadline, "readyz still says {answer}: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One component of what `/readyz` said.
pub fn component<'a>(ready: &'a Value, name: &str) -> &'a Value {
    ready["components"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

/// Waits until a line of the log holds all of these words.
pub async fn told(sidecar: &Sidecar, words: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !sidecar.log.tells(words) {
        assert!(Instant::now() < deadline, "the log never told {words:?}:\n{}", sidecar.log.text());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
