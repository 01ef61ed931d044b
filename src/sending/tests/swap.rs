use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::*;

use super::vendor::{Act, Manner, Vendor, take_in};
use super::world::{Dice, World, config, tenant};
use crate::sending::{AppMode, Outgoing, To};

const SENDS: usize = 1000;

fn restless(seed: u64) -> impl FnMut(&OutboundMessage) -> Act + Send {
    let (mut dice, mut lost) = (Dice(seed), HashSet::new());
    move |message| match dice.roll(5) {
        0 => Act::Cut,
        // Once: a message that is lost again and again fails in the end.
        1 if lost.insert(number(&message.body)) => Act::Lose,
        _ => Act::Accept,
    }
}

async fn send_some(world: &World, vendor: &Vendor, range: std::ops::Range<usize>) -> Vec<(usize, MessageId)> {
    let mut messages = Vec::new();
    for n in range {
        let outgoing = Outgoing::text("alice", To::user(format!("u{}", n % 150)), format!("{n}"));
        messages.push((n, world.send(vendor, outgoing.client_id(format!("c{n}"))).await.messages[0].1));
    }
    messages
}

fn number(body: &Body) -> usize {
    let Body::Text(text) = body else { panic!("not a text") };
    text.text.parse().unwrap()
}

/// Each message reached exactly one of the vendors, once, and in the order of its conversation.
fn each_once(vendors: [&Vendor; 2], sends: usize) {
    let mut all: Vec<_> = vendors.iter().flat_map(|vendor| vendor.carried()).collect();
    all.sort_by_key(|carried| carried.at);
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let mut order: HashMap<ConversationId, Vec<usize>> = HashMap::new();
    for carried in &all {
        *seen.entry(number(&carried.body)).or_default() += 1;
        order.entry(super::vendor::conversation(carried)).or_default().push(number(&carried.body));
    }
    assert_eq!(seen.len(), sends);
    assert!(seen.values().all(|count| *count == 1));
    for (conversation, numbers) in order {
        assert!(numbers.is_sorted(), "{conversation}: {numbers:?}");
    }
}

/// 1,000 sends under way, some in doubt: the vendor is changed, and changed back.
#[tokio::test(start_paused = true)]
async fn i07_a_change_of_vendor_under_way_sends_each_message_once() {
    for echoes in [false, true] {
        let manner = |latency| Manner {
            latency: Duration::from_millis(latency),
            query: Some(Duration::from_secs(20)),
            echo_after: echoes.then_some(Duration::from_secs(40)),
            ..Manner::default()
        };
        let (world, old) = World::with(manner(400), config()).await;
        old.script(restless(1));
        let new = Vendor::new("new", manner(150), world.clock.clone());
        new.script(restless(2));
        let mut messages = send_some(&world, &old, 0..SENDS).await;
        world.clock.sleep(Duration::from_millis(900)).await;
        world.serve(&new, AppMode::Active);
        world.serve(&old, AppMode::ReceiveOnly);
        let refused = Outgoing::text("alice", To::user("u1"), "late");
        let error = world.sending.send(&tenant(), old.app(), refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        messages.extend(send_some(&world, &new, SENDS..SENDS + 300).await);
        world.clock.sleep(Duration::from_secs(2)).await;
        // And back, with sends of both still under way.
        world.serve(&old, AppMode::Active);
        world.serve(&new, AppMode::ReceiveOnly);
        messages.extend(send_some(&world, &old, SENDS + 300..SENDS + 500).await);
        world.sending.idle().await;
        assert!(!new.carried().is_empty() && old.carried().len() > 500, "both had their part");
        each_once([&old, &new], SENDS + 500);
        let journalled = world.journalled().await;
        for (n, message) in &messages {
            assert_eq!(world.state(*message).await.0, SendState::Accepted, "{n}");
            assert_eq!(journalled.get(message), Some(&1), "{n}");
        }
        // Callbacks of the vendor that is receive-only, late: each is kept, none is a second message.
        let book = world.sending.echo_book();
        for carried in new.carried() {
            let now = world.clock.now();
            assert!(take_in(&world.store, &*book, &tenant(), new.app(), &carried, now).await);
        }
        assert_eq!(world.journalled().await.len(), journalled.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_gone_is_told_of_and_its_queue_can_be_handed_on() {
    let (world, old) = World::with(Manner::default(), config()).await;
    old.script(|_| Act::Refuse(ErrorKind::Unavailable, Retry::Safe { after: None }));
    send_some(&world, &old, 0..20).await;
    world.clock.sleep(Duration::from_secs(1)).await;
    world.sending.shutdown().await.unwrap();
    let next = World::open(Arc::clone(&world.clock), world.store.clone(), config()).await;
    assert_eq!(next.sending.unattended().await.unwrap(), [(old.app().clone(), 20)]);
    let new = Vendor::new("new", Manner::default(), world.clock.clone());
    next.serve(&new, AppMode::Active);
    assert_eq!(next.sending.reroute(&tenant(), old.app(), new.app()).await.unwrap(), 20);
    next.sending.idle().await;
    assert!(next.sending.unattended().await.unwrap().is_empty());
    each_once([&old, &new], 20);
}

#[tokio::test(start_paused = true)]
async fn what_the_new_vendor_cannot_carry_fails_and_is_not_changed_silently() {
    let (world, old) = World::with(Manner::default(), config()).await;
    old.script(|_| Act::Refuse(ErrorKind::Unavailable, Retry::Safe { after: None }));
    let message = send_some(&world, &old, 0..1).await[0].1;
    let new = Vendor::new("new", Manner { refuses_all: true, ..Manner::default() }, world.clock.clone());
    world.serve(&new, AppMode::Active);
    world.serve(&old, AppMode::ReceiveOnly);
    world.sending.idle().await;
    assert_eq!(world.state(message).await, (SendState::Failed, Some("unsupported".into())));
    assert!(new.calls().is_empty());
}
