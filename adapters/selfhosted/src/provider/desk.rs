//! What a business asks of the service, as data: carried out in this process by the [`clerk`](super::clerk), or sent
//! to a gate in another by a [`remote`](super::remote) office. Both forms of the provider stand in front of it.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use switchboard_contract::{ConversationKind, Result, Timestamp, UserProfile};

use crate::proto;

/// Where something goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Address {
    /// To a user.
    User(String),
    /// To a group.
    Group(String),
    /// To a room.
    Room(String),
    /// To a user, as a notice.
    System(String),
}

/// A group or room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) room: bool,
}

/// What is asked. Not shown by `Debug` beyond its name: it may hold content.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Call {
    Probe,
    Send {
        from: String,
        to: Vec<Address>,
        content: proto::Content,
        #[serde(default)]
        mark: Option<String>,
    },
    Recall {
        from: String,
        id: String,
    },
    Page {
        viewer: String,
        of: Address,
        since: Timestamp,
        until: Timestamp,
        after: u64,
        limit: u32,
    },
    Ensure {
        user: String,
        profile: UserProfile,
    },
    LoginToken {
        user: String,
        profile: UserProfile,
    },
    Kick {
        user: String,
    },
    Ban {
        user: String,
        /// Milliseconds; none for a ban until it is lifted.
        for_ms: Option<u64>,
    },
    Unban {
        user: String,
    },
    Presence {
        users: Vec<String>,
    },
    OfflineCount {
        user: String,
    },
    CreateGroup {
        place: Place,
        name: String,
        owner: String,
        members: Vec<String>,
    },
    AddMembers {
        place: Place,
        users: Vec<String>,
    },
    RemoveMembers {
        place: Place,
        users: Vec<String>,
    },
    Members {
        place: Place,
    },
    Dissolve {
        place: Place,
    },
    KindOf {
        id: String,
    },
    /// Shows something to whoever is online.
    Push {
        user: String,
        topic: String,
        data: String,
    },
    /// Lines of the log behind `after`, which acknowledges everything up to there; waits for some.
    Next {
        /// None for the first look: behind what was acknowledged last.
        after: Option<u64>,
        wait_ms: u64,
    },
}

impl Call {
    /// Its stable name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Send { .. } => "send",
            Self::Recall { .. } => "recall",
            Self::Page { .. } => "page",
            Self::Ensure { .. } => "ensure",
            Self::LoginToken { .. } => "login_token",
            Self::Kick { .. } => "kick",
            Self::Ban { .. } => "ban",
            Self::Unban { .. } => "unban",
            Self::Presence { .. } => "presence",
            Self::OfflineCount { .. } => "offline_count",
            Self::CreateGroup { .. } => "create_group",
            Self::AddMembers { .. } => "add_members",
            Self::RemoveMembers { .. } => "remove_members",
            Self::Members { .. } => "members",
            Self::Dissolve { .. } => "dissolve",
            Self::KindOf { .. } => "kind_of",
            Self::Push { .. } => "push",
            Self::Next { .. } => "next",
        }
    }

    /// Whether asking twice has the effect of asking once. A message has no key of its own that the vendor contract
    /// knows; a push is shown as often as it is asked for.
    pub(crate) const fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Send { .. } | Self::Push { .. })
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the messages of a send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// The recipient, for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    pub(crate) id: String,
}

/// One event of a page: as in a notice.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) event: String,
    pub(crate) at: Timestamp,
}

/// A sealed notice: lines of the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// The position of its last line.
    pub(crate) last: u64,
    pub(crate) headers: Vec<(String, String)>,
    /// Not in the JSON.
    #[serde(skip)]
    pub(crate) body: Bytes,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    Sent(Vec<Sent>),
    Page {
        items: Vec<Told>,
        next: Option<u64>,
    },
    Token {
        token: String,
        expires_at: Timestamp,
    },
    Online(Vec<bool>),
    Count(u64),
    Users(Vec<String>),
    Kind(Option<ConversationKind>),
    /// None when nothing came in time.
    Notice(Option<Notice>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// Answers what a business asks.
#[async_trait]
pub(crate) trait Office: fmt::Debug + Send + Sync {
    /// Carries it out, in one attempt.
    ///
    /// # Errors
    /// What the service refuses; how the attempt failed.
    async fn call(&self, call: Call) -> Result<Answer>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn calls_read_as_documented() {
        let call: Call = serde_json::from_str(
            r#"{"call":"send","from":"shop","to":[{"user":"bob"}],"content":{"body":"{}"},"mark":"m"}"#,
        )
        .unwrap();
        let Call::Send { to, content, .. } = &call else { panic!() };
        assert_eq!((&to[..], content.body.as_str()), (&[Address::User("bob".to_owned())][..], "{}"));
        assert_eq!(format!("{call:?}"), "send", "no content in a log");
        let text = serde_json::to_string(&call).unwrap();
        assert!(serde_json::from_str::<Call>(&text).unwrap() == call);
        assert!(serde_json::from_str::<Call>(r#"{"call":"kick","user":"x","more":1}"#).is_err());
    }
}
