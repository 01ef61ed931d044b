//! What is on its way in (a message not yet accepted) and on its way out (a callback not yet sent).

use std::collections::BTreeMap;

use super::{
    callback::{ChatroomStatus, OnlineStatus},
    model::{ConversationKind, Origin, Push, Sensitivity},
    store::ConversationKey,
};

/// A callback waiting to leave.
#[derive(Clone)]
pub(crate) enum Event {
    /// One routed message: its id and form body.
    Route { uid: String, body: String },
    /// One change of a user's presence.
    Online(OnlineStatus),
    /// One change in a chatroom.
    Chatroom(ChatroomStatus),
    /// A recall or deletion: the message it concerns and the JSON body.
    Operation { uid: String, body: String },
    /// A moderation result: the message it concerns and the JSON body.
    Audit { uid: String, body: String },
}

/// A message about to be accepted.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) kind: ConversationKind,
    pub(crate) from: String,
    pub(crate) target: String,
    pub(crate) bus_channel: String,
    pub(crate) object_name: String,
    pub(crate) content: String,
    pub(crate) push: Option<Push>,
    pub(crate) origin: Origin,
    pub(crate) directed: Vec<String>,
    pub(crate) original_uid: Option<String>,
    pub(crate) persisted: bool,
    pub(crate) status: bool,
    pub(crate) sender_sees: bool,
    pub(crate) expandable: bool,
    pub(crate) expansion: BTreeMap<String, String>,
    pub(crate) fan_out_copy: bool,
    pub(crate) sensitivity: Sensitivity,
    /// Kept out of the log and the routing callback: app-wide broadcasts.
    pub(crate) unrouted: bool,
}

impl Draft {
    /// A plain message from the Server API.
    pub(crate) fn server(kind: ConversationKind, from: &str, target: &str) -> Self {
        Self {
            kind,
            from: from.to_owned(),
            target: target.to_owned(),
            bus_channel: String::new(),
            object_name: String::new(),
            content: String::new(),
            push: Some(Push::default()),
            origin: Origin::Server,
            directed: Vec::new(),
            original_uid: None,
            persisted: true,
            status: false,
            sender_sees: true,
            expandable: false,
            expansion: BTreeMap::new(),
            fan_out_copy: false,
            sensitivity: Sensitivity::None,
            unrouted: false,
        }
    }

    /// With a type and its content.
    pub(crate) fn with_content(mut self, object_name: &str, content: &str) -> Self {
        object_name.clone_into(&mut self.object_name);
        content.clone_into(&mut self.content);
        self
    }

    pub(crate) fn key(&self) -> ConversationKey {
        ConversationKey::new(self.kind, &self.from, &self.target, &self.bus_channel)
    }
}

/// An id and server time given out before the message is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) uid: String,
    pub(crate) time_ms: i64,
}
