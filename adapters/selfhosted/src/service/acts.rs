//! What can be asked of the service that writes something.

use switchboard_contract::storage::MemberRole;
use switchboard_contract::{
    ConversationId, ConversationKind, Error, GroupId, MessageId, Position, Result, Sequence, Timestamp, UserId,
};

use crate::proto;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// To a user.
    User(UserId),
    /// To a group.
    Group(GroupId),
    /// To a room.
    Room(GroupId),
    /// To a user, as a notice of the business.
    System(UserId),
}

impl Place {
    pub(crate) fn from_target(target: Option<proto::Target>) -> Result<Self> {
        let id = |text: String, field: &str| {
            if text.is_empty() || text.len() > 255 {
                Err(Error::invalid(field, "must have 1 to 255 bytes"))
            } else {
                Ok(text)
            }
        };
        match target.and_then(|target| target.to) {
            Some(proto::target::To::User(user)) => Ok(Self::User(id(user, "to.user")?.into())),
            Some(proto::target::To::Group(group)) => Ok(Self::Group(id(group, "to.group")?.into())),
            Some(proto::target::To::Room(room)) => Ok(Self::Room(id(room, "to.room")?.into())),
            None => Err(Error::invalid("to", "is missing")),
        }
    }

    pub(crate) fn group(id: &GroupId, room: bool) -> Self {
        if room { Self::Room(id.clone()) } else { Self::Group(id.clone()) }
    }

    pub(crate) fn conversation(&self, by: &UserId) -> ConversationId {
        match self {
            Self::User(user) => ConversationId::direct(by, user),
            Self::Group(group) => ConversationId::group(group),
            Self::Room(room) => ConversationId::room(room),
            Self::System(user) => ConversationId::system(by, user),
        }
    }

    /// As it stands in a message.
    pub(crate) fn target(&self) -> proto::Target {
        use proto::target::To;
        let to = match self {
            Self::User(user) | Self::System(user) => To::User(user.as_str().to_owned()),
            Self::Group(group) => To::Group(group.as_str().to_owned()),
            Self::Room(room) => To::Room(room.as_str().to_owned()),
        };
        proto::Target { to: Some(to) }
    }

    /// The place of a message already written.
    pub(crate) fn of(conversation: &ConversationId, by: &UserId) -> Option<Self> {
        let parts = conversation.parts();
        match conversation.kind() {
            ConversationKind::Direct => conversation.peer_of(by).map(Self::User),
            ConversationKind::Group => conversation.group_id().map(Self::Group),
            ConversationKind::Room => conversation.group_id().map(Self::Room),
            ConversationKind::System => parts.get(1).map(|to| Self::System(UserId::from(to.as_str()))),
        }
    }
}

/// Something to be done by the writer.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A message.
    Send {
        by: UserId,
        to: Place,
        content: proto::Content,
        client_id: Option<String>,
        mark: Option<String>,
        /// The business sends: mutes do not bind it, and membership neither.
        business: bool,
    },
    /// Takes a message back; `by` must be its sender unless the business does it.
    Recall { by: UserId, target: MessageId, business: bool },
    /// Changes a message.
    Edit { by: UserId, target: MessageId, content: proto::Content, version: u32 },
    /// Everything up to here is read.
    Read { user: UserId, conversation: ConversationId, through: Sequence },
    /// Everything up to here has reached a device; the message there.
    Delivered { user: UserId, conversation: ConversationId, through: Sequence, last: MessageId },
    /// A word to the business.
    Report { by: UserId, topic: String, data: String, client_id: Option<String> },
    /// A device came or went.
    Presence { user: UserId, presence: proto::Presence },
    /// A group.
    Group { by: Option<UserId>, id: GroupId, room: bool, act: GroupAct },
}

/// Something done to a group. Without a `by` the business does it, which may do everything.
#[derive(Clone, Debug)]
pub(crate) enum GroupAct {
    Create { name: String, owner: UserId, members: Vec<UserId> },
    Add(Vec<UserId>),
    Remove(Vec<UserId>),
    Leave,
    SetRole(Vec<UserId>, MemberRole),
    Mute(Vec<UserId>, Option<Timestamp>),
    MuteAll(bool),
    Rename(String),
    Dissolve,
}

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) id: MessageId,
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) position: Position,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) at: Timestamp,
    /// It was there before, or had no effect.
    pub(crate) repeated: bool,
    /// The version a message has now.
    pub(crate) version: u32,
}
