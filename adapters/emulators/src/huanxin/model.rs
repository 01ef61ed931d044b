//! What the emulated app holds: users, devices, messages, groups, rooms, files.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::common::Source;

/// The three kinds of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatType {
    /// One-to-one.
    Chat,
    /// Group.
    GroupChat,
    /// Room.
    ChatRoom,
}

impl ChatType {
    /// The word history files and recall use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::GroupChat => "groupchat",
            Self::ChatRoom => "chatroom",
        }
    }

    /// Callbacks call rooms `groupchat` too.
    pub(crate) fn callback_word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::GroupChat | Self::ChatRoom => "groupchat",
        }
    }

    /// The middle word of `content_type`.
    pub(crate) fn content_word(self) -> &'static str {
        match self {
            Self::Chat => "user",
            Self::GroupChat => "group",
            Self::ChatRoom => "room",
        }
    }

    /// Our ledger's word.
    pub(crate) fn ledger_word(self) -> &'static str {
        match self {
            Self::Chat => "direct",
            Self::GroupChat => "group",
            Self::ChatRoom => "room",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "chat" => Some(Self::Chat),
            "groupchat" => Some(Self::GroupChat),
            "chatroom" => Some(Self::ChatRoom),
            _ => None,
        }
    }
}

/// Families of callbacks, as a rule selects them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventFamily {
    /// `chat` and `chat_offline`.
    Message,
    /// A recalled message.
    Recall,
    /// Read receipts, one-to-one and group.
    Read,
    /// A conversation read to its end.
    ConversationRead,
    /// An edited message.
    Edit,
    /// Login, logout, replaced.
    UserStatus,
    /// `group_op_event` of groups and rooms.
    Group,
    /// Contacts.
    Contact,
    /// Reactions.
    Reaction,
    /// Moderation results.
    Moderation,
    /// Offline push results.
    Push,
}

/// A registered user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) nickname: Option<String>,
    pub(crate) created_ms: i64,
    pub(crate) modified_ms: i64,
    pub(crate) order: u64,
    pub(crate) activated: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) last_seen_ms: i64,
    pub(crate) offline_direct: VecDeque<u64>,
    pub(crate) offline_group: VecDeque<u64>,
    pub(crate) inbox: Vec<u64>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) mutes: GlobalMute,
    /// The last status of each kind of device, where it is not simply online.
    pub(crate) presence: BTreeMap<String, String>,
    pub(crate) presence_ext: String,
    pub(crate) watching: BTreeMap<String, i64>,
    pub(crate) contacts: Vec<String>,
    pub(crate) blocked: Vec<String>,
    pub(crate) push: Map<String, Value>,
}

/// Global mute per kind of conversation: end in Unix milliseconds; `i64::MAX` for ever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GlobalMute {
    pub(crate) chat: i64,
    pub(crate) group: i64,
    pub(crate) room: i64,
}

impl GlobalMute {
    pub(crate) fn until(self, kind: ChatType) -> i64 {
        match kind {
            ChatType::Chat => self.chat,
            ChatType::GroupChat => self.group,
            ChatType::ChatRoom => self.room,
        }
    }
}

/// A device that is logged in.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) resource: String,
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) os: String,
    pub(crate) ip: String,
    pub(crate) version: String,
}

impl User {
    pub(crate) fn new(name: &str, password: &str, order: u64, now_ms: i64) -> Self {
        Self {
            uuid: uuid::Uuid::new_v4().to_string(),
            name: name.to_owned(),
            password: password.to_owned(),
            nickname: None,
            created_ms: now_ms,
            modified_ms: now_ms,
            order,
            activated: true,
            devices: Vec::new(),
            last_seen_ms: now_ms,
            offline_direct: VecDeque::new(),
            offline_group: VecDeque::new(),
            inbox: Vec::new(),
            attributes: BTreeMap::new(),
            mutes: GlobalMute::default(),
            presence: BTreeMap::new(),
            presence_ext: String::new(),
            watching: BTreeMap::new(),
            contacts: Vec::new(),
            blocked: Vec::new(),
            push: Map::new(),
        }
    }

    pub(crate) fn online(&self) -> bool {
        !self.devices.is_empty()
    }

    /// The entity of the user endpoints.
    pub(crate) fn entity(&self) -> Value {
        let mut entity = json!({
            "uuid": self.uuid, "type": "user", "created": self.created_ms, "modified": self.modified_ms,
            "username": self.name, "activated": self.activated,
        });
        if let Some(nickname) = &self.nickname {
            entity["nickname"] = json!(nickname);
        }
        if let Some(entity) = entity.as_object_mut() {
            entity.extend(self.push.clone());
        }
        entity
    }

    pub(crate) fn queue(&mut self, kind: ChatType, id: u64, limits: (usize, usize)) {
        let (queue, limit) = match kind {
            ChatType::Chat => (&mut self.offline_direct, limits.0),
            ChatType::GroupChat => (&mut self.offline_group, limits.1),
            // Rooms have no offline queue: members leave when they go offline.
            ChatType::ChatRoom => return,
        };
        queue.push_back(id);
        if queue.len() > limit {
            queue.pop_front();
        }
    }
}

/// An accepted message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) kind: ChatType,
    /// Only these members of the group or room see it.
    pub(crate) audience: Option<Vec<String>>,
    pub(crate) body: Arc<Value>,
    pub(crate) ext: Arc<Value>,
    pub(crate) time_ms: i64,
    pub(crate) source: Source,
    pub(crate) online_only: bool,
    pub(crate) hidden_from: Vec<String>,
    pub(crate) env: Option<String>,
    pub(crate) group_ack: bool,
    pub(crate) level: Option<String>,
    pub(crate) recalled_ms: Option<i64>,
    pub(crate) edits: Vec<Edit>,
}

/// What a message was before an edit.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) at_ms: i64,
    pub(crate) body: Arc<Value>,
    pub(crate) ext: Arc<Value>,
}

impl Message {
    pub(crate) fn type_word(&self) -> &str {
        self.body.get("type").and_then(Value::as_str).unwrap_or("txt")
    }

    /// Body and ext as they were at a moment.
    pub(crate) fn as_of(&self, moment_ms: i64) -> (&Value, &Value) {
        self.edits
            .iter()
            .find(|edit| edit.at_ms > moment_ms)
            .map_or((&*self.body, &*self.ext), |edit| (&*edit.body, &*edit.ext))
    }

    /// A line of a history file, as of a moment.
    pub(crate) fn history_line(&self, moment_ms: i64) -> Value {
        let (body, ext) = self.as_of(moment_ms);
        json!({
            "msg_id": self.id.to_string(), "timestamp": self.time_ms, "direction": "outgoing",
            "to": self.to, "from": self.from, "chat_type": self.kind.word(),
            "payload": {
                "bodies": [body], "ext": or_empty(ext), "from": self.from, "to": self.to,
            },
        })
    }
}

/// Callbacks and files show an absent `ext` as `{}`.
pub(crate) fn or_empty(ext: &Value) -> Value {
    if ext.is_object() { ext.clone() } else { json!({}) }
}

/// A group or a room.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) room: bool,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) public: bool,
    pub(crate) max_users: u64,
    pub(crate) allow_invites: bool,
    pub(crate) members_only: bool,
    pub(crate) invite_need_confirm: bool,
    pub(crate) custom: String,
    pub(crate) avatar: String,
    pub(crate) owner: String,
    pub(crate) admins: Vec<String>,
    pub(crate) members: Vec<Member>,
    pub(crate) mutes: BTreeMap<String, i64>,
    pub(crate) mute_all: bool,
    pub(crate) disabled: bool,
    pub(crate) blocked: Vec<String>,
    pub(crate) white: Vec<String>,
    pub(crate) announcement: String,
    pub(crate) files: Vec<Value>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) created_ms: i64,
    pub(crate) modified_ms: i64,
}

/// A member, the owner included.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) user: String,
    pub(crate) joined_ms: i64,
}

impl Group {
    pub(crate) fn has(&self, user: &str) -> bool {
        self.members.iter().any(|member| member.user == user)
    }

    pub(crate) fn kind(&self) -> ChatType {
        if self.room { ChatType::ChatRoom } else { ChatType::GroupChat }
    }

    pub(crate) fn joined_ms(&self, user: &str) -> Option<i64> {
        self.members.iter().find(|member| member.user == user).map(|member| member.joined_ms)
    }
}

/// An uploaded file.
#[derive(Debug)]
pub(crate) struct StoredFile {
    pub(crate) name: String,
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
    pub(crate) secret: Option<String>,
    pub(crate) expires_ms: i64,
}

/// A text stream in progress.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) kind: ChatType,
    pub(crate) text: String,
    pub(crate) markdown: bool,
    pub(crate) seq: i64,
    pub(crate) started_ms: i64,
    pub(crate) touched_ms: i64,
    pub(crate) finished: bool,
    pub(crate) ext: Value,
}
