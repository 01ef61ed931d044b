//! Many workers, many conversations, and things that go wrong: order is kept in every single case.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use switchboard_contract::reception::Key;
use switchboard_contract::storage::{Backlog, PoisonPolicy, Store, SubscriberSpec};

use super::super::chunk::Keys;
use super::*;

const EVENTS: usize = 1_000_000;
const CONVERSATIONS: usize = 10_000;
const WORKERS: usize = 64;

/// What the consumer has seen: per conversation the last sequence handled.
struct Ledger {
    last: Mutex<HashMap<Key, u64>>,
    keys: Keys,
    handled: AtomicUsize,
}

/// One worker: handles what it gets in order, and now and then fails, forgets, or goes away.
async fn work(hub: Hub, tenant: TenantId, name: SubscriberName, ledger: Arc<Ledger>, seed: u64) {
    let mut chance = SmallRng::seed_from_u64(seed);
    'joined: loop {
        let Ok(mut stream) = hub.stream(&tenant, &name, WorkerOptions::default()).await else { return };
        loop {
            let batch = tokio::select! {
                batch = stream.next_page() => batch,
                // Whoever waits looks now and then whether everybody is done.
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    if ledger.handled.load(Ordering::Relaxed) >= EVENTS { return }
                    continue;
                }
            };
            let Some(batch) = batch else { return };
            for delivery in batch.deliveries() {
                if chance.random_ratio(1, 500) {
                    // It fails; what is behind it in its conversation is not to be handled before it.
                    let _ = delivery.nack(Some(Duration::from_millis(chance.random_range(0..20)))).await;
                    continue;
                }
                if chance.random_ratio(1, 4000) {
                    if chance.random_ratio(1, 2) {
                        stream.close();
                    }
                    continue 'joined;
                }
                handle(&ledger, delivery);
            }
        }
    }
}

/// Handling and acknowledging are one step here, so that what takes effect is exactly what was in time.
fn handle(ledger: &Ledger, delivery: Delivery) {
    let entry = delivery.entry();
    let key = ledger.keys.conversation(entry.conversation.as_ref().unwrap());
    let number = entry.sequence.unwrap().0;
    let mut last = ledger.last.lock();
    if !delivery.ack_soon() {
        return;
    }
    let seen = last.entry(key).or_insert(0);
    assert_eq!(*seen + 1, number, "out of order, twice or lost");
    *seen = number;
    ledger.handled.fetch_add(1, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i03_a_million_events_stay_in_order_over_64_failing_workers() {
    let (config, clock) = system_hub_config();
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::open(config, Arc::clone(&store) as Arc<dyn Store>, clock).await.unwrap();
    let (tenant, name) = (TenantId::default(), SubscriberName::from("orders"));
    let spec = SubscriberSpec {
        max_in_flight: 4096,
        max_attempts: u32::MAX - 1,
        poison: PoisonPolicy::Block,
        backlog: Backlog::OldestFirst,
        ..SubscriberSpec::default()
    };
    hub.put(&tenant, &name, spec).await.unwrap();
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let ledger = Arc::new(Ledger { last: Mutex::default(), keys: Keys::default(), handled: AtomicUsize::new(0) });
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let seed = seed.wrapping_add(worker as u64);
            tokio::spawn(work(hub.clone(), tenant.clone(), name.clone(), Arc::clone(&ledger), seed))
        })
        .collect();
    let producer = tokio::spawn(produce(Arc::clone(&store), tenant.clone(), Arc::clone(&ledger), seed));
    for worker in workers {
        tokio::time::timeout(Duration::from_secs(400), worker).await.expect("it must come to an end").unwrap();
    }
    producer.await.unwrap();
    assert_eq!(ledger.handled.load(Ordering::Relaxed), EVENTS);
    soon(hub.shutdown()).await.unwrap();
}

/// Journals everything in batches, and removes what everybody has behind them so that memory stays flat.
async fn produce(store: Arc<MemoryStore>, tenant: TenantId, ledger: Arc<Ledger>, seed: u64) {
    let mut chance = SmallRng::seed_from_u64(seed ^ 1);
    let names: Vec<String> = (0..CONVERSATIONS).map(|number| format!("c{number}")).collect();
    for round in 0..EVENTS / 1000 {
        let batch: Vec<&str> = (0..1000).map(|_| names[chance.random_range(0..CONVERSATIONS)].as_str()).collect();
        say(store.as_ref(), &tenant, &batch).await;
        while (round + 1) * 1000 > ledger.handled.load(Ordering::Relaxed) + 100_000 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
