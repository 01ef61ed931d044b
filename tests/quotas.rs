//! A restart does not begin the vendors' windows anew, for calls of any kind: judged by the emulators, which count, on a
//! clock that both sides share. And what is told of a vendor whose clock is another.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use switchboard::clock::ManualClock;
use switchboard::{Config, MessageId, Outgoing, Switchboard, To};
use switchboard_contract::{App, HistoryFile, Provider, SendState, TenantId, Timestamp};
use switchboard_emulators::Time;
use switchboard_emulators::huanxin::HuanxinEmulator;
use switchboard_emulators::rongcloud::{RongCloudEmulator, RongCloudSettings};
use switchboard_huanxin::HuanxinConfig;
use switchboard_rongcloud::RongCloudConfig;

/// The beginning of a second, a minute and an hour: the windows of both emulators begin here.
const START: Timestamp = Timestamp(1_795_201_200_000);
/// Recalls that the vendor admits in a second.
const RECALLS: usize = 5;

/// One life of the engine. Files and queries are asked for by the test alone.
async fn open(directory: &std::path::Path, clock: &ManualClock, provider: Arc<dyn Provider>) -> Switchboard {
    let mut config = Config::default();
    config.store.url = format!("sqlite://{}", directory.join("store.db").display());
    config.ingest.inbox.path = directory.join("inbox");
    config.ingest.inbox.capacity_bytes = 64 << 20;
    config.reconcile.enabled = false;
    config.catchup.queries = false;
    let builder = Switchboard::builder().config(config).clock(Arc::new(clock.clone()));
    builder.provider("main", provider).open().await.unwrap()
}

/// Ends a life as far as the vendor can tell: its sign of life is there, and nothing says how many calls it made.
async fn close(switchboard: Switchboard, app: &App) {
    while switchboard.store().served(app).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    switchboard.shutdown().await.unwrap();
}

fn advance(time: &Time, clock: &ManualClock, by: Duration) {
    time.advance(by);
    clock.advance(by);
}

async fn sent(switchboard: &Switchboard, count: usize) -> Vec<MessageId> {
    let mut messages = Vec::new();
    for number in 0..count {
        let outgoing = Outgoing::text("alice", To::user("bob"), format!("{number}"));
        messages.push(switchboard.send(outgoing).await.unwrap().messages[0].1);
    }
    for message in &messages {
        loop {
            let view = switchboard.sending().status(&TenantId::default(), *message).await.unwrap().unwrap();
            if view.messages.iter().all(|leg| leg.state == SendState::Accepted) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    messages
}

/// M8: seven minutes ahead, and two behind.
#[test]
fn how_far_the_vendors_clock_is_ahead_is_measured() {
    for (ahead, expected) in [(420_000, 420.0), (-120_000, -120.0)] {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let builder = RongCloudEmulator::builder().listen("127.0.0.1:0").credentials("skewed", "a-secret");
                let emulator = builder.time(Time::manual(START.0 + ahead)).start().await.unwrap();
                let config: RongCloudConfig = serde_json::from_value(json!({
                    "app_key": "skewed", "app_secret": "a-secret", "base_url": emulator.base_url(),
                }))
                .unwrap();
                config.build(Arc::new(ManualClock::new(START))).unwrap().probe().await.unwrap();
            });
        });
        let text = handle.render();
        let line = text.lines().find(|line| line.starts_with("switchboard_vendor_clock_skew_seconds{")).unwrap();
        let told: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(line.contains("app=\"skewed\"") && (told - expected).abs() <= 1.0, "{line}");
    }
}

#[tokio::test]
async fn a_restart_within_a_second_recalls_no_more_than_the_vendor_admits() {
    let (time, clock) = (Time::manual(START.0), ManualClock::new(START));
    let mut settings = RongCloudSettings::default();
    settings.quotas.recall_per_second = RECALLS as u32;
    let builder = RongCloudEmulator::builder().listen("127.0.0.1:0").credentials("quotakey", "a-secret");
    let emulator = builder.settings(settings).time(time.clone()).start().await.unwrap();
    let provider = || {
        let config: RongCloudConfig = serde_json::from_value(json!({
            "app_key": "quotakey", "app_secret": "a-secret", "base_url": emulator.base_url(),
            "quotas": { "recall_per_second": RECALLS },
        }))
        .unwrap();
        Arc::new(config.build(Arc::new(clock.clone())).unwrap())
    };
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), &clock, provider()).await;
    let messages = sent(&first, 2 * RECALLS).await;
    for message in &messages[..RECALLS] {
        first.tenant("default").recall(*message).await.unwrap();
    }
    close(first, provider().app()).await;

    let second = open(directory.path(), &clock, provider()).await;
    let tenant = second.tenant("default");
    let recalls = join_all(messages[RECALLS..].iter().map(|message| tenant.recall(*message)));
    tokio::pin!(recalls);
    // They wait for the rest of the second, and for no more of it.
    let early = tokio::time::timeout(Duration::from_millis(200), &mut recalls).await;
    assert!(early.is_err(), "the vendor's second is not over: {early:?}");
    advance(&time, &clock, Duration::from_secs(1));
    for outcome in recalls.await {
        outcome.unwrap();
    }
    assert_eq!(emulator.ledger().counters().rate_errors, 0);
    assert_eq!(emulator.ledger().messages().iter().filter(|message| message.recalled).count(), 2 * RECALLS);
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_restart_within_a_minute_fetches_no_more_files_than_the_vendor_admits() {
    let (time, clock) = (Time::manual(START.0), ManualClock::new(START));
    let builder = HuanxinEmulator::builder().listen("127.0.0.1:0").credentials("acme#quota", "id", "secret");
    let emulator = builder.time(time.clone()).start().await.unwrap();
    let provider = || {
        let config: HuanxinConfig = serde_json::from_value(json!({
            "app_key": "acme#quota", "client_id": "id", "client_secret": "secret", "callback_secret": "x",
            "base_url": emulator.base_url(),
        }))
        .unwrap();
        Arc::new(config.build(Arc::new(clock.clone())).unwrap())
    };
    let hour = START - Duration::from_secs(30 * 3600);
    let directory = tempfile::tempdir().unwrap();
    let first_provider = provider();
    let first = open(directory.path(), &clock, first_provider.clone()).await;
    let files = first_provider.history_files().unwrap();
    let per_minute = files.limits().quota.calls.unwrap();
    for _ in 0..per_minute {
        // Nothing was said in that hour; the call counts all the same.
        assert!(matches!(files.fetch(hour).await, Ok(HistoryFile::Absent)));
    }
    close(first, first_provider.app()).await;

    advance(&time, &clock, Duration::from_secs(20));
    let second_provider = provider();
    let second = open(directory.path(), &clock, second_provider.clone()).await;
    // One that is new to the process and not charged with anything would be refused by now.
    let next = second_provider.history_files().unwrap().fetch(hour);
    tokio::pin!(next);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut next).await.is_err(), "the minute is not over");
    advance(&time, &clock, Duration::from_secs(60));
    assert!(matches!(next.await, Ok(HistoryFile::Absent)));
    assert_eq!(emulator.ledger().counters().rate_errors, 0);
    second.shutdown().await.unwrap();
}
