//! E3: the reorder window.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use switchboard::clock::ManualClock;
use switchboard::ingest::{IngestConfig, NoEchoes};
use switchboard_contract::storage::{History as _, HistoryFilter, HistoryQuery, PageDirection};
use switchboard_contract::*;

use crate::disk::Disk;
use crate::provider::{Fake, NOW, Wire, callback, message};
use crate::stage::{Stage, config, until};
use crate::store::Moody;

const WINDOW: Duration = Duration::from_secs(2);

fn with_window() -> IngestConfig {
    IngestConfig { reorder_window: WINDOW, ..config() }
}

async fn stage(config: IngestConfig) -> Stage {
    Stage::on(Disk::default(), Moody::default(), Fake::obedient(), config, Arc::new(NoEchoes)).await.unwrap()
}

/// A message said so many milliseconds after the beginning.
fn said(id: &str, to: &str, at: i64) -> Wire {
    Wire { at: NOW.0 + at, ..message(id, "alice", to, id) }
}

/// Delivers a callback that the vendor sends now; it must be accepted at once.
async fn post(stage: &Stage, items: &[Wire]) {
    let raw = RawCallback { received_at: stage.clock.now(), ..callback(items) };
    assert_eq!(stage.receive(raw).await.status, 200);
}

/// Moves the clock to so many milliseconds after the beginning.
fn move_to(clock: &ManualClock, at: i64) {
    clock.advance(Duration::from_millis(u64::try_from(at - (clock.now().0 - NOW.0)).unwrap()));
}

/// Text and whether it is late, of every message to `to`, in the order of delivery.
async fn heard(stage: &Stage, to: &str) -> Vec<(String, bool)> {
    let place = ConversationId::direct(&"alice".into(), &to.into());
    let own = stage.events().await.into_iter().filter(|event| event.conversation.as_ref() == Some(&place));
    own.filter_map(|event| match event.data {
        EventData::Message(Message { body: Some(Body::Text(text)), .. }) => Some((text.text, event.late)),
        _ => None,
    })
    .collect()
}

async fn history(stage: &Stage, to: &str) -> Vec<i64> {
    let query = HistoryQuery {
        tenant: stage.tenant.clone(),
        conversation: ConversationId::direct(&"alice".into(), &to.into()),
        direction: PageDirection::Newer,
        after: None,
        since: None,
        until: None,
        limit: 10_000,
        filter: HistoryFilter::default(),
    };
    stage.store.page(&query).await.unwrap().entries.iter().map(|entry| entry.sent_at.0 - NOW.0).collect()
}

fn texts(heard: &[(String, bool)]) -> Vec<&str> {
    heard.iter().map(|(text, _)| text.as_str()).collect()
}

#[tokio::test]
async fn what_arrives_within_the_window_comes_out_in_the_vendors_order() {
    let stage = stage(with_window()).await;
    for (at, id) in [(30, "three"), (10, "one"), (40, "four"), (20, "two")] {
        post(&stage, &[said(id, "bob", at)]).await;
        stage.clock.advance(Duration::from_millis(400));
    }
    // The first was received 1.6 s ago: nothing is out yet, and its callback was answered long ago.
    until(|| stage.ingest.lag().records == 0).await;
    assert_eq!(stage.messages().await, []);
    assert!(stage.ingest.lag().bytes > 0, "the inbox holds what waits");
    stage.idle().await;
    let heard = heard(&stage, "bob").await;
    assert_eq!(texts(&heard), ["one", "two", "three", "four"]);
    assert!(heard.iter().all(|(_, late)| !late));
    assert_eq!(stage.ingest.lag().bytes, 0);
}

#[tokio::test]
async fn what_comes_later_than_the_window_is_late_and_in_its_place_in_history() {
    let stage = stage(with_window()).await;
    post(&stage, &[said("one", "bob", 0)]).await;
    post(&stage, &[said("three", "bob", 100)]).await;
    stage.idle().await;
    move_to(&stage.clock, 10_000);
    post(&stage, &[said("two", "bob", 50)]).await;
    post(&stage, &[said("four", "bob", 10_000)]).await;
    // Another conversation has its own clock, and a repeat is no news.
    post(&stage, &[said("elsewhere", "carol", 20), said("three", "bob", 100)]).await;
    stage.idle().await;
    let expected = [("one", false), ("three", false), ("two", true), ("four", false)];
    assert_eq!(heard(&stage, "bob").await, expected.map(|(text, late)| (text.to_owned(), late)));
    assert_eq!(heard(&stage, "carol").await, [("elsewhere".to_owned(), false)]);
    assert_eq!(history(&stage, "bob").await, [0, 50, 100, 10_000]);
}

/// What is said about a message does not come before it, and what has no conversation does not wait.
#[tokio::test]
async fn a_recall_waits_for_its_message_and_presence_for_nobody() {
    let stage = stage(with_window()).await;
    let recall = Wire { kind: "recall".into(), id: String::new(), target: "one".into(), ..said("", "bob", 5) };
    post(&stage, &[recall]).await;
    post(&stage, &[Wire { kind: "odd".into(), to: None, ..said("odd", "", 0) }]).await;
    while stage.events().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stage.clock.advance(Duration::from_secs(1));
    post(&stage, &[said("one", "bob", 5)]).await;
    stage.idle().await;
    let kinds: Vec<&str> = stage.events().await.iter().map(|event| event.data.type_name()).collect();
    assert_eq!(kinds.len(), 3);
    assert!(matches!(stage.events().await[1].data, EventData::Message(_)), "{kinds:?}");
    assert!(matches!(stage.events().await[2].data, EventData::Recall(_)), "{kinds:?}");
}

/// Arrivals of one seed: when, and what.
fn arrivals(seed: u64, late: bool) -> Vec<(i64, String, Wire)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    let mut at = 0;
    for number in 0..150 {
        at += random.random_range(1..400);
        let to = format!("peer{}", random.random_range(0..4));
        let most = WINDOW.as_millis() as i64 - 1;
        let delay = if late && random.random_ratio(1, 10) {
            random.random_range(most + 1..5 * most)
        } else {
            random.random_range(0..=most)
        };
        all.push((at + delay, to.clone(), said(&format!("m{number}"), &to, at)));
    }
    all.shuffle(&mut random);
    all.sort_by_key(|(arrival, ..)| *arrival);
    all
}

/// What each conversation must have: its messages in order where nothing was late.
async fn judge(stage: &Stage, seed: u64, arrivals: &[(i64, String, Wire)]) {
    let mut said: BTreeMap<&str, Vec<(i64, String, bool)>> = BTreeMap::new();
    for (arrival, to, wire) in arrivals {
        let slow = arrival - (wire.at - NOW.0) >= WINDOW.as_millis() as i64;
        said.entry(to).or_default().push((wire.at - NOW.0, wire.id.clone(), slow));
    }
    for (to, mut said) in said {
        said.sort();
        let heard = heard(stage, to).await;
        assert_eq!(heard.len(), said.len(), "seed {seed}: all come, once");
        let in_time: Vec<&str> = heard.iter().filter(|(_, late)| !late).map(|(text, _)| text.as_str()).collect();
        let of: BTreeMap<&str, (i64, bool)> = said.iter().map(|(at, id, slow)| (id.as_str(), (*at, *slow))).collect();
        let times: Vec<i64> = in_time.iter().map(|id| of[id].0).collect();
        assert!(times.is_sorted(), "seed {seed}: {heard:?}");
        for (text, _) in heard.iter().filter(|(_, late)| *late) {
            assert!(of[text.as_str()].1, "seed {seed}: {text} came in time");
        }
        let expected: Vec<i64> = said.iter().map(|(at, ..)| *at).collect();
        assert_eq!(history(stage, to).await, expected, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i03_shuffled_arrivals_come_out_in_order_whatever_the_seed() {
    let seeds = std::env::var("SWITCHBOARD_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    for seed in 0..seeds {
        println!("seed {seed}");
        let stage = stage(with_window()).await;
        let arrivals = arrivals(seed, seed % 2 == 1);
        for (arrival, _, wire) in &arrivals {
            move_to(&stage.clock, *arrival);
            post(&stage, std::slice::from_ref(wire)).await;
        }
        stage.idle().await;
        judge(&stage, seed, &arrivals).await;
        assert_eq!(stage.ingest.lag().bytes, 0);
    }
}

/// Killed at random: what was held back comes from the inbox, in the same order, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_i03_the_window_survives_crashes_whatever_the_seed() {
    for seed in 100..106 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut stage = stage(with_window()).await;
        let arrivals = arrivals(seed, false);
        for (arrival, _, wire) in &arrivals {
            move_to(&stage.clock, *arrival);
            post(&stage, std::slice::from_ref(wire)).await;
            if random.random_ratio(1, 15) {
                let (clock, disk, store) = (stage.clock.clone(), stage.disk.lose_power(seed), stage.store.clone());
                drop(stage);
                let fake = Fake::obedient();
                stage = Stage::at(clock, disk, store, fake, with_window(), Arc::new(NoEchoes)).await.unwrap();
            }
        }
        stage.idle().await;
        judge(&stage, seed, &arrivals).await;
        let late = stage.events().await.iter().filter(|event| event.late).count();
        assert_eq!(late, 0, "seed {seed}");
    }
}

/// The bound of memory shortens the window of the tenant that fills it.
#[tokio::test]
async fn i09_a_full_window_lets_the_oldest_go() {
    let stage = stage(IngestConfig { reorder_max_held: 3, ..with_window() }).await;
    for number in (0..10).rev() {
        post(&stage, &[said(&number.to_string(), "bob", number)]).await;
    }
    until(|| stage.ingest.lag().records == 0).await;
    let heard = texts(&heard(&stage, "bob").await).concat();
    // The fourth pushes the first out, which takes along whatever comes before it.
    assert_eq!(heard, "67892345", "two wait, with the clock standing still");
    stage.idle().await;
    assert_eq!(history(&stage, "bob").await, (0..10).collect::<Vec<i64>>());
    assert_eq!(stage.ingest.lag().bytes, 0);
}

/// A clock that is set back holds nobody up for longer than the window.
#[tokio::test]
async fn i12_a_clock_set_back_holds_nothing_up() {
    let stage = stage(with_window()).await;
    let raw = RawCallback { received_at: NOW + Duration::from_secs(3600), ..callback(&[said("one", "bob", 0)]) };
    assert_eq!(stage.receive(raw).await.status, 200);
    stage.idle().await;
    assert_eq!(stage.messages().await.len(), 1);
    assert!(stage.clock.now().since(NOW) <= WINDOW + Duration::from_secs(1));
}
