//! What the emulated vendor remembers: messages, users, groups, rooms.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Conversation types with the vendor's numbers and callback names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// One-to-one, 1, `PERSON`.
    Private,
    /// Discussion, deprecated, 2, `PERSONS`.
    Discussion,
    /// Group, 3, `GROUP`.
    Group,
    /// Chatroom, 4, `TEMPGROUP`.
    Chatroom,
    /// Customer service, 5, `CUSTOMERSERVICE`.
    CustomerService,
    /// System, 6, `NOTIFY`.
    System,
    /// Ultra group, 10, `ULTRAGROUP`.
    UltraGroup,
}

impl ConversationKind {
    /// The number used by the Server API and the log files.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Private => 1,
            Self::Discussion => 2,
            Self::Group => 3,
            Self::Chatroom => 4,
            Self::CustomerService => 5,
            Self::System => 6,
            Self::UltraGroup => 10,
        }
    }

    /// The kind with a number of the Server API.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Private,
            2 => Self::Discussion,
            3 => Self::Group,
            4 => Self::Chatroom,
            5 => Self::CustomerService,
            6 => Self::System,
            10 => Self::UltraGroup,
            _ => return None,
        })
    }

    /// The `channelType` of callbacks.
    #[must_use]
    pub fn channel_type(self) -> &'static str {
        match self {
            Self::Private => "PERSON",
            Self::Discussion => "PERSONS",
            Self::Group => "GROUP",
            Self::Chatroom => "TEMPGROUP",
            Self::CustomerService => "CUSTOMERSERVICE",
            Self::System => "NOTIFY",
            Self::UltraGroup => "ULTRAGROUP",
        }
    }
}

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The Server API; callbacks and log call it `Server`.
    Server,
    /// An end user's device: its `os` name and `ip:port`.
    Client {
        /// `iOS`, `Android`, `HarmonyOS`, `Websocket`, `PC`, `MiniProgram`.
        os: String,
        /// Address as callbacks show it.
        ip: String,
    },
}

impl Origin {
    /// The `source` text.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Server => "Server",
            Self::Client { os, .. } => os,
        }
    }

    /// Whether the Server API sent it.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Server)
    }
}

/// What the word filter found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sensitivity {
    /// Nothing.
    #[default]
    None,
    /// A blocking word: the message is not delivered.
    Blocked,
    /// A word was replaced.
    Replaced,
}

impl Sensitivity {
    /// `sensitiveType` of the routing callback.
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Blocked => "1",
            Self::Replaced => "2",
        }
    }
}

/// One changeable key of a message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExpansionValue {
    pub(crate) value: String,
    pub(crate) at_ms: i64,
}

/// What a recipient who is away is shown of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Push {
    /// The text; empty stands for the vendor's own of the message's type.
    pub content: String,
    /// What the app is handed with it.
    pub data: String,
    /// The app is woken without a notification (iOS).
    pub silent: bool,
}

/// A message as accepted.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) uid: String,
    pub(crate) kind: ConversationKind,
    pub(crate) from: String,
    /// Peer user, group, room or ultra group.
    pub(crate) target: String,
    pub(crate) bus_channel: String,
    pub(crate) object_name: String,
    pub(crate) content: String,
    /// `None` when it is not to be pushed.
    pub(crate) push: Option<Push>,
    pub(crate) time_ms: i64,
    pub(crate) origin: Origin,
    pub(crate) sensitivity: Sensitivity,
    /// Recipients of a directed group message.
    pub(crate) directed: Vec<String>,
    /// For an edit: the edited message.
    pub(crate) original_uid: Option<String>,
    /// In cloud history.
    pub(crate) stored: bool,
    /// In the hourly log.
    pub(crate) logged: bool,
    /// Status message: neither stored, counted nor logged.
    pub(crate) status: bool,
    /// Shown in the sender's own history.
    pub(crate) sender_sees: bool,
    pub(crate) expandable: bool,
    pub(crate) expansion: BTreeMap<String, ExpansionValue>,
    pub(crate) recalled: bool,
    /// Users who deleted their own copy.
    pub(crate) deleted_by: BTreeSet<String>,
    /// Not the first recipient of a fan-out.
    pub(crate) fan_out_copy: bool,
    /// App-wide broadcast: never in the routing callback.
    pub(crate) unrouted: bool,
}

impl Message {
    /// `extraContent` as the query answers it.
    pub(crate) fn extra_content(&self) -> String {
        if self.expansion.is_empty() {
            return String::new();
        }
        let plain: BTreeMap<&str, &str> =
            self.expansion.iter().map(|(key, item)| (key.as_str(), item.value.as_str())).collect();
        serde_json::to_string(&plain).unwrap_or_default()
    }
}

/// A device of a user that is connected now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) os: String,
    pub(crate) ip: String,
}

/// Push mute hours of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushPeriod {
    pub(crate) start: String,
    pub(crate) minutes: i64,
    pub(crate) level: i64,
}

/// A user account.
#[derive(Clone, Default)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) portrait: String,
    pub(crate) created_ms: i64,
    /// Has had a token.
    pub(crate) registered: bool,
    /// Live tokens with the time each was issued.
    pub(crate) tokens: BTreeMap<String, i64>,
    pub(crate) blocked_until_ms: Option<i64>,
    pub(crate) blacklist: BTreeSet<String>,
    pub(crate) whitelist: BTreeSet<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) push_period: Option<PushPeriod>,
    pub(crate) remarks: BTreeMap<String, String>,
    pub(crate) chat_muted: bool,
    pub(crate) deactivated: bool,
    pub(crate) profile: String,
    pub(crate) ext_profile: String,
    pub(crate) profile_version: i64,
    pub(crate) sessions: BTreeMap<String, Session>,
}

/// A group.
#[derive(Clone, Default)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) members: BTreeSet<String>,
    /// Muted members and when it ends; `i64::MAX` means never.
    pub(crate) gagged: BTreeMap<String, i64>,
    pub(crate) banned: bool,
    pub(crate) ban_whitelist: BTreeSet<String>,
    pub(crate) remarks: BTreeMap<String, String>,
}

/// An ultra group.
#[derive(Debug, Clone, Default)]
pub(crate) struct UltraGroup {
    pub(crate) name: String,
    pub(crate) members: BTreeSet<String>,
    /// Channel ids with the time each was made.
    pub(crate) channels: BTreeMap<String, i64>,
}

/// A key of a room.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RoomEntry {
    pub(crate) value: String,
    pub(crate) owner: String,
    pub(crate) auto_delete: bool,
    pub(crate) set_ms: i64,
}

/// How long a room lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DestroyRule {
    /// 0 after idling, 1 at a fixed time.
    pub(crate) kind: i64,
    pub(crate) minutes: i64,
}

/// A chatroom.
#[derive(Clone, Default)]
pub(crate) struct Room {
    pub(crate) name: String,
    pub(crate) created_ms: i64,
    pub(crate) active_ms: i64,
    pub(crate) destroy: Option<DestroyRule>,
    /// Members and when each joined.
    pub(crate) members: BTreeMap<String, i64>,
    pub(crate) blocked: BTreeMap<String, i64>,
    pub(crate) gagged: BTreeMap<String, i64>,
    pub(crate) banned: bool,
    pub(crate) ban_whitelist: BTreeSet<String>,
    pub(crate) whitelist: BTreeSet<String>,
    pub(crate) distribution_stopped: bool,
    pub(crate) keepalive: bool,
    pub(crate) entries: BTreeMap<String, RoomEntry>,
}

/// Whether messages of a built-in type are stored; custom types are. From the vendor's object-name page.
pub(crate) fn type_is_stored(object_name: &str) -> bool {
    !matches!(
        object_name,
        "RC:CmdMsg"
            | "RC:TypSts"
            | "RC:ReadNtf"
            | "RC:RcCmd"
            | "RC:MsgExMsg"
            | "RC:RRReqMsg"
            | "RC:RRRspMsg"
            | "RC:SRSMsg"
            | "RC:RRMsg"
            | "RC:RSMsg"
    )
}

/// Whether messages of a type are status messages: not stored, counted, logged, nor by default routed.
pub(crate) fn type_is_status(object_name: &str) -> bool {
    object_name == "RC:TypSts"
}
