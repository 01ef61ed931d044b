//! Full disks: acceptance stops with 503 and says so everywhere it should, nothing accepted is lost, and when there is
//! room again everything goes on by itself.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;
use support::notices::{self, component};
use support::sidecar::Sidecar;
use support::unsynced::{FullDisk, Unsynced};

const CONFIG: &str = r#"
[ingest]
max_body_bytes = 32768
[ingest.inbox]
path = "inbox"
segment_bytes = 131072
capacity_bytes = 524288
max_pending_bytes = 131072
[store]
url = "sqlite://store/full.db"
"#;

/// A sidecar whose inbox and database are on disks that can be filled.
struct Stage {
    scratch: tempfile::TempDir,
    disks: Unsynced,
}

impl Stage {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        std::fs::create_dir_all(data.join("store")).unwrap();
        let disks = Unsynced::new(scratch.path(), &data);
        Self { scratch, disks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("data").join(name)
    }

    fn command(&self) -> std::process::Command {
        let config = format!("{CONFIG}{}", notices::PROVIDER);
        let mut command = Sidecar::command(&self.scratch.path().join("data"), &config);
        self.disks.watch_room(&mut command);
        command
    }

    async fn start(&self) -> Sidecar {
        let sidecar = Sidecar::spawn(self.command());
        notices::subscribe(&sidecar, "all", &["messages", "backfill"]).await;
        sidecar
    }
}

/// The first notice of a repair window says how many callbacks were refused.
async fn repair_window(sidecar: &Sidecar, refused: u64) {
    let events = notices::pull_until(sidecar, "windows", |events| !events.is_empty()).await;
    let notice = &events[0]["data"];
    assert_eq!(notice["kind"], "repair_window_opened", "{notice}");
    assert_eq!(notice["detail"]["refused"], refused, "{notice}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_inbox_stops_acceptance_until_there_is_room() {
    let stage = Stage::new();
    let mut sidecar = stage.start().await;
    notices::subscribe(&sidecar, "windows", &["backfill"]).await;
    notices::post_all(&sidecar, 1..=20).await;

    // Where a file system leaves room that was reserved in place, a full disk is no reason to refuse anything.
    stage.disks.fill_disk(&stage.path("inbox"), Some(FullDisk::Growth));
    notices::post_all(&sidecar, 21..=40).await;

    stage.disks.fill_disk(&stage.path("inbox"), Some(FullDisk::Writes));
    for number in 41..=60 {
        assert_eq!(notices::post(&sidecar.http, &sidecar.url, number).await.unwrap(), 503);
    }
    let ready = notices::ready_as(&sidecar, 503).await;
    let inbox = component(&ready, "inbox");
    assert_eq!(inbox["ok"], false, "{ready}");
    assert!(inbox["detail"].as_str().unwrap().contains("disk"), "{ready}");
    assert_eq!(component(&ready, "store")["ok"], true, "{ready}");
    // A restart would not help: whoever restarts what is not alive must not.
    let alive = sidecar.http.get(format!("{}/healthz", sidecar.url)).send().await.unwrap();
    assert_eq!(alive.status(), 200);
    notices::told(&sidecar, &["ERROR", "ALERT", "the inbox cannot be written", "disk_full"]).await;
    assert_eq!(sidecar.log.count(&["ALERT"]), 1, "one alert, however many are refused:\n{}", sidecar.log.text());
    assert_eq!(sidecar.metric("switchboard_inbox_writable").await, 0.0);
    assert!(sidecar.metric("switchboard_inbox_failures_total").await >= 20.0);

    // Nobody calls any more, as after a ban. It finds the room by itself.
    stage.disks.fill_disk(&stage.path("inbox"), None);
    notices::ready_as(&sidecar, 200).await;
    assert_eq!(sidecar.metric("switchboard_inbox_writable").await, 1.0);
    notices::post_all(&sidecar, 61..=80).await;
    repair_window(&sidecar, 20).await;

    let accepted: BTreeSet<u64> = (1..=40).chain(61..=80).collect();
    let came = notices::pull_all(&sidecar, "all", &accepted).await;
    assert_eq!(came, accepted);
    sidecar.kill();
    // What was refused is on the disk perhaps; what was accepted and acknowledged does not come again.
    let sidecar = stage.start().await;
    notices::post_all(&sidecar, 81..=90).await;
    let came = notices::pull_all(&sidecar, "all", &(81..=90).collect()).await;
    assert!(came.is_disjoint(&accepted), "{came:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_database_costs_nothing_that_was_accepted() {
    let stage = Stage::new();
    let sidecar = stage.start().await;
    notices::post_all(&sidecar, 1..=20).await;
    notices::pull_all(&sidecar, "all", &(1..=20).collect()).await;

    stage.disks.fill_disk(&stage.path("store"), Some(FullDisk::Growth));
    // The inbox has its own room: callbacks are taken until it is full.
    let (mut accepted, mut next) = (BTreeSet::new(), 21);
    loop {
        match notices::post(&sidecar.http, &sidecar.url, next).await.unwrap() {
            200 => accepted.insert(next),
            503 => break,
            status => panic!("{status}"),
        };
        next += 1;
        if next == 60 {
            notices::told(&sidecar, &["ERROR", "ALERT", "the store takes nothing"]).await;
            let ready = notices::ready_as(&sidecar, 200).await;
            let journal = component(&ready, "journal");
            assert_eq!(journal["ok"], false, "{ready}");
            assert!(journal["detail"].as_str().unwrap().contains("no room"), "{ready}");
            assert_eq!(sidecar.metric("switchboard_ingest_stalled").await, 1.0);
        }
        assert!(next < 5_000, "512 KiB took {next} callbacks");
    }
    assert!(accepted.len() > 200, "only {} callbacks were taken", accepted.len());
    let ready = notices::ready_as(&sidecar, 503).await;
    assert_eq!(component(&ready, "inbox")["ok"], false, "{ready}");
    let send = json!({ "from": "a", "to": { "user": "b" }, "body": { "type": "text", "text": "hi" } });
    let answer = sidecar.request(reqwest::Method::POST, "/v1/messages").json(&send).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "urn:switchboard:problem:storage_full", "{problem}");

    stage.disks.fill_disk(&stage.path("store"), None);
    notices::ready_as(&sidecar, 200).await;
    notices::post_all(&sidecar, next + 1..=next + 20).await;
    accepted.extend(next + 1..=next + 20);
    assert_eq!(notices::pull_all(&sidecar, "all", &accepted).await, accepted);
    assert_eq!(component(&notices::ready_as(&sidecar, 200).await, "journal")["ok"], true);
    assert_eq!(sidecar.metric("switchboard_ingest_stalled").await, 0.0);
    assert_eq!(sidecar.metric("switchboard_ingest_quarantined_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_the_inbox_nothing_starts_and_the_error_says_why() {
    let stage = Stage::new();
    stage.disks.fill_disk(&stage.path("inbox"), Some(FullDisk::Growth));
    let (status, said) = Sidecar::refuse(stage.command());
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("error: no room can be reserved for the inbox"), "{said}");
    stage.disks.fill_disk(&stage.path("inbox"), None);
    notices::post_all(&stage.start().await, 1..=5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_on_a_full_disk_takes_callbacks_and_journals_them_later() {
    let stage = Stage::new();
    let mut sidecar = stage.start().await;
    notices::post_all(&sidecar, 1..=20).await;
    notices::pull_all(&sidecar, "all", &(1..=20).collect()).await;
    stage.disks.fill_disk(&stage.path("store"), Some(FullDisk::Growth));
    notices::post_all(&sidecar, 21..=120).await;
    sidecar.kill();

    let sidecar = Sidecar::spawn(stage.command());
    notices::post_all(&sidecar, 121..=140).await;
    notices::told(&sidecar, &["ERROR", "ALERT", "the store takes nothing"]).await;
    stage.disks.fill_disk(&stage.path("store"), None);
    let wanted: BTreeSet<u64> = (21..=140).collect();
    let came = notices::pull_all(&sidecar, "all", &wanted).await;
    assert_eq!(came, wanted, "what was acknowledged came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_a_new_database_nothing_starts_and_the_error_says_why() {
    let stage = Stage::new();
    stage.disks.fill_disk(&stage.path("store"), Some(FullDisk::Growth));
    let (status, said) = Sidecar::refuse(stage.command());
    assert_eq!(status.code(), Some(1));
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains("full.db") || error.contains("no room is left for the database"), "{said}");
    stage.disks.fill_disk(&stage.path("store"), None);
    notices::post_all(&stage.start().await, 1..=5).await;
}
