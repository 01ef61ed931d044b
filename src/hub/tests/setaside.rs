//! What fails again and again.

use std::time::Duration;

use switchboard_contract::reception::{DeliveryKind, State};
use switchboard_contract::storage::{PoisonPolicy, SubscriberSpec, Subscribers};
use switchboard_contract::{EventData, Topic};

use super::super::NackRequest;
use super::*;

fn spec(poison: PoisonPolicy) -> SubscriberSpec {
    SubscriberSpec { poison, max_attempts: 2, ..SubscriberSpec::default() }
}

/// Refuses the next delivery of conversation `a` until the policy applies, acknowledging all others.
async fn fail(stream: &mut Subscription, times: usize) {
    let mut failed = 0;
    while failed < times {
        let delivery = take(stream, 1).await.remove(0);
        if place(&delivery).0 == "a" {
            assert_eq!(place(&delivery).1, 1, "nothing overtakes what failed");
            failed += 1;
            delivery.nack(Some(Duration::ZERO)).await.unwrap();
        } else {
            soon(delivery.ack()).await.unwrap();
        }
        rest().await;
    }
}

/// The worker waits, as one that is done does.
async fn nothing_more(stream: &mut Subscription) {
    for _ in 0..20 {
        assert!(futures::poll!(std::pin::pin!(stream.next())).is_pending());
        rest().await;
    }
}

#[tokio::test]
async fn i03_a_parked_conversation_leaves_the_tail_and_comes_back_in_order() {
    let house = House::new().await;
    let orders = house.subscriber("orders", spec(PoisonPolicy::Park)).await;
    house.say(&["a", "b", "a"]).await;
    let mut stream = house.stream(&orders).await;
    fail(&mut stream, 2).await;
    rest().await;
    assert_eq!(stream.state().state, State::Online, "one poisoned event keeps nobody from going online");
    house.say(&["a", "b"]).await;
    let live = take(&mut stream, 1).await;
    assert_eq!((place(&live[0]), live[0].kind()), (("b".into(), 2), DeliveryKind::Online));
    ack_all(live).await;
    let parked = house.hub.parked(&house.tenant, &orders).await.unwrap();
    assert_eq!((parked[0].conversation.clone(), parked[0].from.0, parked[0].attempts), (conversation("a"), 1, 2));
    assert_eq!(parked[0].reason, "failed");
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    rest().await;
    assert!(house.hub.redrive(&house.tenant, &orders, &conversation("a")).await.unwrap());
    let again = take(&mut stream, 3).await;
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), [("a".into(), 1), ("a".into(), 2), ("a".into(), 3)]);
    house.say(&["a"]).await;
    ack_all(again).await;
    let last = take(&mut stream, 1).await;
    assert_eq!(place(&last[0]), ("a".into(), 4));
    ack_all(last).await;
    nothing_more(&mut stream).await;
    assert!(house.hub.parked(&house.tenant, &orders).await.unwrap().is_empty());
    assert!(!house.hub.redrive(&house.tenant, &orders, &conversation("a")).await.unwrap());
}

#[tokio::test]
async fn a_blocked_conversation_is_tried_again_by_itself() {
    let house = House::new().await;
    let orders = house.subscriber("orders", spec(PoisonPolicy::Block)).await;
    house.say(&["a", "b", "a"]).await;
    let mut stream = house.stream(&orders).await;
    fail(&mut stream, 2).await;
    rest().await;
    assert_eq!(house.hub.parked(&house.tenant, &orders).await.unwrap()[0].reason, "blocked");
    house.clock.advance(Duration::from_secs(2));
    let again = take(&mut stream, 2).await;
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), [("a".into(), 1), ("a".into(), 2)]);
    ack_all(again).await;
    nothing_more(&mut stream).await;
    assert!(house.hub.parked(&house.tenant, &orders).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_skipped_event_lets_its_conversation_go_on_and_is_told_of() {
    let house = House::new().await;
    let orders = house.subscriber("orders", spec(PoisonPolicy::Skip)).await;
    let told = SubscriberSpec { topics: vec![Topic::Conversations], ..SubscriberSpec::default() };
    let told = house.subscriber("told", told).await;
    house.say(&["a", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let first = take(&mut stream, 2).await.remove(0);
    first.nack(Some(Duration::ZERO)).await.unwrap();
    let second = take(&mut stream, 2).await.remove(0);
    assert_eq!((place(&second), second.attempt()), (("a".into(), 1), 2));
    second.nack(None).await.unwrap();
    let next = take(&mut stream, 1).await;
    assert_eq!(place(&next[0]), ("a".into(), 2));
    ack_all(next).await;
    let notice = take(&mut house.stream(&told).await, 1).await.remove(0);
    let EventData::Notice(notice) = notice.event().unwrap().data else { panic!("a notice") };
    assert_eq!((notice.kind.as_str(), notice.topic), ("delivery_skipped", Topic::Conversations));
    assert_eq!(notice.detail["subscriber"], "orders");
    assert_eq!(notice.detail["sequence"], 1);
}

#[tokio::test]
async fn a_parked_conversation_keeps_the_word_it_was_refused_with() {
    let house = House::new().await;
    let spec = SubscriberSpec { max_attempts: 1, ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", spec).await;
    house.say(&["a"]).await;
    let mut stream = house.stream(&orders).await;
    let id = *take(&mut stream, 1).await[0].id();
    let refusal = NackRequest { ids: vec![id], after: None, reason: Some("no_such_order".to_owned()) };
    house.hub.nack(&house.tenant, &orders, refusal).await.unwrap();
    assert_eq!(house.hub.parked(&house.tenant, &orders).await.unwrap()[0].reason, "no_such_order");
}

#[tokio::test]
async fn i12_what_ends_its_worker_again_and_again_is_parked() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec { max_attempts: 3, ..SubscriberSpec::default() }).await;
    house.say(&["a", "b"]).await;
    for attempt in 1..=3 {
        let mut stream = house.stream(&orders).await;
        let deliveries = take(&mut stream, 2).await;
        assert_eq!((place(&deliveries[0]), deliveries[0].attempt()), (("a".into(), 1), attempt));
        drop(stream);
    }
    let mut stream = house.stream(&orders).await;
    let rest = take(&mut stream, 1).await;
    assert_eq!(place(&rest[0]).0, "b");
    assert_eq!(house.hub.parked(&house.tenant, &orders).await.unwrap()[0].conversation, conversation("a"));
    stream.close();
    let state = house.store.subscriber(&house.tenant, &orders).await.unwrap().unwrap();
    assert_eq!(state.parked.len(), 1);
}
