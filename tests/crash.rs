//! I1, I2 and I4 under the worst: `kill -9` at random moments of the real binary, and the loss of everything that was
//! not fsynced. `SWITCHBOARD_CRASH_ROUNDS=1000` runs more rounds, `SWITCHBOARD_SEED` repeats a run.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest, Md5};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::sidecar::Sidecar;
use support::unsynced::Unsynced;

const SECRET: &str = "crash-test-secret";
const CONFIG: &str = r#"
[ingest]
max_body_bytes = 65536
[ingest.inbox]
path = "inbox"
segment_bytes = 1048576
[store]
url = "sqlite://crash.db"
[providers.main]
kind = "huanxin"
app_key = "acme#crash"
client_id = "id"
client_secret = "secret"
callback_secret = "crash-test-secret"
base_url = "http://127.0.0.1:9"
"#;

/// What the world outside has seen. It survives every crash.
#[derive(Default)]
struct Seen {
    /// Vendor ids of callbacks that were answered 200.
    accepted: BTreeSet<u64>,
    /// What stood at each place of each conversation, the first time it was delivered.
    delivered: BTreeMap<(String, u64), String>,
    /// Places whose acknowledgement was answered.
    acknowledged: BTreeSet<(String, u64)>,
    faults: Vec<String>,
}

impl Seen {
    fn deliver(&mut self, page: &Value) -> Vec<(String, u64)> {
        let mut places = Vec::new();
        for delivery in page["deliveries"].as_array().unwrap() {
            let event = &delivery["event"];
            let place = (
                event["subject"].as_str().unwrap().to_owned(),
                event["sequence"].as_str().unwrap().parse::<u64>().unwrap(),
            );
            let id = event["data"]["vendor_id"].as_str().unwrap().to_owned();
            if self.acknowledged.contains(&place) {
                self.faults.push(format!("{place:?} came again after its ack was answered"));
            }
            if let Some(before) = self.delivered.insert(place.clone(), id.clone())
                && before != id
            {
                self.faults.push(format!("{place:?} was {before} and is now {id}"));
            }
            places.push(place);
        }
        places
    }
}

fn callback(number: u64) -> Value {
    let call_id = format!("acme#crash_{number}");
    let timestamp = 1_795_200_000_000_u64 + number;
    let security = hex::encode(Md5::digest(format!("{call_id}{SECRET}{timestamp}")));
    let (from, to) = (format!("user{}", number % 7), format!("peer{}", number % 5));
    json!({
        "callId": call_id, "eventType": "chat", "chat_type": "chat", "from": from, "to": to,
        "msg_id": number.to_string(), "content_type": "chat:user:text", "appkey": "acme#crash",
        "payload": { "ext": {}, "bodies": [{ "msg": format!("message {number}"), "type": "txt" }], "from": from, "to": to, "type": "chat" },
        "timestamp": timestamp, "security": security,
    })
}

/// Posts callbacks, each twice as a vendor's retry would, until the sidecar is gone.
async fn post_until_gone(url: String, http: reqwest::Client, seen: Arc<Mutex<Seen>>, next: Arc<Mutex<u64>>) {
    loop {
        let number = {
            let mut next = next.lock();
            *next += 1;
            // Every tenth is one that was posted before.
            if next.is_multiple_of(10) { *next - 7 } else { *next }
        };
        let answer = http.post(format!("{url}/callbacks/main")).json(&callback(number)).send().await;
        match answer {
            Ok(answer) if answer.status() == 200 => {
                seen.lock().accepted.insert(number);
            }
            Ok(answer) => seen.lock().faults.push(format!("a callback was answered {}", answer.status())),
            Err(_) => return,
        }
    }
}

/// Pulls and acknowledges until the sidecar is gone (or, with `drain`, until nothing is left).
async fn pull_until_gone(url: String, http: reqwest::Client, seen: Arc<Mutex<Seen>>, drain: bool) {
    let (mut cursor, mut held) = (String::new(), Vec::new());
    loop {
        let wait = if drain { 2 } else { 1 };
        let address = format!("{url}/v1/subscribers/crash/events?limit=64&wait={wait}{cursor}");
        let answer = http.get(address).bearer_auth(support::sidecar::TOKEN).send().await;
        let Ok(answer) = answer else { return };
        let Ok(page) = answer.json::<Value>().await else { return };
        let mut seen = seen.lock();
        seen.acknowledged.extend(std::mem::take(&mut held));
        held = seen.deliver(&page);
        if drain && held.is_empty() {
            return;
        }
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
    }
}

async fn round(
    unsynced: &Unsynced,
    directory: &std::path::Path,
    life: Duration,
    seen: &Arc<Mutex<Seen>>,
    next: &Arc<Mutex<u64>>,
) {
    let mut command = Sidecar::command(directory, CONFIG);
    unsynced.watch(&mut command);
    let mut sidecar = Sidecar::spawn(command);
    sidecar.send(reqwest::Method::PUT, "/v1/subscribers/crash", &json!({ "topics": ["messages"] })).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        tasks.spawn(post_until_gone(sidecar.url.clone(), sidecar.http.clone(), seen.clone(), next.clone()));
    }
    tasks.spawn(pull_until_gone(sidecar.url.clone(), sidecar.http.clone(), seen.clone(), false));
    tokio::time::sleep(life).await;
    sidecar.kill();
    while tasks.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long, and not yet run to its end: run it by name with --run-ignored all"]
async fn i01_i02_i04_nothing_accepted_is_lost_and_nothing_acknowledged_returns() {
    let rounds: usize = std::env::var("SWITCHBOARD_CRASH_ROUNDS").ok().map_or(200, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("SWITCHBOARD_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("SWITCHBOARD_SEED={seed} SWITCHBOARD_CRASH_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);

    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    std::fs::create_dir(&directory).unwrap();
    let unsynced = Unsynced::new(scratch.path(), &directory);
    let (seen, next) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(0)));
    let mut lost = 0;
    for _ in 0..rounds {
        let life = Duration::from_micros(random.random_range(1_000..250_000));
        round(&unsynced, &directory, life, &seen, &next).await;
        lost += unsynced.lose_power();
    }

    let sidecar = Sidecar::start(&directory, CONFIG);
    pull_until_gone(sidecar.url.clone(), sidecar.http.clone(), seen.clone(), true).await;
    let seen = seen.lock();
    println!("{} accepted, {} delivered, {lost} unsynced changes lost", seen.accepted.len(), seen.delivered.len());
    assert!(seen.faults.is_empty(), "{}", seen.faults.join("\n"));
    assert!(seen.accepted.len() > rounds * 5, "too little happened to prove anything");
    assert!(lost > 0, "no write was ever lost: the layer does not work");
    let delivered: BTreeSet<u64> = seen.delivered.values().map(|id| id.parse().unwrap()).collect();
    let missing: Vec<&u64> = seen.accepted.difference(&delivered).collect();
    assert!(missing.is_empty(), "answered 200 and never delivered: {missing:?}");
    assert_eq!(delivered.len(), seen.delivered.len(), "a message stands at two places");
    let mut last = BTreeMap::new();
    for (conversation, sequence) in seen.delivered.keys() {
        let before = last.insert(conversation, *sequence).unwrap_or(0);
        assert_eq!(*sequence, before + 1, "a hole in {conversation}");
    }
}
