//! A vendor that is away: nothing is lost, nothing is spent, and everything goes on when it is back.

use std::collections::BTreeMap;
use std::time::Duration;

use switchboard_contract::storage::Setbacks;
use switchboard_contract::*;

use super::vendor::{Manner, Vendor};
use super::world::{World, config, tenant};
use crate::recovery::BreakerState;
use crate::sending::{Outgoing, SendingConfig, To};

const OUTAGE: Duration = Duration::from_secs(600);
/// A connection refused, and a request that is never answered.
const REFUSED: (ErrorKind, Retry) = (ErrorKind::Unavailable, Retry::Safe { after: None });
const SILENT: (ErrorKind, Retry) = (ErrorKind::Timeout, Retry::OutcomeUnknown);

fn manner() -> Manner {
    let per_second = Quota { calls: Some(100), units: None, per: Duration::from_secs(1) };
    Manner {
        quotas: vec![(ConversationKind::Direct, per_second)],
        query: Some(Duration::from_secs(2)),
        ..Manner::default()
    }
}

async fn say(world: &World, vendor: &Vendor, conversations: usize, numbers: std::ops::Range<usize>) -> Vec<MessageId> {
    let mut messages = Vec::new();
    for number in numbers {
        for to in 0..conversations {
            let outgoing = Outgoing::text("alice", To::user(format!("u{to}")), format!("{number:04}"));
            messages.push(world.send(vendor, outgoing).await.messages[0].1);
        }
    }
    messages
}

/// What was carried to each user, in the vendor's order.
fn carried(vendor: &Vendor) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in vendor.carried() {
        let (Target::Users(to), Body::Text(text)) = (&one.target, &one.body) else { panic!("{one:?}") };
        all.entry(to[0].to_string()).or_default().push(text.text.clone());
    }
    all
}

/// The bar: within the quota's least time and a minute of the vendor's return everything is delivered, in order for
/// each conversation, and no message has spent an attempt on the outage.
async fn ten_minutes(seed: u64, fault: (ErrorKind, Retry)) {
    println!("seed {seed}, {fault:?}");
    let (conversations, before, during) = (300, 4, 10);
    let config = SendingConfig { seed: Some(seed), ..config() };
    let (world, vendor) = World::with(manner(), config).await;
    let mut messages = say(&world, &vendor, conversations, 0..before).await;
    world.clock.sleep(Duration::from_secs(5)).await;
    let reached = vendor.carried().len();
    assert!(reached > 100 && reached < messages.len(), "the outage falls into the middle: {reached}");
    vendor.set_down(Some(fault));
    let down_at = world.clock.now();
    messages.extend(say(&world, &vendor, conversations, before..before + during).await);
    world.clock.sleep(OUTAGE / 2).await;
    let health = *world.sending.health(vendor.app()).unwrap().borrow();
    assert_ne!(health.state, BreakerState::Closed);
    assert!(health.trips > 3 && health.since.is_some_and(|since| since.since(down_at) < Duration::from_secs(31)));
    assert_eq!(health.reason, Some(fault.0));
    world.clock.sleep(OUTAGE - OUTAGE / 2).await;
    for message in &messages {
        assert_eq!(
            world.attempts(*message).await.min(1),
            u32::from(world.state(*message).await.0 == SendState::Accepted)
        );
    }
    vendor.set_down(None);
    let left = messages.len() - vendor.carried().len();
    let back = world.clock.now();
    world.sending.idle().await;
    let (took, least) = (world.clock.now().since(back), Duration::from_secs(left as u64) / 100);
    println!("{left} messages, the quota's least {least:?}, took {took:?}");
    assert!(took <= least + Duration::from_secs(60), "{took:?} for at least {least:?}");
    for message in &messages {
        assert_eq!(world.state(*message).await.0, SendState::Accepted);
        assert_eq!(world.attempts(*message).await, 1, "an attempt was spent on the outage");
    }
    let numbers: Vec<String> = (0..before + during).map(|number| format!("{number:04}")).collect();
    let all = carried(&vendor);
    assert_eq!(all.len(), conversations);
    for (to, texts) in all {
        assert_eq!(texts, numbers, "{to}: in order, each once");
    }
    assert_eq!(vendor.rate_errors(), 0);
    assert!(world.store.setback_counts().await.unwrap().is_empty());
    assert_eq!(world.sending.health(vendor.app()).unwrap().borrow().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_of_refusal_everything_is_delivered_within_a_minute_in_order() {
    for seed in [1, 7, 2026] {
        ten_minutes(seed, REFUSED).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_of_silence_everything_is_delivered_within_a_minute_in_order() {
    for seed in [2, 8] {
        ten_minutes(seed, SILENT).await;
    }
}

/// Subscribers hear of an outage once when it is one, and once when it is over.
#[tokio::test(start_paused = true)]
async fn an_outage_is_told_of_when_it_begins_and_when_it_ends() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    say(&world, &vendor, 1, 0..1).await;
    world.sending.idle().await;
    vendor.set_down(Some(REFUSED));
    say(&world, &vendor, 3, 1..3).await;
    world.clock.sleep(OUTAGE).await;
    vendor.set_down(None);
    world.sending.idle().await;
    world.clock.sleep(Duration::from_secs(1)).await;
    let told: Vec<(String, Topic)> = world
        .journal()
        .await
        .into_iter()
        .filter_map(|event| match event.data {
            EventData::Notice(notice) => Some((notice.kind, notice.topic)),
            _ => None,
        })
        .collect();
    let expected = ["provider_paused", "provider_resumed"].map(|kind| (kind.to_owned(), Topic::ProviderHealth));
    assert_eq!(told, expected);
}

/// With nothing to send, an app that was away is found to be back all the same.
#[tokio::test(start_paused = true)]
async fn an_app_with_an_empty_queue_is_probed_until_it_is_back() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    vendor.set_down(Some(REFUSED));
    let short = Outgoing::text("alice", To::user("bob"), "hi").ttl(Duration::from_secs(5));
    world.send(&vendor, short).await;
    world.clock.sleep(OUTAGE).await;
    assert!(!world.sending.health(vendor.app()).unwrap().borrow().is_reachable());
    vendor.set_down(None);
    world.clock.sleep(Duration::from_secs(31)).await;
    assert!(world.sending.health(vendor.app()).unwrap().borrow().is_reachable());
}

/// One message whose call always looks like an outage: the others get through, and it is given up by its own attempts.
#[tokio::test(start_paused = true)]
async fn a_message_that_looks_like_an_outage_does_not_hold_the_others() {
    for (kind, retry) in [REFUSED, SILENT] {
        let (world, vendor) = World::with(manner(), config()).await;
        vendor.script(move |message| match &message.body {
            Body::Text(text) if text.text == "poison" => super::vendor::Act::Refuse(kind, retry),
            _ => super::vendor::Act::Accept,
        });
        let poison = world.send(&vendor, Outgoing::text("alice", To::user("eve"), "poison")).await.messages[0].1;
        let others = say(&world, &vendor, 40, 0..10).await;
        world.clock.sleep(Duration::from_secs(600)).await;
        for other in others {
            assert_eq!(world.state(other).await.0, SendState::Accepted, "{kind}");
        }
        // The next ones come while it is tried again.
        for number in 0..20 {
            say(&world, &vendor, 5, number..number + 1).await;
            world.clock.sleep(Duration::from_secs(60)).await;
        }
        world.sending.idle().await;
        assert_eq!(world.state(poison).await.0, SendState::Failed, "{kind}");
        assert_eq!(world.attempts(poison).await, 4, "{kind}");
        let letters = world.store.setbacks(&tenant(), &Default::default(), 0, 9).await.unwrap();
        assert_eq!(letters.len(), 1, "{kind}");
    }
}
