//! Callback rules as the console keeps them, with the console's defaults.

use serde::{Deserialize, Serialize};

use super::model::{ChatType, EventFamily};

/// A post-send rule of the console. `Debug` hides the secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackRule {
    /// Name, ASCII, at most 32 characters.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// The rule's secret.
    pub secret: String,
    /// On or off.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Families reported; empty: all.
    #[serde(default)]
    pub events: Vec<EventFamily>,
    /// Messages as accepted (`chat`).
    #[serde(default = "yes")]
    pub chat: bool,
    /// One event per offline receiver (`chat_offline`).
    #[serde(default = "yes")]
    pub chat_offline: bool,
    /// Messages of clients.
    #[serde(default = "yes")]
    pub from_sdk: bool,
    /// Messages of REST calls.
    #[serde(default = "yes")]
    pub from_rest: bool,
    /// Only these senders.
    #[serde(default)]
    pub from_ids: Vec<String>,
    /// Only these receivers.
    #[serde(default)]
    pub to_ids: Vec<String>,
    /// Only these groups and rooms.
    #[serde(default)]
    pub group_ids: Vec<String>,
    /// Only messages whose `ext` has one of these keys.
    #[serde(default)]
    pub ext_keys: Vec<String>,
    /// The route: events of messages with this `env`; absent: the default route.
    #[serde(default)]
    pub env: Option<String>,
}

impl CallbackRule {
    /// A rule that reports everything to `url`.
    #[must_use]
    pub fn everything(name: &str, url: &str, secret: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            secret: secret.to_owned(),
            enabled: true,
            events: Vec::new(),
            chat: true,
            chat_offline: true,
            from_sdk: true,
            from_rest: true,
            from_ids: Vec::new(),
            to_ids: Vec::new(),
            group_ids: Vec::new(),
            ext_keys: Vec::new(),
            env: None,
        }
    }
}

impl std::fmt::Debug for CallbackRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackRule").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What happens to a message when a pre-send rule gets no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailurePolicy {
    /// It is delivered.
    Deliver,
    /// It is blocked.
    Block,
}

/// The two documented forms of a pre-send `payload`. Which one is live: *UNCONFIRMED*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadForm {
    /// The single body itself: `{msg, type}`.
    Flat,
    /// `{ext, bodies[]}`.
    Bodies,
}

/// A pre-send rule of the console. `Debug` hides the secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreSendRule {
    /// Name.
    pub name: String,
    /// Who is asked.
    pub url: String,
    /// The rule's secret.
    pub secret: String,
    /// On or off.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Conversation kinds; empty: all.
    #[serde(default)]
    pub chat_types: Vec<ChatType>,
    /// Message types (`txt`, `img`, …); empty: all.
    #[serde(default)]
    pub message_types: Vec<String>,
    /// How long the vendor waits, milliseconds. 200.
    #[serde(default = "pre_send_wait")]
    pub wait_ms: u64,
    /// Without a usable answer.
    #[serde(default = "deliver")]
    pub on_failure: FailurePolicy,
    /// The sender learns of a block; otherwise the send looks successful.
    #[serde(default = "yes")]
    pub report_error: bool,
    /// Form of `payload`.
    #[serde(default = "flat")]
    pub payload: PayloadForm,
    /// The word for groups: documentation shows both `group` and `groupchat`.
    #[serde(default = "group_word")]
    pub group_word: String,
    /// Contents of other types than text may be rewritten too (by contract), up to 5 KB.
    #[serde(default)]
    pub rewrite_any: bool,
    /// The route: messages with this `env`; absent: the default route.
    #[serde(default)]
    pub env: Option<String>,
}

impl PreSendRule {
    /// A rule that asks about everything, with the console's defaults.
    #[must_use]
    pub fn everything(name: &str, url: &str, secret: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            secret: secret.to_owned(),
            enabled: true,
            chat_types: Vec::new(),
            message_types: Vec::new(),
            wait_ms: pre_send_wait(),
            on_failure: FailurePolicy::Deliver,
            report_error: true,
            payload: PayloadForm::Flat,
            group_word: group_word(),
            rewrite_any: false,
            env: None,
        }
    }
}

impl std::fmt::Debug for PreSendRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreSendRule").field("name", &self.name).finish_non_exhaustive()
    }
}

fn yes() -> bool {
    true
}

fn pre_send_wait() -> u64 {
    200
}

fn deliver() -> FailurePolicy {
    FailurePolicy::Deliver
}

fn flat() -> PayloadForm {
    PayloadForm::Flat
}

fn group_word() -> String {
    "groupchat".to_owned()
}
