//! The ground truth: what the vendor accepted, was asked, and tried to tell us.
//!
//! Tests compare the product against this and nothing else. Messages are all kept; the request and callback logs are
//! rings of bounded length, while the [`Counters`] never lose anything.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Who put a message in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An end user's client.
    Client,
    /// A REST send.
    Rest,
    /// A REST import of old messages.
    Import,
    /// A text stream.
    Stream,
}

/// A message the vendor accepted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerMessage {
    /// The vendor's id.
    pub vendor_id: String,
    /// Sender, as the vendor knows the user.
    pub from: String,
    /// User, group or room.
    pub target: String,
    /// `direct`, `group`, `room`, or the vendor's word for other kinds.
    pub kind: String,
    /// The vendor's message type (`txt`, `RC:TxtMsg`, …).
    pub message_type: String,
    /// The body as the vendor keeps it.
    pub body: Arc<Value>,
    /// Huanxin `ext`, RongCloud `extra`; null when absent.
    pub ext: Arc<Value>,
    /// When the vendor accepted it, Unix milliseconds of the vendor's clock.
    pub time_ms: i64,
    /// Who put it in.
    pub source: Source,
    /// Withdrawn since.
    pub recalled: bool,
    /// Times it was edited since.
    pub edits: u32,
}

/// A REST call as it arrived.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Arrival number from 1.
    pub number: u64,
    /// Unix milliseconds of the vendor's clock.
    pub time_ms: i64,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers in the order in which they came, names in lower case; without `authorization`.
    pub headers: Vec<(String, String)>,
    /// Status answered; 0 when the connection was cut.
    pub status: u16,
    /// The body, cut to the configured length; empty where it would hold credentials.
    pub body: Bytes,
    /// Full length of the body in bytes.
    pub body_len: usize,
    /// The injected fault, if any.
    pub fault: Option<String>,
}

impl RequestRecord {
    /// The first value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One attempt of a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    /// Unix milliseconds of the vendor's clock.
    pub at_ms: i64,
    /// Status received; absent when none was.
    pub status: Option<u16>,
    /// Milliseconds of real time until the answer or the failure.
    pub latency_ms: u64,
    /// Why it failed; absent on success.
    pub error: Option<String>,
}

/// Why a callback event was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// An injected fault: no attempt at all.
    Fault,
    /// All attempts failed.
    Attempts,
    /// The vendor had banned or paused this receiver.
    Banned,
    /// The vendor's queue was full.
    QueueFull,
    /// The emulator stopped first.
    Shutdown,
}

/// One callback event and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct CallbackRecord {
    /// Number from 1, in the order of occurrence.
    pub number: u64,
    /// The event's kind in the vendor's words (`chat`, `recall`, …).
    pub label: String,
    /// What it is about: a vendor message id, a group, a user.
    pub key: String,
    /// Where it went.
    pub url: String,
    /// Unix milliseconds of the vendor's clock.
    pub time_ms: i64,
    /// Attempts made so far.
    pub attempts: Vec<AttemptRecord>,
    /// Accepted by the receiver.
    pub delivered: bool,
    /// Given up, and why.
    pub dropped: Option<DropReason>,
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// REST calls received.
    pub requests_total: u64,
    /// REST calls answered with a rate error.
    pub rate_errors: u64,
    /// Messages accepted.
    pub messages_total: u64,
    /// Callback events that came into being (duplicates made by a fault not counted).
    pub callbacks_total: u64,
    /// Events accepted by the receiver.
    pub callbacks_delivered: u64,
    /// Failed attempts as the vendor counts them.
    pub callback_failures: u64,
    /// Events given up for any reason.
    pub callbacks_dropped: u64,
    /// Bans or pauses imposed.
    pub bans: u64,
}

/// Bounds of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerLimits {
    /// REST calls remembered.
    pub requests: usize,
    /// Bytes of each body remembered.
    pub request_body_bytes: usize,
    /// Callback events remembered.
    pub callbacks: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { requests: 10_000, request_body_bytes: 16 * 1024, callbacks: 100_000 }
    }
}

/// The ground truth. Clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    limits: LedgerLimits,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    messages: Vec<LedgerMessage>,
    by_id: HashMap<String, usize>,
    requests: VecDeque<RequestRecord>,
    callbacks: VecDeque<CallbackRecord>,
    first_callback: u64,
    counters: Counters,
}

impl Ledger {
    /// An empty ledger with these bounds.
    #[must_use]
    pub fn new(limits: LedgerLimits) -> Self {
        let inner = Inner { first_callback: 1, ..Inner::default() };
        Self { limits, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Notes an accepted message.
    pub fn accept(&self, message: LedgerMessage) {
        let mut inner = self.inner.lock();
        inner.counters.messages_total += 1;
        let index = inner.messages.len();
        inner.by_id.insert(message.vendor_id.clone(), index);
        inner.messages.push(message);
    }

    /// Marks a message as withdrawn.
    pub fn recall(&self, vendor_id: &str) {
        self.change(vendor_id, |message| message.recalled = true);
    }

    /// Notes a new body and extension of an accepted message.
    pub fn edit(&self, vendor_id: &str, body: Arc<Value>, ext: Arc<Value>) {
        self.change(vendor_id, |message| {
            message.body = body;
            message.ext = ext;
            message.edits += 1;
        });
    }

    fn change(&self, vendor_id: &str, change: impl FnOnce(&mut LedgerMessage)) {
        let mut inner = self.inner.lock();
        if let Some(index) = inner.by_id.get(vendor_id).copied() {
            change(&mut inner.messages[index]);
        }
    }

    /// Notes a REST call. A rate error is told by the status, or by `rate_error` where the vendor hides it elsewhere.
    pub fn request(&self, mut record: RequestRecord, rate_error: bool) {
        let mut inner = self.inner.lock();
        inner.counters.requests_total += 1;
        if rate_error {
            inner.counters.rate_errors += 1;
        }
        record.number = inner.counters.requests_total;
        if record.body.len() > self.limits.request_body_bytes {
            // A copy, so that the log does not keep the whole request alive.
            record.body = Bytes::copy_from_slice(&record.body[..self.limits.request_body_bytes]);
        }
        if inner.requests.len() >= self.limits.requests {
            inner.requests.pop_front();
        }
        if self.limits.requests > 0 {
            inner.requests.push_back(record);
        }
    }

    /// Notes a new callback event and returns its number.
    pub fn callback(&self, label: &str, key: &str, url: &str, time_ms: i64) -> u64 {
        let mut inner = self.inner.lock();
        inner.counters.callbacks_total += 1;
        let number = inner.counters.callbacks_total;
        inner.callbacks.push_back(CallbackRecord {
            number,
            label: label.to_owned(),
            key: key.to_owned(),
            url: url.to_owned(),
            time_ms,
            attempts: Vec::new(),
            delivered: false,
            dropped: None,
        });
        if inner.callbacks.len() > self.limits.callbacks.max(1) {
            inner.callbacks.pop_front();
            inner.first_callback += 1;
        }
        number
    }

    /// Notes an attempt; a failed one is counted.
    pub fn attempt(&self, number: u64, attempt: AttemptRecord) {
        let mut inner = self.inner.lock();
        if attempt.error.is_some() {
            inner.counters.callback_failures += 1;
        }
        if let Some(record) = inner.callback_mut(number) {
            record.attempts.push(attempt);
        }
    }

    /// Notes that the receiver accepted the event.
    pub fn delivered(&self, number: u64) {
        let mut inner = self.inner.lock();
        inner.counters.callbacks_delivered += 1;
        if let Some(record) = inner.callback_mut(number) {
            record.delivered = true;
        }
    }

    /// Notes that the event was given up.
    pub fn dropped(&self, number: u64, reason: DropReason) {
        let mut inner = self.inner.lock();
        inner.counters.callbacks_dropped += 1;
        if let Some(record) = inner.callback_mut(number) {
            record.dropped = Some(reason);
        }
    }

    /// Notes a ban or pause.
    pub fn banned(&self) {
        self.inner.lock().counters.bans += 1;
    }

    /// Every accepted message, in the order of acceptance.
    #[must_use]
    pub fn messages(&self) -> Vec<LedgerMessage> {
        self.inner.lock().messages.clone()
    }

    /// One accepted message.
    #[must_use]
    pub fn message(&self, vendor_id: &str) -> Option<LedgerMessage> {
        let inner = self.inner.lock();
        inner.by_id.get(vendor_id).map(|index| inner.messages[*index].clone())
    }

    /// The REST calls still remembered, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.inner.lock().requests.iter().cloned().collect()
    }

    /// The callback events still remembered, oldest first.
    #[must_use]
    pub fn callbacks(&self) -> Vec<CallbackRecord> {
        self.inner.lock().callbacks.iter().cloned().collect()
    }

    /// Totals since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.lock().counters.clone()
    }

    /// Everything as JSON; request bodies as text where they are text.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let requests: Vec<Value> = self.requests().iter().map(RequestRecord::to_json).collect();
        json!({
            "counters": self.counters(),
            "messages": self.messages(),
            "callbacks": self.callbacks(),
            "requests": requests,
        })
    }
}

impl Inner {
    fn callback_mut(&mut self, number: u64) -> Option<&mut CallbackRecord> {
        let index = usize::try_from(number.checked_sub(self.first_callback)?).ok()?;
        self.callbacks.get_mut(index)
    }
}

impl RequestRecord {
    fn to_json(&self) -> Value {
        let headers: Map<String, Value> =
            self.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        json!({
            "number": self.number,
            "time_ms": self.time_ms,
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "status": self.status,
            "body": std::str::from_utf8(&self.body).ok(),
            "body_len": self.body_len,
            "fault": self.fault,
        })
    }
}
