//! Jobs that fetch the past, and the record of traffic.

use std::time::Duration;

use switchboard_contract::storage::{
    BackfillItem, BackfillJob, BackfillPart, BackfillScope, BackfillState, BackfillTally, Commit, LegGuard, PageMark,
    TrafficHour,
};
use switchboard_contract::{BackfillId, MessageId, SendState, TenantId, Timestamp};

use crate::fixture::{AnyStore, app, append, direct, message, tenant};

const HOUR: i64 = 3_600_000;

fn job(state: BackfillState) -> BackfillJob {
    BackfillJob {
        id: BackfillId::generate(),
        app: app(),
        scope: BackfillScope::Conversation(direct("bob")),
        since: None,
        until: Timestamp(9),
        max_messages: Some(7),
        state,
        reason: None,
        created_at: Timestamp(1),
        updated_at: Timestamp(2),
        plans: 1,
        hours: BackfillTally {
            total: 1,
            done: 0,
            active: Duration::from_millis(1500),
            settled: Duration::from_millis(7),
        },
        conversations: BackfillTally::default(),
        pages: 3,
        messages: 4,
        inserted: 5,
        missed: 6,
        capped: 0,
        absent: 0,
        failed: 0,
    }
}

fn item(part: BackfillPart, rank: i64) -> BackfillItem {
    BackfillItem {
        part,
        rank,
        since: Timestamp(0),
        until: Timestamp(9),
        cursor: None,
        reached: None,
        messages: 0,
        attempts: 0,
        outcome: None,
        fault: None,
    }
}

pub(crate) async fn jobs_and_their_parts_are_kept_in_order(store: &AnyStore) {
    let other = TenantId::from("other");
    let (first, second) = (job(BackfillState::Running), job(BackfillState::Done));
    for one in [&first, &second] {
        store.put_backfill(&tenant(), one, None).await.unwrap();
    }
    assert_eq!(store.backfill(&tenant(), first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.backfill(&other, first.id).await.unwrap(), None);
    assert_eq!(store.backfills(&tenant(), false, 9).await.unwrap(), [second.clone(), first.clone()]);
    assert_eq!(store.backfills(&tenant(), true, 9).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(store.backfills(&tenant(), false, 1).await.unwrap(), [second]);
    assert_eq!(store.backfills(&other, false, 9).await.unwrap(), []);

    let conversation = |peer: &str| BackfillPart::Conversation(direct(peer));
    let (old, new) = (item(conversation("bob"), 10), item(conversation("cid"), 20));
    let (early, late) =
        (item(BackfillPart::Hour(Timestamp(HOUR)), 1), item(BackfillPart::Hour(Timestamp(2 * HOUR)), 2));
    store.plan_backfill(&tenant(), first.id, &[old.clone(), early.clone(), new.clone(), late.clone()]).await.unwrap();
    // A part that is there stays as it is, and one of another job is no business of this one.
    store.plan_backfill(&tenant(), first.id, &[BackfillItem { rank: 99, ..old.clone() }]).await.unwrap();
    assert_eq!(store.planned_backfill(&tenant(), first.id).await.unwrap(), (2, 2));
    assert_eq!(store.planned_backfill(&other, first.id).await.unwrap(), (0, 0));
    let mut order = Vec::new();
    while let Some(next) = store.next_backfill_item(&tenant(), first.id).await.unwrap() {
        let done = BackfillItem { outcome: Some("whole".to_owned()), messages: 3, ..next.clone() };
        store.put_backfill(&tenant(), &BackfillJob { pages: 8, ..first.clone() }, Some(&done)).await.unwrap();
        order.push(next);
    }
    assert_eq!(order, [late, early, new, old], "files first, then the most recent conversations");
    assert_eq!(store.backfill(&tenant(), first.id).await.unwrap().unwrap().pages, 8);
    let ended = store.ended_backfill_items(&tenant(), first.id, "whole", 3).await.unwrap();
    assert_eq!((ended.len(), ended[0].messages), (3, 3));
    assert_eq!(store.ended_backfill_items(&tenant(), first.id, "failed", 3).await.unwrap(), []);
    assert_eq!(store.next_backfill_item(&other, first.id).await.unwrap(), None);
}

pub(crate) async fn i08_a_page_and_where_its_job_stands_are_written_as_one(store: &AnyStore) {
    let (bob, first) = (direct("bob"), job(BackfillState::Running));
    let part = item(BackfillPart::Conversation(bob.clone()), 1);
    store.put_backfill(&tenant(), &first, None).await.unwrap();
    store.plan_backfill(&tenant(), first.id, std::slice::from_ref(&part)).await.unwrap();
    append(store, vec![message(&bob, "1", "known")]).await;
    let page = |missed, from: u32| {
        let item = BackfillItem { cursor: Some(from.to_string()), messages: 3, ..part.clone() };
        let mark = PageMark { tenant: tenant(), job: BackfillJob { pages: 4, ..first.clone() }, item, missed };
        let drafts = (from..from + 3).map(|id| message(&bob, &id.to_string(), "known")).collect();
        Commit { drafts, only_missing: true, page: Some(Box::new(mark)), ..Commit::default() }
    };
    // What is refused leaves everything where it was.
    let guard = LegGuard { tenant: tenant(), message_id: MessageId::generate(), states: vec![SendState::Queued] };
    store.commit(Commit { only_if: vec![guard], ..page(false, 1) }).await.unwrap_err();
    assert_eq!(store.backfill(&tenant(), first.id).await.unwrap().unwrap(), first);
    // Of three messages one is known: two are counted, as history or as missed.
    store.commit(page(false, 1)).await.unwrap();
    let stands = store.backfill(&tenant(), first.id).await.unwrap().unwrap();
    assert_eq!((stands.pages, stands.inserted, stands.missed), (4, first.inserted + 2, first.missed));
    let next = store.next_backfill_item(&tenant(), first.id).await.unwrap().unwrap();
    assert_eq!((next.cursor.as_deref(), next.messages), (Some("1"), 3));
    store.commit(page(true, 3)).await.unwrap();
    let stands = store.backfill(&tenant(), first.id).await.unwrap().unwrap();
    assert_eq!((stands.inserted, stands.missed), (first.inserted, first.missed + 2));
}

pub(crate) async fn traffic_is_kept_and_forgotten(store: &AnyStore) {
    let hour = |number: i64, callbacks| TrafficHour {
        hour: Timestamp(number * HOUR),
        callbacks,
        watched: Duration::from_millis(3_599_001),
        longest_gap: Duration::from_millis(12_345),
    };
    for one in [hour(1, 5), hour(3, 7), hour(2, 6), hour(3, 8)] {
        store.put_traffic(&tenant(), &app(), &one, Timestamp(0)).await.unwrap();
    }
    let all = async |since: i64| store.traffic(&tenant(), &app(), Timestamp(since)).await.unwrap();
    assert_eq!(all(0).await, [hour(1, 5), hour(2, 6), hour(3, 8)]);
    assert_eq!(all(2 * HOUR).await, [hour(2, 6), hour(3, 8)]);
    store.put_traffic(&tenant(), &app(), &hour(4, 1), Timestamp(3 * HOUR)).await.unwrap();
    assert_eq!(all(0).await, [hour(3, 8), hour(4, 1)]);
    assert_eq!(store.traffic(&"other".into(), &app(), Timestamp(0)).await.unwrap(), []);
}
