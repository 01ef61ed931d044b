//! Files that are not what was written: the error is clear, what can be saved is, and nothing is lost silently.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::notices;
use support::sidecar::Sidecar;

const CONFIG: &str = r#"
[ingest]
max_body_bytes = 32768
[ingest.inbox]
path = "inbox"
segment_bytes = 131072
capacity_bytes = 524288
max_pending_bytes = 131072
[store]
url = "sqlite://damaged.db"
"#;

fn command(directory: &Path) -> std::process::Command {
    Sidecar::command(directory, &format!("{CONFIG}{}", notices::PROVIDER))
}

/// Leaves messages 1 to `count` in the inbox of a killed process, not journalled.
async fn unjournalled(directory: &Path, count: u64) {
    let mut sidecar = Sidecar::spawn(command(directory));
    notices::subscribe(&sidecar, "all", &["messages"]).await;
    let held = rusqlite::Connection::open(directory.join("damaged.db")).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    notices::post_all(&sidecar, 1..=count).await;
    sidecar.kill();
    held.execute_batch("ROLLBACK").unwrap();
}

/// The segment that holds message `number`, its bytes, and where in them the message says its text.
fn segment_of(directory: &Path, number: u64) -> (PathBuf, Vec<u8>, usize) {
    let text = notices::text(number);
    fs::read_dir(directory.join("inbox"))
        .unwrap()
        .find_map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
            Some((path, bytes, at))
        })
        .unwrap()
}

fn flip_bit_in(directory: &Path, number: u64) {
    let (path, mut bytes, at) = segment_of(directory, number);
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_in_the_inbox_cost_the_records_they_are_in_and_are_told() {
    let directory = tempfile::tempdir().unwrap();
    // Several segments: the damage is in a closed one and in the one that was written to last.
    unjournalled(directory.path(), 400).await;
    assert_ne!(segment_of(directory.path(), 5).0, segment_of(directory.path(), 390).0);
    for number in [5, 390] {
        flip_bit_in(directory.path(), number);
    }
    let sidecar = Sidecar::spawn(command(directory.path()));
    let wanted: BTreeSet<u64> = (1..=400).filter(|number| ![5, 390].contains(number)).collect();
    assert_eq!(notices::pull_all(&sidecar, "all", &wanted).await, wanted);
    assert!(sidecar.log.count(&["ERROR", "inbox damaged"]) >= 2, "{}", sidecar.log.text());
    assert!(sidecar.metric("switchboard_inbox_damaged_total").await >= 2.0);
    // It goes on, and what was lost is taken when the vendor or a repair brings it again.
    notices::post_all(&sidecar, [5, 390, 401]).await;
    notices::pull_all(&sidecar, "all", &[5, 390, 401].into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_torn_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    unjournalled(directory.path(), 20).await;
    // The last write came to the disk in part, and what stood there before is in the rest.
    let (path, mut bytes, at) = segment_of(directory.path(), 20);
    let end = bytes.len().min(at + 4096);
    bytes[at..end].fill(0xa5);
    fs::write(path, bytes).unwrap();
    let sidecar = Sidecar::spawn(command(directory.path()));
    let wanted: BTreeSet<u64> = (1..=19).collect();
    assert_eq!(notices::pull_all(&sidecar, "all", &wanted).await, wanted);
    assert!(!sidecar.log.tells(&["inbox damaged"]), "{}", sidecar.log.text());
    assert!(sidecar.log.tells(&["WARN", "not whole"]), "{}", sidecar.log.text());
    notices::post_all(&sidecar, 21..=25).await;
    notices::pull_all(&sidecar, "all", &(21..=25).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_whose_header_is_gone_is_told_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    unjournalled(directory.path(), 400).await;
    let (path, mut bytes, _) = segment_of(directory.path(), 200);
    bytes[16] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let sidecar = Sidecar::spawn(command(directory.path()));
    notices::post_all(&sidecar, 401..=800).await;
    let came = notices::pull_all(&sidecar, "all", &(401..=800).collect()).await;
    let lost = (1..=400).filter(|number| !came.contains(number)).count();
    assert!((1..400).contains(&lost), "one segment of several is missing, and {lost} messages are");
    assert!(sidecar.log.tells(&["ERROR", "inbox damaged", "header"]), "{}", sidecar.log.text());
    assert!(sidecar.log.count(&["ERROR", "inbox damaged"]) >= 2, "what it held is told: {}", sidecar.log.text());
    assert_eq!(fs::read(&path).unwrap(), bytes, "it was written to");
}

/// Starts a process, journals messages 1 to 20, and ends it well.
async fn journalled(directory: &Path) {
    let mut sidecar = Sidecar::spawn(command(directory));
    notices::subscribe(&sidecar, "all", &["messages"]).await;
    notices::post_all(&sidecar, 1..=20).await;
    notices::pull_all(&sidecar, "all", &(1..=10).collect()).await;
    assert!(sidecar.terminate().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_none_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    journalled(directory.path()).await;
    let file = directory.path().join("damaged.db");
    let good = fs::read(&file).unwrap();
    let (mut garbage, mut headless) = (vec![0x5a; 8192], good.clone());
    garbage[100] = 1;
    headless[..16].copy_from_slice(b"not a database!\n");
    for (what, bytes) in [("garbage", garbage), ("headless", headless), ("cut", good[..good.len() / 2].to_vec())] {
        fs::write(&file, &bytes).unwrap();
        let (status, said) = Sidecar::refuse(command(directory.path()));
        assert_eq!(status.code(), Some(1), "{what}: {said}");
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains("damaged.db"), "{what}: {said}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "{what}: it was changed");
    }
    // With the good one back, it goes on where it was.
    fs::write(&file, &good).unwrap();
    let sidecar = Sidecar::spawn(command(directory.path()));
    notices::post_all(&sidecar, 21..=30).await;
    let came = notices::pull_all(&sidecar, "all", &(21..=30).collect()).await;
    assert!(came.is_disjoint(&(1..=10).collect()), "{came:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    journalled(directory.path()).await;
    let file = directory.path().join("damaged.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99991231, 'of the future', 1, x'00', 0)";
    connection.execute(newer, []).unwrap();
    drop(connection);
    let (status, said) = Sidecar::refuse(command(directory.path()));
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("has schema 99991231") && said.contains("use the newer program"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_the_one_of_the_inbox_is_told() {
    let directory = tempfile::tempdir().unwrap();
    // More than fits, so that segments are used again and what they held is only in the database.
    let mut sidecar = Sidecar::spawn(command(directory.path()));
    notices::subscribe(&sidecar, "all", &["messages"]).await;
    for from in [0, 500, 1_000, 1_500] {
        notices::post_many(&sidecar, from + 1..=from + 500).await;
        notices::pull_all(&sidecar, "all", &(from + 1..=from + 500).collect()).await;
    }
    assert!(sidecar.terminate().success());
    fs::remove_file(directory.path().join("damaged.db")).unwrap();
    let sidecar = Sidecar::spawn(command(directory.path()));
    notices::told(&sidecar, &["ERROR", "inbox damaged", "the store is not the one"]).await;
    notices::subscribe(&sidecar, "all", &["messages"]).await;
    notices::post_all(&sidecar, 2_001..=2_010).await;
    notices::pull_all(&sidecar, "all", &(2_001..=2_010).collect()).await;
}
