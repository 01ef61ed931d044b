//! Sending again what failed.

use std::time::Duration;

use switchboard_contract::storage::Outbox;
use switchboard_contract::*;

use super::vendor::{Act, Manner, Vendor, take_in};
use super::world::{World, config, tenant};
use crate::sending::{Outgoing, RedriveRisk, SendingConfig, To};

const NONE: RedriveRisk = RedriveRisk::None;

fn texts(vendor: &Vendor) -> Vec<String> {
    let text = |carried: super::vendor::Carried| match carried.body {
        Body::Text(text) => text.text,
        other => panic!("{other:?}"),
    };
    vendor.carried().into_iter().map(text).collect()
}

async fn refused(world: &World, message: MessageId, risk: RedriveRisk) -> ErrorKind {
    world.sending.redrive(&tenant(), message, risk).await.unwrap_err().kind()
}

#[tokio::test(start_paused = true)]
async fn i07_a_failed_message_is_sent_again_before_what_waits_behind_it() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    let send =
        async |text: &str| world.send(&vendor, Outgoing::text("alice", To::user("bob"), text)).await.messages[0].1;
    vendor.script(|_| Act::Refuse(ErrorKind::Rejected, Retry::Never));
    let first = send("one").await;
    world.sending.idle().await;
    assert_eq!(world.state(first).await, (SendState::Failed, Some("rejected".to_owned())));
    // The vendor is down: what follows waits, and keeps the conversation for itself while it does.
    vendor.script(|_| Act::Refuse(ErrorKind::Unavailable, Retry::Safe { after: None }));
    send("two").await;
    world.clock.sleep(Duration::from_secs(5)).await;
    send("three").await;
    let view = world.sending.redrive(&tenant(), first, NONE).await.unwrap();
    assert_eq!((view.messages[0].state, view.messages[0].attempts), (SendState::Queued, 0));
    let again = world.sending.redrive(&tenant(), first, NONE).await.unwrap();
    assert_eq!(again.messages[0].state, SendState::Queued, "again is harmless");
    vendor.script(|_| Act::Accept);
    let asked = world.clock.now();
    world.sending.idle().await;
    assert_eq!(texts(&vendor), ["one", "two", "three"]);
    assert!(world.clock.now().since(asked) < Duration::from_secs(70), "no hold had to run out");
    assert_eq!(world.state(first).await.0, SendState::Accepted);
    assert_eq!(world.journalled().await.values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(refused(&world, first, NONE).await, ErrorKind::Conflict, "it has not failed");
    assert_eq!(world.store.open_count(vendor.app()).await.unwrap(), 0);
    assert_eq!(refused(&world, MessageId::generate(), NONE).await, ErrorKind::NotFound);
    let stranger = world.sending.redrive(&"stranger".into(), first, NONE).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn every_failed_message_of_a_send_goes_again_and_no_other() {
    let (world, vendor) = World::with(Manner { max_users: 1, ..Manner::default() }, config()).await;
    vendor.script(|message| match &message.target {
        Target::Users(users) if users[0].as_str() == "bob" => Act::Accept,
        _ => Act::Refuse(ErrorKind::Rejected, Retry::Never),
    });
    let receipt = world.send(&vendor, Outgoing::text("alice", To::users(["bob", "carol", "dave"]), "hi")).await;
    world.sending.idle().await;
    vendor.script(|_| Act::Accept);
    world.sending.redrive(&tenant(), receipt.id, NONE).await.unwrap();
    world.sending.idle().await;
    let copies = vendor.copies();
    assert_eq!(copies.len(), 3);
    assert!(copies.values().all(|count| *count == 1), "{copies:?}");
}

#[tokio::test(start_paused = true)]
async fn i07_what_may_have_arrived_goes_again_only_for_those_who_accept_the_risk() {
    let config = SendingConfig { in_doubt_limit: Duration::from_secs(300), ..config() };
    let (world, vendor) = World::with(Manner::default(), config).await;
    vendor.script(|_| Act::Cut);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!(world.state(message).await, (SendState::Failed, Some("outcome_unknown".to_owned())));
    vendor.script(|_| Act::Accept);
    assert_eq!(refused(&world, message, NONE).await, ErrorKind::Conflict);
    world.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(vendor.carried().len(), 1, "nothing was sent");
    world.sending.redrive(&tenant(), message, RedriveRisk::MayArriveTwice).await.unwrap();
    world.sending.idle().await;
    assert_eq!((vendor.carried().len(), world.state(message).await.0), (2, SendState::Accepted));
    assert_eq!(world.journalled().await.get(&message), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn i07_what_arrived_after_all_is_never_sent_again() {
    let config = SendingConfig { in_doubt_limit: Duration::from_secs(300), ..config() };
    let (world, vendor) = World::with(Manner::default(), config).await;
    vendor.script(|_| Act::Cut);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "hi")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!(world.state(message).await.0, SendState::Failed);
    let (book, carried) = (world.sending.echo_book(), vendor.carried().remove(0));
    assert!(take_in(&world.store, &*book, &tenant(), vendor.app(), &carried, world.clock.now()).await);
    let leg = world.store.leg(&tenant(), message).await.unwrap().unwrap();
    assert_eq!((leg.state, leg.vendor_id), (SendState::Failed, Some(carried.id)), "its id is kept");
    for risk in [NONE, RedriveRisk::MayArriveTwice] {
        assert_eq!(refused(&world, message, risk).await, ErrorKind::Conflict);
    }
    world.sending.idle().await;
    assert_eq!(vendor.carried().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_late_or_has_nowhere_to_go_is_not_sent_again() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.script(|_| Act::Refuse(ErrorKind::Rejected, Retry::Never));
    let text = |text: &str| Outgoing::text("alice", To::user("bob"), text);
    let short = world.send(&vendor, text("short").ttl(Duration::from_secs(30))).await.messages[0].1;
    let long = world.send(&vendor, text("long")).await.messages[0].1;
    world.sending.idle().await;
    world.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(refused(&world, short, NONE).await, ErrorKind::Conflict);
    let elsewhere = World::open(world.clock.clone(), world.store.clone(), config()).await;
    assert_eq!(refused(&elsewhere, long, NONE).await, ErrorKind::NotFound);
    assert_eq!(world.state(long).await.0, SendState::Failed);
}
