//! Streams: what comes, when, and what never comes again.

use std::time::Duration;

use futures::StreamExt;
use switchboard_contract::ErrorKind;
use switchboard_contract::reception::{DeliveryKind, State};
use switchboard_contract::storage::{StartAt, SubscriberFilter, SubscriberSpec};

use super::*;

#[tokio::test]
async fn i02_what_is_acknowledged_never_comes_again_and_the_rest_does() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "a", "b", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let mut deliveries = take(&mut stream, 4).await;
    assert_eq!(
        deliveries.iter().map(place).collect::<Vec<_>>(),
        [("a".into(), 1), ("a".into(), 2), ("b".into(), 1), ("a".into(), 3)]
    );
    // Out of order: only the second and the third.
    soon(deliveries.remove(2).ack()).await.unwrap();
    soon(deliveries.remove(1).ack()).await.unwrap();
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    let again = take(&mut stream, 2).await;
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), [("a".into(), 1), ("a".into(), 3)]);
    ack_all(again).await;
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    house.say(&["c"]).await;
    assert_eq!(place(&take(&mut stream, 1).await[0]), ("c".into(), 1));
}

#[tokio::test]
async fn i03_live_events_come_after_the_backlog_is_acknowledged() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "b"]).await;
    let mut stream = house.stream(&orders).await;
    let backlog = take(&mut stream, 2).await;
    assert_eq!(kinds(&backlog), [DeliveryKind::Offline; 2]);
    assert_eq!(stream.state().state, State::Acknowledging);
    // It arrives before the acknowledgement: it raises the tail.
    house.say(&["a"]).await;
    ack_all(backlog).await;
    let raised = take(&mut stream, 1).await;
    assert_eq!(kinds(&raised), [DeliveryKind::Offline]);
    ack_all(raised).await;
    assert_eq!(stream.state().state, State::Online);
    house.say(&["a", "b"]).await;
    let live = take(&mut stream, 2).await;
    assert_eq!(kinds(&live), [DeliveryKind::Online; 2]);
}

#[tokio::test]
async fn every_state_can_be_watched() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a"]).await;
    let mut stream = house.stream(&orders).await;
    let mut states = Box::pin(stream.states());
    assert_eq!(soon(states.next()).await.unwrap().state, State::Offline);
    let deliveries = take(&mut stream, 1).await;
    assert_eq!(soon(states.next()).await.unwrap().state, State::Acknowledging);
    ack_all(deliveries).await;
    assert_eq!(soon(states.next()).await.unwrap().state, State::Online);
    stream.close();
    assert_eq!(soon(states.next()).await.unwrap().state, State::Connecting);
}

#[tokio::test]
async fn a_late_acknowledgement_of_an_older_attempt_does_nothing() {
    let house = House::new().await;
    let spec = SubscriberSpec { ack_deadline: Duration::from_secs(5), ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", spec).await;
    house.say(&["a", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let first = take(&mut stream, 2).await;
    assert_eq!(first[0].attempt(), 1);
    rest().await;
    house.clock.advance(Duration::from_secs(5));
    let again = take(&mut stream, 2).await;
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), [("a".into(), 1), ("a".into(), 2)]);
    assert_eq!(again[0].attempt(), 2);
    assert_eq!(again[0].entry().json, first[0].entry().json);
    for late in first {
        assert_eq!(soon(late.ack()).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    ack_all(again).await;
    assert_eq!(stream.state().in_flight, 0);
}

#[tokio::test]
async fn one_acknowledgement_covers_a_conversation_up_to_it() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "b", "a", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let deliveries = take(&mut stream, 4).await;
    soon(deliveries[2].clone().ack_through()).await.unwrap();
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    let again = take(&mut stream, 2).await;
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), [("b".into(), 1), ("a".into(), 3)]);
}

#[tokio::test]
async fn filters_and_topics_leave_out_and_hold_nothing_up() {
    let house = House::new().await;
    let filter = SubscriberFilter { conversations: vec![conversation("b")], providers: vec!["main".into()] };
    let picky = house.subscriber("picky", SubscriberSpec { filter, ..SubscriberSpec::default() }).await;
    house.hub.register("main".into(), App::new("huanxin", "org#app"));
    house.say(&["a", "b", "c", "b"]).await;
    let mut stream = house.stream(&picky).await;
    let deliveries = take(&mut stream, 2).await;
    assert_eq!(deliveries.iter().map(place).collect::<Vec<_>>(), [("b".into(), 1), ("b".into(), 2)]);
    ack_all(deliveries).await;
    assert_eq!(stream.state().state, State::Online);
    let spec = SubscriberSpec { start: StartAt::Now, ..SubscriberSpec::default() };
    house.subscriber("picky", spec).await;
    house.say(&["a"]).await;
    assert_eq!(place(&take(&mut stream, 1).await[0]), ("a".into(), 2));
}

#[tokio::test]
async fn i11_tenants_do_not_see_each_other() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    let other = TenantId::from("other");
    house.hub.put(&other, &orders, SubscriberSpec::default()).await.unwrap();
    house.say(&["a"]).await;
    say(house.store.as_ref(), &other, &["z"]).await;
    let mut mine = house.stream(&orders).await;
    let mut theirs = house.hub.stream(&other, &orders, WorkerOptions::default()).await.unwrap();
    let (one, two) = (take(&mut mine, 1).await.remove(0), take(&mut theirs, 1).await.remove(0));
    assert_eq!((place(&one).0, place(&two).0), ("a".into(), "z".into()));
    let request = super::super::AckRequest::Ids(vec![*two.id()]);
    let outcome = house.hub.ack(&house.tenant, &orders, request).await.unwrap();
    assert_eq!((outcome.done, outcome.stale), (0, 1), "the name of another tenant's delivery means nothing");
}

#[tokio::test]
async fn giving_up_a_wait_loses_nothing() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    let mut stream = house.stream(&orders).await;
    for round in 1..50 {
        assert!(futures::poll!(std::pin::pin!(stream.next())).is_pending());
        house.say(&["a"]).await;
        let mut next = None;
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
            // Each of these waits is given up.
            if let std::task::Poll::Ready(ready) = futures::poll!(std::pin::pin!(stream.next())) {
                next = ready;
                break;
            }
        }
        let next = match next {
            Some(next) => next,
            None => take(&mut stream, 1).await.remove(0),
        };
        assert_eq!(place(&next), ("a".into(), round));
        soon(next.ack()).await.unwrap();
    }
}

#[tokio::test]
async fn i12_an_acknowledgement_the_store_never_confirms_ends_in_a_timeout() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a"]).await;
    let mut stream = house.stream(&orders).await;
    let delivery = take(&mut stream, 1).await.remove(0);
    house.store.close().await;
    let ack = tokio::spawn(delivery.ack());
    rest().await;
    for _ in 0..40 {
        house.clock.advance(Duration::from_secs(1));
        rest().await;
    }
    assert_eq!(soon(ack).await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(stream.state().state, State::Degraded);
}

#[tokio::test]
async fn a_graceful_stop_stores_what_was_acknowledged_and_ends_the_streams() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let mut deliveries = take(&mut stream, 2).await;
    assert!(deliveries.remove(0).ack_soon());
    soon(house.hub.clone().shutdown()).await.unwrap();
    assert!(soon(stream.next()).await.is_none());
    drop(stream);
    let closed = house.hub.stream(&house.tenant, &orders, WorkerOptions::default()).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Closed);
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    assert_eq!(place(&take(&mut stream, 1).await[0]), ("a".into(), 2));
}
