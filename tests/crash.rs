//! I1, I2 and I4 under the worst: `kill -9` at random moments of the real binary, and the loss of everything that was
//! not fsynced. `SWITCHBOARD_CRASH_ROUNDS=1000` runs more rounds, `SWITCHBOARD_SEED` repeats a run.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use support::notices;
use support::sidecar::Sidecar;
use support::unsynced::Unsynced;

const CONFIG: &str = r#"
[ingest]
max_body_bytes = 65536
[ingest.inbox]
path = "kept/apart/inbox"
segment_bytes = 262144
capacity_bytes = 4194304
max_pending_bytes = 1048576
[store]
url = "sqlite://crash.db"
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

/// Posts callbacks, some twice as a vendor's retry would, until the sidecar is gone.
async fn post_until_gone(url: String, http: reqwest::Client, seen: Arc<Mutex<Seen>>, next: Arc<Mutex<u64>>) {
    loop {
        let number = {
            let mut next = next.lock();
            *next += 1;
            // Every tenth is one that was posted before.
            if (*next).is_multiple_of(10) { *next - 7 } else { *next }
        };
        match notices::post(&http, &url, number).await {
            Ok(200) => {
                seen.lock().accepted.insert(number);
            }
            Ok(status) => seen.lock().faults.push(format!("a callback was answered {status}")),
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
        let status = answer.status();
        let Ok(page) = answer.json::<Value>().await else { return };
        let mut seen = seen.lock();
        if status != 200 {
            return seen.faults.push(format!("a pull was answered {status}: {page}"));
        }
        seen.acknowledged.extend(std::mem::take(&mut held));
        held = seen.deliver(&page);
        if drain && held.is_empty() {
            return;
        }
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
    }
}

/// What crashes: the files, the layer under them, and what was seen from outside.
struct Stage {
    scratch: tempfile::TempDir,
    unsynced: Unsynced,
    seen: Arc<Mutex<Seen>>,
    next: Arc<Mutex<u64>>,
    lost: usize,
}

impl Stage {
    fn new(skipped: Option<&'static str>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("data");
        std::fs::create_dir(&directory).unwrap();
        let unsynced = Unsynced::new(scratch.path(), &directory);
        let unsynced = match skipped {
            Some(end) => unsynced.without_syncs_of(end),
            None => unsynced,
        };
        Self { scratch, unsynced, seen: Arc::default(), next: Arc::default(), lost: 0 }
    }

    fn command(&self) -> std::process::Command {
        Sidecar::command(&self.scratch.path().join("data"), &format!("{CONFIG}{}", notices::PROVIDER))
    }

    /// One life of the process: it takes, journals and delivers for so long, is killed, and the power fails.
    async fn round(&mut self, life: Duration, chance: Option<&mut StdRng>) -> Result<(), String> {
        let mut command = self.command();
        self.unsynced.watch(&mut command);
        let mut sidecar = Sidecar::try_spawn(command)?;
        notices::subscribe(&sidecar, "crash", &["messages"]).await;
        let (url, http) = (&sidecar.url, &sidecar.http);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            tasks.spawn(post_until_gone(url.clone(), http.clone(), self.seen.clone(), self.next.clone()));
        }
        tasks.spawn(pull_until_gone(url.clone(), http.clone(), self.seen.clone(), false));
        tokio::time::sleep(life).await;
        sidecar.kill();
        while tasks.join_next().await.is_some() {}
        self.lost += self.unsynced.lose_power(chance);
        // What a crash leaves is never damage.
        if sidecar.log.tells(&["inbox damaged"]) { Err(sidecar.log.text()) } else { Ok(()) }
    }

    /// Starts once more, takes what is left, and judges.
    async fn judge(&self) -> Result<(), String> {
        let mut sidecar = Sidecar::try_spawn(self.command())?;
        pull_until_gone(sidecar.url.clone(), sidecar.http.clone(), self.seen.clone(), true).await;
        sidecar.kill();
        let seen = self.seen.lock();
        println!("{} accepted, {} delivered, {} changes lost", seen.accepted.len(), seen.delivered.len(), self.lost);
        if let Some(fault) = seen.faults.first() {
            return Err(format!("{} faults, the first: {fault}", seen.faults.len()));
        }
        let delivered: BTreeSet<u64> = seen.delivered.values().map(|id| id.parse().unwrap()).collect();
        let missing: Vec<&u64> = seen.accepted.difference(&delivered).collect();
        if !missing.is_empty() {
            return Err(format!("answered 200 and never delivered: {missing:?}"));
        }
        if delivered.len() != seen.delivered.len() {
            return Err("a message stands at two places".to_owned());
        }
        let mut last = BTreeMap::new();
        for (conversation, sequence) in seen.delivered.keys() {
            let before = last.insert(conversation, *sequence).unwrap_or(0);
            if *sequence != before + 1 {
                return Err(format!("{conversation}: {before} is followed by {sequence}"));
            }
        }
        Ok(())
    }
}

fn seeded() -> StdRng {
    let seed: u64 = std::env::var("SWITCHBOARD_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("SWITCHBOARD_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_i02_i04_nothing_accepted_is_lost_and_nothing_acknowledged_returns() {
    let rounds: usize = std::env::var("SWITCHBOARD_CRASH_ROUNDS").map_or(200, |text| text.parse().unwrap());
    let (mut random, mut stage) = (seeded(), Stage::new(None));
    for round in 0..rounds {
        let life = Duration::from_micros(random.random_range(1_000..250_000));
        // In every other round all of it goes, else what the disk had not come to by itself.
        let chance = (round % 2 == 1).then_some(&mut random);
        stage.round(life, chance).await.unwrap();
    }
    stage.judge().await.unwrap();
    assert!(stage.seen.lock().accepted.len() > rounds * 5, "too little happened to prove anything");
    assert!(stage.lost > 0, "no write was ever lost: the layer does not work");
}

/// The test above can fail: it does as soon as the syncs of any kind of file are left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_a_left_out_sync_is_noticed() {
    let mut random = seeded();
    let mut unnoticed = Vec::new();
    // Of the inbox: records, the names of segments, the names of its directories. Of the database: commits. Of both: the
    // names in their common directory.
    for skipped in [".segment", "/inbox", "/apart", "/kept", "-wal", "/data"] {
        let (mut stage, mut noticed) = (Stage::new(Some(skipped)), false);
        for _ in 0..8 {
            let life = Duration::from_micros(random.random_range(100_000..250_000));
            let outcome = match stage.round(life, None).await {
                Ok(()) => stage.judge().await,
                fault => fault,
            };
            if let Err(fault) = outcome {
                println!("without syncs of *{skipped}: {fault}");
                noticed = true;
                break;
            }
        }
        if !noticed {
            unnoticed.push(skipped);
        }
    }
    assert!(unnoticed.is_empty(), "went unnoticed: {unnoticed:?}");
}
