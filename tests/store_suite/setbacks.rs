//! What failed: the retry queue and the dead letters.

use serde_json::json;
use switchboard_contract::storage::{
    Commit, FailedAttempt, FailedAttempts, LegChange, LegGuard, Setback, SetbackChange, SetbackCount, SetbackFilter,
    SetbackKind,
};
use switchboard_contract::{App, ConversationId, SendState, TenantId, Timestamp};

use crate::fixture::{AnyStore, app, tenant};
use crate::outbox::{send, step};

fn attempt(at: i64, outcome: &str) -> FailedAttempt {
    FailedAttempt { at: Timestamp(at), outcome: outcome.to_owned(), code: Some("20044".to_owned()) }
}

pub(crate) fn setback(kind: SetbackKind, key: &str, next_at: Option<i64>) -> Setback {
    Setback {
        number: 0,
        tenant: tenant(),
        kind,
        key: key.to_owned(),
        app: Some(app()),
        conversation: Some("direct~alice~bob".parse::<ConversationId>().unwrap()),
        next_at: next_at.map(Timestamp),
        reason: "timeout".to_owned(),
        attempts: 4,
        history: FailedAttempts::from(vec![attempt(1, "timeout"), attempt(2, "internal")]),
        detail: json!({ "since": 5 }),
        since: Timestamp(100),
    }
}

async fn put(store: &AnyStore, all: impl IntoIterator<Item = Setback>) {
    let setbacks = all.into_iter().map(|one| SetbackChange::Put(Box::new(one))).collect();
    store.commit(Commit { setbacks, ..Commit::default() }).await.unwrap();
}

async fn keys(store: &AnyStore, filter: &SetbackFilter) -> Vec<String> {
    store.setbacks(&tenant(), filter, 0, 100).await.unwrap().into_iter().map(|one| one.key).collect()
}

pub(crate) async fn setbacks_are_kept_replaced_and_cleared(store: &AnyStore) {
    let waiting = setback(SetbackKind::Query, "q1", Some(50));
    put(
        store,
        [waiting.clone(), setback(SetbackKind::Query, "q2", Some(40)), setback(SetbackKind::File, "f1", Some(1))],
    )
    .await;
    let found = store.setback(&tenant(), SetbackKind::Query, "q1").await.unwrap().unwrap();
    assert_eq!(Setback { number: 0, ..found.clone() }, waiting);
    let due = store.due_setbacks(&tenant(), &app(), SetbackKind::Query, 9).await.unwrap();
    assert_eq!(due.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["q2", "q1"], "the soonest first");
    assert_eq!(store.due_setbacks(&tenant(), &App::new("other", "app"), SetbackKind::Query, 9).await.unwrap(), []);
    // Given up, it is a dead letter, with a place behind everything written before.
    put(store, [Setback { next_at: None, ..waiting }]).await;
    let dead = store.setback(&tenant(), SetbackKind::Query, "q1").await.unwrap().unwrap();
    assert!(dead.is_dead() && dead.number > found.number + 2, "{} {}", dead.number, found.number);
    assert_eq!(store.due_setbacks(&tenant(), &app(), SetbackKind::Query, 9).await.unwrap().len(), 1);
    let count = |kind, waiting, dead| SetbackCount { tenant: tenant(), kind, waiting, dead };
    let counts = store.setback_counts().await.unwrap();
    assert_eq!(counts, [count(SetbackKind::File, 1, 0), count(SetbackKind::Query, 1, 1)]);
    let clear = SetbackChange::Clear { tenant: tenant(), kind: SetbackKind::Query, key: "q1".to_owned() };
    store.commit(Commit { setbacks: vec![clear.clone(), clear], ..Commit::default() }).await.unwrap();
    assert_eq!(store.setback(&tenant(), SetbackKind::Query, "q1").await.unwrap(), None);
}

pub(crate) async fn setbacks_are_listed_by_every_filter(store: &AnyStore) {
    let one = setback(SetbackKind::Query, "one", None);
    let two =
        Setback { reason: "internal".to_owned(), since: Timestamp(200), ..setback(SetbackKind::Job, "two", None) };
    let three = Setback { app: None, conversation: None, ..setback(SetbackKind::Job, "three", Some(7)) };
    let foreign = Setback { tenant: TenantId::from("stranger"), ..one.clone() };
    put(store, [one, two, three, foreign]).await;
    let all = SetbackFilter::default();
    assert_eq!(keys(store, &all).await, ["one", "two", "three"]);
    let rows = [
        (SetbackFilter { dead: Some(true), ..all.clone() }, vec!["one", "two"]),
        (SetbackFilter { dead: Some(false), ..all.clone() }, vec!["three"]),
        (SetbackFilter { kind: Some(SetbackKind::Job), ..all.clone() }, vec!["two", "three"]),
        (SetbackFilter { app: Some(app()), ..all.clone() }, vec!["one", "two"]),
        (SetbackFilter { conversation: Some("direct~alice~bob".parse().unwrap()), ..all.clone() }, vec!["one", "two"]),
        (SetbackFilter { conversation: Some("room~r".parse().unwrap()), ..all.clone() }, vec![]),
        (SetbackFilter { reason: Some("internal".to_owned()), ..all.clone() }, vec!["two"]),
        (SetbackFilter { since: Some(Timestamp(200)), ..all.clone() }, vec!["two"]),
        (SetbackFilter { until: Some(Timestamp(200)), ..all.clone() }, vec!["one", "three"]),
    ];
    for (filter, expected) in rows {
        assert_eq!(keys(store, &filter).await, expected, "{filter:?}");
    }
    let page = store.setbacks(&tenant(), &all, 0, 2).await.unwrap();
    let rest = store.setbacks(&tenant(), &all, page[1].number, 2).await.unwrap();
    assert_eq!(rest.iter().map(|one| one.key.as_str()).collect::<Vec<_>>(), ["three"]);
}

pub(crate) async fn a_dead_letter_stands_or_falls_with_its_step(store: &AnyStore) {
    let send = send(None, "hi", &["bob"]);
    store.enqueue(vec![send.clone()]).await.unwrap();
    let key = send.legs[0].message_id.to_string();
    let letter = SetbackChange::Put(Box::new(setback(SetbackKind::Send, &key, None)));
    let history = FailedAttempts::from(vec![attempt(1, "internal")]);
    let failed = |expect| LegChange {
        setback: Some(letter.clone()),
        history: Some(history.clone()),
        ..step(&send, 0, &[expect], SendState::Failed)
    };
    // The leg does not stand there: neither step nor letter.
    store.commit(Commit { changes: vec![failed(SendState::InDoubt)], ..Commit::default() }).await.unwrap();
    assert_eq!(store.setback(&tenant(), SetbackKind::Send, &key).await.unwrap(), None);
    store.commit(Commit { changes: vec![failed(SendState::Queued)], ..Commit::default() }).await.unwrap();
    assert!(store.setback(&tenant(), SetbackKind::Send, &key).await.unwrap().is_some());
    // What is known of its attempts stays when a step says nothing of them.
    let again = LegChange {
        setback: Some(SetbackChange::sent_again(&tenant(), send.legs[0].message_id)),
        ..step(&send, 0, &[SendState::Failed], SendState::Queued)
    };
    let guard = LegGuard { tenant: tenant(), message_id: send.legs[0].message_id, states: vec![SendState::Accepted] };
    let refused = Commit { only_if: vec![guard], changes: vec![again.clone()], ..Commit::default() };
    store.commit(refused).await.unwrap_err();
    assert!(store.setback(&tenant(), SetbackKind::Send, &key).await.unwrap().is_some(), "nothing was written");
    store.commit(Commit { changes: vec![again], ..Commit::default() }).await.unwrap();
    assert_eq!(store.setback(&tenant(), SetbackKind::Send, &key).await.unwrap(), None);
    let leg = store.leg(&tenant(), send.legs[0].message_id).await.unwrap().unwrap();
    assert_eq!((leg.state, leg.history), (SendState::Queued, history));
}
