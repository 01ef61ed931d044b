//! Retries, dead letters, and their redrive.

use std::time::Duration;

use switchboard_contract::storage::{Setback, SetbackFilter, SetbackKind, Setbacks};
use switchboard_contract::*;

use super::vendor::{Act, Manner, Vendor};
use super::world::{World, config, tenant};
use crate::sending::{AppMode, Outgoing, RedriveRisk, To};

const SAFE: Retry = Retry::Safe { after: None };

async fn letters(world: &World) -> Vec<Setback> {
    let filter = SetbackFilter { dead: Some(true), ..SetbackFilter::default() };
    world.store.setbacks(&tenant(), &filter, 0, 100).await.unwrap()
}

async fn alerts(world: &World) -> Vec<Notice> {
    let notice = |event: Event| match event.data {
        EventData::Notice(notice) if notice.topic == Topic::DeadLetters => Some(notice),
        _ => None,
    };
    world.journal().await.into_iter().filter_map(notice).collect()
}

/// Fails the first `times` calls by a fault of the message alone.
fn fail(vendor: &Vendor, times: usize) {
    let mut calls = 0;
    vendor.script(move |_| {
        calls += 1;
        if calls <= times { Act::Refuse(ErrorKind::Internal, SAFE) } else { Act::Accept }
    });
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_twice_is_sent_by_the_third_attempt() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    fail(&vendor, 2);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!((world.state(message).await.0, world.attempts(message).await), (SendState::Accepted, 3));
    assert_eq!(vendor.calls().len(), 3);
    let view = world.sending.status(&tenant(), message).await.unwrap().unwrap();
    let failed = view.messages[0].failed_attempts.as_slice();
    assert_eq!(failed.iter().map(|one| one.outcome.as_str()).collect::<Vec<_>>(), ["internal", "internal"]);
    assert!(failed[0].at < failed[1].at);
    assert!(letters(&world).await.is_empty() && alerts(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_always_fails_is_one_dead_letter_after_four_attempts_and_one_alert() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    fail(&vendor, usize::MAX);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!((world.state(message).await.0, vendor.calls().len()), (SendState::Failed, 4));
    let dead = letters(&world).await;
    assert_eq!(dead.len(), 1);
    let letter = &dead[0];
    assert_eq!((letter.id(), letter.reason.as_str()), (format!("send~{message}"), "internal"));
    assert_eq!((letter.attempts, letter.history.as_slice().len()), (4, 4));
    let times: Vec<Timestamp> = letter.history.as_slice().iter().map(|one| one.at).collect();
    let calls: Vec<Timestamp> = vendor.calls().into_iter().map(|(at, _, _)| at).collect();
    for (told, made) in times.iter().zip(&calls) {
        assert!(told.since(*made) <= Duration::from_millis(50), "{times:?} {calls:?}");
    }
    let told = alerts(&world).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind.as_str(), told[0].detail["id"].as_str()), ("dead_letter", Some(letter.id().as_str())));
    assert_eq!(told[0].detail["attempts"], 4);
    assert!(!told[0].detail.to_string().contains("\"hi\""), "no body in an alert");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_a_dead_letter_at_once_and_waits_named_by_the_vendor_are_kept() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|_| Act::Refuse(ErrorKind::Rejected, Retry::Never));
    world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await;
    world.sending.idle().await;
    let dead = letters(&world).await;
    assert_eq!((dead.len(), dead[0].attempts, dead[0].reason.as_str()), (1, 1, "rejected"));
    let wait = Duration::from_secs(90);
    vendor.script(move |_| Act::Refuse(ErrorKind::Internal, Retry::Safe { after: Some(wait) }));
    world.send(&vendor, Outgoing::text("alice", To::user("eve"), "hi")).await;
    world.sending.idle().await;
    let calls: Vec<Timestamp> = vendor.calls().into_iter().skip(1).map(|(at, _, _)| at).collect();
    assert_eq!(calls.len(), 4);
    assert!(calls.windows(2).all(|pair| pair[1].since(pair[0]) >= wait), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn attempts_and_waits_survive_a_restart() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let wait = Duration::from_secs(3600);
    let mut calls = 0;
    vendor.script(move |_| {
        calls += 1;
        let after = (calls == 2).then_some(wait);
        Act::Refuse(ErrorKind::Internal, Retry::Safe { after })
    });
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!((vendor.calls().len(), world.attempts(message).await), (2, 2));
    let World { clock, store, sending } = world;
    sending.shutdown().await.unwrap();
    let again = World::open(clock, store, config()).await;
    again.serve(&vendor, AppMode::Active);
    again.clock.sleep(Duration::from_secs(3000)).await;
    assert_eq!(vendor.calls().len(), 2, "the wait is not over because the process is");
    again.sending.idle().await;
    assert_eq!((vendor.calls().len(), again.attempts(message).await), (4, 4));
    assert_eq!(letters(&again).await[0].history.as_slice().len(), 4, "the attempts of both lives");
}

/// One rejected conversation among others: redriving it alone has it carried whole and in order.
#[tokio::test(start_paused = true)]
async fn i07_a_conversation_is_redriven_in_order() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|_| Act::Refuse(ErrorKind::Rejected, Retry::Never));
    let mut messages = Vec::new();
    for number in 0..30 {
        for to in ["bob", "eve"] {
            let outgoing = Outgoing::text("alice", To::user(to), format!("{number:02}"));
            messages.push((to, world.send(&vendor, outgoing).await.messages[0].1));
        }
    }
    world.sending.idle().await;
    assert_eq!(letters(&world).await.len(), 60);
    vendor.script(|_| Act::Accept);
    let mut bob: Vec<MessageId> = messages.iter().filter(|(to, _)| *to == "bob").map(|(_, id)| *id).collect();
    bob.reverse();
    let done = world.sending.redrive_all(&tenant(), &bob, RedriveRisk::None).await.unwrap();
    assert_eq!((done.queued, done.refused.len()), (30, 0));
    assert_eq!(letters(&world).await.len(), 30, "what is on its way is no dead letter");
    world.sending.idle().await;
    let texts: Vec<String> = vendor
        .carried()
        .into_iter()
        .map(|one| match one.body {
            Body::Text(text) => text.text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, (0..30).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    // Again: nothing of it has failed any more.
    let again = world.sending.redrive_all(&tenant(), &bob, RedriveRisk::None).await.unwrap();
    assert_eq!((again.queued, again.refused.len()), (0, 30));
}

#[tokio::test(start_paused = true)]
async fn a_redriven_message_that_fails_again_is_a_dead_letter_again_with_another_alert() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    fail(&vendor, usize::MAX);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    let first = letters(&world).await.remove(0);
    world.sending.redrive(&tenant(), message, RedriveRisk::None).await.unwrap();
    assert!(letters(&world).await.is_empty());
    world.sending.idle().await;
    let second = letters(&world).await.remove(0);
    assert_eq!((second.attempts, second.history.as_slice().len(), vendor.calls().len()), (4, 8, 8));
    assert!(second.number > first.number, "lists go on behind it");
    assert_eq!(alerts(&world).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_recall_that_always_fails_is_a_dead_letter_and_can_be_redriven() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    vendor.set_down(Some((ErrorKind::Unavailable, SAFE)));
    let error = world.sending.recall(&tenant(), message).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Exhausted { attempts: 4 });
    assert_eq!(vendor.recalls().len(), 4);
    let letter = letters(&world).await.remove(0);
    assert_eq!((letter.kind, letter.key.clone(), letter.attempts), (SetbackKind::Recall, message.to_string(), 4));
    assert_eq!(letter.history.as_slice().len(), 4);
    let redriver = world.sending.redriver();
    redriver.redrive(&letter, world.clock.now()).await.unwrap_err();
    assert_eq!(letters(&world).await.len(), 1, "it stays one");
    vendor.set_down(None);
    redriver.redrive(&letter, world.clock.now()).await.unwrap();
    assert!(letters(&world).await.is_empty());
    let events = world.journal().await;
    assert_eq!(events.iter().filter(|event| matches!(event.data, EventData::Recall(_))).count(), 1);
}
