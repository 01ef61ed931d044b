use std::time::Duration;

use switchboard_contract::storage::{Commit, History, HistoryFilter, HistoryQuery, Outbox, PageDirection};
use switchboard_contract::*;

use super::vendor::{Act, Manner, take_in};
use super::world::{World, config, tenant};
use crate::ingest::Receipted;
use crate::sending::{Outgoing, SendKey, SendingConfig, To};

async fn refusal(world: &World, vendor: &super::vendor::Vendor, outgoing: Outgoing) -> ErrorKind {
    world.sending.send(&tenant(), vendor.app(), outgoing).await.unwrap_err().kind()
}

#[tokio::test(start_paused = true)]
async fn what_the_vendor_cannot_carry_is_refused_and_nothing_is_stored() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let text = |to| Outgoing::text("alice", to, "hi");
    let command = Body::Command(Command { name: "x".into(), ..Command::default() });
    let silent = SendOptions { silent: true, ..SendOptions::default() };
    let rows = [
        (Outgoing::new("alice", To::user("bob"), command), ErrorKind::Unsupported),
        (text(To::system(["bob"])), ErrorKind::Unsupported),
        (text(To::user("bob")).options(silent), ErrorKind::Unsupported),
        (Outgoing::new("alice", To::user("bob"), Body::Unrecognised(Unrecognised::default())), ErrorKind::Unsupported),
        (text(To::user("")), ErrorKind::InvalidInput),
        (text(To::users(Vec::<UserId>::new())), ErrorKind::InvalidInput),
        (text(To::user("bob")).channel("c"), ErrorKind::InvalidInput),
        (text(To::user("bob")).audience(["carol"]), ErrorKind::InvalidInput),
        (text(To::user("bob")).ttl(Duration::ZERO), ErrorKind::InvalidInput),
        (text(To::user("bob")).client_id(""), ErrorKind::InvalidInput),
        (text(To::users((0..10_001).map(|n| n.to_string()))), ErrorKind::TooLarge),
    ];
    for (outgoing, kind) in rows {
        let client = outgoing.client_message_id.is_none();
        let outgoing = if client { outgoing.client_id("used") } else { outgoing };
        assert_eq!(refusal(&world, &vendor, outgoing).await, kind);
    }
    assert!(world.journal().await.is_empty());
    assert_eq!(world.store.open_count(vendor.app()).await.unwrap(), 0);
    assert!(world.sending.status(&tenant(), SendKey::Client("used".into())).await.unwrap().is_none());
    let other = App::new("scripted", "unknown");
    let error = world.sending.send(&tenant(), &other, text(To::user("bob"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = world.sending.send(&"stranger".into(), vendor.app(), text(To::user("bob"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn i07_a_client_id_sends_once_for_ever() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let outgoing = |text: &str| Outgoing::text("alice", To::users(["bob", "carol", "bob"]), text).client_id("order-1");
    let first = world.send(&vendor, outgoing("hi")).await;
    assert_eq!((first.messages.len(), first.repeated), (2, false));
    world.sending.idle().await;
    for _ in 0..3 {
        world.clock.sleep(Duration::from_secs(3600 * 24 * 7)).await;
        let again = world.send(&vendor, outgoing("hi")).await;
        assert_eq!((again.id, &again.messages, again.repeated), (first.id, &first.messages, true));
    }
    let error = world.sending.send(&tenant(), vendor.app(), outgoing("other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(&first.id.to_string()));
    world.sending.idle().await;
    assert_eq!(vendor.carried().len(), 2);
    let view = world.sending.status(&tenant(), SendKey::Client("order-1".into())).await.unwrap().unwrap();
    assert_eq!(view.id, first.id);
    assert!(view.messages.iter().all(|leg| leg.state == SendState::Accepted && leg.attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn i07_the_same_client_id_from_many_tasks_sends_once() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let sends = (0..50).map(|_| world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi").client_id("one")));
    let receipts = futures::future::join_all(sends).await;
    world.sending.idle().await;
    assert_eq!(receipts.iter().filter(|receipt| !receipt.repeated).count(), 1);
    assert!(receipts.iter().all(|receipt| receipt.messages == receipts[0].messages));
    assert_eq!(vendor.carried().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_cancelled_before_it_left_causes_no_call() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    let view = world.sending.cancel(&tenant(), message).await.unwrap();
    assert_eq!(view.messages[0].state, SendState::Cancelled);
    world.sending.idle().await;
    assert!(vendor.calls().is_empty());
    world.sending.cancel(&tenant(), message).await.unwrap();
    let sent = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!(world.sending.cancel(&tenant(), sent).await.unwrap_err().kind(), ErrorKind::Conflict);
    let unknown = world.sending.cancel(&tenant(), MessageId::generate()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn i12_a_message_that_waited_too_long_expires() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.set_down(Some((ErrorKind::Unavailable, Retry::Safe { after: None })));
    let hour = Duration::from_secs(3600);
    let first = Outgoing::text("alice", To::user("bob"), "first").ttl(hour);
    let first = world.send(&vendor, first).await.messages[0].1;
    let behind = Outgoing::text("alice", To::user("bob"), "second").ttl(hour / 2);
    let behind = world.send(&vendor, behind).await.messages[0].1;
    world.clock.sleep(hour / 2 + Duration::from_secs(1)).await;
    assert_eq!(world.state(behind).await, (SendState::Expired, Some("expired".into())));
    assert_eq!(world.state(first).await.0, SendState::Queued);
    world.sending.idle().await;
    assert_eq!(world.state(first).await.0, SendState::Expired);
    assert!(vendor.carried().is_empty());
    assert_eq!(world.attempts(first).await, 0, "an app that is away spends no attempts");
}

#[tokio::test(start_paused = true)]
async fn only_the_items_own_failures_count_and_three_retries_follow_the_first() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let mut calls = 0;
    vendor.script(move |_| {
        calls += 1;
        match calls {
            1..=5 => Act::Refuse(ErrorKind::Unavailable, Retry::Safe { after: None }),
            6..=8 => Act::Refuse(ErrorKind::RateLimited, Retry::Safe { after: Some(Duration::from_secs(5)) }),
            9 => Act::Refuse(ErrorKind::Unauthorized, Retry::Never),
            _ => Act::Refuse(ErrorKind::Internal, Retry::Safe { after: None }),
        }
    });
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!(world.state(message).await, (SendState::Failed, Some("internal".into())));
    assert_eq!((world.attempts(message).await, vendor.calls().len()), (4, 13));
    assert!(vendor.probes() >= 6, "each pause ends with a probe");
    let calls = vendor.calls();
    for limited in 5..8 {
        assert!(calls[limited + 1].0.since(calls[limited].0) >= Duration::from_secs(5), "the named wait is honoured");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_ever_fails_at_once_and_the_conversation_goes_on() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|message| {
        let bad = message.body == Body::text("bad");
        if bad { Act::Refuse(ErrorKind::Rejected, Retry::Never) } else { Act::Accept }
    });
    let bad = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "bad")).await.messages[0].1;
    let good = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "good")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!(world.state(bad).await, (SendState::Failed, Some("rejected".into())));
    assert_eq!(world.state(good).await.0, SendState::Accepted);
    assert_eq!(vendor.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_bad_recipient_does_not_fail_the_others() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|message| match &message.target {
        Target::Users(users) if users.contains(&"u37".into()) => Act::Refuse(ErrorKind::NotFound, Retry::Never),
        _ => Act::Accept,
    });
    let to = To::users((0..100).map(|n| format!("u{n}")));
    let receipt = world.send(&vendor, Outgoing::text("alice", to, "hi")).await;
    world.sending.idle().await;
    let view = world.sending.status(&tenant(), receipt.id).await.unwrap().unwrap();
    let failed: Vec<_> = view.messages.iter().filter(|leg| leg.state != SendState::Accepted).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].recipient.clone(), failed[0].state), (Some("u37".into()), SendState::Failed));
    assert_eq!(vendor.carried().len(), 99);
    assert!(vendor.copies().values().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn i07_a_forged_mark_moves_nothing() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|_| Act::Cut);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(world.state(message).await.0, SendState::InDoubt);
    let real = vendor.carried().remove(0);
    let mut invented = real.clone();
    invented.mark = Some(format!("1{}", "A".repeat(43)));
    let mut elsewhere = real.clone();
    elsewhere.target = Target::Users(vec!["carol".into()]);
    let mut by_another = real.clone();
    (by_another.from, by_another.target) = ("bob".into(), Target::Users(vec!["alice".into()]));
    let book = world.sending.echo_book();
    for (n, mut forged) in [invented, elsewhere, by_another].into_iter().enumerate() {
        forged.id = VendorMessageId::from(format!("f{n}"));
        let ours = take_in(&world.store, &*book, &tenant(), vendor.app(), &forged, world.clock.now()).await;
        assert!(!ours, "forgery {n}");
        assert_eq!(world.state(message).await.0, SendState::InDoubt);
    }
    let now = world.clock.now();
    assert!(take_in(&world.store, &*book, &tenant(), vendor.app(), &real, now).await);
    assert_eq!(world.state(message).await.0, SendState::Accepted);
    // The sender's own client may repeat the mark in the same conversation: that is another message.
    let mut copied = real.clone();
    copied.id = VendorMessageId::from("f9");
    assert!(!take_in(&world.store, &*book, &tenant(), vendor.app(), &copied, now).await);
    assert_eq!(world.journalled().await.len(), 5, "every one of them is kept");
}

#[tokio::test(start_paused = true)]
async fn i05_reply_and_echo_are_one_message_whichever_comes_first() {
    for (latency, act) in
        [(10_000, Act::Accept), (20, Act::Accept), (10_000, Act::AcceptWithoutId), (20, Act::AcceptWithoutId)]
    {
        let (latency, echo_after) = (Duration::from_millis(latency), Some(Duration::from_millis(500)));
        let (world, vendor) = World::with(Manner { latency, echo_after, ..Manner::default() }, config()).await;
        vendor.script(move |_| act);
        let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
        world.sending.idle().await;
        world.clock.sleep(Duration::from_secs(20)).await;
        // The vendor repeats its callback.
        let carried = vendor.carried().remove(0);
        let book = world.sending.echo_book();
        let now = world.clock.now();
        assert!(take_in(&world.store, &*book, &tenant(), vendor.app(), &carried, now).await);
        let journalled = world.journalled().await;
        assert_eq!((journalled.len(), journalled.get(&message)), (1, Some(&1)), "{latency:?} {act:?}");
        let view = world.sending.status(&tenant(), message).await.unwrap().unwrap();
        assert_eq!(view.messages[0].vendor_id, Some(carried.id), "{latency:?} {act:?}");
        assert_eq!(view.messages[0].state, SendState::Accepted);
    }
}

#[tokio::test(start_paused = true)]
async fn receipts_move_a_message_on_and_never_back() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    let (book, id) = (world.sending.echo_book(), vendor.carried()[0].id.clone());
    for (kind, moves, state) in [
        (ReceiptKind::Delivered, true, SendState::Delivered),
        (ReceiptKind::Delivered, false, SendState::Delivered),
        (ReceiptKind::Read, true, SendState::Read),
        (ReceiptKind::Delivered, false, SendState::Read),
    ] {
        let receipted = book.receipt(&tenant(), vendor.app(), &id, kind, world.clock.now()).await.unwrap();
        let changes = match receipted {
            Receipted::Step(step) => vec![*step],
            Receipted::Nothing => Vec::new(),
            Receipted::Unknown => panic!("{kind:?}: its send is known"),
        };
        assert_eq!(changes.len(), usize::from(moves));
        storage::Journal::commit(&world.store, Commit { changes, ..Commit::default() }).await.unwrap();
        assert_eq!(world.state(message).await.0, state);
    }
    let unknown = book.receipt(&tenant(), vendor.app(), &"other".into(), ReceiptKind::Read, world.clock.now()).await;
    assert!(matches!(unknown.unwrap(), Receipted::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_recall_is_made_once_and_leaves_a_tombstone() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let receipt = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await;
    let (conversation, message) = receipt.messages[0].clone();
    world.sending.idle().await;
    world.sending.recall(&tenant(), message).await.unwrap();
    world.sending.recall(&tenant(), message).await.unwrap();
    let recalls = vendor.recalls();
    assert_eq!(recalls.len(), 1);
    assert_eq!((recalls[0].id.clone(), recalls[0].from.as_str()), (vendor.carried()[0].id.clone(), "alice"));
    let recalled = world.journal().await.into_iter().filter(|event| matches!(event.data, EventData::Recall(_))).count();
    assert_eq!(recalled, 1);
    let query = HistoryQuery {
        tenant: tenant(),
        conversation,
        direction: PageDirection::Older,
        after: None,
        since: None,
        until: None,
        limit: 10,
        filter: HistoryFilter::default(),
    };
    let page = History::page(&world.store, &query).await.unwrap();
    let EventData::Message(tombstone) = page.entries[0].event().unwrap().data else { panic!("not a message") };
    assert!(tombstone.recalled && tombstone.body.is_none());
    // What has not left is cancelled; what is not known is not found.
    let queued = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "again")).await.messages[0].1;
    world.sending.recall(&tenant(), queued).await.unwrap();
    assert_eq!(world.state(queued).await.0, SendState::Cancelled);
    let unknown = world.sending.recall(&tenant(), MessageId::generate()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn i09_too_much_that_is_unfinished_is_refused() {
    let (world, vendor) = World::with(Manner::default(), SendingConfig { max_open: 10, ..config() }).await;
    vendor.script(|_| Act::Refuse(ErrorKind::Unavailable, Retry::Safe { after: None }));
    let to = || To::users((0..5).map(|n| format!("u{n}")));
    world.clock.sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        world.send(&vendor, Outgoing::text("alice", to(), "hi")).await;
    }
    let outgoing = Outgoing::text("alice", to(), "hi");
    let error = world.sending.send(&tenant(), vendor.app(), outgoing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(matches!(error.retry(), Retry::Safe { after: Some(_) }));
}

#[tokio::test(start_paused = true)]
async fn i12_a_shutdown_ends_and_accepts_nothing_more() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|_| Act::Hang);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.clock.sleep(Duration::from_millis(100)).await;
    let began = world.clock.now();
    world.sending.shutdown().await.unwrap();
    assert_eq!(world.clock.now().since(began), SendingConfig::default().shutdown_grace);
    assert_eq!(world.state(message).await.0, SendState::Dispatched, "in doubt at the next start");
    let outgoing = Outgoing::text("alice", To::user("bob"), "hi");
    let error = world.sending.send(&tenant(), vendor.app(), outgoing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}
