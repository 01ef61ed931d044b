//! The journal.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard_contract::storage::{
    Appended, Commit, CommitListener, ConversationBacklog, Entry, InboxMark, SequenceRange,
};
use switchboard_contract::{Event, EventKey, Origin, Position, Sequence, Shard, TenantId, Timestamp, VendorMessageId};

use crate::fixture::{AnyStore, SHARD, all, app, append, direct, fresh, id_of, message, tenant};

pub(crate) async fn i04_sequences_have_no_gap_and_positions_come_in_order(store: &AnyStore) {
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = Arc::clone(store);
        tasks.push(tokio::spawn(async move {
            for round in 0..25 {
                let drafts = (0..3).map(|at| {
                    let peer = format!("peer{}", (task + round + at) % 5);
                    message(&direct(&peer), &format!("{task}-{round}-{at}"), "hi")
                });
                append(&store, drafts.collect()).await;
            }
        }));
    }
    // A reader that looks all the while never sees a position before a smaller one.
    let mut seen = Position::START;
    while seen.0 < 8 * 25 * 3 {
        for entry in store.read(&tenant(), SHARD, seen, 1000).await.unwrap() {
            assert_eq!(entry.position, seen.next());
            seen = entry.position;
        }
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut last: HashMap<_, u64> = HashMap::new();
    for entry in all(store).await {
        let last = last.entry(entry.conversation.clone().unwrap()).or_default();
        assert_eq!(entry.sequence, Some(Sequence(*last + 1)));
        *last += 1;
        let event: serde_json::Value = serde_json::from_slice(&entry.json).unwrap();
        assert_eq!(event["position"], entry.position.to_string());
        assert_eq!(event["sequence"], last.to_string());
    }
    assert_eq!(last.values().sum::<u64>(), 600);
}

pub(crate) async fn i05_one_event_from_sixteen_tasks_is_one_row(store: &AnyStore) {
    let mut tasks = Vec::new();
    for task in 0..16 {
        let store = Arc::clone(store);
        tasks.push(tokio::spawn(async move {
            let mut news = 0;
            for round in 0..20 {
                let mut draft = message(&direct("bob"), &format!("m{round}"), "hi");
                draft.event.origin = [Origin::Callback, Origin::File, Origin::Query][task % 3];
                news += append(&store, vec![draft])
                    .await
                    .iter()
                    .filter(|answer| matches!(answer, Appended::Fresh { .. }))
                    .count();
            }
            news
        }));
    }
    let mut news = 0;
    for task in tasks {
        news += task.await.unwrap();
    }
    assert_eq!(news, 20);
    assert_eq!(all(store).await.len(), 20);
}

pub(crate) async fn i05_a_repeat_is_told_apart_by_content_and_source(store: &AnyStore) {
    let bob = direct("bob");
    let (position, sequence) = (Position(1), Some(Sequence(1)));
    assert_eq!(append(store, vec![message(&bob, "m", "one")]).await, [fresh(1, 1)]);
    assert_eq!(append(store, vec![message(&bob, "m", "one")]).await, [Appended::Known { position, sequence }]);
    let mut file = message(&bob, "m", "other");
    file.event.origin = Origin::File;
    assert_eq!(append(store, vec![file]).await, [Appended::Variant { position, sequence }]);
    let mut again = message(&bob, "m", "another");
    again.event.origin = Origin::Reissue;
    assert_eq!(append(store, vec![again]).await, [Appended::Conflict { position }]);
    let mut own = message(&bob, "own", "one");
    own.event.origin = Origin::Send;
    let echo = message(&bob, "own", "other");
    let (position, sequence) = (Position(2), Some(Sequence(2)));
    assert_eq!(append(store, vec![own, echo]).await, [fresh(2, 2), Appended::Variant { position, sequence }]);
    assert_eq!(all(store).await.len(), 2);
}

pub(crate) async fn i05_repeats_within_one_commit_count(store: &AnyStore) {
    let bob = direct("bob");
    let drafts = vec![message(&bob, "m", "one"), message(&bob, "m", "one"), message(&bob, "m", "two")];
    let (position, sequence) = (Position(1), Some(Sequence(1)));
    let answers = append(store, drafts).await;
    assert_eq!(answers, [fresh(1, 1), Appended::Known { position, sequence }, Appended::Conflict { position }]);
    // Another app's event is another event, whatever its id.
    let mut other = message(&bob, "m", "one");
    other.event.app = None;
    assert_eq!(append(store, vec![other]).await, [fresh(2, 2)]);
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(TenantId, Entry)>>);

impl CommitListener for Heard {
    fn committed(&self, tenant: &TenantId, shard: Shard, entries: &[Entry]) {
        assert_eq!(shard, SHARD);
        self.0.lock().extend(entries.iter().map(|entry| (tenant.clone(), entry.clone())));
    }
}

pub(crate) async fn listeners_hear_of_commits_in_order(store: &AnyStore) {
    let heard = Arc::new(Heard::default());
    store.listen(Arc::clone(&heard) as Arc<dyn CommitListener>);
    let mut tasks = Vec::new();
    for task in 0..4 {
        let store = Arc::clone(store);
        tasks.push(tokio::spawn(async move {
            for round in 0..20 {
                append(&store, vec![message(&direct("bob"), &format!("{task}-{}", round / 2), "hi")]).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let heard: Vec<_> = heard.0.lock().drain(..).map(|(_, entry)| entry).collect();
    assert_eq!(heard, all(store).await);
    assert_eq!(heard.len(), 40);
}

pub(crate) async fn reading_goes_on_behind_a_position(store: &AnyStore) {
    let drafts = (0..10).map(|at| message(&direct("bob"), &format!("m{at}"), "hi")).collect();
    append(store, drafts).await;
    assert_eq!(store.tail(&tenant(), SHARD).await.unwrap(), Position(10));
    let page = store.read(&tenant(), SHARD, Position(3), 4).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.position.0).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert!(store.read(&tenant(), SHARD, Position(10), 4).await.unwrap().is_empty());
    assert!(store.read(&tenant(), SHARD, Position(u64::MAX), 4).await.unwrap().is_empty());
    assert!(store.read(&tenant(), Shard(1), Position::START, 4).await.unwrap().is_empty());
    let first = &page[0];
    assert_eq!(first.app.as_deref(), Some(&app()));
    assert_eq!((first.sent_at, first.received_at, first.late), (Timestamp(1_000), Timestamp(2_000), false));
    assert_eq!(first.conversation.as_ref(), Some(&direct("bob")));
    assert_eq!(Event::decode(&first.json).unwrap().sent_at, first.sent_at);
}

pub(crate) async fn a_conversation_is_read_from_either_end(store: &AnyStore) {
    let (bob, eve) = (direct("bob"), direct("eve"));
    for at in 0..6 {
        append(store, vec![message(&bob, &format!("b{at}"), "hi"), message(&eve, &format!("e{at}"), "hi")]).await;
    }
    let read = |first, last, limit, newest| {
        let (store, bob) = (Arc::clone(store), bob.clone());
        async move {
            let range = SequenceRange { first: Sequence(first), last: Sequence(last) };
            let entries = store.read_conversation(&tenant(), &bob, range, limit, newest).await.unwrap();
            assert!(entries.iter().all(|entry| entry.conversation.as_ref() == Some(&bob)));
            entries.iter().map(|entry| entry.sequence.unwrap().0).collect::<Vec<_>>()
        }
    };
    assert_eq!(read(2, 5, 10, false).await, [2, 3, 4, 5]);
    assert_eq!(read(2, 5, 2, false).await, [2, 3]);
    assert_eq!(read(2, 5, 2, true).await, [4, 5]);
    assert_eq!(read(1, u64::MAX, 2, true).await, [5, 6]);
    assert_eq!(read(7, 9, 2, true).await, Vec::<u64>::new());
    assert_eq!(read(5, 2, 2, false).await, Vec::<u64>::new());
}

pub(crate) async fn the_backlog_names_each_conversation_with_its_range(store: &AnyStore) {
    // Positions: a1 b1 a2 c1 b2 a3
    for (at, peer) in ["a", "b", "a", "c", "b", "a"].into_iter().enumerate() {
        append(store, vec![message(&direct(peer), &format!("m{at}"), "hi")]).await;
    }
    let mut nowhere = message(&direct("a"), "n", "hi");
    nowhere.event.conversation = None;
    append(store, vec![nowhere]).await;
    let found = |peer: &str, first, last, position| ConversationBacklog {
        conversation: direct(peer),
        range: SequenceRange { first: Sequence(first), last: Sequence(last) },
        last_position: Position(position),
    };
    let backlog = |after, until, skip, limit| {
        let store = Arc::clone(store);
        async move { store.backlog(&tenant(), SHARD, Position(after), Position(until), skip, limit).await.unwrap() }
    };
    assert_eq!(backlog(0, 7, 0, 9).await, [found("a", 1, 3, 6), found("b", 1, 2, 5), found("c", 1, 1, 4)]);
    assert_eq!(backlog(0, 7, 1, 1).await, [found("b", 1, 2, 5)]);
    assert_eq!(backlog(1, 5, 0, 9).await, [found("b", 1, 2, 5), found("c", 1, 1, 4), found("a", 2, 2, 3)]);
    assert_eq!(backlog(3, 4, 0, 9).await, [found("c", 1, 1, 4)]);
    assert_eq!(backlog(6, 7, 0, 9).await, []);
    store.trim(&tenant(), SHARD, Position(2)).await.unwrap();
    assert_eq!(backlog(0, 7, 0, 9).await, [found("a", 2, 3, 6), found("b", 2, 2, 5), found("c", 1, 1, 4)]);
}

pub(crate) async fn trimming_keeps_numbers_and_forgets_rows(store: &AnyStore) {
    let (bob, eve) = (direct("bob"), direct("eve"));
    let first = message(&bob, "m0", "hi");
    let id = id_of(&first);
    append(store, vec![first, message(&eve, "m1", "hi"), message(&bob, "m2", "hi")]).await;
    assert_eq!(store.trim(&tenant(), SHARD, Position(2)).await.unwrap(), 2);
    assert_eq!(store.trim(&tenant(), SHARD, Position(2)).await.unwrap(), 0);
    assert_eq!(store.trimmed(&tenant(), SHARD).await.unwrap(), Position(2));
    assert_eq!(store.message(&tenant(), id).await.unwrap(), None);
    assert_eq!(store.raw(&tenant(), SHARD, Position(1)).await.unwrap(), None);
    assert_eq!(all(store).await.len(), 1);
    assert_eq!(store.trim(&tenant(), SHARD, Position(u64::MAX)).await.unwrap(), 1);
    assert_eq!(store.trimmed(&tenant(), SHARD).await.unwrap(), Position(3));
    assert_eq!(store.tail(&tenant(), SHARD).await.unwrap(), Position(3));
    let summary = store.conversation(&tenant(), &bob).await.unwrap().unwrap();
    assert_eq!((summary.last_sequence, summary.last_at), (Sequence(2), Timestamp(1_000)));
    // What is forgotten is new again; numbers go on.
    let answers = append(store, vec![message(&bob, "m0", "hi"), message(&eve, "m4", "hi")]).await;
    assert_eq!(answers, [fresh(4, 3), fresh(5, 2)]);
}

pub(crate) async fn a_time_finds_its_position(store: &AnyStore) {
    // The clock steps back once: whoever asks for a time must not miss what came at or after it.
    for (at, time) in [100, 200, 150, 300].into_iter().enumerate() {
        let mut draft = message(&direct("bob"), &format!("m{at}"), "hi");
        draft.event.received_at = Timestamp(time);
        append(store, vec![draft]).await;
    }
    let before = |time| {
        let store = Arc::clone(store);
        async move { store.position_before(&tenant(), SHARD, Timestamp(time)).await.unwrap().0 }
    };
    assert_eq!([before(50).await, before(100).await, before(101).await], [0, 0, 1]);
    assert_eq!([before(200).await, before(201).await, before(301).await], [1, 3, 4]);
    store.trim(&tenant(), SHARD, Position(3)).await.unwrap();
    assert_eq!([before(50).await, before(300).await, before(301).await], [3, 3, 4]);
}

pub(crate) async fn an_event_is_found_by_key_and_by_id(store: &AnyStore) {
    let draft = message(&direct("bob"), "m", "hi");
    let id = id_of(&draft);
    append(store, vec![message(&direct("bob"), "other", "hi"), draft]).await;
    let key = EventKey::message(&VendorMessageId::from("m"));
    let by_key = store.find(&tenant(), &app(), &key).await.unwrap().unwrap();
    let by_id = store.message(&tenant(), id).await.unwrap().unwrap();
    assert_eq!(by_key, by_id);
    assert_eq!((by_id.position, by_id.message_id), (Position(2), Some(id)));
    let recall = EventKey::recall(&VendorMessageId::from("m"));
    assert_eq!(store.find(&tenant(), &app(), &recall).await.unwrap(), None);
    assert_eq!(store.raw(&tenant(), SHARD, Position(2)).await.unwrap().unwrap(), "raw hi");
}

pub(crate) async fn consumed_marks_only_rise(store: &AnyStore) {
    assert_eq!(store.consumed("main").await.unwrap(), 0);
    for (offset, expected) in [(10, 10), (30, 30), (20, 30)] {
        let consumed = Some(InboxMark { inbox: "main".to_owned(), offset });
        store.commit(Commit { consumed, ..Commit::default() }).await.unwrap();
        assert_eq!(store.consumed("main").await.unwrap(), expected);
    }
    assert_eq!(store.consumed("other").await.unwrap(), 0);
}

pub(crate) async fn tenants_are_strangers(store: &AnyStore) {
    let other = TenantId::from("other");
    let mut draft = message(&direct("bob"), "m", "hi");
    draft.event.tenant = other.clone();
    let id = id_of(&draft);
    let answers = append(store, vec![message(&direct("bob"), "m", "hi"), draft]).await;
    assert_eq!(answers, [fresh(1, 1), fresh(1, 1)]);
    assert_eq!(store.message(&tenant(), id).await.unwrap(), None);
    assert_eq!(store.message(&other, id).await.unwrap().unwrap().position, Position(1));
    store.trim(&tenant(), SHARD, Position(1)).await.unwrap();
    assert_eq!(store.read(&other, SHARD, Position::START, 9).await.unwrap().len(), 1);
}
