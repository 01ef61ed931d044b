use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use switchboard_contract::*;

use super::vendor::{Act, Manner, Vendor};
use super::world::{START, World, config, tenant};
use crate::sending::{AfterHold, EvidenceSink, Outgoing, SendingConfig, To};

const SENDS: usize = 1000;

/// Cuts (or loses) the first answer of every message.
fn first_answer(vendor: &Vendor, act: impl Fn(usize) -> Act + Send + 'static) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    vendor.script(move |message| {
        let Body::Text(text) = &message.body else { return Act::Accept };
        let known = seen.len();
        let tries = seen.entry(text.text.clone()).or_default();
        *tries += 1;
        if *tries == 1 { act(known) } else { Act::Accept }
    });
}

async fn thousand(world: &World, vendor: &Vendor) -> Vec<MessageId> {
    let mut messages = Vec::new();
    for n in 0..SENDS {
        let to = if n % 10 == 0 { To::group(format!("g{}", n / 40)) } else { To::user(format!("u{}", n / 4)) };
        let receipt = world.send(vendor, Outgoing::text("alice", to, format!("m{n}"))).await;
        messages.push(receipt.messages[0].1);
    }
    messages
}

async fn all_arrived_once(world: &World, vendor: &Vendor, messages: &[MessageId]) {
    let copies = vendor.copies();
    let ours = copies.iter().filter(|((_, text), _)| text.starts_with('m'));
    let counts: Vec<usize> = ours.map(|(_, count)| *count).collect();
    assert_eq!(counts.len(), messages.len(), "every message is there");
    assert!(counts.iter().all(|count| *count == 1), "none is there twice");
    let journalled = world.journalled().await;
    for message in messages {
        assert_eq!(world.state(*message).await.0, SendState::Accepted);
        assert_eq!(journalled.get(message), Some(&1), "{message} is journalled once");
    }
}

#[tokio::test(start_paused = true)]
async fn i07_cut_answers_are_settled_by_echoes() {
    let manner = Manner { echo_after: Some(Duration::from_millis(700)), ..Manner::default() };
    let (world, vendor) = World::with(manner, config()).await;
    first_answer(&vendor, |_| Act::Cut);
    let messages = thousand(&world, &vendor).await;
    world.sending.idle().await;
    all_arrived_once(&world, &vendor, &messages).await;
    let took = world.clock.now().since(START);
    assert!(took < Duration::from_secs(120), "an echo settles a doubt at once, not a timer: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn i07_cut_and_lost_answers_are_settled_by_queries() {
    let manner = Manner { query: Some(Duration::from_secs(20)), ..Manner::default() };
    let (world, vendor) = World::with(manner, config()).await;
    first_answer(&vendor, |n| if n % 3 == 0 { Act::Lose } else { Act::Cut });
    let messages = thousand(&world, &vendor).await;
    world.sending.idle().await;
    all_arrived_once(&world, &vendor, &messages).await;
}

#[tokio::test(start_paused = true)]
async fn i07_cut_and_lost_answers_are_settled_by_final_files() {
    let manner = Manner { files: true, ..Manner::default() };
    let config = SendingConfig { in_doubt_limit: Duration::from_secs(60 * 3600), ..config() };
    let (world, vendor) = World::with(manner, config).await;
    for hours in 0..40 {
        vendor.chatter(START + Duration::from_secs(1800 * hours));
    }
    first_answer(&vendor, |n| if n % 3 == 0 { Act::Lose } else { Act::Cut });
    let messages = thousand(&world, &vendor).await;
    world.sending.idle().await;
    all_arrived_once(&world, &vendor, &messages).await;
}

#[tokio::test(start_paused = true)]
async fn i07_without_evidence_nothing_is_sent_again() {
    let (world, vendor) = World::with(Manner::default(), config()).await;
    first_answer(&vendor, |n| if n % 3 == 0 { Act::Lose } else { Act::Cut });
    let messages = thousand(&world, &vendor).await;
    world.sending.idle().await;
    assert!(vendor.copies().values().all(|count| *count == 1));
    assert_eq!(vendor.calls().len(), SENDS, "one call each");
    for message in &messages {
        let unknown = (SendState::Failed, Some("outcome_unknown".to_owned()));
        assert_eq!(world.state(*message).await, unknown);
    }
    assert!(world.journalled().await.is_empty(), "a send that failed takes no sequence");
}

#[tokio::test(start_paused = true)]
async fn i07_a_query_that_proves_nothing_never_causes_a_resend() {
    let manner = Manner { query: Some(Duration::from_secs(20)), query_is_proof: false, ..Manner::default() };
    let (world, vendor) = World::with(manner, config()).await;
    first_answer(&vendor, |n| if n == 0 { Act::Lose } else { Act::Cut });
    let lost = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "m0")).await.messages[0].1;
    let cut = world.send(&vendor, Outgoing::text("alice", To::user("carol"), "m1")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!(world.state(lost).await, (SendState::Failed, Some("outcome_unknown".to_owned())));
    assert_eq!(world.state(cut).await.0, SendState::Accepted, "presence is proof all the same");
    assert_eq!(vendor.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn i12_a_call_that_never_ends_is_cut_off_and_looked_for() {
    let manner = Manner { query: Some(Duration::from_secs(20)), ..Manner::default() };
    let (world, vendor) = World::with(manner, config()).await;
    first_answer(&vendor, |_| Act::Hang);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "m0")).await.messages[0].1;
    world.sending.idle().await;
    all_arrived_once(&world, &vendor, &[message]).await;
}

#[tokio::test(start_paused = true)]
async fn i07_absence_proved_again_and_again_fails_in_the_end() {
    let manner = Manner { query: Some(Duration::from_secs(20)), ..Manner::default() };
    let (world, vendor) = World::with(manner, config()).await;
    vendor.script(|_| Act::Lose);
    let message = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "m0")).await.messages[0].1;
    world.sending.idle().await;
    assert_eq!(world.state(message).await, (SendState::Failed, Some("proved_absent".to_owned())));
    assert_eq!((vendor.calls().len(), world.attempts(message).await), (4, 4), "the first and three retries");
}

/// A doubt holds its conversation alone, and for as long as the policy says.
#[tokio::test(start_paused = true)]
async fn i03_a_doubt_holds_its_conversation_and_then_follows_the_policy() {
    for (policy, waits, doubtful) in [
        (AfterHold::Release, 300, SendState::Accepted),
        (AfterHold::Fail, 300, SendState::Failed),
        (AfterHold::Wait, 3600, SendState::Accepted),
    ] {
        let manner = Manner { files: true, ..Manner::default() };
        let (world, vendor) = World::with(manner, SendingConfig { after_hold: policy, ..config() }).await;
        vendor.chatter(START);
        vendor.script(|message| if message.body == Body::text("m0") { Act::Cut } else { Act::Accept });
        let first = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "m0")).await.messages[0].1;
        let second = world.send(&vendor, Outgoing::text("alice", To::user("bob"), "m1")).await.messages[0].1;
        let other = world.send(&vendor, Outgoing::text("alice", To::user("carol"), "m2")).await.messages[0].1;
        world.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(world.state(other).await.0, SendState::Accepted, "{policy:?}");
        world.clock.sleep(Duration::from_secs(waits - 2)).await;
        assert_eq!(world.state(first).await.0, SendState::InDoubt, "{policy:?}");
        assert_eq!(world.state(second).await.0, SendState::Queued, "{policy:?}");
        world.sending.idle().await;
        assert_eq!(world.state(second).await.0, SendState::Accepted, "{policy:?}");
        assert_eq!(world.state(first).await.0, doubtful, "{policy:?}");
    }
}

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<(Origin, String)>>);

#[async_trait]
impl EvidenceSink for Kept {
    async fn submit(&self, _: &TenantId, _: &ProviderId, origin: Origin, items: Vec<Inbound>) -> Result<()> {
        self.0.lock().extend(items.into_iter().map(|item| (origin, item.key.id)));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_history_shows_is_handed_on() {
    let manner = Manner { query: Some(Duration::from_secs(20)), ..Manner::default() };
    let (world, vendor) = World::with(manner, config()).await;
    let kept = Arc::new(Kept::default());
    world.sending.set_evidence_sink(kept.clone());
    first_answer(&vendor, |_| Act::Cut);
    world.send(&vendor, Outgoing::text("alice", To::user("bob"), "m0")).await;
    world.sending.idle().await;
    assert_eq!(*kept.0.lock(), [(Origin::Query, vendor.carried()[0].id.as_str().to_owned())]);
    let origins: Vec<Origin> = world
        .journal()
        .await
        .into_iter()
        .filter(|event| matches!(event.data, EventData::Message(_)))
        .map(|event| event.origin)
        .collect();
    assert_eq!(origins, [Origin::Query]);
    assert_eq!(tenant(), TenantId::default());
}
