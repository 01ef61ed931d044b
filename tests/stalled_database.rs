//! A main database that nobody can write to for 30 seconds, under 1,000 callbacks a second: the vendors notice nothing,
//! and everything arrives afterwards.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::sidecar::Sidecar;
use support::vendors::Vendors;

const BEFORE: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(30);
const PER_SECOND: f64 = 1_000.0;

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

/// What the disk itself takes for a small durable write while this lives: no reply can be faster on a busy machine.
struct Yardstick {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<u64>>,
}

impl Yardstick {
    fn lay(path: std::path::PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            let mut file = std::fs::File::create(path).unwrap();
            let mut took = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let began = Instant::now();
                file.rewind().unwrap();
                file.write_all(&[1; 512]).unwrap();
                file.sync_data().unwrap();
                took.push(began.elapsed().as_millis() as u64);
                std::thread::sleep(Duration::from_millis(10));
            }
            took
        });
        Self { over, thread }
    }

    fn p99(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        p99(self.thread.join().unwrap())
    }
}

fn p99(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() * 99 / 100]
}

/// Customers of both vendors write, so that a thousand callbacks a second come; returns when all were answered.
async fn customers_write(vendors: &Vendors, time: Duration) -> BTreeSet<String> {
    let began = Instant::now();
    let mut sent = BTreeSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while began.elapsed() < time {
        tick.tick().await;
        for n in 0..4 {
            let (from, to) = (format!("user{n}"), format!("peer{}", sent.len() % 50));
            // Nobody is online: Huanxin calls twice for a message, the second time to say so.
            if n > 0 {
                sent.insert(vendors.on_huanxin(&from, &to, "hello").await);
            }
            sent.insert(vendors.on_rongcloud(&from, &to, "hello").await);
        }
    }
    vendors.idle().await;
    sent
}

/// How long the replies to all callbacks took, without so many first ones of each vendor.
fn latencies(vendors: &Vendors, without: [usize; 2]) -> Vec<u64> {
    let callbacks = [vendors.huanxin.ledger().callbacks(), vendors.rongcloud.ledger().callbacks()];
    let rest = callbacks.iter().zip(without).flat_map(|(callbacks, without)| callbacks.iter().skip(without));
    rest.flat_map(|callback| callback.attempts.iter().map(|attempt| attempt.latency_ms)).collect()
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

    // The same without the lock first: what a reply takes on this machine, with whatever else it does.
    let mut sent = customers_write(&vendors, BEFORE).await;
    let usual = p99(latencies(&vendors, [0, 0]));
    let before = [vendors.huanxin.ledger().callbacks().len(), vendors.rongcloud.ledger().callbacks().len()];

    let yardstick = Yardstick::lay(directory.path().join("yardstick"));
    let locked = lock(directory.path().join("stalled.db"), STALL);
    sent.extend(customers_write(&vendors, STALL).await);
    locked.join().unwrap();

    for counters in [vendors.huanxin.ledger().counters(), vendors.rongcloud.ledger().counters()] {
        assert_eq!((counters.callback_failures, counters.bans), (0, 0));
    }
    let latencies = latencies(&vendors, before);
    let (answered, p99, disk) = (latencies.len(), p99(latencies), yardstick.p99());
    println!("{answered} callbacks answered, p99 {p99} ms; without the lock {usual} ms, the bare disk {disk} ms");
    assert!(answered as f64 >= PER_SECOND * STALL.as_secs_f64() * 0.9, "only {answered} callbacks were made");
    // Where others keep disk and processors busy, a reply waits for them as it does without the lock.
    let bar = 50.max(3 * disk).max(2 * usual);
    assert!(p99 < bar, "the p99 of a reply was {p99} ms, without the lock {usual} ms, of the bare disk {disk} ms");

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
