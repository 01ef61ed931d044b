//! Two processes and one set of files: the second must not touch them, and the first must not notice.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::notices;
use support::sidecar::Sidecar;

fn config(store: &str, inbox: &str) -> String {
    format!(
        "[store]\nurl = \"sqlite://{store}\"\n[ingest.inbox]\npath = \"{inbox}\"\nsegment_bytes = 2097152\n\
         capacity_bytes = 4194304\n{}",
        notices::PROVIDER
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_process_on_the_same_files_refuses_to_start_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = Sidecar::start(directory.path(), &config("one.db", "inbox"));
    notices::subscribe(&first, "all", &["messages"]).await;
    notices::post_all(&first, 1..=10).await;

    for (store, inbox, named) in
        [("one.db", "inbox", "one.db"), ("two.db", "inbox", "inbox"), ("one.db", "other", "one.db")]
    {
        let second = Sidecar::command(directory.path(), &config(store, inbox));
        let (status, said) = Sidecar::refuse(second);
        assert_eq!(status.code(), Some(1), "{said}");
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains(named) && said.contains("another process"), "{store} and {inbox}: {said}");
    }

    notices::post_all(&first, 11..=20).await;
    notices::pull_all(&first, "all", &(1..=20).collect()).await;
    assert!(first.terminate().success());

    // The files are free again, also after a death without a good-bye.
    let mut next = Sidecar::start(directory.path(), &config("one.db", "inbox"));
    notices::post_all(&next, 21..=30).await;
    next.kill();
    let last = Sidecar::start(directory.path(), &config("one.db", "inbox"));
    assert_eq!(notices::pull_all(&last, "all", &(21..=30).collect()).await.len(), 10);
}
