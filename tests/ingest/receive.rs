//! From a request to its reply.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use switchboard::ingest::NoEchoes;
use switchboard_contract::storage::QuarantineReason;
use switchboard_contract::*;

use crate::disk::{Disk, Mutant};
use crate::provider::{Fake, NOW, Wire, callback, message, signed};
use crate::recording::Recording;
use crate::stage::{ALIAS, Stage, config, until};
use crate::store::Moody;

/// The one test that counts: a recorder belongs to the process.
#[tokio::test]
async fn bad_input_gets_its_answer_and_is_counted_and_kept() {
    let counts = Recording::start();
    let outcome = |name: &str| counts.of(&format!("switchboard_ingest_callbacks_total[\"main\", {name:?}]"));
    let stage = Stage::new(Fake::obedient()).await;

    let good = callback(&[message("m1", "alice", "bob", "hi")]);
    let mut flipped = good.clone();
    let mut body = flipped.body.to_vec();
    body[9] ^= 1;
    flipped.body = body.into();
    assert_eq!(stage.receive(flipped.clone()).await.status, 401);
    assert_eq!(outcome("bad_signature"), 1);

    let mut stale = good.clone();
    stale.headers[1].1 = (NOW.0 - 3_600_000).to_string();
    assert_eq!(stage.receive(stale.clone()).await.status, 200);
    assert_eq!(outcome("stale"), 1);

    assert_eq!(stage.receive(signed(Bytes::from_static(b"no list"))).await.status, 400);
    assert_eq!(outcome("malformed"), 1);
    assert_eq!(stage.receive(signed(vec![b'['; 70_000].into())).await.status, 413);
    assert_eq!(outcome("too_large"), 1);
    assert_eq!(stage.ingest.receive(&"other".into(), good.clone()).await.status, 404);

    for number in 0..100 {
        let kind = format!("strange-{number}");
        stage.post(&[Wire { kind, id: number.to_string(), at: NOW.0, ..Wire::default() }]).await;
    }
    stage.post(&[message("m1", "alice", "bob", "hi")]).await;
    assert_eq!(outcome("accepted"), 101);

    stage.idle().await;
    let kept: Vec<_> = stage.quarantine().await.into_iter().map(|item| (item.reason, item.raw)).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&(QuarantineReason::BadSignature, flipped)));
    assert!(kept.contains(&(QuarantineReason::Stale, stale)));

    // The process goes on: what was unknown is delivered as it came, and counted under a bounded number of kinds.
    let events = stage.events().await;
    assert_eq!(events.len(), 101);
    let EventData::Unrecognised(unknown) = &events[3].data else { panic!("{:?}", events[3]) };
    assert_eq!(unknown.kind, "strange-3");
    assert!(unknown.raw.contains("\"kind\":\"strange-3\""));
    assert_eq!(counts.of("switchboard_ingest_unknown_events_total[\"main\", \"strange-3\"]"), 1);
    assert_eq!(counts.of("switchboard_ingest_unknown_events_total[\"main\", \"other\"]"), 36);
    assert_eq!(counts.names("switchboard_ingest_unknown_events_total"), 65);
    assert_eq!(counts.of("switchboard_ingest_events_total[\"main\", \"fresh\"]"), 101);
}

#[tokio::test]
async fn what_failed_to_verify_is_journalled_once_it_verifies() {
    let stage = Stage::new(Fake::obedient()).await;
    let good = callback(&[message("m1", "alice", "bob", "hi")]);
    let mut wrong = good.clone();
    wrong.headers[0].1 = "wrong".to_owned();
    assert_eq!(stage.receive(wrong).await.status, 401);
    stage.idle().await;
    // With the same secret it stays what it is.
    assert_eq!(stage.ingest.verify_again(&ALIAS.into()).await.unwrap(), 0);
    assert_eq!(stage.quarantine().await.len(), 1);

    use switchboard_contract::storage::{Quarantine as _, Quarantined};
    let item = Quarantined {
        id: 0,
        tenant: stage.tenant.clone(),
        app: stage.fake.app().clone(),
        reason: QuarantineReason::BadSignature,
        raw: good,
    };
    stage.store.put_aside(item, 10).await.unwrap();
    assert_eq!(stage.ingest.verify_again(&ALIAS.into()).await.unwrap(), 1);
    stage.idle().await;
    assert_eq!(stage.messages().await.len(), 1);
    assert_eq!(stage.quarantine().await.len(), 1);
}

/// I1, through the whole way in: whatever was answered 200 is in the journal after a crash, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_what_was_answered_200_is_journalled_after_a_crash() {
    let first: u64 = rand::random();
    for seed in (0..40).map(|round| first.wrapping_add(round)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut disk, store) = (Disk::new(Mutant::None), Moody::default());
        let answered: Arc<Mutex<HashSet<String>>> = Arc::default();
        for life in 0..3 {
            disk.stop_after(rng.random_range(2..120));
            let stage = Stage::on(disk.clone(), store.clone(), Fake::obedient(), config(), Arc::new(NoEchoes)).await;
            if let Ok(stage) = stage {
                let mut callers = tokio::task::JoinSet::new();
                for caller in 0..4 {
                    callers.spawn(call(stage.ingest.clone(), format!("{life}-{caller}"), answered.clone()));
                }
                callers.join_all().await;
                stage.ingest.shutdown().await.unwrap();
            }
            disk = if rng.random() { disk.kill() } else { disk.lose_power(rng.random()) };
        }
        let stage = Stage::on(disk, store, Fake::obedient(), config(), Arc::new(NoEchoes)).await.unwrap();
        stage.idle().await;
        let found = stage.messages().await;
        let texts: HashSet<&String> = found.iter().map(|(_, _, text)| text).collect();
        assert_eq!(texts.len(), found.len(), "seed {seed}: a message twice");
        for text in answered.lock().iter() {
            assert!(texts.contains(text), "seed {seed}: {text} was answered 200 and is lost");
        }
        let sequences: Vec<u64> = found.iter().map(|(_, sequence, _)| *sequence).collect();
        assert_eq!(sequences, (1..=found.len() as u64).collect::<Vec<_>>(), "seed {seed}");
        stage.ingest.shutdown().await.unwrap();
    }
}

async fn call(ingest: switchboard::ingest::Ingest, name: String, answered: Arc<Mutex<HashSet<String>>>) {
    for number in 0.. {
        let text = format!("{name}-{number}");
        let answer = ingest.receive(&ALIAS.into(), callback(&[message(&text, "alice", "bob", &text)])).await;
        match answer.status {
            200 => answered.lock().insert(text),
            _ => return,
        };
    }
}

#[tokio::test]
async fn a_full_inbox_answers_503_and_opens_a_repair_window_when_it_goes_on() {
    let stage = Stage::new(Fake::obedient()).await;
    *stage.store.locked.lock() = Some(ErrorKind::StorageFull);
    let filler = "x".repeat(20_000);
    let mut accepted = 0;
    loop {
        let id = format!("m{accepted}");
        let answer = stage.receive(callback(&[message(&id, "alice", "bob", &filler)])).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 503);
            break;
        }
        accepted += 1;
    }
    assert!(accepted > 40, "only {accepted} fit");
    assert!(stage.ingest.lag().bytes > 900_000);
    *stage.store.locked.lock() = None;
    stage.idle().await;
    stage.post(&[message("last", "alice", "bob", "hi")]).await;
    stage.idle().await;
    assert_eq!(stage.messages().await.len(), accepted + 1);
    assert_eq!(stage.notices().await, ["repair_window_opened"]);
    assert_eq!(stage.ingest.lag().bytes, 0);
    assert_eq!(stage.ingest.lag().records, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pre_send_request_is_answered_at_once_and_journalled_afterwards() {
    let mut config = config();
    config.pre_send_for.insert(ALIAS.into(), FixedVerdict::Reject);
    let stage =
        Stage::on(Disk::default(), Moody::default(), Fake::obedient(), config, Arc::new(NoEchoes)).await.unwrap();
    stage.disk.stall(true);
    let mut raw = callback(&[message("m1", "alice", "bob", "may I?")]);
    raw.path = "before".to_owned();
    let answer = stage.receive(raw).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"reject"[..]));
    stage.disk.stall(false);
    stage.idle().await;
    assert_eq!(stage.messages().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i09_a_hanging_disk_holds_bounded_bytes_and_no_reply_beyond_its_time() {
    let stage = Stage::new(Fake::obedient()).await;
    stage.disk.stall(true);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (ingest, text) = (stage.ingest.clone(), "x".repeat(5_000));
        let raw = callback(&[message(&number.to_string(), "alice", "bob", &text)]);
        callers.spawn(async move { ingest.receive(&ALIAS.into(), raw).await.status });
    }
    // One megabyte came; what does not fit into the bound waits outside, and everybody has a deadline.
    let clock = stage.clock.clone();
    until(|| clock.next_wake().is_some()).await;
    while !callers.is_empty() {
        clock.advance(Duration::from_millis(500));
        while let Some(status) = callers.try_join_next() {
            assert_eq!(status.unwrap(), 503);
        }
        tokio::task::yield_now().await;
    }
    stage.disk.stall(false);
    stage.idle().await;
    // What had found room became durable all the same, and the vendor's next try of it changes nothing.
    let kept = stage.messages().await.len();
    assert!((1..=60).contains(&kept), "{kept} of 5 KB each were in 256 KiB");
    stage.post(&[message("fresh", "alice", "bob", "hi")]).await;
}

#[tokio::test]
async fn a_locked_database_delays_no_reply_and_loses_nothing() {
    let stage = Stage::new(Fake::obedient()).await;
    *stage.store.locked.lock() = Some(ErrorKind::Storage);
    for number in 0..1000 {
        let name = format!("user{}", number % 7);
        // With a clock that stands still, a reply that waited for the database would never come.
        stage.post(&[message(&format!("m{number}"), "alice", &name, &number.to_string())]).await;
    }
    assert_eq!(stage.messages().await.len(), 0);
    for _ in 0..300 {
        stage.clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.ingest.lag().records, 1000);
    assert!(stage.ingest.lag().oldest >= Duration::from_secs(30));
    *stage.store.locked.lock() = None;
    stage.idle().await;
    let texts: Vec<String> = stage.messages().await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, (0..1000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(stage.quarantine().await, []);
}

#[tokio::test]
async fn after_shutdown_everything_is_refused() {
    let stage = Stage::new(Fake::obedient()).await;
    stage.ingest.clone().shutdown().await.unwrap();
    assert_eq!(stage.receive(callback(&[message("m1", "alice", "bob", "hi")])).await.status, 503);
}
