//! Offline pull and its end, per device; what is live waits for it.

use serde_json::json;
use switchboard_selfhosted::client::Connection;
use switchboard_selfhosted::frame::{Body, Command};
use switchboard_selfhosted::proto::{self, DeviceClass};

use crate::stage::{Device, Stage, said, user};

async fn words(device: &Device, after: u64, limit: u32) -> (Vec<String>, u64) {
    let page = device.connection.pull(after, limit).await.unwrap();
    (page.entries.iter().filter_map(said).collect(), page.cursor)
}

async fn send_all(from: &Device, range: std::ops::Range<u32>) {
    for n in range {
        from.says(user("bob"), &n.to_string()).await;
    }
}

#[tokio::test]
async fn s3_8_the_next_pull_acknowledges_the_last_page_and_only_an_empty_page_ends_it() {
    let stage = Stage::open().await;
    let alice = stage.phone("alice").await;
    send_all(&alice, 0..25).await;
    let bob = stage.device("bob", "phone", DeviceClass::Phone).await;
    // 1–5: the first page.
    let (first, cursor) = words(&bob, 0, 10).await;
    assert_eq!(first, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    // Asked again without an acknowledgement it is the same.
    assert_eq!(words(&bob, 0, 10).await, (first.clone(), cursor));
    // The device breaks down with the page in its hands: it comes again.
    drop(bob);
    let bob = stage.device("bob", "phone", DeviceClass::Phone).await;
    assert_eq!(bob.answer.cursor, 0);
    assert_eq!(words(&bob, 0, 10).await.0, first);
    // 6–8: the next acknowledges it.
    let (second, after) = words(&bob, cursor, 10).await;
    assert_eq!(second.first().map(String::as_str), Some("10"));
    drop(bob);
    let bob = stage.device("bob", "phone", DeviceClass::Phone).await;
    assert_eq!(bob.answer.cursor, cursor, "durable with the answer to the pull behind it");
    // N−1, N: a short page is not the end, an empty one is.
    let (again, _) = words(&bob, 0, 10).await;
    assert_eq!(again, second);
    let (third, last) = words(&bob, after, 10).await;
    assert_eq!(third.len(), 5);
    let (end, _) = words(&bob, last, 10).await;
    assert!(end.is_empty());
    let other = stage.device("bob", "desktop", DeviceClass::Desktop).await;
    assert_eq!(words(&other, 0, 100).await.0.len(), 25, "another device has a cursor of its own");
}

#[tokio::test]
async fn i03_nothing_live_comes_before_the_end_of_the_backlog() {
    let stage = Stage::open().await;
    let alice = stage.phone("alice").await;
    send_all(&alice, 0..10).await;
    let mut bob = stage.device("bob", "phone", DeviceClass::Phone).await;
    let (mut seen, mut after, mut live) = (Vec::new(), 0, 10);
    loop {
        // Between any two steps something new comes.
        let (page, cursor) = words(&bob, after, 4).await;
        if page.is_empty() {
            break;
        }
        if live < 30 {
            send_all(&alice, live..live + 2).await;
            live += 2;
        }
        (seen, after) = ([seen, page].concat(), cursor);
    }
    send_all(&alice, live..live + 3).await;
    for _ in 0..3 {
        seen.push(bob.hears().await);
    }
    assert_eq!(seen, (0..live + 3).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn concurrent_reception_needs_no_pull_and_loses_nothing() {
    let stage = Stage::open().await;
    let alice = stage.phone("alice").await;
    send_all(&alice, 0..150).await;
    let connection = Connection::open(&stage.websocket()).await.unwrap();
    let login = stage.login("bob", "desktop", DeviceClass::Desktop).await;
    let reception = proto::Reception::Concurrent.into();
    let answer = connection.login(proto::Login { reception, ..login }).await.unwrap();
    let mut bob = Device { connection, answer };
    send_all(&alice, 150..200).await;
    for n in 0..200 {
        assert_eq!(bob.hears().await, n.to_string());
    }
}

#[tokio::test]
async fn i09_what_is_not_acknowledged_stops_the_flow_and_comes_again() {
    let stage = Stage::with(json!({ "max_in_flight": 8 })).await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    send_all(&alice, 0..40).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let Some(switchboard_selfhosted::client::Told::Entry(entry)) = bob.told().await else { panic!() };
        held.push(entry);
    }
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(300), bob.connection.next()).await;
    assert!(quiet.is_err(), "more is out than may be");
    bob.connection.acknowledge(held[7].position).await.unwrap();
    for n in 8..40 {
        assert_eq!(bob.hears().await, n.to_string());
    }
}

#[tokio::test]
async fn i09_bytes_that_nobody_acknowledges_stop_the_flow_too() {
    let stage = Stage::with(json!({ "max_unacked_bytes": 20_000 })).await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    let words = "x".repeat(5_000);
    for n in 0..40 {
        alice.says(user("bob"), &format!("{n} {words}")).await;
    }
    let mut held = Vec::new();
    while let Ok(Some(told)) = tokio::time::timeout(std::time::Duration::from_millis(500), bob.connection.next()).await
    {
        let switchboard_selfhosted::client::Told::Entry(entry) = told else { continue };
        held.push(entry);
    }
    assert!((4..=12).contains(&held.len()), "{} entries of 5 kB are out", held.len());
    bob.connection.acknowledge(held.last().unwrap().position).await.unwrap();
    for n in held.len()..40 {
        assert!(bob.hears().await.starts_with(&format!("{n} ")));
    }
}

/// What one write carried is acknowledged in part: the rest comes again, what was acknowledged does not.
#[tokio::test]
async fn i02_an_acknowledgement_may_end_anywhere_in_what_was_delivered() {
    let stage = Stage::open().await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    // As much at once as is written in one go.
    let sends = (0..50).map(|n| {
        let send = proto::Send { to: user("bob"), content: crate::stage::text(&n.to_string()), ..Default::default() };
        alice.connection.send(send)
    });
    futures::future::join_all(sends).await.into_iter().for_each(|sent| drop(sent.unwrap()));
    let mut got = Vec::new();
    while got.len() < 50 {
        let Some(switchboard_selfhosted::client::Told::Entry(entry)) = bob.told().await else { continue };
        got.push(entry);
    }
    bob.connection.acknowledge(got[29].position).await.unwrap();
    // An answer to what was asked behind it: the acknowledgement has been heard.
    let beat = Body::Heartbeat(proto::Heartbeat::default());
    bob.ask(Command::Heartbeat, beat).await.unwrap();
    // The same device comes back at once, while its last session is still ending.
    let mut again = stage.phone("bob").await;
    assert_eq!(again.answer.cursor, got[29].position);
    drop(bob);
    again = stage.device("bob", "phone", DeviceClass::Phone).await;
    let rest: Vec<_> = again.catch_up().await.iter().filter_map(said).collect();
    assert!(rest.is_empty(), "the second session took them all");
    let stored = stage.log().await.device(&"bob".into(), "phone").await.unwrap().unwrap();
    assert!(stored.low.0 >= got[49].position);
}
