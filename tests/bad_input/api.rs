//! Bad calls of the API: problem documents that say which field and why.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::callbacks::{huanxin_text, now_ms, post};
use crate::support::consumer::{metric_is, subscribe, take, until};
use crate::support::sidecar::Sidecar;
use crate::support::vendors::Vendors;
use crate::{SMALL, config, huanxin, is_well, refused};

#[tokio::test]
async fn a_malformed_call_gets_400_naming_the_field() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    subscribe(&sidecar, "s", &["messages"]).await;
    let good = json!({ "from": "alice", "to": { "user": "bob" }, "body": { "type": "text", "text": "hi" } });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let messages: &[(Value, &str)] = &[
        (with("from", json!(7)), "from"),
        (with("to", json!({ "user": "bob", "group": "g" })), "to"),
        (with("to", json!({ "planet": "mars" })), "to"),
        (with("to", json!({ "users": "bob" })), "to"),
        (with("body", json!({ "type": "telepathy" })), "body"),
        (with("body", json!({ "type": "text" })), "body"),
        (with("boddy", json!({})), "boddy"),
        (with("client_message_id", json!(["x"])), "client_message_id"),
        (with("ttl_ms", json!(-1)), "ttl_ms"),
        (with("ext", json!("text")), "ext"),
        (with("from", json!("")), "from"),
        (with("to", json!({ "users": [] })), "to"),
    ];
    for (body, field) in messages {
        let request = sidecar.request(Method::POST, "/v1/messages").json(body);
        let problem = refused(request, StatusCode::BAD_REQUEST).await;
        assert!(problem["detail"].as_str().unwrap().contains(field), "{field}: {problem}");
        assert_eq!(problem["retry"], "never");
    }
    for text in ["", "{", "[1, 2", "\"\\ud800\"", "{} {}"] {
        let request = sidecar.request(Method::POST, "/v1/messages").body(text);
        refused(request, StatusCode::BAD_REQUEST).await;
    }
    let conversation = "/v1/conversations/direct~alice~bob/messages";
    for (path, field) in [
        ("/v1/conversations?limit=0", "limit"),
        ("/v1/conversations?limit=ten", "limit"),
        ("/v1/conversations?page=2", "page"),
        ("/v1/conversations?after=nowhere", "conversation"),
        (&format!("{conversation}?before=nonsense"), "cursor"),
        (&format!("{conversation}?tier=ancient"), "tier"),
        (&format!("{conversation}?before=a&after=b"), "after"),
        (&format!("{conversation}?limit=1001"), "limit"),
        ("/v1/conversations/thread~1/messages", "conversation"),
        ("/v1/messages/not-an-id", "id"),
        ("/v1/sends/not-an-id", "id"),
        ("/v1/subscribers/s/events?limit=5000", "limit"),
        ("/v1/subscribers/s/events?cursor=nonsense", "cursor"),
        ("/v1/subscribers/s/events?wait=soon", "wait"),
        ("/v1/groups/%ff", "id"),
    ] {
        let problem = refused(sidecar.request(Method::GET, path), StatusCode::BAD_REQUEST).await;
        assert!(problem["detail"].as_str().unwrap().contains(field), "{path}: {problem}");
    }
    for (path, body, field) in [
        ("/v1/subscribers/s", json!({ "topics": ["gossip"] }), "topics"),
        ("/v1/subscribers/s", json!({ "max_in_flight": 0 }), "max_in_flight"),
        ("/v1/subscribers/s", json!({ "surprise": 1 }), "surprise"),
        ("/v1/groups/g", json!({ "name": "g" }), "owner"),
    ] {
        let request = sidecar.request(Method::PUT, path).json(&body);
        let problem = refused(request, StatusCode::BAD_REQUEST).await;
        assert!(problem["detail"].as_str().unwrap().contains(field), "{path} {body}: {problem}");
    }
    for body in [json!({}), json!({ "ids": [], "cursor": "x" }), json!({ "ids": ["nonsense"] })] {
        let request = sidecar.request(Method::POST, "/v1/subscribers/s/ack").json(&body);
        refused(request, StatusCode::BAD_REQUEST).await;
    }
    let not_text = sidecar.request(Method::POST, "/v1/identity-map?provider=huanxin").body(vec![0xff, 0xfe]);
    refused(not_text, StatusCode::BAD_REQUEST).await;
    is_well(&sidecar).await;
}

#[tokio::test]
async fn what_does_not_exist_gets_404_and_what_is_too_large_413() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start(directory.path(), &config());
    let nobody = "01890000-0000-7000-8000-000000000000";
    for path in [
        "/v1/conversations/direct~nobody~noone/messages".to_owned(),
        "/v1/conversations/group~none/messages?tier=recent".to_owned(),
        format!("/v1/messages/{nobody}"),
        format!("/v1/sends/{nobody}"),
        "/v1/subscribers/nobody".to_owned(),
        "/v1/subscribers/nobody/events".to_owned(),
        "/v1/subscribers/nobody/parked".to_owned(),
        "/v1/groups/none".to_owned(),
        "/v1/identity-map?provider=nobody".to_owned(),
        "/v1/users/alice/presence?provider=nobody".to_owned(),
        "/v1/nothing".to_owned(),
        "/v2/messages".to_owned(),
    ] {
        refused(sidecar.request(Method::GET, &path), StatusCode::NOT_FOUND).await;
    }
    for path in [format!("/v1/messages/{nobody}/recall"), format!("/v1/sends/{nobody}/cancel")] {
        refused(sidecar.request(Method::POST, &path), StatusCode::NOT_FOUND).await;
    }
    refused(sidecar.request(Method::DELETE, "/v1/subscribers/nobody"), StatusCode::NOT_FOUND).await;
    refused(sidecar.request(Method::PATCH, "/v1/messages"), StatusCode::METHOD_NOT_ALLOWED).await;

    let large =
        json!({ "from": "alice", "to": { "user": "bob" }, "body": { "type": "text", "text": "x".repeat(1 << 20) } });
    refused(sidecar.request(Method::POST, "/v1/messages").json(&large), StatusCode::PAYLOAD_TOO_LARGE).await;
    let lines = "x".repeat((1 << 20) + 1);
    let request = sidecar.request(Method::POST, "/v1/identity-map?provider=huanxin").body(lines);
    refused(request, StatusCode::PAYLOAD_TOO_LARGE).await;
    is_well(&sidecar).await;
}

#[tokio::test]
async fn api_callers_get_429_with_retry_after_and_vendors_never() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Sidecar::command(directory.path(), &config());
    command.env("SWITCHBOARD__SERVER__MAX_CALLS_PER_TOKEN", "3").env("SWITCHBOARD__SERVER__MAX_STREAMS_PER_TOKEN", "2");
    let sidecar = Sidecar::spawn(command);
    subscribe(&sidecar, "s", &["messages"]).await;

    // Three long polls take every place.
    let mut polls = tokio::task::JoinSet::new();
    for worker in 0..3 {
        let request = sidecar.request(Method::GET, &format!("/v1/subscribers/s/events?wait=60&worker=w{worker}"));
        polls.spawn(async move {
            loop {
                let status = request.try_clone().unwrap().send().await.unwrap().status();
                if status != StatusCode::TOO_MANY_REQUESTS {
                    return status;
                }
            }
        });
    }
    until("the places are taken", async || {
        let answer = sidecar.request(Method::GET, "/v1/subscribers").send().await.unwrap();
        answer.status() == StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    let answer = sidecar.request(Method::GET, "/v1/providers").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1, "{seconds}");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((&problem["retry"], &problem["status"]), (&json!("safe"), &json!(429)));

    // A vendor's flood meanwhile is taken, each callback with exactly 200.
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..200 {
        let body = huanxin_text(&n.to_string(), &format!("user{}", n % 9), "shop", "hello", now_ms());
        flood.spawn(post(huanxin(&sidecar, &body)));
    }
    while let Some(status) = flood.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    // Callers who leave make room.
    polls.shutdown().await;
    until("there is room again", async || {
        sidecar.request(Method::GET, "/v1/providers").send().await.unwrap().status() == StatusCode::OK
    })
    .await;
    metric_is(&sidecar, "switchboard_ingest_callbacks_total{outcome=\"accepted\"}", 200.0).await;

    // Streams have places of their own, which come back with the streams' ends.
    let open = || {
        let request = sidecar.request(Method::GET, "/v1/subscribers/s/stream");
        request.header("accept", "text/event-stream").send()
    };
    let (one, other) = (open().await.unwrap(), open().await.unwrap());
    assert_eq!((one.status(), other.status()), (StatusCode::OK, StatusCode::OK));
    let third = open().await.unwrap();
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(third.headers().contains_key("retry-after"));
    drop(one);
    until("a place is free", async || open().await.unwrap().status() == StatusCode::OK).await;
    is_well(&sidecar).await;
}

#[tokio::test]
async fn an_unsupported_capability_gets_422_naming_it_and_nothing_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let vendors = Vendors::start(1).await;
    let config = format!("{SMALL}{}", vendors.config());
    let sidecar = Sidecar::start(directory.path(), &config);
    let text = json!({ "type": "text", "text": "hi" });
    let message = |to: Value, more: Value| {
        let mut body = json!({ "from": "alice", "to": to, "body": text });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sidecar.request(Method::POST, "/v1/messages").json(&body)
    };
    let act = |method: Method, path: &str| sidecar.request(method, path).json(&json!({}));
    for (request, capability) in [
        (message(json!({ "system": ["bob"] }), json!({})), "system"),
        (message(json!({ "user": "bob" }), json!({ "options": { "push_text": "psst" } })), "push_text"),
        (message(json!({ "room": "r" }), json!({ "options": { "read_receipt": true } })), "read_receipt"),
        (message(json!({ "group": "g" }), json!({ "channel": "c" })), "channel"),
        (act(Method::POST, "/v1/users/alice/kick?provider=rongcloud"), "kick"),
        (act(Method::POST, "/v1/users/alice/ban?provider=rongcloud"), "ban"),
        (act(Method::GET, "/v1/users/alice/offline-count?provider=rongcloud"), "messages that wait"),
        (
            sidecar
                .request(Method::POST, "/v1/users/alice/push?provider=huanxin")
                .json(&json!({ "topic": "stock", "data": 3 })),
            "pushes to online users",
        ),
        (
            sidecar.request(Method::POST, "/v1/users/alice/ban?provider=huanxin").json(&json!({ "seconds": 60 })),
            "ban that ends",
        ),
    ] {
        let problem = refused(request, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(problem["type"], "urn:switchboard:problem:unsupported", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(capability), "{capability}: {problem}");
    }
    tokio::time::timeout(Duration::from_secs(30), vendors.idle()).await.unwrap();
    for ledger in [vendors.huanxin.ledger(), vendors.rongcloud.ledger()] {
        let requests: Vec<String> = ledger.requests().into_iter().map(|request| request.path).collect();
        assert!(requests.is_empty(), "a refused call reached the vendor: {requests:?}");
    }
    // What it can do still works.
    let answer = message(json!({ "user": "bob" }), json!({})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    subscribe(&sidecar, "s", &["messages"]).await;
    take(&sidecar, "s", 1).await;
}
