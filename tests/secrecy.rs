//! I10: whatever happens, no secret and no message body stands in a log, a metric, an error or a trace. The real binary
//! logs everything it can, third parties included, while both vendors, a customer, a consumer and an attacker are at it.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use support::sidecar::{Sidecar, TOKEN};
use support::vendors::{HUANXIN_APP, HUANXIN_SECRET, RONGCLOUD_APP, RONGCLOUD_SECRET, Vendors};
use switchboard_emulators::huanxin::HuanxinEmulator;
use switchboard_emulators::{FaultAction, FaultStep, Faults};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const CLIENT_SECRET: &str = "huanxin-client-secret-5e1f";
/// Stands in every body, field and name that is nobody else's business.
const PRIVATE: &str = "xyzzy-private";

async fn vendors() -> Vendors {
    let vendors = Vendors::start(7).await;
    let huanxin = HuanxinEmulator::builder()
        .listen("127.0.0.1:0")
        .credentials(HUANXIN_APP, "id", CLIENT_SECRET)
        .seed(7)
        .start()
        .await
        .unwrap();
    Vendors { huanxin, ..vendors }
}

fn config(vendors: &Vendors, default: &str) -> String {
    vendors
        .config()
        .replace("client_secret = \"secret\"", &format!("client_secret = \"{CLIENT_SECRET}\""))
        .replace("default = \"huanxin\"", &format!("default = \"{default}\""))
}

fn text(words: &str) -> Value {
    json!({"type": "text", "text": format!("{words} {PRIVATE}")})
}

/// A call whatever comes of it; the answer's text counts as an error when it is one.
async fn call(sidecar: &Sidecar, method: Method, path: &str, body: Option<&Value>, told: &mut String) -> Value {
    let request = sidecar.request(method.clone(), path);
    let request = if let Some(body) = body { request.json(body) } else { request };
    let answer = request.send().await.unwrap();
    let (refused, text) = (!answer.status().is_success(), answer.text().await.unwrap());
    if refused {
        told.push_str(&format!("answer to {method} {path}: {text}\n"));
    }
    serde_json::from_str(&text).unwrap_or_default()
}

/// Sends of every fate: taken, refused by the vendor, lost, answered with nonsense, recalled, redriven, malformed.
async fn business(sidecar: &Sidecar, vendors: &Vendors, told: &mut String) {
    let steps = [
        (2, FaultAction::ServerError),
        (4, FaultAction::HtmlError),
        (6, FaultAction::LostAnswer),
        (8, FaultAction::Unauthorized),
        (10, FaultAction::RateLimited),
    ];
    let paths = ["/messages", "/message"];
    let steps = steps.iter().flat_map(|(nth, action)| paths.map(|path| FaultStep::rest(*nth, path, *action)));
    let faults = Faults { script: steps.collect(), ..Faults::default() };
    vendors.huanxin.set_faults(faults.clone());
    vendors.rongcloud.set_faults(faults);
    let mut sent = Vec::new();
    for number in 0..8 {
        let send = json!({
            "from": "alice", "to": {"user": format!("user{number}")}, "body": text("to a user"),
            "ext": {"note": PRIVATE}, "client_message_id": format!("order-{number}"),
        });
        let answer = call(sidecar, Method::POST, "/v1/messages", Some(&send), told).await;
        sent.push(answer["messages"][0]["id"].as_str().unwrap().to_owned());
    }
    let other = json!({"from": "alice", "to": {"user": "bob"}, "body": text("other"), "client_message_id": "order-1"});
    call(sidecar, Method::POST, "/v1/messages", Some(&other), told).await;
    for (body, ttl) in [
        (json!({"type": "hologram", "text": PRIVATE}), json!(1000)),
        (json!({"type": "text", "text": {"x": PRIVATE}}), json!(1000)),
        (json!(PRIVATE), json!(1000)),
        (text("wrong"), json!(PRIVATE)),
    ] {
        let wrong = json!({"from": "alice", "to": {"user": "bob"}, "body": body, "ttl_ms": ttl});
        call(sidecar, Method::POST, "/v1/messages", Some(&wrong), told).await;
    }
    let broken = format!("{{\"from\":\"alice\",\"body\":{{\"type\":\"text\",\"text\":\"{PRIVATE}");
    let answer = sidecar.request(Method::POST, "/v1/messages").body(broken).send().await.unwrap();
    told.push_str(&answer.text().await.unwrap());
    tokio::time::sleep(Duration::from_secs(3)).await;
    for message in &sent {
        call(sidecar, Method::POST, &format!("/v1/messages/{message}/recall"), None, told).await;
        call(sidecar, Method::POST, &format!("/v1/messages/{message}/redrive"), None, told).await;
    }
    call(sidecar, Method::PUT, "/v1/users/alice", Some(&json!({"nickname": PRIVATE})), told).await;
    let login = call(sidecar, Method::POST, "/v1/users/alice/login", Some(&json!({})), told).await;
    // The login token is a secret of the vendor's making.
    if let Some(token) = login["token"].as_str() {
        assert!(!sidecar.log.text().contains(token), "a login token is in the log");
    }
}

/// Callbacks that are no good: unsigned, forged, malformed, unknown, too large.
async fn attack(sidecar: &Sidecar, told: &mut String) {
    for vendor in ["huanxin", "rongcloud", "nobody"] {
        let url = format!("{}/callbacks/{vendor}", sidecar.url);
        let unsigned = json!({"payload": {"bodies": [{"msg": PRIVATE, "type": "txt"}]}, "appkey": HUANXIN_APP});
        let forged = json!({
            "callId": "1", "timestamp": 1, "security": "0".repeat(32), "msg": PRIVATE, "chat_type": "chat",
            "appkey": HUANXIN_APP, "eventType": "chat",
        });
        for body in [unsigned.to_string(), forged.to_string(), format!("{{\"{PRIVATE}"), PRIVATE.repeat(200_000)] {
            let answer = sidecar.http.post(&url).body(body).send().await;
            if let Ok(answer) = answer {
                told.push_str(&answer.text().await.unwrap_or_default());
            }
        }
        let signed = format!("{url}?appKey={RONGCLOUD_APP}&nonce=1&timestamp=1&signature=00");
        let form = [("content", format!("{{\"content\":\"{PRIVATE}\"}}")), ("msgUID", "1".to_owned())];
        // A connection that was given too much is closed: this one is another.
        let answer = reqwest::Client::new().post(&signed).form(&form).send().await.unwrap();
        told.push_str(&answer.text().await.unwrap());
    }
    let stranger = sidecar.http.get(format!("{}/v1/providers", sidecar.url)).bearer_auth("wrong-token-77").send();
    told.push_str(&stranger.await.unwrap().text().await.unwrap());
}

/// Every way of taking deliveries: pull, WebSocket, server-sent events; refused and parked ones among them.
async fn consume(sidecar: &Sidecar, told: &mut String) {
    let topics = json!({"topics": ["messages", "send_status", "receipts", "connection"], "max_attempts": 1});
    for name in ["pull", "socket", "sse"] {
        call(sidecar, Method::PUT, &format!("/v1/subscribers/{name}"), Some(&topics), told).await;
    }
    let page = call(sidecar, Method::GET, "/v1/subscribers/pull/events?limit=8&wait=1", None, told).await;
    let ids: Vec<&Value> = page["deliveries"].as_array().unwrap().iter().map(|delivery| &delivery["id"]).collect();
    assert!(!ids.is_empty(), "there is something to deliver");
    call(sidecar, Method::POST, "/v1/subscribers/pull/nack", Some(&json!({"ids": [ids[0]]})), told).await;
    call(sidecar, Method::POST, "/v1/subscribers/pull/ack", Some(&json!({"ids": &ids[1..]})), told).await;
    call(sidecar, Method::GET, "/v1/subscribers/pull/parked", None, told).await;

    let url = format!("{}/v1/subscribers/socket/stream", sidecar.url.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let mut seen = 0;
    while seen < 2 {
        let frame = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.unwrap().unwrap().unwrap();
        let Frame::Text(frame) = frame else { continue };
        let frame: Value = serde_json::from_str(&frame).unwrap();
        for delivery in frame["deliveries"].as_array().into_iter().flatten() {
            let ack = json!({"ack": [delivery["id"]]}).to_string();
            socket.send(Frame::text(ack)).await.unwrap();
            seen += 1;
        }
    }
    let nonsense = format!("{{\"ack\":[\"{PRIVATE}");
    socket.send(Frame::text(nonsense)).await.unwrap();
    let events = sidecar.request(Method::GET, "/v1/subscribers/sse/stream").header("accept", "text/event-stream");
    let mut events = events.send().await.unwrap().bytes_stream();
    tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_no_secret_and_no_body_is_written_anywhere() {
    let vendors = vendors().await;
    for default in ["huanxin", "rongcloud"] {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Sidecar::command(scratch.path(), &config(&vendors, default));
        command.env("SWITCHBOARD__LOG__LEVEL", "trace").env("NO_COLOR", "1");
        let mut sidecar = Sidecar::spawn(command);
        vendors.call_back(&sidecar.url);
        let mut told = String::new();
        for customer in ["zoe", "yuri"] {
            vendors.huanxin.register(customer, "password").ok();
        }
        vendors.on_huanxin("zoe", "yuri", &format!("from a customer {PRIVATE}")).await;
        vendors.on_rongcloud("zoe", "yuri", &format!("from a customer {PRIVATE}")).await;
        business(&sidecar, &vendors, &mut told).await;
        attack(&sidecar, &mut told).await;
        vendors.idle().await;
        consume(&sidecar, &mut told).await;
        told.push_str(
            &sidecar.http.get(format!("{}/metrics", sidecar.url)).send().await.unwrap().text().await.unwrap(),
        );
        told.push_str(&sidecar.get("/v1/providers").await.to_string());
        assert!(sidecar.terminate().success());
        let log = sidecar.log.text();
        // The log is what it should be: everything, from us and from those we build on.
        for expected in ["TRACE", "vendor_call", "connection is ready", "callbacks at"] {
            assert!(log.contains(expected), "no {expected} in {} lines", log.lines().count());
        }
        let secrets = [TOKEN, CLIENT_SECRET, HUANXIN_SECRET, RONGCLOUD_SECRET, PRIVATE, "wrong-token-77", "Bearer "];
        for secret in secrets {
            for line in log.lines().chain(told.lines()) {
                assert!(!line.contains(secret), "{default}: {secret} in: {}", &line[..line.len().min(2000)]);
            }
        }
    }
}
