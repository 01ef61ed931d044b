//! Deliveries in runs: every form of a batch says the same, and what was absent comes in its place.

use switchboard_contract::reception::{Dispatch, Handle, Key, Lease, Place, Worker};
use switchboard_contract::storage::{StartAt, SubscriberFilter, SubscriberSpec};
use switchboard_contract::{Position, Shard};

use super::super::AckRequest;
use super::super::chunk::{Chunk, Keys};
use super::super::found::Found;
use super::*;

#[tokio::test]
async fn every_form_of_a_batch_says_the_same() {
    let filter = SubscriberFilter { conversations: vec![conversation("a")], ..SubscriberFilter::default() };
    let some = SubscriberSpec { start: StartAt::Now, filter, ..SubscriberSpec::default() };
    let all = SubscriberSpec { start: StartAt::Now, ..SubscriberSpec::default() };
    for (name, spec, expected) in [("some", some, vec![1, 2, 3, 4, 5]), ("all", all, vec![1, 1, 2, 3, 2, 4, 5])] {
        let house = House::new().await;
        let name = house.subscriber(name, spec).await;
        let mut stream = house.stream(&name).await;
        // Each commit is a chunk of its own.
        house.say(&["a", "b", "a"]).await;
        house.say(&["a"]).await;
        house.say(&["b", "a", "a"]).await;
        let page = soon(stream.next_page()).await.unwrap();
        let numbers: Vec<u64> = page.entries().map(|entry| entry.sequence.unwrap().0).collect();
        assert_eq!(numbers, expected);
        assert_eq!(
            (page.len(), page.kinds().collect::<Vec<_>>()),
            (expected.len(), vec![DeliveryKind::Online; expected.len()])
        );
        let deliveries: Vec<Delivery> = page.deliveries().collect();
        assert!(page.entries().eq(deliveries.iter().map(Delivery::entry)));
        let mut json = b"[".to_vec();
        page.write_json(&mut json);
        json.push(b']');
        let json: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
        let ids: Vec<String> = deliveries.iter().map(|delivery| delivery.id().to_string()).collect();
        assert_eq!(json.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
        let alone = |delivery: &Delivery| serde_json::from_slice::<serde_json::Value>(&delivery.to_json()).unwrap();
        assert_eq!(json, deliveries.iter().map(alone).collect::<Vec<_>>());
        let request = AckRequest::Ids(vec![*deliveries[1].id()]);
        assert_eq!(soon(house.hub.ack(&house.tenant, &name, request)).await.unwrap().done, 1);
        let outcome = soon(page.ack()).await.unwrap();
        assert_eq!((outcome.done, outcome.stale), (expected.len() - 1, 1));
    }
}

#[tokio::test]
async fn an_acknowledgement_from_elsewhere_wakes_who_waits_for_room() {
    let house = House::new().await;
    let spec = SubscriberSpec { max_in_flight: 1, ..SubscriberSpec::default() };
    let orders = house.subscriber("orders", spec).await;
    house.say(&["a", "b"]).await;
    let mut stream = house.stream(&orders).await;
    let id = *take(&mut stream, 1).await[0].id();
    let waiting = tokio::spawn(async move { take(&mut stream, 1).await });
    rest().await;
    assert!(!waiting.is_finished());
    soon(house.hub.ack(&house.tenant, &orders, AckRequest::Ids(vec![id]))).await.unwrap();
    assert_eq!(place(&soon(waiting).await.unwrap()[0]), ("b".into(), 1));
}

#[tokio::test]
async fn what_was_absent_is_put_in_its_place() {
    let (store, tenant) = (MemoryStore::new(), TenantId::default());
    say(&store, &tenant, &["a"; 6]).await;
    let entries = store.read(&tenant, Shard(0), Position::START, 10).await.unwrap();
    let chunk = Arc::new(Chunk::new(&Keys::default(), Position(0), Position(6), entries));
    let dispatch = |position: u64| Dispatch {
        worker: Worker(1),
        handle: Handle { place: Place { shard: Shard(0), position: Position(position) }, lease: Lease(1) },
        sequence: Sequence(position),
        key: Key(1),
        attempt: 1,
        kind: DeliveryKind::Offline,
    };
    let event = |position: u64| Some((Arc::clone(&chunk), position as u32 - 1));
    let mut found = Found { len: 4, ..Found::default() };
    // The second is gone.
    found.fill(vec![
        (0, dispatch(1), event(1)),
        (0, dispatch(2), None),
        (0, dispatch(3), event(3)),
        (0, dispatch(4), event(4)),
    ]);
    let runs = |found: &Found| found.runs.iter().map(|run| (run.first, run.count)).collect::<Vec<_>>();
    assert_eq!((runs(&found), found.len), (vec![(0, 1), (2, 2)], 3));
    // One that comes before the second run, and one behind everything.
    found.len += 2;
    found.fill(vec![(1, dispatch(2), event(2)), (2, dispatch(6), event(6))]);
    assert_eq!((runs(&found), found.len), (vec![(0, 2), (2, 2), (5, 1)], 5));
}
