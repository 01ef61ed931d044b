//! The vendor's JSON, in its own words. They stop here.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use switchboard_contract::Ext;

/// The reply to `session`.
#[derive(Deserialize)]
pub(super) struct Session {
    pub(super) token: String,
}

/// The body of a refusal.
#[derive(Deserialize)]
pub(super) struct Trouble {
    pub(super) error: String,
    pub(super) after_ms: Option<u64>,
}

/// Where a letter goes or went.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Address {
    Users(Vec<String>),
    User(String),
    Flock(String),
    Square(String),
}

/// What a letter holds.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Parcel {
    Note {
        words: String,
    },
    Picture(Attachment),
    Paper(Attachment),
    Spot {
        north: f64,
        east: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    Own {
        name: String,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        data: Value,
    },
}

/// A picture or paper by reference.
#[derive(Serialize, Deserialize)]
pub(super) struct Attachment {
    pub(super) href: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) height: Option<u32>,
}

/// A letter to send.
#[derive(Serialize)]
pub(super) struct NewLetter<'a> {
    pub(super) from: &'a str,
    pub(super) to: Address,
    pub(super) parcel: Parcel,
    pub(super) tags: Ext,
    pub(super) mentions: Vec<&'a str>,
    pub(super) mention_all: bool,
    pub(super) quiet: bool,
}

/// The reply to `letters/send`.
#[derive(Deserialize)]
pub(super) struct Sent {
    pub(super) letters: Vec<SentLetter>,
}

/// One recipient's part of it.
#[derive(Deserialize)]
pub(super) struct SentLetter {
    pub(super) id: String,
    pub(super) to: Address,
}

/// A letter in a notice or in history.
#[derive(Deserialize)]
pub(super) struct Letter<'a> {
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) at: i64,
    pub(super) from: String,
    pub(super) to: Address,
    #[serde(borrow)]
    pub(super) parcel: &'a RawValue,
    #[serde(default)]
    pub(super) tags: Ext,
    #[serde(default)]
    pub(super) mentions: Vec<String>,
    #[serde(default)]
    pub(super) mention_all: bool,
}

/// A notice: events as the vendor wrote them, each to be read by itself.
#[derive(Deserialize)]
pub(super) struct Notice<'a> {
    #[serde(borrow)]
    pub(super) events: Vec<&'a RawValue>,
}

/// The kind of anything that has one.
#[derive(Deserialize)]
pub(super) struct Kind {
    pub(super) kind: String,
}

/// `letter.sent`.
#[derive(Deserialize)]
pub(super) struct LetterSent<'a> {
    #[serde(borrow)]
    pub(super) letter: Letter<'a>,
}

/// `letter.recalled`.
#[derive(Deserialize)]
pub(super) struct LetterRecalled {
    pub(super) number: u64,
    pub(super) at: i64,
    pub(super) by: String,
    pub(super) letter: Recalled,
}

/// The letter that was recalled.
#[derive(Deserialize)]
pub(super) struct Recalled {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) to: Address,
}

/// The reply to `letters/history`.
#[derive(Deserialize)]
pub(super) struct History<'a> {
    #[serde(borrow)]
    pub(super) letters: Vec<&'a RawValue>,
    pub(super) next: Option<String>,
}

/// The reply to `users/token`.
#[derive(Deserialize)]
pub(super) struct UserToken {
    pub(super) token: String,
    pub(super) expires_at: i64,
}

/// The reply to `users/presence`.
#[derive(Deserialize)]
pub(super) struct Online {
    pub(super) online: Vec<bool>,
}

/// The reply to `places/members`.
#[derive(Deserialize)]
pub(super) struct Members {
    pub(super) members: Vec<String>,
}

/// The reply to `places/kind`.
#[derive(Deserialize)]
pub(super) struct PlaceKind {
    pub(super) kind: Option<PlaceWord>,
}

/// What a place is.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlaceWord {
    Flock,
    Square,
}
