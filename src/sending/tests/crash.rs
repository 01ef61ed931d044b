use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::{CommitListener, Entry, Journal};
use switchboard_contract::*;
use tokio::sync::Notify;

use super::vendor::{Act, Manner, Vendor};
use super::world::{Dice, Paused, START, Steps, World, config, tenant};
use crate::sending::{AppMode, Outgoing, SendingConfig, To};
use crate::store::memory::MemoryStore;

/// Pulls the plug when the n-th status event of a kind is committed.
#[derive(Debug)]
struct Plug {
    on: Option<SendState>,
    after: Mutex<u64>,
    pulled: Arc<Notify>,
}

impl CommitListener for Plug {
    fn committed(&self, _: &TenantId, _: Shard, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| entry.topic == Topic::SendStatus) {
            let EventData::SendStatus(status) = entry.event().unwrap().data else { continue };
            if self.on.is_none_or(|on| on == status.state) {
                let mut after = self.after.lock();
                *after = after.saturating_sub(1);
                if *after == 0 {
                    self.pulled.notify_one();
                }
            }
        }
    }
}

/// Runs one life on its own runtime, which is dropped where it stands when `pulled` says so: nothing of it runs on.
/// Returns whether it came to its end, and how long it took.
fn life(work: impl Future<Output = ()>, pulled: &Notify) -> (bool, Duration) {
    paused().block_on(async {
        let began = tokio::time::Instant::now();
        let ended = tokio::select! {
            biased;
            () = pulled.notified() => false,
            () = work => true,
        };
        (ended, began.elapsed())
    })
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Lives of one process, each ending after `cut(life)` status events (of one kind), until one gets everything done.
fn lives(manner: &Manner, on: Option<SendState>, mut cut: impl FnMut() -> u64, script: u64) -> usize {
    const SENDS: usize = 60;
    let store = MemoryStore::new();
    store.listen(Arc::new(Steps::default()));
    let mut now = START;
    let mut vendor: Option<Arc<Vendor>> = None;
    let mut count = 0;
    loop {
        count += 1;
        assert!(count < 500, "it never ends");
        let pulled = Arc::new(Notify::new());
        let plug = Plug { on, after: Mutex::new(cut()), pulled: Arc::clone(&pulled) };
        store.listen(Arc::new(plug));
        let (last, began) = (vendor.clone(), now);
        let (slot, watched) = (Mutex::new(None), store.clone());
        let (done, took) = life(
            async {
                let clock = Paused::from(began);
                let patient = SendingConfig { max_retries: 40, ..config() };
                let world = World::open(Arc::clone(&clock), watched, patient).await;
                let vendor = match last {
                    Some(last) => last.again(clock.clone()),
                    None => Vendor::new("app", manner.clone(), clock.clone()),
                };
                let mut dice = Dice(script + count as u64);
                vendor.script(move |_| match dice.roll(6) {
                    0 => Act::Cut,
                    1 => Act::Lose,
                    _ => Act::Accept,
                });
                *slot.lock() = Some(Arc::clone(&vendor));
                world.serve(&vendor, AppMode::Active);
                for n in 0..SENDS {
                    // The caller repeats what it has no answer for; its key makes that harmless.
                    let outgoing = Outgoing::text("alice", To::user(format!("u{}", n % 9)), format!("{n}"));
                    world.send(&vendor, outgoing.client_id(format!("c{n}"))).await;
                }
                // What the vendor called back for while we were away comes again.
                vendor.carried().iter().for_each(|carried| vendor.call_back(carried));
                world.sending.idle().await;
            },
            &pulled,
        );
        vendor = slot.into_inner().or(vendor);
        if done {
            break;
        }
        now = now + took + Duration::from_secs(3);
    }
    let vendor = vendor.unwrap();
    let copies = vendor.copies();
    assert!(copies.values().all(|count| *count == 1), "none arrives twice");
    assert_eq!(copies.len(), SENDS, "all arrive");
    let entries = paused().block_on(store.read(&tenant(), Shard(0), Position::START, usize::MAX)).unwrap();
    let messages = entries.iter().filter(|entry| entry.message_id.is_some()).count();
    assert_eq!(messages, SENDS, "each is journalled once");
    count
}

#[test]
fn i07_a_crash_in_any_state_neither_loses_nor_repeats() {
    for state in [SendState::Queued, SendState::Dispatched, SendState::InDoubt, SendState::Accepted] {
        for echoes in [false, true] {
            let manner = Manner {
                query: Some(Duration::from_secs(20)),
                echo_after: echoes.then_some(Duration::from_secs(2)),
                ..Manner::default()
            };
            let mut crashes = 0;
            let cut = || {
                crashes += 1;
                if crashes <= 8 { crashes } else { u64::MAX }
            };
            let lives = lives(&manner, Some(state), cut, 3);
            assert!(lives > 3, "{state}: {lives} lives");
        }
    }
}

#[test]
fn i07_crashes_at_random_neither_lose_nor_repeat() {
    for seed in 0..30 {
        let manner = Manner {
            query: Some(Duration::from_secs(20)),
            echo_after: (seed % 2 == 0).then_some(Duration::from_secs(2)),
            ..Manner::default()
        };
        let mut dice = Dice(seed);
        let mut crashes = 0;
        let cut = || {
            crashes += 1;
            if crashes <= 10 { dice.roll(40) + 1 } else { u64::MAX }
        };
        lives(&manner, None, cut, seed);
    }
}
