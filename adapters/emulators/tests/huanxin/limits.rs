//! Rates: which refusal for which excess.

use serde_json::{Value, json};

use super::support::{World, fixture, text_to};

fn same(actual: &Value, name: &str) {
    let expected = fixture(name);
    for key in ["error", "error_description"] {
        assert_eq!(actual[key], expected[key], "{name}");
    }
}

#[tokio::test]
async fn too_many_calls_are_429_and_too_many_messages_403() {
    let world = World::start().await;
    let users = |n: usize| (0..n).map(|u| format!("u{u}")).collect::<Vec<_>>();
    let mut body = text_to("x", "hello");
    body["to"] = json!(users(600));
    for _ in 0..10 {
        assert_eq!(world.post("/messages/users", body.clone()).await.0, 200);
    }
    let (status, refused) = world.post("/messages/users", text_to("u1", "one more")).await;
    assert_eq!(status, 403);
    same(&refused, "error_403_message_send_reach_limit.json");
    assert_eq!(world.vendor.ledger().counters().messages_total, 6_000);
    // Next minute: messages again, until the calls of one second are used up.
    world.vendor.time().advance(std::time::Duration::from_secs(60));
    for _ in 0..100 {
        assert_eq!(world.post("/messages/users", text_to("u1", "x")).await.0, 200);
    }
    let (status, refused) = world.post("/messages/users", text_to("u1", "x")).await;
    assert_eq!(status, 429);
    same(&refused, "error_429.json");
    world.vendor.time().advance(std::time::Duration::from_secs(1));
    assert_eq!(world.post("/messages/users", text_to("u1", "x")).await.0, 200);
    assert_eq!(world.vendor.ledger().counters().rate_errors, 2);
}

#[tokio::test]
async fn groups_count_each_target_before_the_call_is_added() {
    let world = World::start().await;
    let body = json!({ "from": "ops-bot", "to": ["1", "2", "3"], "type": "txt", "body": { "msg": "x" } });
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(world.post("/messages/chatgroups", body.clone()).await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 403]);
}

#[tokio::test]
async fn history_files_are_ten_a_minute() {
    let world = World::start().await;
    let mut statuses = Vec::new();
    for _ in 0..11 {
        statuses.push(world.get("/chatmessages/2026112101").await.0);
    }
    assert_eq!(statuses[10], 429);
    assert!(statuses[..10].iter().all(|status| *status == 400), "{statuses:?}");
    world.vendor.time().advance(std::time::Duration::from_secs(60));
    assert_eq!(world.get("/chatmessages/2026112101").await.0, 400);
}

#[tokio::test]
async fn the_user_block_shares_one_rate() {
    let world = World::start().await;
    for n in 0..100 {
        let path = if n % 2 == 0 { "/users/lin_qiao" } else { "/users/lin_qiao/status" };
        assert_eq!(world.get(path).await.0, 200);
    }
    assert_eq!(world.get("/users/wei.chen").await.0, 429);
    assert_eq!(world.get("/chatgroups").await.0, 200);
}

#[tokio::test]
async fn broadcasts_are_rationed() {
    let world = World::start().await;
    let body = fixture("rest_broadcast_online_users_request.json");
    let send = || world.post("/messages/broadcast", body.clone());
    assert_eq!((send().await.0, send().await.0), (200, 429));
    for expected in [200, 200, 429] {
        world.vendor.time().advance(std::time::Duration::from_secs(1_800));
        assert_eq!(send().await.0, expected);
    }
}
