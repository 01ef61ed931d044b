//! Replays, gaps, expiry, removal, and what an idle subscriber costs.

use std::time::Duration;

use switchboard_contract::ErrorKind;
use switchboard_contract::reception::{DeliveryKind, State};
use switchboard_contract::storage::{Backlog, Journal, Reception, StartAt, SubscriberSpec, Subscribers};
use switchboard_contract::{Position, Shard};

use super::super::PullRequest;
use super::*;

#[tokio::test]
async fn a_replay_delivers_what_was_passed_as_historical() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "a", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let mut deliveries = take(&mut stream, 3).await;
    let open = deliveries.pop().unwrap();
    ack_all(deliveries).await;
    house.hub.replay(&house.tenant, &orders, StartAt::Position(Position(1))).await.unwrap();
    let again = take(&mut stream, 2).await;
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), [("a".into(), 2), ("a".into(), 3)]);
    assert_eq!(kinds(&again), [DeliveryKind::Historical, DeliveryKind::Offline]);
    assert_eq!(soon(open.ack()).await.unwrap_err().kind(), ErrorKind::Conflict);
    ack_all(again).await;
    rest().await;
    house.hub.replay(&house.tenant, &orders, StartAt::Now).await.unwrap();
    house.say(&["b"]).await;
    assert_eq!(place(&take(&mut stream, 1).await[0]).0, "b");
}

#[tokio::test]
async fn i02_missing_history_is_said_and_the_rest_delivered() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    house.say(&["a", "a", "a", "a"]).await;
    let mut stream = house.stream(&orders).await;
    let first = take(&mut stream, 1).await;
    ack_all(first).await;
    stream.close();
    assert_eq!(house.hub.held_from(&house.tenant, Shard(0)).await.unwrap(), Some(Position(1)));
    house.store.trim(&house.tenant, Shard(0), Position(3)).await.unwrap();
    let house = house.after_crash().await;
    let mut stream = house.stream(&orders).await;
    let recovery = stream.recovery().clone();
    assert!(!recovery.recovered);
    assert_eq!((recovery.missing[0].first, recovery.missing[0].last), (Position(2), Position(3)));
    assert_eq!(place(&take(&mut stream, 1).await[0]), ("a".into(), 4));
    assert!(house.stream(&orders).await.recovery().recovered, "said once");
}

#[tokio::test]
async fn an_expired_subscriber_is_told_and_holds_nothing() {
    let house = House::new().await;
    let spec = SubscriberSpec { expires_after: Some(Duration::from_secs(60)), ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", spec).await;
    house.say(&["a"]).await;
    house.clock.advance(Duration::from_secs(61));
    assert!(house.hub.get(&house.tenant, &orders).await.unwrap().expired);
    assert_eq!(house.hub.held_from(&house.tenant, Shard(0)).await.unwrap(), None);
    let stream = house.stream(&orders).await;
    assert!(!stream.recovery().recovered && stream.recovery().expired);
    rest().await;
    assert!(!house.hub.get(&house.tenant, &orders).await.unwrap().expired, "it is back");
}

/// Somebody who was away too long, came back, was told, and left again before it could acknowledge anything.
#[tokio::test]
async fn i02_a_subscriber_that_came_back_holds_what_it_has_not_read() {
    let house = House::new().await;
    let spec = SubscriberSpec { expires_after: Some(Duration::from_secs(60)), ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", spec).await;
    house.say(&["a", "a"]).await;
    house.clock.advance(Duration::from_secs(61));
    let stream = house.stream(&orders).await;
    assert!(stream.recovery().expired);
    rest().await;
    stream.close();
    rest().await;
    house.clock.advance(Duration::from_secs(10));
    let house = house.after_crash().await;
    let stored = house.store.subscriber(&house.tenant, &orders).await.unwrap().unwrap();
    assert!(stored.expired, "it is still to be told, for all the store knows");
    assert_eq!(house.hub.held_from(&house.tenant, Shard(0)).await.unwrap(), Some(Position::START));
    assert!(!house.hub.get(&house.tenant, &orders).await.unwrap().expired, "it was here ten seconds ago");
    assert_eq!(house.hub.retain(&house.tenant, NOON + Duration::from_secs(3600)).await.unwrap(), 0);
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(house.hub.held_from(&house.tenant, Shard(0)).await.unwrap(), None);
}

#[tokio::test]
async fn i02_retention_removes_what_is_old_and_nobody_needs() {
    let house = House::new().await;
    let slow = SubscriberSpec { ack_deadline: Duration::from_secs(86_400), ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", slow).await;
    let expires = SubscriberSpec { expires_after: Some(Duration::from_secs(3600)), ..SubscriberSpec::default() };
    house.subscriber("gone", expires).await;
    house.say(&["a", "b", "a", "b"]).await;
    let mut stream = house.stream(&orders).await;
    let mut open = take(&mut stream, 4).await;
    let (first, third) = (open.remove(0), open.remove(1));
    ack_all(vec![first, third]).await;
    rest().await;
    let later = NOON + Duration::from_secs(1);
    assert_eq!(house.hub.retain(&house.tenant, NOON).await.unwrap(), 0, "nothing is that old");
    assert_eq!(house.hub.retain(&house.tenant, later).await.unwrap(), 0, "somebody may come back for all of it");
    house.clock.advance(Duration::from_secs(7200));
    assert_eq!(house.hub.retain(&house.tenant, later).await.unwrap(), 1, "what is not acknowledged stays");
    assert_eq!(house.store.trimmed(&house.tenant, Shard(0)).await.unwrap(), Position(1));
    ack_all(open).await;
    rest().await;
    assert_eq!(house.hub.retain(&house.tenant, later).await.unwrap(), 3);
    assert!(house.stream(&orders).await.recovery().recovered, "it has missed nothing");
}

#[tokio::test]
async fn a_removed_subscriber_ends_its_streams() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    let mut stream = house.stream(&orders).await;
    let waiting = tokio::spawn(async move { stream.next().await.is_none() });
    rest().await;
    assert!(house.hub.remove(&house.tenant, &orders).await.unwrap());
    assert!(soon(waiting).await.unwrap());
    assert_eq!(house.hub.get(&house.tenant, &orders).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!house.hub.remove(&house.tenant, &orders).await.unwrap());
}

#[tokio::test]
async fn subscribers_are_listed_with_their_lag() {
    let house = House::new().await;
    let one = house.subscriber("one", SubscriberSpec::default()).await;
    house.subscriber("two", SubscriberSpec::default()).await;
    house.say(&["a", "b"]).await;
    let mut stream = house.stream(&one).await;
    let _open = take(&mut stream, 1).await;
    let list = house.hub.list(&house.tenant).await.unwrap();
    assert_eq!(list.iter().map(|view| (view.name.as_str(), view.lag)).collect::<Vec<_>>(), [("one", 2), ("two", 2)]);
    assert_eq!((list[0].in_flight, list[0].workers, list[0].state), (2, 1, State::Acknowledging));
    assert_eq!((list[1].in_flight, list[1].workers, list[1].state), (0, 0, State::Connecting));
}

#[tokio::test]
async fn newest_first_shows_the_latest_page_of_each_conversation_before_the_rest() {
    let house = House::new().await;
    let spec = SubscriberSpec { backlog: Backlog::NewestFirst, page_size: 2, ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", spec).await;
    house.say(&["a", "a", "b", "a", "b", "b"]).await;
    let mut stream = house.stream(&orders).await;
    let deliveries = take(&mut stream, 6).await;
    let expected = [("b", 2), ("b", 3), ("a", 2), ("a", 3), ("b", 1), ("a", 1)];
    let places: Vec<(String, u64)> = deliveries.iter().map(place).collect();
    assert_eq!(places, expected.map(|(name, number)| (name.to_owned(), number)));
    ack_all(deliveries).await;
    house.say(&["a"]).await;
    let live = take(&mut stream, 1).await;
    assert_eq!((place(&live[0]), live[0].kind()), (("a".into(), 4), DeliveryKind::Online));
}

#[tokio::test]
async fn concurrent_reception_does_not_wait_for_other_conversations() {
    let house = House::new().await;
    let spec = SubscriberSpec { reception: Reception::Concurrent, max_in_flight: 8, ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", SubscriberSpec { page_size: 4, ..spec }).await;
    house.say(&["a"; 40]).await;
    let options = WorkerOptions { batch: 2 };
    let mut stream = house.hub.stream(&house.tenant, &orders, options).await.unwrap();
    let first = take(&mut stream, 2).await;
    house.say(&["a", "b"]).await;
    let mut seen = Vec::new();
    let mut open = first;
    while !seen.contains(&("b".to_owned(), 1)) {
        seen.extend(open.iter().map(place));
        ack_all(std::mem::take(&mut open)).await;
        open = take(&mut stream, 1).await;
    }
    let of_a: Vec<u64> = seen.iter().filter(|(name, _)| name == "a").map(|(_, number)| *number).collect();
    assert!(of_a.len() < 30, "the live event of b came before the backlog of a was over: {seen:?}");
    assert!(of_a.is_sorted());
}

#[tokio::test]
async fn ten_thousand_waiting_events_come_in_pages_of_the_store() {
    let house = House::new().await;
    let orders = house.subscriber("orders", SubscriberSpec::default()).await;
    let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..100 {
        house.say(&names).await;
    }
    let (mut count, mut last) = (0, std::collections::HashMap::new());
    let mut cursor = None;
    while count < 10_000 {
        let request = PullRequest { cursor, limit: 500, ..PullRequest::default() };
        let page = soon(house.hub.pull(&house.tenant, &orders, request)).await.unwrap();
        assert!(!page.deliveries.is_empty(), "{count} came");
        for delivery in &page.deliveries {
            let (name, number) = place(delivery);
            assert_eq!(last.insert(name, number).unwrap_or(0) + 1, number);
        }
        count += page.deliveries.len();
        cursor = Some(page.cursor);
    }
}

/// Whatever subscribers leave unread and however many tenants there are.
#[tokio::test]
async fn i09_what_is_kept_of_the_present_is_bounded_over_all_tenants() {
    const BUDGET: usize = 256 << 10;
    let config = HubConfig { tail_bytes: BUDGET, ..HubConfig::default() };
    let poll = config.poll;
    let mut house = House::with(config, Arc::default(), ManualClock::new(NOON)).await;
    let tails = Arc::clone(&house.hub.shared);
    let mut streams = Vec::new();
    for number in 0..40 {
        house.tenant = TenantId::from(format!("tenant-{number}"));
        let spec = SubscriberSpec { max_in_flight: 16, page_size: 8, ..SubscriberSpec::default() };
        let stalled = house.subscriber("stalled", spec).await;
        let mut stream = house.stream(&stalled).await;
        house.say(&["a"; 10]).await;
        drop(take(&mut stream, 1).await);
        for _ in 0..20 {
            house.say(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).await;
        }
        if number == 0 {
            for _ in 0..100 {
                house.say(&["a"; 10]).await;
            }
            let alone = tails.tails.bytes();
            assert!(alone <= BUDGET, "{alone} bytes of one tenant");
        }
        house.clock.advance(poll);
        rest().await;
        let (kept, view) = (tails.tails.bytes(), house.hub.get(&house.tenant, &stalled).await.unwrap());
        assert!(kept <= BUDGET, "{kept} bytes of {} tenants", number + 1);
        assert!(number > 8 || kept > BUDGET / 8, "{kept}: the share is used");
        assert!(view.in_flight <= 16 && view.lag >= 200, "{} out, {} behind", view.in_flight, view.lag);
        streams.push(stream);
    }
}

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn i09_an_idle_stream_costs_less_than_twelve_kibibytes() {
    const STREAMS: usize = 2000;
    let house = House::new().await;
    house.say(&["a"; 100]).await;
    let mut waiting = Vec::with_capacity(STREAMS);
    let before = resident();
    for number in 0..STREAMS {
        let name = house.subscriber(&format!("idle-{number}"), SubscriberSpec::default()).await;
        let mut stream = house.stream(&name).await;
        // It has worked before it is idle.
        let page = soon(stream.next_page()).await.unwrap();
        assert_eq!(page.ack_soon().done, 64);
        soon(stream.next_page()).await.unwrap().ack_soon();
        waiting.push(tokio::spawn(async move { stream.next().await.is_some() }));
    }
    rest().await;
    let each = resident().saturating_sub(before) / STREAMS;
    println!("{each} bytes for each idle stream");
    assert!(each <= 12 * 1024, "{each} bytes for each idle stream");
}
