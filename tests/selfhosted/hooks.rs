//! Webhooks of the service: tokens that the business judges, phones that it wakes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use switchboard_contract::{ErrorKind, Retry};
use switchboard_selfhosted::client::Connection;
use switchboard_selfhosted::proto;

use crate::stage::{Stage, eventually, text, user};

const SECRET: &str = "what the business signs with";

/// A request as it came.
#[derive(Clone, Debug)]
struct Came {
    path: String,
    id: String,
    body: Value,
    genuine: bool,
}

/// The business's side: keeps what came, answers what it is told to.
#[derive(Clone, Debug, Default)]
struct Business {
    came: Arc<Mutex<Vec<Came>>>,
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
}

async fn take(
    State(business): State<Business>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let (id, time, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    // Written out once more: a misreading in the service must not be repeated here.
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&[id.as_bytes(), b".", time.as_bytes(), b".", &body].concat());
    let genuine = signature == format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    let body: Value = serde_json::from_slice(&body).unwrap();
    let token = body["data"]["token"].as_str().unwrap_or_default().to_owned();
    business.came.lock().push(Came { path, id, body, genuine });
    let (status, text) = business.answers.lock().pop_front().unwrap_or_else(|| match token.as_str() {
        "good" => (200, json!({ "expires_at": i64::MAX / 2 }).to_string()),
        "bad" => (401, String::new()),
        _ => (204, String::new()),
    });
    (StatusCode::from_u16(status).unwrap(), text)
}

async fn business() -> (Business, String) {
    let business = Business::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/hooks/{path}", post(take)).with_state(business.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (business, address)
}

#[tokio::test]
async fn i1_the_business_judges_tokens_and_its_silence_lets_nobody_in() {
    let (business, address) = business().await;
    let settings = json!({
        "verify_url": format!("{address}/hooks/verify"), "webhook_secret": SECRET, "webhook_deadline": "1s",
    });
    let stage = Stage::with(settings).await;
    let log_in = |token: &str| {
        let login = proto::Login {
            user: "alice".to_owned(),
            token: token.to_owned(),
            device: "phone".to_owned(),
            ..Default::default()
        };
        let endpoint = stage.tcp();
        async move { Connection::open(&endpoint).await.unwrap().login(login).await }
    };
    let answer = log_in("good").await.unwrap();
    assert_eq!(answer.token_expires_at, i64::MAX / 2);
    let came = business.came.lock().clone();
    assert_eq!((came.len(), came[0].path.as_str(), came[0].genuine), (1, "verify", true));
    assert_eq!((&came[0].body["type"], &came[0].body["data"]["user"]), (&json!("verify"), &json!("alice")));
    let refused = log_in("bad").await.unwrap_err();
    assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Unauthorized, Retry::Never));
    // A failure is tried again under the same id; one that lasts refuses the login for now.
    business.answers.lock().push_back((500, String::new()));
    let before = business.came.lock().len();
    log_in("good").await.unwrap();
    let tries = business.came.lock()[before..].to_vec();
    assert_eq!((tries.len(), tries[0].id == tries[1].id), (2, true));
    business.answers.lock().extend((0..20).map(|_| (500, String::new())));
    let refused = log_in("good").await.unwrap_err();
    assert_ne!(refused.retry(), Retry::Never, "{refused}");
    assert_ne!(refused.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn g11_a_push_goes_to_the_business_signed_with_a_hint_and_no_content() {
    let (business, address) = business().await;
    let settings = json!({
        "push_url": format!("{address}/hooks/push"), "webhook_secret": SECRET, "push_after": "200ms",
        "webhook_deadline": "3s",
    });
    let stage = Stage::with(settings).await;
    let (alice, mut bob) = (stage.phone("alice").await, stage.phone("bob").await);
    alice.says(user("bob"), "taken").await;
    assert_eq!(bob.hears().await, "taken");
    business.answers.lock().extend([(503, String::new()), (500, "<html>".to_owned())]);
    let sent = alice.says(user("carol"), "a secret").await;
    eventually("the push is taken", || async { business.came.lock().len() >= 3 }).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let came = business.came.lock().clone();
    assert_eq!(came.len(), 3, "two failures and the one that was taken: {came:?}");
    for one in &came {
        assert!(one.genuine && one.path == "push" && one.id == came[0].id, "{one:?}");
        assert!(!one.body.to_string().contains("secret"), "{one:?}");
        assert_eq!((&one.body["data"]["user"], &one.body["data"]["message"]), (&json!("carol"), &json!(sent.id)));
    }
    // Whoever asks not to wake anybody is heard.
    let silent = proto::Content { silent: true, ..text("hush").unwrap() };
    let send = proto::Send { to: user("carol"), content: Some(silent), client_id: String::new() };
    alice.connection.send(send).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(business.came.lock().len(), 3);
}
