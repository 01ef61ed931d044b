//! An emulator with the fixtures' identity, a receiver for its callbacks, and shape comparison.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use switchboard_emulators::Time;
use switchboard_emulators::huanxin::{HuanxinBuilder, HuanxinEmulator};

use super::flipped::excepted;

pub(crate) const NOW: i64 = 1_795_200_000_000;
/// When the samples' users registered.
pub(crate) const REGISTERED: i64 = 1_794_000_000_123;
/// When the samples' group was made.
pub(crate) const FOUNDED: i64 = 1_794_100_000_000;
/// What the samples print of the app's own address.
pub(crate) const HOST: &str = "https://rest.example.test";
pub(crate) const SECRET: &str = "fixture-secret-001";
pub(crate) const GROUP: &str = "281474976710657";
pub(crate) const ROOM: &str = "281474976799001";

pub(crate) fn fixture_text(name: &str) -> String {
    String::from_utf8(super::flips::read("huanxin", name)).unwrap()
}

pub(crate) fn fixture(name: &str) -> Value {
    serde_json::from_str(&fixture_text(name)).unwrap()
}

/// A sample with our ids in place of the fixtures'.
pub(crate) fn sample(name: &str, replace: &[(&str, &str)]) -> Value {
    let text = replace.iter().fold(fixture_text(name), |text, (from, to)| text.replace(from, to));
    serde_json::from_str(&text).unwrap()
}

/// An emulator with the fixtures' users, and a client that holds its app token.
pub(crate) struct World {
    pub(crate) vendor: HuanxinEmulator,
    pub(crate) client: reqwest::Client,
    pub(crate) token: String,
    pub(crate) group: String,
    pub(crate) room: String,
    pub(crate) base: String,
}

/// A builder with the fixtures' identity and a clock that stands still where their story begins.
pub(crate) fn builder() -> HuanxinBuilder {
    let token = fixture("token_request.json");
    HuanxinEmulator::builder()
        .credentials("acme-im#bridge", token["client_id"].as_str().unwrap(), token["client_secret"].as_str().unwrap())
        .application("5b1f0c2e-9a44-4d6b-8e1d-2f7c6a90b311")
        .deploy_name("fixture")
        .time(Time::manual(REGISTERED))
}

fn until(vendor: &HuanxinEmulator, ms: i64) {
    // Whatever the vendor's watch shows.
    let clock = vendor.time().with_skew(0);
    let wait = ms - clock.now_ms();
    clock.advance(Duration::from_millis(u64::try_from(wait).expect("the clock only goes forward")));
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(builder()).await
    }

    /// Users and group are as old as in the fixtures; it is [`NOW`].
    pub(crate) async fn with(builder: HuanxinBuilder) -> Self {
        Self::by(NOW, builder).await
    }

    /// As [`World::with`], at another moment.
    pub(crate) async fn by(now_ms: i64, builder: HuanxinBuilder) -> Self {
        let vendor = builder.start().await.unwrap();
        for user in ["lin_qiao", "wei.chen", "ops-bot", "zhao_l"] {
            vendor.register(user, "fixture-pass-1").unwrap();
        }
        until(&vendor, FOUNDED);
        let group = vendor.create_group("night shift", "lin_qiao", &["wei.chen"]).unwrap();
        let room = vendor.create_room("launch room", "lin_qiao", &["wei.chen"]).unwrap();
        let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
        let base = vendor.base_url();
        let mut world = Self { vendor, client, token: String::new(), group, room, base };
        world.vendor.wait_idle().await;
        world.at(now_ms).await;
        world
    }

    /// Moves the clock to a moment, and gets a token that is valid then.
    pub(crate) async fn at(&mut self, ms: i64) {
        until(&self.vendor, ms);
        self.token = self.fresh_token().await;
    }

    pub(crate) async fn fresh_token(&self) -> String {
        let (status, reply) = self.bare(Method::POST, "/token", Some(fixture("token_request.json"))).await;
        assert_eq!(status, 200, "{reply}");
        reply["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        match path.strip_prefix("/v6") {
            Some(rest) => format!("{}/api/server/v6/acme-im/bridge{rest}", self.vendor.base_url()),
            None => format!("{}/acme-im/bridge{path}", self.vendor.base_url()),
        }
    }

    /// A call without a token.
    pub(crate) async fn bare(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.send(method, path, body, None).await
    }

    /// A call with the app token.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.send(method, path, body, Some(&self.token)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        token: Option<&str>,
    ) -> (u16, Value) {
        let mut request = self.client.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Puts the fixtures' address, group and room ids in terms of this emulator.
    pub(crate) fn ids(&self) -> [(&'static str, &str); 3] {
        [(GROUP, self.group.as_str()), (ROOM, self.room.as_str()), (HOST, self.base.as_str())]
    }

    /// Posts a request fixture and returns the reply of a 200.
    pub(crate) async fn post_fixture(&self, path: &str, name: &str) -> Value {
        let (status, reply) = self.post(path, sample(name, &self.ids())).await;
        assert_eq!(status, 200, "{path} {name}: {reply}");
        reply
    }
}

/// What the receiver answers next.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    Body(Value),
    Text(String),
    /// Never answers.
    Hang,
}

/// Receives callbacks, remembers them in order, and answers as told (200 by default).
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Value>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    default: Arc<Mutex<Reply>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = Self {
            url,
            seen: Arc::default(),
            replies: Arc::default(),
            default: Arc::new(Mutex::new(Reply::Status(200))),
        };
        let router = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(crate) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().extend(replies);
    }

    pub(crate) fn always(&self, reply: Reply) {
        *self.default.lock() = reply;
    }

    /// Everything received since the last look.
    pub(crate) fn drain(&self) -> Vec<Value> {
        std::mem::take(&mut *self.seen.lock())
    }

    /// Waits until at least `count` callbacks have come in.
    pub(crate) async fn wait_for(&self, count: usize) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while self.seen.lock().len() < count {
            assert!(tokio::time::Instant::now() < deadline, "{count} callbacks never came");
            tokio::task::yield_now().await;
        }
    }
}

async fn take(State(receiver): State<Receiver>, body: String) -> Response {
    receiver.seen.lock().push(serde_json::from_str(&body).unwrap());
    let reply = receiver.replies.lock().pop_front();
    let reply = reply.unwrap_or_else(|| receiver.default.lock().clone());
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Body(body) => axum::Json(body).into_response(),
        Reply::Text(text) => text.into_response(),
        Reply::Hang => std::future::pending().await,
    }
}

/// An emulator whose callbacks go to a receiver; what its set-up caused is already forgotten.
pub(crate) async fn wired() -> (World, Receiver) {
    wired_with(builder()).await
}

pub(crate) async fn wired_with(builder: HuanxinBuilder) -> (World, Receiver) {
    let receiver = Receiver::start().await;
    let world = World::with(builder.callback_url(&receiver.url, SECRET)).await;
    receiver.drain();
    (world, receiver)
}

/// Every field of the sample is there with the sample's type, at every depth; lists compare their first elements.
pub(crate) fn same_shape(expected: &Value, actual: &Value, at: &str) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected {
                let found = actual.get(key).unwrap_or_else(|| panic!("{at}.{key} is missing"));
                same_shape(value, found, &format!("{at}.{key}"));
            }
        }
        (Value::Array(expected), Value::Array(actual)) => match (expected.first(), actual.first()) {
            (Some(expected), Some(actual)) => same_shape(expected, actual, &format!("{at}[0]")),
            (Some(_), None) => panic!("{at} is empty"),
            _ => {}
        },
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => {}
        _ => panic!("{at}: the sample has {expected}, the emulator {actual}"),
    }
}

/// As in the sample: every field is there with its value, lists as far as both go. What is listed as given out anew
/// each time has the sample's form instead.
pub(crate) fn same_values(name: &str, expected: &Value, actual: &Value) {
    let mut faults = Vec::new();
    compare(name, expected, actual, "", &mut faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn compare(name: &str, expected: &Value, actual: &Value, at: &str, faults: &mut Vec<String>) {
    let inner = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected {
                match actual.get(key) {
                    Some(found) => compare(name, value, found, &inner(key), faults),
                    None => faults.push(format!("{name}: {} is missing", inner(key))),
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            if actual.is_empty() && !expected.is_empty() {
                faults.push(format!("{name}: {at} is empty"));
            }
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                compare(name, expected, actual, &inner(&index.to_string()), faults);
            }
        }
        _ if expected == actual || excepted(name, at) && same_form(expected, actual) => {}
        _ => faults.push(format!("{name}: {at}: the sample has {expected}, the emulator {actual}")),
    }
}

/// Of one type; ids in digits and UUIDs are such here and there, and a text is not empty where the sample's is not.
fn same_form(expected: &Value, actual: &Value) -> bool {
    let digits = |text: &str| text.len() >= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    let uuid = |text: &str| text.len() == 36 && text.matches('-').count() == 4;
    match (expected, actual) {
        (Value::String(expected), Value::String(actual)) => {
            let form = |text: &str| (text.is_empty(), digits(text), uuid(text));
            form(expected) == form(actual)
        }
        (Value::Number(expected), Value::Number(actual)) => {
            digits(&expected.to_string()) == digits(&actual.to_string())
        }
        (Value::Bool(_), Value::Bool(_)) => true,
        _ => false,
    }
}

pub(crate) fn text_to(user: &str, text: &str) -> Value {
    json!({ "from": "ops-bot", "to": [user], "type": "txt", "body": { "msg": text } })
}
