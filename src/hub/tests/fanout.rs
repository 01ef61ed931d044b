//! The shared tail and its many readers.

use std::sync::Arc;
use std::time::Instant;

use switchboard_contract::storage::{CommitListener, Store, SubscriberSpec};
use switchboard_contract::{Position, Shard};

use super::super::tail::Tails;
use super::*;

const SUBSCRIBERS: usize = 300;

/// 300 subscribers, each in its own task on one thread, acknowledging batch by batch.
#[tokio::test]
async fn every_one_of_300_subscribers_gets_everything() {
    let events = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
    let (config, clock) = system_hub_config();
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::open(config, Arc::clone(&store) as Arc<dyn Store>, clock).await.unwrap();
    let tenant = TenantId::default();
    let mut streams = Vec::new();
    for number in 0..SUBSCRIBERS {
        let name = SubscriberName::from(format!("s{number}"));
        hub.put(&tenant, &name, SubscriberSpec::default()).await.unwrap();
        streams.push(hub.stream(&tenant, &name, WorkerOptions { batch: 256 }).await.unwrap());
    }
    for round in 0..events / 1000 {
        let names: Vec<String> = (0..1000).map(|number| format!("c{}", (round * 7 + number) % 500)).collect();
        say(store.as_ref(), &tenant, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let started = Instant::now();
    let readers: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(receive(stream, events))).collect();
    let mut bytes = 0;
    for reader in readers {
        bytes += reader.await.unwrap();
    }
    let rate = (SUBSCRIBERS * events) as f64 / started.elapsed().as_secs_f64();
    println!("{:.1} M deliveries/s, acknowledged, on one thread", rate / 1e6);
    let log = store.read(&tenant, Shard(0), Position::START, events).await.unwrap();
    assert_eq!(bytes, SUBSCRIBERS * log.iter().map(|entry| entry.json.len()).sum::<usize>());
}

async fn receive(mut stream: Subscription, events: usize) -> usize {
    let (mut count, mut bytes) = (0, 0);
    while count < events {
        let batch = soon(stream.next_page()).await.unwrap();
        count += batch.len();
        bytes += batch.entries().map(|entry| entry.json.len()).sum::<usize>();
        batch.ack_soon();
    }
    bytes
}

#[tokio::test]
async fn a_lost_hint_leaves_no_hole_in_the_tail() {
    let tenant = TenantId::default();
    let tails = Tails::new(Default::default(), 1 << 20);
    let tail = tails.of(&tenant, 1).remove(0);
    let store = MemoryStore::new();
    say(&store, &tenant, &["a"; 6]).await;
    let entries = store.read(&tenant, Shard(0), Position::START, 10).await.unwrap();
    tails.committed(&tenant, Shard(0), &entries[..2]);
    assert!(tail.behind(Position(0)).is_some());
    // The hint of the third and fourth is lost.
    tails.committed(&tenant, Shard(0), &entries[4..]);
    assert!(tail.behind(Position(0)).is_none(), "what is not in one piece with the end is let go");
    assert!(tail.behind(Position(3)).is_none());
    assert_eq!(tail.behind(Position(4)).unwrap().until, Position(6));
    assert_eq!(tail.end(), Position(6));
}
