//! What a subscriber can ask for, and how an event reached us.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a subscriber can ask for. In JSON and in configuration the names are lower case with underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Topic {
    /// Messages, recalls, edits, reactions and moderation results.
    Messages = 0,
    /// How our own sends fare.
    SendStatus = 1,
    /// Delivered and read statements, recipients found offline, push results.
    Receipts = 2,
    /// Users going online and offline, logins and logouts.
    Presence = 3,
    /// The health of callbacks and links.
    Connection = 4,
    /// Signs of life.
    Heartbeat = 5,
    /// Groups and rooms: created, changed, joined, left.
    Groups = 6,
    /// Conversations first seen or changed.
    Conversations = 7,
    /// Backfill and repair: windows opened, progress, what was repaired.
    Backfill = 8,
    /// Providers becoming healthy or not.
    ProviderHealth = 9,
    /// Contacts added and removed.
    Contacts = 10,
    /// What verified and could not be understood.
    Unrecognised = 11,
    /// Messages said before Switchboard had the app, or fetched from the distant past because somebody asked. They
    /// fill the store; only who asks for this topic has them delivered.
    History = 12,
    /// What was given up after its last retry, and waits for somebody.
    DeadLetters = 13,
}

impl Topic {
    /// Every topic, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Messages,
        Self::SendStatus,
        Self::Receipts,
        Self::Presence,
        Self::Connection,
        Self::Heartbeat,
        Self::Groups,
        Self::Conversations,
        Self::Backfill,
        Self::ProviderHealth,
        Self::Contacts,
        Self::Unrecognised,
        Self::History,
        Self::DeadLetters,
    ];

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::SendStatus => "send_status",
            Self::Receipts => "receipts",
            Self::Presence => "presence",
            Self::Connection => "connection",
            Self::Heartbeat => "heartbeat",
            Self::Groups => "groups",
            Self::Conversations => "conversations",
            Self::Backfill => "backfill",
            Self::ProviderHealth => "provider_health",
            Self::Contacts => "contacts",
            Self::Unrecognised => "unrecognised",
            Self::History => "history",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// The number stored with an event.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an event reached us first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The vendor's callback, first try or retry.
    Callback,
    /// A callback the vendor stored and issued again on request.
    Reissue,
    /// A file of an hour's messages.
    File,
    /// A query of one conversation.
    Query,
    /// A long connection.
    Link,
    /// Our own send.
    Send,
    /// Switchboard itself.
    Internal,
    /// A file or query, of a time before Switchboard had the app.
    History,
}

impl Origin {
    /// The number stored with an event.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Callback,
            1 => Self::Reissue,
            2 => Self::File,
            3 => Self::Query,
            4 => Self::Link,
            5 => Self::Send,
            6 => Self::Internal,
            7 => Self::History,
            _ => return None,
        })
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Reissue => "reissue",
            Self::File => "file",
            Self::Query => "query",
            Self::Link => "link",
            Self::Send => "send",
            Self::Internal => "internal",
            Self::History => "history",
        }
    }
}
