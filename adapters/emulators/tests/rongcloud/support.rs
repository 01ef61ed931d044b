//! A signing client, a callback receiver and the fixtures.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::Value;
use sha1::{Digest, Sha1};
use switchboard_emulators::{
    Time,
    rongcloud::{RongCloudBuilder, RongCloudEmulator},
};
use tokio::sync::Notify;

pub(crate) const KEY: &str = "demoappkey01";
pub(crate) const SECRET: &str = "demosecret01";
/// 2026-11-19 10:15:30.123 in Beijing.
pub(crate) const MOMENT: i64 = 1_795_054_530_123;

/// A fixture's bytes.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    crate::flips::read("rongcloud", name)
}

/// A text fixture.
pub(crate) fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).unwrap()
}

/// A JSON fixture.
pub(crate) fn json(name: &str) -> Value {
    serde_json::from_slice(&fixture(name)).unwrap()
}

/// The vendor's signature, computed here from its published formula.
pub(crate) fn sign(nonce: &str, timestamp: &str) -> String {
    hex::encode(Sha1::digest(format!("{SECRET}{nonce}{timestamp}").as_bytes()))
}

/// An emulator with a signing client in front.
pub(crate) struct Vendor {
    pub(crate) emulator: RongCloudEmulator,
    pub(crate) http: reqwest::Client,
}

impl Vendor {
    /// With documented defaults and a clock standing at [`MOMENT`].
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    /// With a clock standing at [`MOMENT`] and further settings.
    pub(crate) async fn with(configure: impl FnOnce(RongCloudBuilder) -> RongCloudBuilder) -> Self {
        let builder = RongCloudEmulator::builder().credentials(KEY, SECRET).time(Time::manual(MOMENT));
        let emulator = configure(builder).start().await.unwrap();
        Self { emulator, http: reqwest::Client::builder().no_gzip().no_proxy().build().unwrap() }
    }

    /// A signed form request: status and JSON body.
    pub(crate) async fn form(&self, path: &str, body: &str) -> (u16, Value) {
        self.post(path, "application/x-www-form-urlencoded", body.to_owned()).await
    }

    /// A signed JSON request: status and JSON body.
    pub(crate) async fn json(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post(path, "application/json", body.to_string()).await
    }

    async fn post(&self, path: &str, content_type: &str, body: String) -> (u16, Value) {
        let response = self.request(path).header("Content-Type", content_type).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        (status, body)
    }

    /// A signed request without a body.
    pub(crate) fn request(&self, path: &str) -> reqwest::RequestBuilder {
        let (nonce, timestamp) = ("482913775", "1795054530");
        self.http
            .post(format!("{}{path}", self.emulator.base_url()))
            .header("App-Key", KEY)
            .header("Nonce", nonce)
            .header("Timestamp", timestamp)
            .header("Signature", sign(nonce, timestamp))
    }

    /// A form request that must succeed.
    pub(crate) async fn ok(&self, path: &str, body: &str) -> Value {
        let (status, answer) = self.form(path, body).await;
        assert_eq!((status, answer["code"].as_i64()), (200, Some(200)), "{path} {body}: {answer}");
        answer
    }

    /// A JSON request that must succeed.
    pub(crate) async fn ok_json(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.json(path, body).await;
        assert_eq!((status, answer["code"].as_i64()), (200, Some(200)), "{path} {body}: {answer}");
        answer
    }

    /// A form request that must be refused: HTTP status and vendor code.
    pub(crate) async fn refused(&self, path: &str, body: &str) -> (u16, i64) {
        let (status, answer) = self.form(path, body).await;
        let code = answer["code"].as_i64().unwrap();
        assert_ne!(code, 200, "{path} {body}");
        assert!(answer["errorMessage"].is_string(), "{answer}");
        (status, code)
    }

    /// Moves the clock to a moment.
    pub(crate) fn at(&self, ms: i64) {
        let by = ms - self.emulator.time().now_ms();
        self.emulator.time().advance(Duration::from_millis(u64::try_from(by).expect("the clock only goes forward")));
    }
}

/// One callback as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Arrived {
    /// The form body in order.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    /// One field of the form body.
    pub(crate) fn field(&self, key: &str) -> Option<String> {
        self.pairs().into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The JSON body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The query in order.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
    }
}

/// How the receiver answers one callback.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    Status(u16),
    Json(Value),
    /// Never, until the caller gives up.
    Silence,
}

/// Receives callbacks on `/…` and answers as told, 200 by default.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    arrived: Mutex<Vec<Arrived>>,
    reactions: Mutex<VecDeque<Reaction>>,
    always: Mutex<Option<Reaction>>,
    news: Notify,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::<Inner>::default();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inner }
    }

    /// Queues a reaction for the next callback.
    pub(crate) fn then(&self, reaction: Reaction) -> &Self {
        self.inner.reactions.lock().push_back(reaction);
        self
    }

    /// The reaction when none is queued.
    pub(crate) fn always(&self, reaction: Reaction) {
        *self.inner.always.lock() = Some(reaction);
    }

    /// Everything that arrived so far.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.inner.arrived.lock().clone()
    }

    /// Waits until this many arrived, and forgets them.
    pub(crate) async fn take(&self, count: usize) -> Vec<Arrived> {
        let wait = async {
            loop {
                let news = self.inner.news.notified();
                if self.inner.arrived.lock().len() >= count {
                    return std::mem::take(&mut *self.inner.arrived.lock());
                }
                news.await;
            }
        };
        let limit = Duration::from_secs(20);
        let taken = tokio::time::timeout(limit, wait).await;
        taken.unwrap_or_else(|_| panic!("{} of {count} callbacks arrived", self.arrived().len()))
    }
}

async fn receive(State(inner): State<Arc<Inner>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    inner.arrived.lock().push(Arrived { uri, headers, body });
    inner.news.notify_waiters();
    let reaction = inner.reactions.lock().pop_front().or_else(|| inner.always.lock().clone());
    match reaction.unwrap_or(Reaction::Status(200)) {
        Reaction::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reaction::Json(body) => body.to_string().into_response(),
        Reaction::Silence => std::future::pending().await,
    }
}

/// Compares two JSON values by keys and types, recursively; arrays by their first elements.
pub(crate) fn assert_same_shape(actual: &Value, documented: &Value, at: &str) {
    match (actual, documented) {
        (Value::Object(actual), Value::Object(documented)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(actual), keys(documented), "keys at {at}");
            for (key, value) in documented {
                assert_same_shape(&actual[key], value, &format!("{at}.{key}"));
            }
        }
        (Value::Array(actual), Value::Array(documented)) => {
            if let Some(documented) = documented.first() {
                let actual = actual.first().unwrap_or_else(|| panic!("empty array at {at}"));
                assert_same_shape(actual, documented, &format!("{at}[0]"));
            }
        }
        _ => assert_eq!(
            std::mem::discriminant(actual),
            std::mem::discriminant(documented),
            "type at {at}: {actual} instead of {documented}"
        ),
    }
}
