//! What can be made to go wrong, as data. The dice are in [`FaultEngine`](super::FaultEngine).

use serde::{Deserialize, Serialize};

/// Everything that may go wrong. `Default` is a faultless vendor. Probabilities are 0.0 to 1.0 and drawn from one
/// generator, so the same seed and the same calls in the same order fail alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Faults of what the vendor sends to us.
    pub callbacks: CallbackFaults,
    /// Faults of what we ask the vendor.
    pub rest: RestFaults,
    /// Faults of hourly history files.
    pub history: HistoryFaults,
    /// Every connection is closed without an answer, on every domain.
    pub outage: bool,
    /// Domains (the emulator's base URLs, or only their `host:port`) that close every connection while the others work.
    pub dead_domains: Vec<String>,
    /// Milliseconds the vendor's clock is ahead of the emulator's (negative: behind). Seen in `Date` headers and in
    /// every timestamp.
    pub clock_skew_ms: i64,
    /// Exact faults by call or callback count; they come before the probabilities.
    pub script: FaultScript,
}

/// Faults of callbacks. Probabilities per event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackFaults {
    /// The vendor never makes any attempt.
    pub drop: f64,
    /// The first attempt is never made and counts as failed; the vendor's retry rule decides what follows.
    pub drop_first_attempt: f64,
    /// The whole delivery happens twice.
    pub duplicate: f64,
    /// The event is held back and sent after one to three later ones.
    pub reorder: f64,
    /// Least and greatest delay before the first attempt, milliseconds of the emulator's clock.
    pub delay_ms: Option<(u64, u64)>,
    /// The signature does not verify.
    pub corrupt_signature: f64,
}

/// Faults of REST calls. Probabilities per call, drawn in the order of the fields; the first hit wins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestFaults {
    /// The connection is cut before the call has any effect.
    pub lost_request: f64,
    /// The call takes effect, then the connection is cut instead of an answer.
    pub lost_answer: f64,
    /// The call takes effect, then the vendor answers that it ran into a timeout of its own (RongCloud: 504 with 1050).
    pub timeout_answer: f64,
    /// The vendor's rate error (HTTP 429).
    pub rate_limited: f64,
    /// Huanxin's second rate error: HTTP 403 "message send reach limit". Applies to message sends only.
    pub message_limit: f64,
    /// HTTP 500 or 503 in the vendor's error form.
    pub server_error: f64,
    /// HTTP 502 with a proxy's HTML page.
    pub html_error: f64,
    /// The next call that carries credentials gets 401, once; then this turns itself off.
    pub unauthorized_once: bool,
    /// Every call is answered this many milliseconds of the emulator's clock later.
    pub slow_ms: u64,
}

/// Faults of hourly history files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryFaults {
    /// Milliseconds after the end of an hour until its file is published; absent: the vendor's setting.
    pub file_delay_ms: Option<i64>,
    /// Hours (`yyyyMMddHH` in the vendor's zone) whose file is never there.
    pub file_missing_hours: Vec<String>,
    /// A file is first published with half of its lines and completed later.
    pub file_grows: bool,
}

/// Faults by count, each used once.
pub type FaultScript = Vec<FaultStep>;

/// One scripted fault: "the third `POST` under `/messages` loses its answer".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultStep {
    /// Which calls or callbacks are counted.
    pub on: Trigger,
    /// The match that fails, from 1, counted since these faults were set.
    pub nth: u64,
    /// What happens to it.
    pub action: FaultAction,
}

impl FaultStep {
    /// A fault of the `nth` REST call whose vendor path starts with `path_prefix`.
    #[must_use]
    pub fn rest(nth: u64, path_prefix: &str, action: FaultAction) -> Self {
        Self { on: Trigger::Rest { path_prefix: path_prefix.to_owned() }, nth, action }
    }

    /// A fault of the `nth` callback event whose label starts with `label_prefix` (empty: any).
    #[must_use]
    pub fn callback(nth: u64, label_prefix: &str, action: FaultAction) -> Self {
        Self { on: Trigger::Callback { label_prefix: label_prefix.to_owned() }, nth, action }
    }
}

/// What a scripted fault counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// REST calls by the vendor's path (without organisation and application where the vendor has them).
    Rest {
        /// Start of the path, e.g. `/messages`.
        path_prefix: String,
    },
    /// Callback events by label, e.g. `chat`, `chat_offline`, `recall`.
    Callback {
        /// Start of the label; empty matches every event.
        label_prefix: String,
    },
}

/// What a scripted fault does. An action that does not fit its trigger has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// REST: no effect, connection cut.
    LostRequest,
    /// REST: takes effect, connection cut.
    LostAnswer,
    /// REST: takes effect, then a timeout of the vendor's own is answered, in the vendor's form.
    TimeoutAnswer,
    /// REST: 429 in the vendor's form.
    RateLimited,
    /// REST: Huanxin's 403 "message send reach limit".
    MessageLimit,
    /// REST: 500 or 503 in the vendor's form.
    ServerError,
    /// REST: 502 with an HTML page.
    HtmlError,
    /// REST: 401 in the vendor's form.
    Unauthorized,
    /// Callback: no attempt at all.
    Drop,
    /// Callback: the first attempt is never made.
    DropFirstAttempt,
    /// Callback: delivered twice.
    Duplicate,
    /// Callback: sent after later ones.
    Reorder,
    /// Callback: the signature does not verify.
    CorruptSignature,
}
