//! Pulls: pages, their cursors, and waiting.

use std::time::Duration;

use switchboard_contract::ErrorKind;
use switchboard_contract::storage::SubscriberSpec;

use super::super::{AckRequest, NackRequest, PullPage, PullRequest, delivery_json};
use super::*;

async fn pull(house: &House, name: &SubscriberName, cursor: Option<&str>, worker: &str) -> PullPage {
    let request = PullRequest {
        cursor: cursor.map(str::to_owned),
        limit: 2,
        wait: Duration::ZERO,
        worker: Some(worker.to_owned()),
    };
    soon(house.hub.pull(&house.tenant, name, request)).await.unwrap()
}

fn places(page: &PullPage) -> Vec<(String, u64)> {
    page.deliveries.iter().map(place).collect()
}

#[tokio::test]
async fn i02_a_repeated_pull_gives_the_open_page_and_a_cursor_acknowledges_it() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "a", "a", "b", "c"]).await;
    let first = pull(&house, &orders, None, "one").await;
    assert!(first.recovered.recovered);
    assert_eq!(places(&first), [("a".into(), 1), ("a".into(), 2)]);
    let again = pull(&house, &orders, None, "one").await;
    assert_eq!(places(&again), places(&first));
    assert_eq!(again.cursor, first.cursor);
    let ids = |page: &PullPage| page.deliveries.iter().map(|delivery| *delivery.id()).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&first), "the same deliveries, not new ones");
    let second = pull(&house, &orders, Some(&first.cursor), "one").await;
    assert_eq!(places(&second), [("a".into(), 3), ("b".into(), 1)]);
    // The answer was lost: the same cursor again gives the page that is open now.
    let lost = pull(&house, &orders, Some(&first.cursor), "one").await;
    assert_eq!(places(&lost), places(&second));
    let house = house.after_crash().await;
    let after = pull(&house, &orders, Some(&second.cursor), "one").await;
    assert_eq!(places(&after), places(&second), "page one is acknowledged, page two is not");
}

#[tokio::test]
async fn a_cursor_acknowledges_only_what_its_own_worker_has() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "b", "c", "d"]).await;
    let one = pull(&house, &orders, None, "one").await;
    let two = pull(&house, &orders, None, "two").await;
    assert_eq!(places(&one).len() + places(&two).len(), 4);
    let stolen = pull(&house, &orders, Some(&two.cursor), "one").await;
    assert_eq!(places(&stolen), places(&one));
    assert_eq!(places(&pull(&house, &orders, None, "two").await), places(&two));
    let request = AckRequest::Cursor { cursor: two.cursor.clone(), worker: Some("one".to_owned()) };
    let refused = house.hub.ack(&house.tenant, &orders, request).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let request = AckRequest::Cursor { cursor: two.cursor, worker: Some("two".to_owned()) };
    assert_eq!(house.hub.ack(&house.tenant, &orders, request).await.unwrap().done, 2);
}

#[tokio::test]
async fn a_pull_waits_for_the_first_event_and_no_longer_than_asked() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    let request = || PullRequest { wait: Duration::from_secs(10), ..PullRequest::default() };
    let hub = house.hub.clone();
    let (tenant, name) = (house.tenant.clone(), orders.clone());
    let waiting = tokio::spawn(async move { hub.pull(&tenant, &name, request()).await });
    rest().await;
    house.say(&["a"]).await;
    let page = soon(waiting).await.unwrap().unwrap();
    assert_eq!(places(&page), [("a".into(), 1)]);
    let hub = house.hub.clone();
    let (tenant, name, cursor) = (house.tenant.clone(), orders.clone(), page.cursor.clone());
    let waiting =
        tokio::spawn(async move { hub.pull(&tenant, &name, PullRequest { cursor: Some(cursor), ..request() }).await });
    rest().await;
    house.clock.advance(Duration::from_secs(9));
    rest().await;
    assert!(!waiting.is_finished());
    house.clock.advance(Duration::from_secs(1));
    assert!(soon(waiting).await.unwrap().unwrap().deliveries.is_empty());
}

#[tokio::test]
async fn deliveries_are_acknowledged_and_refused_by_name() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "b"]).await;
    let page = pull(&house, &orders, None, "one").await;
    let id: super::super::DeliveryId = page.deliveries[0].id().to_string().parse().unwrap();
    let outcome = house.hub.ack(&house.tenant, &orders, AckRequest::Ids(vec![id])).await.unwrap();
    assert_eq!((outcome.done, outcome.stale), (1, 0));
    let outcome = house.hub.ack(&house.tenant, &orders, AckRequest::Ids(vec![id])).await.unwrap();
    assert_eq!((outcome.done, outcome.stale), (0, 1), "once is enough");
    let ids = vec![*page.deliveries[1].id()];
    let refusal = NackRequest { ids: ids.clone(), after: Some(Duration::ZERO), reason: None };
    assert_eq!(house.hub.nack(&house.tenant, &orders, refusal).await.unwrap().done, 1);
    let again = pull(&house, &orders, None, "one").await;
    assert_eq!(places(&again), [("b".into(), 1)]);
    assert_eq!(again.deliveries[0].attempt(), 2);
    let wrong = NackRequest { ids, after: None, reason: Some("No good!".to_owned()) };
    assert_eq!(house.hub.nack(&house.tenant, &orders, wrong).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_wrapper_holds_the_event_byte_for_byte() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a"]).await;
    let page = pull(&house, &orders, None, "one").await;
    let json = delivery_json(&page.deliveries[0]);
    let text = std::str::from_utf8(&json).unwrap();
    let event = std::str::from_utf8(&page.deliveries[0].entry().json).unwrap();
    let id = page.deliveries[0].id();
    let head = format!(r#"{{"id":"{id}","kind":"offline","late":false,"attempt":1,"event":"#);
    assert_eq!(text, format!("{head}{event}}}"));
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(value["event"]["type"], "switchboard.message");
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    let bad = |request: PullRequest| house.hub.pull(&house.tenant, &orders, request);
    let limit = bad(PullRequest { limit: 0, ..PullRequest::default() }).await.unwrap_err();
    assert_eq!(limit.kind(), ErrorKind::InvalidInput);
    let cursor = bad(PullRequest { cursor: Some("x".to_owned()), ..PullRequest::default() }).await.unwrap_err();
    assert_eq!(cursor.kind(), ErrorKind::InvalidInput);
    let nobody = SubscriberName::from("nobody");
    let unknown = house.hub.pull(&house.tenant, &nobody, PullRequest::default()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    for spec in [
        SubscriberSpec { topics: Vec::new(), ..SubscriberSpec::default() },
        SubscriberSpec { max_in_flight: 0, ..SubscriberSpec::default() },
        SubscriberSpec { page_size: 0, ..SubscriberSpec::default() },
        SubscriberSpec { max_attempts: 0, ..SubscriberSpec::default() },
        SubscriberSpec { ack_deadline: Duration::ZERO, ..SubscriberSpec::default() },
    ] {
        let refused = house.hub.put(&house.tenant, &orders, spec).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}
