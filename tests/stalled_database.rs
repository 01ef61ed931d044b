//! A main database that nobody can write to for 30 seconds, under 1,000 callbacks a second: the vendors notice nothing,
//! and everything arrives afterwards.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use support::sidecar::Sidecar;
use support::vendors::Vendors;

const STALL: Duration = Duration::from_secs(30);
const PER_SECOND: u32 = 1_000;

/// Holds the write lock of the database, as a stuck backup or an operator's shell would.
fn lock(path: std::path::PathBuf, time: Duration) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::sleep(time);
        connection.execute_batch("ROLLBACK").unwrap();
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_a_stalled_database_never_delays_a_reply() {
    let directory = tempfile::tempdir().unwrap();
    let vendors = Vendors::start(1).await;
    let config =
        format!("[store]\nurl = \"sqlite://stalled.db\"\n[ingest.inbox]\npath = \"inbox\"\n{}", vendors.config());
    let sidecar = Sidecar::start(directory.path(), &config);
    vendors.call_back(&sidecar.url);
    sidecar.send(reqwest::Method::PUT, "/v1/subscribers/all", &json!({ "topics": ["messages"] })).await;

    let locked = lock(directory.path().join("stalled.db"), STALL);
    let began = Instant::now();
    let mut sent = BTreeSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while began.elapsed() < STALL {
        tick.tick().await;
        for n in 0..PER_SECOND / 200 {
            let (from, to) = (format!("user{}", n % 3), format!("peer{}", sent.len() % 50));
            sent.insert(vendors.on_huanxin(&from, &to, "hello").await);
            sent.insert(vendors.on_rongcloud(&from, &to, "hello").await);
        }
    }
    locked.join().unwrap();
    vendors.idle().await;

    let mut latencies = Vec::new();
    for ledger in [vendors.huanxin.ledger(), vendors.rongcloud.ledger()] {
        let counters = ledger.counters();
        assert_eq!((counters.callback_failures, counters.bans), (0, 0));
        for callback in ledger.callbacks() {
            latencies.extend(callback.attempts.iter().map(|attempt| attempt.latency_ms));
        }
    }
    latencies.sort_unstable();
    let p99 = latencies[latencies.len() * 99 / 100];
    println!("{} callbacks answered, p99 {p99} ms", latencies.len());
    assert!(latencies.len() >= sent.len(), "some callbacks were never made");
    assert!(sent.len() as f64 >= f64::from(PER_SECOND) * STALL.as_secs_f64() * 0.8, "only {} were sent", sent.len());
    assert!(p99 < 50, "the p99 of a reply was {p99} ms");

    let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.len() < sent.len() && Instant::now() < deadline {
        let page = sidecar.get(&format!("/v1/subscribers/all/events?limit=500&wait=5{cursor}")).await;
        for delivery in page["deliveries"].as_array().unwrap() {
            let id = delivery["event"]["data"]["vendor_id"].as_str().unwrap().to_owned();
            assert!(seen.insert(id.clone()), "{id} came twice");
        }
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
    }
    assert_eq!(seen, sent);
}
