//! A full inbox stops acceptance, loses nothing, and tells which time must be repaired.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::support::callbacks::{huanxin_text, now_ms, post};
use crate::support::consumer::{PATIENCE, metric_is, subscribe, take, texts};
use crate::support::sidecar::Sidecar;
use crate::{config, huanxin, is_well};

#[tokio::test]
async fn a_full_inbox_gets_503_opens_a_repair_window_and_loses_nothing_it_took() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    subscribe(&sidecar, "all", &["messages"]).await;
    subscribe(&sidecar, "repairs", &["backfill"]).await;

    // Nobody can write to the database: the inbox alone takes what comes.
    let database = rusqlite::Connection::open(directory.path().join("test.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (mut accepted, mut refused) = (Vec::new(), 0_u32);
    let deadline = Instant::now() + PATIENCE;
    while refused < 3 {
        assert!(Instant::now() < deadline, "{} callbacks of 60 kB fitted into 4 MiB", accepted.len());
        let text = format!("{:05}{}", accepted.len(), "x".repeat(60_000));
        let body = huanxin_text(&format!("{}-{refused}", accepted.len()), "alice", "bob", &text, now_ms());
        match post(huanxin(&sidecar, &body)).await {
            StatusCode::OK => accepted.push(text),
            status => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                refused += 1;
            }
        }
    }
    assert!(accepted.len() >= 20, "the inbox took only {}", accepted.len());
    let ready = sidecar.http.get(format!("{}/readyz", sidecar.url)).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(sidecar.http.get(format!("{}/healthz", sidecar.url)).send().await.unwrap().status(), StatusCode::OK);
    metric_is(&sidecar, "switchboard_ingest_callbacks_total{outcome=\"unavailable\"}", f64::from(refused)).await;

    database.execute_batch("ROLLBACK").unwrap();
    drop(database);
    let mut deliveries = take(&sidecar, "all", accepted.len()).await;
    assert_eq!(texts(&deliveries), accepted, "all that was answered 200, in order, and nothing else");
    let body = huanxin_text("fence", "alice", "bob", "fence", now_ms());
    assert_eq!(post(huanxin(&sidecar, &body)).await, StatusCode::OK);
    deliveries = take(&sidecar, "all", 1).await;
    assert_eq!(texts(&deliveries), ["fence"]);

    let repairs = take(&sidecar, "repairs", 1).await;
    let notice = &repairs[0]["event"]["data"];
    assert_eq!(notice["kind"], "repair_window_opened", "{notice}");
    assert_eq!((&notice["provider"], &notice["detail"]["refused"]), (&"huanxin".into(), &refused.into()), "{notice}");
    is_well(&sidecar).await;
}
