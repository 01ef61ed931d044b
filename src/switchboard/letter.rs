//! Dead letters as the API and the CLI show them, and which of them somebody means.

use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;
use switchboard_contract::storage::{FailedAttempts, SetbackKind};
use switchboard_contract::{AppKey, ConversationId, Error, ErrorKind, ProviderId, Result, SubscriberName, Timestamp};

/// Something that was given up, or waits for its next try.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Names it; safe in a URL as it stands.
    pub id: String,
    /// What kind of thing it is about.
    pub kind: SetbackKind,
    /// The provider's alias, if the app is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// The vendor's key of the app it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<AppKey>,
    /// The conversation it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// Why: a stable lower-case word.
    pub reason: String,
    /// Attempts made; those that an outage of the whole app cost are none.
    pub attempts: u32,
    /// The attempts that failed, with their times.
    pub history: FailedAttempts,
    /// Where what it is about can be found.
    pub about: Value,
    /// When it was given up, or first failed while it waits. Milliseconds.
    pub since: Timestamp,
    /// When it is tried again by itself; missing for a dead letter. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
}

/// Which letters. Nothing is left out for a field without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// What waits for its next try, in place of what was given up.
    pub waiting: bool,
    /// Only this kind.
    pub kind: Option<SetbackKind>,
    /// Only this provider, by alias.
    pub provider: Option<ProviderId>,
    /// Only this conversation.
    pub conversation: Option<ConversationId>,
    /// Only deliveries to this subscriber.
    pub subscriber: Option<SubscriberName>,
    /// Only this reason.
    pub reason: Option<String>,
    /// Given up from this time on.
    pub since: Option<Timestamp>,
    /// Given up before this time.
    pub until: Option<Timestamp>,
}

/// A page of letters.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeadLetterPage {
    /// In the order in which they were given up; deliveries come last, by subscriber and conversation.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A letter that could not be redriven or dropped as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedLetter {
    /// Which.
    pub id: String,
    /// Why.
    pub why: String,
}

/// What became of letters that somebody redrove or dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LettersDone {
    /// How many are tried again, or gone.
    pub done: u64,
    /// Those that stay, and why.
    pub refused: Vec<RefusedLetter>,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cursor {
    Number(u64),
    Delivery(String),
}

impl Cursor {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => format!("n{number}"),
            Self::Delivery(id) => format!("d{id}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("cursor", "must be one that a page answered with");
        match text.split_at_checked(1) {
            Some(("n", number)) => number.parse().map(Self::Number).map_err(|_| wrong()),
            Some(("d", id)) => Ok(Self::Delivery(id.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl DeadLetterFilter {
    pub(super) fn takes_deliveries(&self) -> bool {
        !self.waiting && self.kind.is_none_or(|kind| kind == SetbackKind::Delivery) && self.provider.is_none()
    }

    pub(super) fn takes_others(&self) -> bool {
        self.subscriber.is_none() && self.kind != Some(SetbackKind::Delivery)
    }

    pub(super) fn admits(&self, letter: &DeadLetter, subscriber: &SubscriberName) -> bool {
        self.subscriber.as_ref().is_none_or(|wanted| wanted == subscriber)
            && self.conversation.as_ref().is_none_or(|id| letter.conversation.as_ref() == Some(id))
            && self.reason.as_ref().is_none_or(|reason| letter.reason == *reason)
            && self.since.is_none_or(|since| letter.since >= since)
            && self.until.is_none_or(|until| letter.since < until)
    }
}

impl LettersDone {
    /// What cannot be tried again stays; that nothing can be read or written ends it all.
    pub(super) fn add(&mut self, id: String, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => self.done += 1,
            Err(error) if matches!(error.kind(), ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Closed) => {
                return Err(error);
            }
            Err(error) => self.refused.push(RefusedLetter { id, why: error.message().to_owned() }),
        }
        Ok(())
    }
}
