//! Fixtures, a listener with queued answers, a clock that jumps, and events as JSON.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use switchboard_contract::{Clock, Inbound, InboundData, InboundMessage, InboundPlace, Sleep, Timestamp};
use switchboard_huanxin::{Huanxin, HuanxinConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::coverage;

/// The moment of the fixtures.
pub(crate) const NOW: i64 = 1_795_200_000_000;
pub(crate) const SECRET: &str = "fixture-secret-001";

pub(crate) fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file)
}

/// A file of `fixtures/`; it must be in the coverage table.
pub(crate) fn fixture(file: &str) -> Vec<u8> {
    assert!(coverage::knows(file), "{file} is not in the coverage table");
    std::fs::read(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub(crate) fn json_fixture(file: &str) -> Value {
    serde_json::from_slice(&fixture(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub(crate) fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// A clock whose waits end at once and move its time.
#[derive(Debug)]
pub(crate) struct JumpClock(AtomicI64);

impl JumpClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(NOW)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for JumpClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.advance(duration);
        Box::pin(std::future::ready(()))
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// A vendor that answers the token call by itself and everything else from its queue.
#[derive(Clone)]
pub(crate) struct Vendor {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<Answers>>,
    tokens: Arc<Mutex<Tokens>>,
}

/// Status and body of each answer to come.
type Answers = VecDeque<(u16, Vec<u8>)>;

/// What the token call answers: its own queue first, then a token, or a refusal.
#[derive(Default)]
struct Tokens {
    queue: VecDeque<Vec<u8>>,
    refused: bool,
}

const TOKEN: &str = r#"{"access_token":"app-token","expires_in":86400,"application":"x"}"#;

impl Vendor {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let vendor = Self { url, log: Arc::default(), answers: Arc::default(), tokens: Arc::default() };
        let twin = vendor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(twin.clone().serve(stream));
            }
        });
        vendor
    }

    /// Queues an answer.
    pub(crate) fn answer(&self, status: u16, body: impl Into<Vec<u8>>) -> &Self {
        self.answers.lock().push_back((status, body.into()));
        self
    }

    /// Queues a fixture.
    pub(crate) fn answer_with(&self, status: u16, file: &str) -> &Self {
        self.answer(status, fixture(file))
    }

    /// The next answers to the token call.
    pub(crate) fn own_tokens(&self, answers: Vec<Vec<u8>>) {
        self.tokens.lock().queue = answers.into();
    }

    /// From now on the token call is refused.
    pub(crate) fn refuse_tokens(&self) {
        self.tokens.lock().refused = true;
    }

    fn token_answer(&self) -> (u16, Vec<u8>) {
        let mut tokens = self.tokens.lock();
        if tokens.refused {
            return (400, fixture("error_400_client_secret_mismatch.json"));
        }
        (200, tokens.queue.pop_front().unwrap_or_else(|| TOKEN.as_bytes().to_vec()))
    }

    /// Everything but the app's token calls.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().iter().filter(|seen| !is_app_token(seen)).cloned().collect()
    }

    pub(crate) fn token_calls(&self) -> Vec<Seen> {
        self.log.lock().iter().filter(|seen| is_app_token(seen)).cloned().collect()
    }

    pub(crate) fn config(&self) -> HuanxinConfig {
        config(&self.url, "")
    }

    pub(crate) fn client(&self) -> Huanxin {
        self.config().build(JumpClock::new()).unwrap()
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Some(seen) = read_request(&mut stream).await {
            let (status, body) = if is_app_token(&seen) {
                self.token_answer()
            } else {
                self.answers.lock().pop_front().unwrap_or_else(|| (599, b"nothing was queued".to_vec()))
            };
            self.log.lock().push(seen);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
                return;
            }
        }
    }
}

fn is_app_token(seen: &Seen) -> bool {
    seen.json()["grant_type"] == "client_credentials"
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| *name == "content-length")
        .map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Seen { line, head, body: bytes[end..].to_vec() })
}

/// The fixtures' app at an address, with further settings in TOML.
pub(crate) fn config(url: &str, more: &str) -> HuanxinConfig {
    let text = format!(
        "app_key = 'acme-im#bridge'\nclient_id = 'YXA6fixtureClientId000001'\n\
         client_secret = 'YXA6fixtureClientSecret0000000001'\ncallback_secret = '{SECRET}'\n\
         base_url = '{url}'\nhttp.use_proxy = false\n{more}"
    );
    toml::from_str(&text).unwrap()
}

/// An event as JSON, to be compared with a golden file.
pub(crate) fn show(event: &Inbound) -> Value {
    let raw = String::from_utf8(event.raw.to_vec()).unwrap();
    json!({
        "key": { "class": format!("{:?}", event.key.class), "id": event.key.id },
        "place": show_place(&event.place),
        "sent_at": event.sent_at.0,
        "sort_key": event.sort_key,
        "mark": event.mark,
        "data": show_data(&event.data),
        "raw": serde_json::from_str::<Value>(&raw).unwrap_or(Value::String(raw)),
    })
}

fn show_place(place: &InboundPlace) -> Value {
    match place {
        InboundPlace::Direct { from, to } => json!({ "direct": [from, to] }),
        InboundPlace::Group { group, channel } => json!({ "group": group, "channel": channel }),
        InboundPlace::Room { room } => json!({ "room": room }),
        InboundPlace::GroupOrRoom { id } => json!({ "group_or_room": id }),
        InboundPlace::System { from, to } => json!({ "system": [from, to] }),
        InboundPlace::Nowhere => json!("nowhere"),
    }
}

fn show_message(message: &InboundMessage) -> Value {
    json!({
        "id": message.id, "from": message.from, "audience": message.audience, "body": message.body,
        "ext": message.ext, "everyone": message.mentions_everyone, "mentions": message.mentions,
    })
}

fn show_data(data: &InboundData) -> Value {
    match data {
        InboundData::Message(message) => json!({ "message": show_message(message) }),
        InboundData::Recall { target, by, reason } => json!({ "recall": target, "by": by, "reason": reason }),
        InboundData::Edit { target, version, by, body, ext } => {
            json!({ "edit": target, "version": version, "by": by, "body": body, "ext": ext })
        }
        InboundData::Receipt { kind, reader, target, whole_conversation } => {
            json!({ "receipt": kind, "reader": reader, "target": target, "whole_conversation": whole_conversation })
        }
        InboundData::Offline { message, recipient } => {
            json!({ "offline": recipient, "message": show_message(message) })
        }
        InboundData::Presence { user, state, reason, platform, device } => {
            json!({ "presence": user, "state": state, "reason": reason, "platform": platform, "device": device })
        }
        InboundData::Group { change, by, members, detail } => {
            json!({ "group": change, "by": by, "members": members, "detail": detail })
        }
        InboundData::Contact { user, peer, change } => json!({ "contact": change, "user": user, "peer": peer }),
        InboundData::Reaction { target, by, reaction, removed } => {
            json!({ "reaction": reaction, "target": target, "by": by, "removed": removed })
        }
        InboundData::Moderation { target, verdict, detail } => {
            json!({ "moderation": verdict, "target": target, "detail": detail })
        }
        InboundData::Push { target, recipient, outcome, detail } => {
            json!({ "push": outcome, "target": target, "recipient": recipient, "detail": detail })
        }
        InboundData::Unrecognised(kept) => json!({ "unrecognised": kept.kind, "raw": kept.raw }),
        other => panic!("no golden form for {other:?}"),
    }
}

/// Compares events with `fixtures/golden/{name}.json`, or writes it.
pub(crate) fn compare_golden(name: &str, events: &[Inbound]) {
    let shown = Value::Array(events.iter().map(show).collect());
    let file = path(&format!("golden/{name}.json"));
    if updating() {
        std::fs::write(&file, format!("{shown:#}\n")).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let golden: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown, golden, "{name} decodes to something else than its golden events");
}
