//! Paging by the vendor's clock.

use switchboard_contract::storage::{ConversationSummary, HistoryFilter, HistoryKey, HistoryQuery, PageDirection};
use switchboard_contract::{Body, EventData, Sequence, Timestamp, UserId};

use crate::fixture::{AnyStore, append, direct, message, recall, said, tenant, vendor};

fn query(direction: PageDirection, limit: usize) -> HistoryQuery {
    HistoryQuery {
        tenant: tenant(),
        conversation: direct("bob"),
        direction,
        after: None,
        since: None,
        until: None,
        limit,
        filter: HistoryFilter::default(),
    }
}

/// Adds a message of this time and order; its vendor id says both.
async fn add(store: &AnyStore, time: i64, order: &str) {
    let mut draft = message(&direct("bob"), &format!("{time}{order}"), "hi");
    draft.event.sent_at = Timestamp(time);
    draft.sort_key = order.to_owned();
    append(store, vec![draft]).await;
}

async fn walk(store: &AnyStore, mut query: HistoryQuery) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let page = store.page(&query).await.unwrap();
        assert!(page.entries.len() <= query.limit);
        let keyed = page
            .entries
            .iter()
            .zip(&page.keys)
            .filter(|(entry, key)| entry.sent_at == key.sent_at && entry.message_id == Some(key.message_id));
        assert_eq!((keyed.count(), page.keys.len()), (page.entries.len(), page.entries.len()));
        assert!(page.next.is_none() || page.next.as_ref() == page.keys.last());
        names.extend(page.entries.iter().map(|entry| said(entry).vendor_id.unwrap().as_str().to_owned()));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return names,
        }
    }
}

pub(crate) async fn i08_paging_returns_each_message_once(store: &AnyStore) {
    // By arrival neither in order of time nor of the vendor's numbers; many share a millisecond.
    for (time, order) in [(3, "b"), (1, "a"), (3, "a"), (2, "a"), (3, "c"), (9, "a"), (2, "")] {
        add(store, time, order).await;
    }
    append(store, vec![message(&direct("eve"), "elsewhere", "hi")]).await;
    // Not a message: in the conversation, not in its history. Its target stays, as a tombstone.
    append(store, vec![recall(&direct("bob"), vendor("3a"))]).await;
    let expected = ["1a", "2", "2a", "3a", "3b", "3c", "9a"];
    for limit in 1..=8 {
        assert_eq!(walk(store, query(PageDirection::Newer, limit)).await, expected, "pages of {limit}");
        let mut older = walk(store, query(PageDirection::Older, limit)).await;
        older.reverse();
        assert_eq!(older, expected, "pages of {limit}");
    }
    let exact = store.page(&query(PageDirection::Newer, 7)).await.unwrap();
    assert_eq!((exact.entries.len(), exact.next), (7, None), "the end is known when it is reached");
}

pub(crate) async fn i08_messages_that_come_meanwhile_neither_skip_nor_repeat(store: &AnyStore) {
    for time in [10, 20, 30, 40] {
        add(store, time, "a").await;
    }
    let first = store.page(&query(PageDirection::Newer, 2)).await.unwrap();
    // One lands behind the cursor and one ahead of it.
    add(store, 15, "a").await;
    add(store, 35, "a").await;
    let rest = walk(store, HistoryQuery { after: first.next, ..query(PageDirection::Newer, 2) }).await;
    assert_eq!(rest, ["30a", "35a", "40a"]);
}

pub(crate) async fn bounds_and_filters_hold(store: &AnyStore) {
    for time in [10, 20, 30, 40] {
        add(store, time, "a").await;
    }
    let mut draft = message(&direct("bob"), "25a", "hi");
    draft.event.sent_at = Timestamp(25);
    if let EventData::Message(message) = &mut draft.event.data {
        message.from = UserId::from("bob");
        message.body = Some(Body::Image(switchboard_contract::Media::default()));
    }
    append(store, vec![draft, recall(&direct("bob"), vendor("10a"))]).await;
    let bounded =
        HistoryQuery { since: Some(Timestamp(20)), until: Some(Timestamp(40)), ..query(PageDirection::Newer, 1) };
    assert_eq!(walk(store, bounded.clone()).await, ["20a", "25a", "30a"], "since is inside, until outside");
    let older = HistoryQuery { direction: PageDirection::Older, limit: 2, ..bounded.clone() };
    assert_eq!(walk(store, older).await, ["30a", "25a", "20a"]);
    // A cursor outside the bounds does not widen them.
    let outside = HistoryKey {
        sent_at: Timestamp(1),
        sort_key: String::new(),
        message_id: switchboard_contract::MessageId::generate(),
    };
    assert_eq!(walk(store, HistoryQuery { after: Some(outside), ..bounded }).await, ["20a", "25a", "30a"]);
    let of = |sender: Option<&str>, bodies: &[&str]| HistoryQuery {
        filter: HistoryFilter {
            sender: sender.map(UserId::from),
            bodies: bodies.iter().map(|body| (*body).to_owned()).collect(),
        },
        ..query(PageDirection::Newer, 2)
    };
    assert_eq!(walk(store, of(Some("bob"), &[])).await, ["25a"]);
    assert_eq!(walk(store, of(Some("alice"), &["image"])).await, Vec::<String>::new());
    assert_eq!(
        walk(store, of(None, &["image", "text"])).await,
        ["20a", "25a", "30a", "40a"],
        "a tombstone has no body"
    );
    assert_eq!(walk(store, of(Some("alice"), &[])).await, ["10a", "20a", "30a", "40a"]);
}

pub(crate) async fn conversations_are_listed_in_order(store: &AnyStore) {
    for (peer, time) in [("c", 10), ("d", 20), ("b", 30), ("c", 5)] {
        let mut draft = message(&direct(peer), &format!("{peer}{time}"), "hi");
        draft.event.sent_at = Timestamp(time);
        append(store, vec![draft]).await;
    }
    let summary = |peer: &str, last: u64, at: i64| ConversationSummary {
        id: direct(peer),
        last_sequence: Sequence(last),
        last_at: Timestamp(at),
    };
    let listed = store.conversations(&tenant(), None, 2).await.unwrap();
    assert_eq!(listed, [summary("b", 1, 30), summary("c", 2, 5)]);
    let listed = store.conversations(&tenant(), Some(&direct("c")), 2).await.unwrap();
    assert_eq!(listed, [summary("d", 1, 20)]);
    assert_eq!(store.conversation(&tenant(), &direct("c")).await.unwrap(), Some(summary("c", 2, 5)));
    assert_eq!(store.conversation(&tenant(), &direct("x")).await.unwrap(), None);
}
