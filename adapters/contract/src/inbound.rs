//! What an adapter decodes: events still in the vendor's ids. The identity map turns them into [`Event`](crate::Event)s.

use bytes::Bytes;

use crate::body::{Body, Ext, Unrecognised};
use crate::event::{PresenceState, ReceiptKind};
use crate::ids::{VendorGroupId, VendorMessageId, VendorUserId};
use crate::time::Timestamp;
use serde_json::Value;

/// The part of a dedupe key that the vendor's data decides. With the app it names one vendor event for ever,
/// whatever source it comes from: callback, its retry, a file, a query or the echo of our own send.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey {
    /// The class, such as `message`, `recall`, `read`, `offline`, `presence`; two classes never share a key.
    pub class: KeyClass,
    /// The vendor's id, or the ids that make it unique, joined by `/`.
    pub id: String,
}

impl EventKey {
    /// The key of a message.
    pub fn message(id: &VendorMessageId) -> Self {
        Self { class: KeyClass::Message, id: id.as_str().to_owned() }
    }

    /// The key of a recall: one for each recalled message, whoever reports it.
    pub fn recall(original: &VendorMessageId) -> Self {
        Self { class: KeyClass::Recall, id: original.as_str().to_owned() }
    }

    /// A key of any class.
    pub fn new(class: KeyClass, id: impl Into<String>) -> Self {
        Self { class, id: id.into() }
    }
}

/// The class of a dedupe key. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum KeyClass {
    /// A message, by its vendor id.
    Message = 0,
    /// A recall, by the recalled message's id.
    Recall = 1,
    /// An edit, by the message's id and the edit's number or own id.
    Edit = 2,
    /// A read or delivered statement, by kind, message and reader.
    Receipt = 3,
    /// A recipient found offline, by message and recipient.
    Offline = 4,
    /// A login or logout, by user, device, state and time.
    Presence = 5,
    /// A group or room change, by the vendor's event id or its content.
    Group = 6,
    /// A contact change.
    Contact = 7,
    /// A reaction.
    Reaction = 8,
    /// A moderation verdict.
    Moderation = 9,
    /// A push result.
    Push = 10,
    /// Anything not understood, by a hash of its content.
    Unrecognised = 11,
    /// Our own events, by their event id.
    Internal = 12,
}

impl KeyClass {
    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Message,
            1 => Self::Recall,
            2 => Self::Edit,
            3 => Self::Receipt,
            4 => Self::Offline,
            5 => Self::Presence,
            6 => Self::Group,
            7 => Self::Contact,
            8 => Self::Reaction,
            9 => Self::Moderation,
            10 => Self::Push,
            11 => Self::Unrecognised,
            12 => Self::Internal,
            _ => return None,
        })
    }
}

/// Where something happened, in the vendor's ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InboundPlace {
    /// Between two users.
    Direct {
        /// Who sent it.
        from: VendorUserId,
        /// To whom.
        to: VendorUserId,
    },
    /// In a group, and in one of its channels where it has them.
    Group {
        /// Which.
        group: VendorGroupId,
        /// The channel, if the group has channels.
        channel: Option<String>,
    },
    /// In a room.
    Room {
        /// Which.
        room: VendorGroupId,
    },
    /// In a group or a room, and the vendor did not say which: one look-up settles it.
    GroupOrRoom {
        /// Which.
        id: VendorGroupId,
    },
    /// A notice from the business to one user.
    System {
        /// Who sent it.
        from: VendorUserId,
        /// To whom.
        to: VendorUserId,
    },
    /// In no conversation.
    Nowhere,
}

/// One decoded vendor event.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// What makes it unique within its app.
    pub key: EventKey,
    /// Where it happened.
    pub place: InboundPlace,
    /// When, by the vendor's clock. Milliseconds.
    pub sent_at: Timestamp,
    /// Orders events of one millisecond as the vendor numbered them; compared byte by byte.
    pub sort_key: String,
    /// What happened.
    pub data: InboundData,
    /// The mark of our own send, exactly as it was put into the message, if one was found. It is stripped from `ext`.
    pub mark: Option<String>,
    /// What it tells of its neighbours.
    pub clues: Clues,
    /// The vendor's bytes of this one item, unchanged.
    pub raw: Bytes,
}

/// What an event tells of others of its conversation, so that one that never came is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clues {
    /// The message that this one answers.
    pub answers: Option<VendorMessageId>,
    /// The vendor's number of this event in its conversation, where it numbers them without a gap.
    pub number: Option<u64>,
}

/// What happened, in the vendor's ids.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InboundData {
    /// A message.
    Message(InboundMessage),
    /// A message was withdrawn.
    Recall {
        /// Which.
        target: VendorMessageId,
        /// By whom, if said.
        by: Option<VendorUserId>,
        /// Words that came with it.
        reason: Option<String>,
    },
    /// A message was changed.
    Edit {
        /// Which.
        target: VendorMessageId,
        /// The how-manieth change, where the vendor counts.
        version: Option<u64>,
        /// By whom, if said.
        by: Option<VendorUserId>,
        /// The new body, if it changed.
        body: Option<Body>,
        /// The new fields of the business, if they changed.
        ext: Option<Ext>,
    },
    /// Someone received or read something.
    Receipt {
        /// What it states.
        kind: ReceiptKind,
        /// By whom.
        reader: VendorUserId,
        /// Which message; `None` when the whole conversation is meant.
        target: Option<VendorMessageId>,
        /// It covers everything up to the target.
        whole_conversation: bool,
    },
    /// A recipient was not online when this message came. Carries the message, which may be news.
    Offline {
        /// The message.
        message: Box<InboundMessage>,
        /// The recipient.
        recipient: VendorUserId,
    },
    /// A user's device came or went.
    Presence {
        /// Who.
        user: VendorUserId,
        /// Online or not.
        state: PresenceState,
        /// Why.
        reason: Option<String>,
        /// The platform, lower case.
        platform: Option<String>,
        /// The device or session.
        device: Option<String>,
    },
    /// A group or room changed; `place` says which.
    Group {
        /// What; the words of [`GroupChange::change`](crate::GroupChange).
        change: String,
        /// Who did it, if said.
        by: Option<VendorUserId>,
        /// Whom it concerns.
        members: Vec<VendorUserId>,
        /// Everything else the vendor said.
        detail: Value,
    },
    /// A contact changed.
    Contact {
        /// Whose list.
        user: VendorUserId,
        /// Who on it.
        peer: VendorUserId,
        /// What; the words of [`ContactChange::change`](crate::ContactChange).
        change: String,
    },
    /// A reaction to a message.
    Reaction {
        /// To which.
        target: VendorMessageId,
        /// By whom, if said.
        by: Option<VendorUserId>,
        /// The reaction's name or emoji.
        reaction: String,
        /// Taken back.
        removed: bool,
    },
    /// A moderation verdict.
    Moderation {
        /// On which message.
        target: VendorMessageId,
        /// The words of [`Moderation::verdict`](crate::Moderation).
        verdict: String,
        /// Everything else the vendor said of it, the message itself excepted.
        detail: Value,
    },
    /// What became of an offline push.
    Push {
        /// For which message, if said.
        target: Option<VendorMessageId>,
        /// To whom.
        recipient: VendorUserId,
        /// `sent` or `failed`, or the vendor's own word.
        outcome: String,
        /// Everything else the vendor said.
        detail: Value,
    },
    /// Verified and not understood.
    Unrecognised(Unrecognised),
}

/// A message in the vendor's ids.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundMessage {
    /// The vendor's id.
    pub id: VendorMessageId,
    /// Who sent it.
    pub from: VendorUserId,
    /// The only recipients, for a group message directed at some members.
    pub audience: Vec<VendorUserId>,
    /// What it says.
    pub body: Body,
    /// The business's own fields, our mark taken out.
    pub ext: Ext,
    /// It points at everybody.
    pub mentions_everyone: bool,
    /// It points at these users.
    pub mentions: Vec<VendorUserId>,
}
