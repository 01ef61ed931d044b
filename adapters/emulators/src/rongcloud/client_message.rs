//! What an end user's device sends, and what it is told.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    model::{ConversationKind, Push},
    state::Reserved,
};

/// How a message is withdrawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecallOptions {
    /// As an administrator, which allows messages of others.
    pub as_admin: bool,
    /// Devices remove the message instead of showing that it was withdrawn.
    pub without_trace: bool,
    /// Text for the other devices and the operation callback.
    pub extra: String,
}

/// Where an end user's message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Another user.
    User(String),
    /// A group the sender is a member of.
    Group(String),
    /// A chatroom the sender has joined.
    Room(String),
    /// A channel of an ultra group the sender is a member of.
    UltraGroup {
        /// The ultra group.
        group: String,
        /// Its channel.
        channel: String,
    },
}

impl Target {
    pub(crate) fn kind(&self) -> ConversationKind {
        match self {
            Self::User(_) => ConversationKind::Private,
            Self::Group(_) => ConversationKind::Group,
            Self::Room(_) => ConversationKind::Chatroom,
            Self::UltraGroup { .. } => ConversationKind::UltraGroup,
        }
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::User(id) | Self::Group(id) | Self::Room(id) | Self::UltraGroup { group: id, .. } => id,
        }
    }

    pub(crate) fn channel(&self) -> &str {
        match self {
            Self::UltraGroup { channel, .. } => channel,
            Self::User(_) | Self::Group(_) | Self::Room(_) => "",
        }
    }
}

/// A message as an end user's device sends it.
#[derive(Clone)]
pub struct ClientMessage {
    pub(crate) target: Target,
    pub(crate) object_name: String,
    pub(crate) content: String,
    pub(crate) directed: Vec<String>,
    pub(crate) expansion: Option<BTreeMap<String, String>>,
    pub(crate) os: Option<String>,
    pub(crate) push_content: String,
    pub(crate) uid: Option<String>,
}

impl fmt::Debug for ClientMessage {
    /// Without content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMessage")
            .field("target", &self.target)
            .field("object_name", &self.object_name)
            .finish_non_exhaustive()
    }
}

impl ClientMessage {
    /// A message of any type; `content` is the type's JSON as text, or any text for custom types.
    #[must_use]
    pub fn new(target: Target, object_name: &str, content: &str) -> Self {
        Self {
            target,
            object_name: object_name.to_owned(),
            content: content.to_owned(),
            directed: Vec::new(),
            expansion: None,
            os: None,
            push_content: String::new(),
            uid: None,
        }
    }

    /// A text message, `RC:TxtMsg`.
    #[must_use]
    pub fn text(target: Target, text: &str) -> Self {
        let content = serde_json::json!({ "content": text }).to_string();
        Self::new(target, "RC:TxtMsg", &content)
    }

    /// Only for these members of the group.
    #[must_use]
    pub fn with_directed(mut self, users: &[&str]) -> Self {
        self.directed = users.iter().map(|user| (*user).to_owned()).collect();
        self
    }

    /// With changeable keys.
    #[must_use]
    pub fn with_expansion(mut self, pairs: &[(&str, &str)]) -> Self {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.expansion = Some(pairs.iter().map(own).collect());
        self
    }

    /// From a device with this `os`: `iOS`, `Android`, `HarmonyOS`, `Websocket`, `PC`, `MiniProgram`. Without it, the
    /// user's connected device, or `iOS`.
    #[must_use]
    pub fn with_os(mut self, os: &str) -> Self {
        self.os = Some(os.to_owned());
        self
    }

    /// With a push text for the pre-send hook to see.
    #[must_use]
    pub fn with_push_content(mut self, text: &str) -> Self {
        text.clone_into(&mut self.push_content);
        self
    }

    /// Under this `messageUID` instead of a fresh one, for replaying recorded traffic. Nothing checks that it is unique.
    #[must_use]
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }
}

/// What the vendor gave an accepted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// `messageUID`.
    pub uid: String,
    /// Server time in Unix milliseconds.
    pub time_ms: i64,
}

impl From<Reserved> for Sent {
    fn from(reserved: Reserved) -> Self {
        Self { uid: reserved.uid, time_ms: reserved.time_ms }
    }
}

/// Why the vendor refused an end user, with the code its client SDK shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused with {code}: {reason}")]
pub struct ClientRefusal {
    /// Client status code.
    pub code: i64,
    /// For people; from the pre-send hook, its `extra`.
    pub reason: String,
}

impl ClientRefusal {
    pub(crate) fn new(code: i64, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// A message as a user's device would show it.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Received {
    /// `messageUID`.
    pub uid: String,
    /// Conversation kind.
    pub kind: ConversationKind,
    /// Sender.
    pub from: String,
    /// The user, group, room or ultra group it was sent to.
    pub target: String,
    /// Type.
    pub object_name: String,
    /// Content as sent, or as last edited.
    pub content: String,
    /// What was pushed to a user who was away; `None` when nothing was to be.
    pub push: Option<Push>,
    /// Server time in Unix milliseconds.
    pub time_ms: i64,
}

impl fmt::Debug for Received {
    /// Without content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("uid", &self.uid)
            .field("from", &self.from)
            .field("target", &self.target)
            .field("object_name", &self.object_name)
            .finish_non_exhaustive()
    }
}
