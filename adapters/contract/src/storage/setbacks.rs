//! What failed: either it is tried again, or it was given up and is a dead letter that somebody may redrive or drop.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversation::ConversationId;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{App, MessageId, TenantId};
use crate::time::Timestamp;

/// What is being tried, or was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SetbackKind {
    /// A message to send; its key is the message's id.
    Send = 0,
    /// A message to withdraw at its vendor; its key is the message's id.
    Recall = 1,
    /// An hour's file to fetch.
    File = 2,
    /// A span of a conversation to ask for.
    Query = 3,
    /// A job in the background; its key is the job's id.
    Job = 4,
    /// A conversation's deliveries to a subscriber.
    Delivery = 5,
}

impl SetbackKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Send, Self::Recall, Self::File, Self::Query, Self::Job, Self::Delivery];

    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Recall => "recall",
            Self::File => "file",
            Self::Query => "query",
            Self::Job => "job",
            Self::Delivery => "delivery",
        }
    }
}

impl fmt::Display for SetbackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SetbackKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| Error::invalid("kind", "must be send, recall, file, query, job or delivery"))
    }
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// When its outcome was known. Milliseconds.
    pub at: Timestamp,
    /// Why: a stable lower-case word.
    pub outcome: String,
    /// The vendor's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl FailedAttempt {
    /// From the error it ended with.
    pub fn of(error: &Error, at: Timestamp) -> Self {
        Self { at, outcome: error.kind().as_str().to_owned(), code: error.vendor_code().map(str::to_owned) }
    }
}

/// The attempts that failed, in their order; of very many the latest are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailedAttempts(Vec<FailedAttempt>);

impl FailedAttempts {
    /// Attempts remembered of one item.
    pub const MOST: usize = 32;

    /// One more.
    pub fn push(&mut self, attempt: FailedAttempt) {
        if self.0.len() >= Self::MOST {
            self.0.remove(0);
        }
        self.0.push(attempt);
    }

    /// In their order.
    pub fn as_slice(&self) -> &[FailedAttempt] {
        &self.0
    }

    /// Whether none failed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<FailedAttempt>> for FailedAttempts {
    fn from(all: Vec<FailedAttempt>) -> Self {
        let mut attempts = Self::default();
        all.into_iter().for_each(|attempt| attempts.push(attempt));
        attempts
    }
}

/// Something that failed. Tenant, kind and key name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setback {
    /// Its place among the setbacks, given anew whenever it is written; 0 before.
    pub number: u64,
    /// Whose.
    pub tenant: TenantId,
    /// What kind of thing.
    pub kind: SetbackKind,
    /// Which of that kind. Safe in a URL as it stands.
    pub key: String,
    /// The app it concerns.
    pub app: Option<App>,
    /// The conversation it concerns.
    pub conversation: Option<ConversationId>,
    /// When it is tried again; `None` once it was given up.
    pub next_at: Option<Timestamp>,
    /// Why: a stable lower-case word.
    pub reason: String,
    /// Attempts so far; those that an outage of the whole app cost are none.
    pub attempts: u32,
    /// The attempts that failed.
    pub history: FailedAttempts,
    /// Where what it is about can be found. No bodies, no secrets.
    pub detail: Value,
    /// When it was given up, or first failed while it is tried again.
    pub since: Timestamp,
}

impl Setback {
    /// Its id, safe in a URL as it stands.
    pub fn id(&self) -> String {
        format!("{}~{}", self.kind, self.key)
    }

    /// What an id names.
    ///
    /// # Errors
    /// `InvalidInput` for what is no such id.
    pub fn parse_id(id: &str) -> Result<(SetbackKind, &str)> {
        let wrong = || Error::new(ErrorKind::InvalidInput, "id: must be kind~key");
        let (kind, key) = id.split_once('~').filter(|(_, key)| !key.is_empty()).ok_or_else(wrong)?;
        Ok((kind.parse().map_err(|_| wrong())?, key))
    }

    /// Whether it was given up.
    pub fn is_dead(&self) -> bool {
        self.next_at.is_none()
    }
}

/// A change of setbacks that stands or falls with the commit, or the step of a send, that carries it.
#[derive(Clone, Debug)]
pub enum SetbackChange {
    /// Written, in the place of the one it names.
    Put(Box<Setback>),
    /// Gone.
    Clear {
        /// Whose.
        tenant: TenantId,
        /// Which kind.
        kind: SetbackKind,
        /// Which of that kind.
        key: String,
    },
}

impl SetbackChange {
    /// The dead letter of a message is no longer one.
    pub fn sent_again(tenant: &TenantId, message: MessageId) -> Self {
        Self::Clear { tenant: tenant.clone(), kind: SetbackKind::Send, key: message.to_string() }
    }

    /// Whose it is.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Put(setback) => &setback.tenant,
            Self::Clear { tenant, .. } => tenant,
        }
    }
}

/// Which setbacks. Nothing is left out for a field without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetbackFilter {
    /// Given up (`true`) or tried again.
    pub dead: Option<bool>,
    /// Only this kind.
    pub kind: Option<SetbackKind>,
    /// Only this app.
    pub app: Option<App>,
    /// Only this conversation.
    pub conversation: Option<ConversationId>,
    /// Only this reason.
    pub reason: Option<String>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl SetbackFilter {
    /// Whether it lets a setback through.
    pub fn admits(&self, one: &Setback) -> bool {
        self.dead.is_none_or(|dead| one.is_dead() == dead)
            && self.kind.is_none_or(|kind| one.kind == kind)
            && self.app.as_ref().is_none_or(|app| one.app.as_ref() == Some(app))
            && self.conversation.as_ref().is_none_or(|id| one.conversation.as_ref() == Some(id))
            && self.reason.as_ref().is_none_or(|reason| one.reason == *reason)
            && self.since.is_none_or(|since| one.since >= since)
            && self.until.is_none_or(|until| one.since < until)
    }
}

/// How many of a tenant's things of one kind have failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetbackCount {
    /// Whose.
    pub tenant: TenantId,
    /// Which kind.
    pub kind: SetbackKind,
    /// Tried again.
    pub waiting: u64,
    /// Given up.
    pub dead: u64,
}

/// The durable retry queue and the dead letters. They are written by commits
/// ([`Commit::setbacks`](super::Commit::setbacks)) and by the steps of sends ([`LegChange::setback`](super::LegChange)).
#[async_trait]
pub trait Setbacks: Send + Sync {
    /// Those of a tenant behind the number `after`, in the order of their numbers, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn setbacks(
        &self,
        tenant: &TenantId,
        filter: &SetbackFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Setback>>;

    /// One of them.
    ///
    /// # Errors
    /// `Storage`.
    async fn setback(&self, tenant: &TenantId, kind: SetbackKind, key: &str) -> Result<Option<Setback>>;

    /// Those of an app and kind that are tried again, the soonest first, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn due_setbacks(&self, tenant: &TenantId, app: &App, kind: SetbackKind, limit: usize)
    -> Result<Vec<Setback>>;

    /// How many there are, by tenant and kind.
    ///
    /// # Errors
    /// `Storage`.
    async fn setback_counts(&self) -> Result<Vec<SetbackCount>>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn ids_name_kind_and_key() {
        for kind in SetbackKind::ALL {
            assert_eq!(SetbackKind::from_code(kind.code()), Some(kind));
            let id = format!("{kind}~orders~direct~a~b");
            assert_eq!(Setback::parse_id(&id).unwrap(), (kind, "orders~direct~a~b"));
        }
        for wrong in ["", "send", "send~", "thing~1"] {
            assert!(Setback::parse_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_very_many_attempts_the_latest_are_kept() {
        let attempt = |at| FailedAttempt { at: Timestamp(at), outcome: "timeout".to_owned(), code: None };
        let attempts = FailedAttempts::from((0..100).map(attempt).collect::<Vec<_>>());
        assert_eq!(attempts.as_slice().len(), FailedAttempts::MOST);
        assert_eq!(attempts.as_slice().last().unwrap().at, Timestamp(99));
    }
}
