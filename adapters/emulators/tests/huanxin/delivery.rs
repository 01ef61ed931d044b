//! How callbacks are delivered: retry, timeout, bans, the paid store, and injected faults.

use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::{Value, json};
use switchboard_emulators::common::{CallbackFaults, DropReason, FaultAction, FaultStep, Faults};
use switchboard_emulators::huanxin::HuanxinSettings;

use super::support::{
    Receiver, Reply, SECRET, World, builder, same_shape, same_values, sample, text_to, wired, wired_with,
};

/// Sends one message to a user who is online, so that it brings exactly one event.
async fn event(world: &World) -> String {
    let (status, reply) = world.post("/messages/users", text_to("lin_qiao", "x")).await;
    assert_eq!(status, 200, "{reply}");
    reply["data"]["lin_qiao"].as_str().unwrap().to_owned()
}

async fn online() -> (World, Receiver) {
    online_with(HuanxinSettings::default()).await
}

async fn online_with(mut settings: HuanxinSettings) -> (World, Receiver) {
    settings.quotas.enabled = false;
    let (world, receiver) = wired_with(builder().settings(settings)).await;
    world.vendor.user("lin_qiao").login("android").unwrap();
    world.vendor.wait_idle().await;
    receiver.drain();
    (world, receiver)
}

/// Waits until so many tasks wait for the clock to move.
async fn asleep(world: &World, count: usize) {
    while world.vendor.time().sleepers() < count {
        tokio::task::yield_now().await;
    }
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["msg_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn anything_but_200_is_tried_once_more_and_then_dropped() {
    let (world, receiver) = online().await;
    receiver.reply([Reply::Status(500), Reply::Status(200)]);
    let retried = event(&world).await;
    world.vendor.wait_idle().await;
    let seen = receiver.drain();
    assert_eq!(ids(&seen), [retried.clone(), retried]);
    assert_eq!(seen[0], seen[1], "the retry carries the same callId, time and signature");
    for status in [201, 204, 302, 404] {
        receiver.reply([Reply::Status(status), Reply::Status(status)]);
        event(&world).await;
        world.vendor.wait_idle().await;
        assert_eq!(receiver.drain().len(), 2, "{status}");
        let record = world.vendor.ledger().callbacks().pop().unwrap();
        assert_eq!((record.delivered, record.dropped), (false, Some(DropReason::Attempts)));
        assert_eq!(record.attempts.len(), 2);
        assert_eq!(record.attempts[0].status, Some(status));
    }
    assert_eq!(world.vendor.ledger().counters().callback_failures, 9);
}

#[tokio::test]
async fn a_reply_over_a_thousand_characters_is_a_failure() {
    let (world, receiver) = online().await;
    receiver.reply([Reply::Text("字".repeat(1_000))]);
    event(&world).await;
    world.vendor.wait_idle().await;
    assert_eq!(world.vendor.ledger().counters().callback_failures, 0);
    receiver.reply([Reply::Text("x".repeat(1_001))]);
    event(&world).await;
    world.vendor.wait_idle().await;
    assert_eq!(world.vendor.ledger().counters().callback_failures, 1);
}

#[tokio::test]
async fn ten_seconds_without_an_answer_are_a_failure() {
    let (world, receiver) = online().await;
    receiver.reply([Reply::Hang]);
    event(&world).await;
    receiver.wait_for(1).await;
    world.vendor.time().advance(Duration::from_millis(9_999));
    assert_eq!(world.vendor.time().sleepers(), 1, "still waiting for the answer");
    assert_eq!(world.vendor.ledger().counters().callback_failures, 0);
    world.vendor.time().advance(Duration::from_millis(1));
    world.vendor.wait_idle().await;
    assert_eq!(receiver.drain().len(), 2);
    let record = world.vendor.ledger().callbacks().pop().unwrap();
    assert_eq!(record.attempts[0].error.as_deref(), Some("timeout"));
    assert!(record.delivered);
}

#[tokio::test]
async fn ninety_failures_ban_the_app_for_five_minutes_then_ten() {
    let (world, receiver) = online().await;
    receiver.always(Reply::Status(503));
    for minutes in [5, 10] {
        for _ in 0..45 {
            event(&world).await;
            world.vendor.wait_idle().await;
        }
        let now = world.vendor.time().now_ms();
        assert_eq!(world.vendor.banned_until_ms(), Some(now + minutes * 60_000));
        receiver.drain();
        event(&world).await;
        world.vendor.wait_idle().await;
        assert_eq!(receiver.drain().len(), 0, "nothing is sent during a ban");
        let record = world.vendor.ledger().callbacks().pop().unwrap();
        assert_eq!(record.dropped, Some(DropReason::Banned));
        world.vendor.time().advance(Duration::from_secs(60 * u64::try_from(minutes).unwrap()));
        assert_eq!(world.vendor.banned_until_ms(), None);
    }
    receiver.always(Reply::Status(200));
    event(&world).await;
    world.vendor.wait_idle().await;
    assert_eq!(receiver.drain().len(), 1, "what was dropped never comes again by itself");
    assert_eq!(world.vendor.ledger().counters().bans, 2);
}

#[tokio::test]
pub(crate) async fn the_paid_store_replays_what_was_dropped() {
    let (world, receiver) = online().await;
    receiver.reply([Reply::Status(500), Reply::Status(500)]);
    let lost = event(&world).await;
    world.vendor.wait_idle().await;
    let first = receiver.drain().remove(0);
    let (_, info) = world.get("/callbacks/storage/info").await;
    let name = "rest_callback_storage_info_response.json";
    let mut expected = sample(name, &world.ids());
    let slots = expected.as_object_mut().unwrap().remove("data").unwrap();
    same_values(name, &expected, &info);
    same_shape(&slots, &info["data"], "info.data");
    // 18:40 UTC is 02:40 in Beijing.
    assert_eq!(info["data"], json!([{ "date": "202611210240", "size": 1, "retry": 0 }]));
    let elsewhere = Receiver::start().await;
    let own = [("202611200940", "202611210240"), ("https://bridge.example.test/hx/replay", elsewhere.url.as_str())];
    let mut request = sample("rest_callback_storage_retry_request.json", &own);
    for path in ["/callbacks/storage/retry", "/callback/storage/retry"] {
        let (_, reply) = world.post(path, request.clone()).await;
        let name = "rest_callback_storage_retry_response.json";
        same_values(name, &sample(name, &world.ids()), &reply);
        assert_eq!(reply["data"], "success");
        world.vendor.wait_idle().await;
        let replayed = elsewhere.drain();
        assert_eq!(ids(&replayed), std::slice::from_ref(&lost));
        assert_eq!(replayed[0], first);
    }
    let (_, info) = world.get("/callback/storage/info").await;
    assert_eq!(info["data"][0]["retry"], 2);
    request["date"] = json!("202001010000");
    assert_eq!(world.post("/callbacks/storage/retry", request).await.1["data"], "failure");
    world.vendor.change_settings(|settings| settings.callbacks.storage = false);
    assert_eq!(world.get("/callbacks/storage/info").await.0, 403);
}

#[tokio::test]
async fn scripted_faults_hit_the_named_event() {
    let (world, receiver) = online().await;
    let script = vec![
        FaultStep::callback(1, "chat", FaultAction::Drop),
        FaultStep::callback(2, "chat", FaultAction::Duplicate),
        FaultStep::callback(3, "chat", FaultAction::CorruptSignature),
        FaultStep::callback(4, "chat", FaultAction::DropFirstAttempt),
        FaultStep::callback(5, "chat", FaultAction::Reorder),
    ];
    world.vendor.set_faults(Faults { script, ..Faults::default() });
    let mut sent = Vec::new();
    let mut seen = Vec::new();
    for _ in 0..4 {
        sent.push(event(&world).await);
        world.vendor.wait_idle().await;
        seen.push(receiver.drain());
    }
    assert_eq!(seen[0].len(), 0);
    assert_eq!(ids(&seen[1]), [sent[1].clone(), sent[1].clone()]);
    assert_eq!(seen[2].len(), 1);
    let corrupt = seen[2][0]["security"].as_str().unwrap();
    assert!(corrupt.len() == 32 && corrupt.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(ids(&seen[3]), [sent[3].clone()]);
    let record = &world.vendor.ledger().callbacks()[..];
    assert_eq!(record.last().unwrap().attempts.len(), 2);
    let late = event(&world).await;
    let mut later = Vec::new();
    for _ in 0..3 {
        later.push(event(&world).await);
        receiver.wait_for(later.len()).await;
    }
    world.vendor.wait_idle().await;
    let order = ids(&receiver.drain());
    assert_eq!(order.len(), 4);
    assert_ne!(order[0], late, "held back behind at least one later event");
    assert!(order.contains(&late));
}

#[tokio::test]
async fn probabilities_follow_the_seed() {
    let run = |seed: u64| async move {
        let callbacks = CallbackFaults { drop: 0.5, ..CallbackFaults::default() };
        let (world, receiver) = wired_with(builder().seed(seed)).await;
        world.vendor.user("lin_qiao").login("android").unwrap();
        world.vendor.wait_idle().await;
        receiver.drain();
        world.vendor.set_faults(Faults { callbacks, ..Faults::default() });
        let mut lost = Vec::new();
        for n in 0..40 {
            event(&world).await;
            world.vendor.wait_idle().await;
            if receiver.drain().is_empty() {
                lost.push(n);
            }
        }
        lost
    };
    let (first, again, other) = (run(7).await, run(7).await, run(8).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!((8..32).contains(&first.len()), "{first:?}");
}

#[tokio::test]
async fn delays_follow_the_clock() {
    let (world, receiver) = online().await;
    let callbacks = CallbackFaults { delay_ms: Some((5_000, 5_000)), ..CallbackFaults::default() };
    world.vendor.set_faults(Faults { callbacks, ..Faults::default() });
    event(&world).await;
    asleep(&world, 1).await;
    assert_eq!(receiver.drain().len(), 0);
    world.vendor.time().advance(Duration::from_secs(5));
    world.vendor.wait_idle().await;
    assert_eq!(receiver.drain().len(), 1);
}

#[tokio::test]
async fn the_callback_url_can_change_while_running() {
    let (world, old) = wired().await;
    let new = Receiver::start().await;
    world.vendor.set_callback_url(&new.url, SECRET);
    world.vendor.user("lin_qiao").login("android").unwrap();
    world.vendor.wait_idle().await;
    assert_eq!((old.drain().len(), new.drain().len()), (0, 1));
}

#[tokio::test]
async fn the_callback_url_can_change_over_http_too() {
    let (world, old) = wired().await;
    let new = Receiver::start().await;
    let put = |body: Value| {
        let url = format!("{}/_emulator/callback_url", world.vendor.base_url());
        let request = world.client.put(url).json(&body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    for refused in [
        json!({ "url": new.url }),
        json!({ "url": "not a url", "secret": SECRET }),
        json!({ "url": "ftp://127.0.0.1/hook", "secret": SECRET }),
        json!({ "url": new.url, "secret": SECRET, "rule": "rule1" }),
    ] {
        assert_eq!(put(refused.clone()).await, 422, "{refused}");
    }
    world.vendor.user("lin_qiao").login("android").unwrap();
    world.vendor.wait_idle().await;
    assert_eq!((old.drain().len(), new.drain().len()), (1, 0), "a refused request changes nothing");
    assert_eq!(put(json!({ "url": new.url, "secret": "another-secret" })).await, 204);
    event(&world).await;
    world.vendor.wait_idle().await;
    assert!(old.drain().is_empty());
    let seen = new.drain();
    let text = |key: &str| seen[0][key].as_str().unwrap();
    let signed = format!("{}another-secret{}", text("callId"), seen[0]["timestamp"]);
    assert_eq!(text("security"), hex::encode(Md5::digest(signed)));
}
