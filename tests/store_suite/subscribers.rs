//! Subscribers and their cursors.

use std::time::Duration;

use switchboard_contract::storage::{ParkedConversation, ShardCursor, SubscriberSpec, SubscriberUpdate};
use switchboard_contract::{Position, Sequence, Shard, SubscriberName, Timestamp, Topic};

use crate::fixture::{AnyStore, SHARD, direct, tenant};

fn name() -> SubscriberName {
    SubscriberName::from("orders")
}

fn cursor(low: u64, acked: &[(u64, u64)]) -> ShardCursor {
    let acked = acked.iter().map(|(first, last)| (Position(*first), Position(*last))).collect();
    ShardCursor { shard: SHARD, low: Position(low), acked }
}

fn update() -> SubscriberUpdate {
    SubscriberUpdate {
        tenant: tenant(),
        name: name(),
        cursors: Vec::new(),
        park: Vec::new(),
        unpark: Vec::new(),
        attempts: Vec::new(),
        seen_at: None,
    }
}

async fn put(store: &AnyStore, spec: &SubscriberSpec) -> bool {
    store.put_subscriber(&tenant(), &name(), spec, &[cursor(5, &[])], Timestamp(100)).await.unwrap()
}

async fn state(store: &AnyStore) -> switchboard_contract::storage::CursorState {
    store.subscriber(&tenant(), &name()).await.unwrap().unwrap()
}

pub(crate) async fn a_subscriber_keeps_its_cursors(store: &AnyStore) {
    assert_eq!(store.subscriber(&tenant(), &name()).await.unwrap(), None);
    assert!(put(store, &SubscriberSpec::default()).await);
    let changed = SubscriberSpec { topics: vec![Topic::Receipts], ..SubscriberSpec::default() };
    let other = cursor(0, &[]);
    assert!(!store.put_subscriber(&tenant(), &name(), &changed, &[other], Timestamp(900)).await.unwrap());
    let known = state(store).await;
    assert_eq!((known.spec, known.cursors, known.seen_at), (changed, vec![cursor(5, &[])], Timestamp(100)));
    assert!(!known.expired);
    let more = SubscriberName::from("billing");
    store.put_subscriber(&tenant(), &more, &SubscriberSpec::default(), &[], Timestamp(1)).await.unwrap();
    let all = store.subscribers(&tenant()).await.unwrap();
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["billing", "orders"]);
    assert_eq!(all[1].1, state(store).await);
    assert!(store.subscribers(&"other".into()).await.unwrap().is_empty());
}

pub(crate) async fn i06_a_cursor_never_moves_back(store: &AnyStore) {
    put(store, &SubscriberSpec::default()).await;
    let moved = |cursors: Vec<ShardCursor>| SubscriberUpdate { cursors, ..update() };
    let second = ShardCursor { shard: Shard(1), low: Position(7), acked: Vec::new() };
    let unknown = SubscriberUpdate { name: "nobody".into(), ..moved(vec![cursor(9, &[])]) };
    store
        .update_subscribers(vec![moved(vec![cursor(9, &[(12, 14), (20, 20)]), second.clone()]), unknown])
        .await
        .unwrap();
    assert_eq!(state(store).await.cursors, [cursor(9, &[(12, 14), (20, 20)]), second.clone()]);
    store.update_subscribers(vec![moved(vec![cursor(8, &[(10, 11)])])]).await.unwrap();
    assert_eq!(state(store).await.cursors[0], cursor(9, &[(12, 14), (20, 20)]));
    store.update_subscribers(vec![moved(vec![cursor(9, &[(11, 14)])])]).await.unwrap();
    assert_eq!(state(store).await.cursors, [cursor(9, &[(11, 14)]), second]);
}

pub(crate) async fn parked_conversations_and_attempts_are_kept(store: &AnyStore) {
    put(store, &SubscriberSpec::default()).await;
    let parked = |peer: &str, attempts| ParkedConversation {
        conversation: direct(peer),
        shard: SHARD,
        from: Sequence(3),
        position: Position(8),
        attempts,
        reason: "failed".to_owned(),
        since: Timestamp(55),
    };
    let first = SubscriberUpdate {
        park: vec![parked("c", 1), parked("b", 1)],
        attempts: vec![(SHARD, Position(9), 2), (SHARD, Position(8), 1)],
        ..update()
    };
    let then = SubscriberUpdate {
        park: vec![parked("c", 2)],
        unpark: vec![direct("b")],
        attempts: vec![(SHARD, Position(9), 0), (SHARD, Position(8), 3)],
        ..update()
    };
    store.update_subscribers(vec![first]).await.unwrap();
    assert_eq!(state(store).await.parked, [parked("b", 1), parked("c", 1)]);
    assert_eq!(state(store).await.attempts, [(SHARD, Position(8), 1), (SHARD, Position(9), 2)]);
    store.update_subscribers(vec![then]).await.unwrap();
    assert_eq!(state(store).await.parked, [parked("c", 2)]);
    assert_eq!(state(store).await.attempts, [(SHARD, Position(8), 3)]);
}

pub(crate) async fn whoever_was_away_too_long_is_expired(store: &AnyStore) {
    let spec = SubscriberSpec { expires_after: Some(Duration::from_millis(50)), ..SubscriberSpec::default() };
    put(store, &spec).await;
    let seen = |at| SubscriberUpdate { seen_at: Some(Timestamp(at)), ..update() };
    store.update_subscribers(vec![seen(150)]).await.unwrap();
    assert!(!state(store).await.expired, "just in time");
    store.update_subscribers(vec![seen(201)]).await.unwrap();
    store.update_subscribers(vec![seen(202)]).await.unwrap();
    assert!(state(store).await.expired, "until it moves its cursor");
    store.update_subscribers(vec![SubscriberUpdate { cursors: vec![cursor(6, &[])], ..seen(190) }]).await.unwrap();
    let known = state(store).await;
    assert_eq!((known.expired, known.seen_at), (false, Timestamp(202)));
}

pub(crate) async fn a_removed_subscriber_is_gone(store: &AnyStore) {
    put(store, &SubscriberSpec::default()).await;
    let attempts = SubscriberUpdate { attempts: vec![(SHARD, Position(9), 2)], ..update() };
    store.update_subscribers(vec![attempts]).await.unwrap();
    assert!(store.remove_subscriber(&tenant(), &name()).await.unwrap());
    assert!(!store.remove_subscriber(&tenant(), &name()).await.unwrap());
    assert_eq!(store.subscriber(&tenant(), &name()).await.unwrap(), None);
    assert!(put(store, &SubscriberSpec::default()).await);
    assert!(state(store).await.attempts.is_empty());
}

pub(crate) async fn a_rewound_subscriber_starts_over(store: &AnyStore) {
    let rewind = async |cursors: &[ShardCursor], now| {
        store.rewind_subscriber(&tenant(), &name(), cursors, Timestamp(now)).await.unwrap()
    };
    assert!(!rewind(&[cursor(1, &[])], 300).await, "there is none");
    let spec = SubscriberSpec { expires_after: Some(Duration::from_millis(50)), ..SubscriberSpec::default() };
    put(store, &spec).await;
    let other = SubscriberName::from("billing");
    store.put_subscriber(&tenant(), &other, &spec, &[cursor(9, &[])], Timestamp(1)).await.unwrap();
    let parked = ParkedConversation {
        conversation: direct("b"),
        shard: SHARD,
        from: Sequence(3),
        position: Position(8),
        attempts: 2,
        reason: "failed".to_owned(),
        since: Timestamp(55),
    };
    let second = ShardCursor { shard: Shard(1), low: Position(7), acked: Vec::new() };
    let progress = SubscriberUpdate {
        cursors: vec![cursor(9, &[(12, 14)]), second],
        park: vec![parked],
        attempts: vec![(SHARD, Position(9), 2)],
        ..update()
    };
    store.update_subscribers(vec![progress]).await.unwrap();
    store.update_subscribers(vec![SubscriberUpdate { seen_at: Some(Timestamp(900)), ..update() }]).await.unwrap();
    assert!(state(store).await.expired);
    assert!(rewind(&[cursor(2, &[(4, 4)])], 1000).await);
    let known = state(store).await;
    assert_eq!(known.cursors, [cursor(2, &[(4, 4)])], "back, and the other shard's is gone");
    assert!(known.parked.is_empty() && known.attempts.is_empty());
    assert_eq!((known.spec, known.seen_at, known.expired), (spec, Timestamp(1000), false));
    let untouched = store.subscriber(&tenant(), &other).await.unwrap().unwrap();
    assert_eq!(untouched.cursors, [cursor(9, &[])]);
}
