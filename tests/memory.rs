//! I9: the memory of the process does not grow with what a subscriber leaves lying. `SWITCHBOARD_MEMORY_CALLBACKS`
//! sets how many callbacks that is.

#![cfg(all(feature = "bin", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use futures::StreamExt as _;
use support::notices;
use support::sidecar::Sidecar;

/// Small caches, so that they are full before the first look.
const CONFIG: &str = r#"
[ingest]
max_body_bytes = 65536
[ingest.inbox]
path = "inbox"
segment_bytes = 1048576
capacity_bytes = 67108864
max_pending_bytes = 1048576
[store]
url = "sqlite://memory.db"
cache_bytes = 2097152
[hub]
tail_bytes = 2097152
page_cache_bytes = 2097152
"#;
const MIB: u64 = 1 << 20;
/// Queues that were never as full before, and what an allocator keeps.
const SLACK: u64 = 16 * MIB;

async fn post(sidecar: &Sidecar, numbers: std::ops::Range<u64>) {
    notices::post_many(sidecar, numbers).await;
    // Everything is journalled, and the hub has heard of it.
    // Not asked of /metrics: memory must be bounded also where nobody looks at it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let ready = notices::ready_as(sidecar, 200).await;
        let journal = notices::component(&ready, "journal");
        if journal["detail"] == "0 callbacks not yet journalled" {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{ready}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Opens a stream and never acknowledges; what it reads is thrown away.
async fn never_acknowledge(sidecar: &Sidecar, name: &str) -> tokio::task::JoinHandle<()> {
    notices::subscribe(sidecar, name, &["messages"]).await;
    let request = sidecar.request(reqwest::Method::GET, &format!("/v1/subscribers/{name}/stream"));
    let answer = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    tokio::spawn(async move {
        let mut stream = answer.bytes_stream();
        while let Some(Ok(_)) = stream.next().await {}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i09_a_subscriber_that_never_acknowledges_costs_no_memory() {
    let total: u64 = std::env::var("SWITCHBOARD_MEMORY_CALLBACKS").map_or(20_000, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &format!("{CONFIG}{}", notices::PROVIDER));
    let streams = [never_acknowledge(&sidecar, "reads").await, never_acknowledge(&sidecar, "reads_too").await];
    notices::subscribe(&sidecar, "absent", &["messages"]).await;
    let idle = sidecar.resident();

    // By then what fills up once, such as the indexes behind the journal, is mostly full.
    let warm = total / 2;
    post(&sidecar, 0..warm).await;
    let before = sidecar.resident();
    post(&sidecar, warm..total).await;
    let after = sidecar.resident();
    println!("idle {} MiB, after {warm} callbacks {} MiB, after {total} {} MiB", idle / MIB, before / MIB, after / MIB);
    assert!(after < before + SLACK, "{} KiB more for {} callbacks", (after - before) / 1024, total - warm);
    assert_eq!(sidecar.metric("switchboard_ingest_events_total").await, total as f64);
    streams.iter().for_each(tokio::task::JoinHandle::abort);
}
