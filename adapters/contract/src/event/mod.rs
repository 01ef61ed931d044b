//! What happened, in the business's own ids: the thing that is journalled once and delivered to subscribers.

mod message;
mod people;
mod receipt;
mod send;
mod topic;

pub use message::{Edit, Mentions, Message, Moderation, Reaction, Recall};
pub use people::{ContactChange, GroupChange, Presence, PresenceState};
pub use receipt::{PushResult, Receipt, ReceiptKind, RecipientOffline};
pub use send::{SendState, SendStatus};
pub use topic::{Origin, Topic};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::Unrecognised;
use crate::conversation::ConversationId;
use crate::envelope::TYPE_PREFIX;
use crate::ids::{App, EventId, MessageId, ProviderId, TenantId, VendorMessageId};
use crate::time::Timestamp;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Ours, UUIDv7.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The app it came from; `None` for events of Switchboard itself.
    pub app: Option<App>,
    /// The conversation; events without one have a position and no sequence.
    pub conversation: Option<ConversationId>,
    /// When, by the vendor's clock (ours for our own events). Milliseconds.
    pub sent_at: Timestamp,
    /// When we first saw it, by our clock. Milliseconds.
    pub received_at: Timestamp,
    /// How it reached us first.
    pub origin: Origin,
    /// Found by repair after it should have come: its `Sequence` is later than its time.
    pub late: bool,
    /// What happened.
    pub data: EventData,
}

impl Event {
    /// The topic it is delivered under.
    pub fn topic(&self) -> Topic {
        if self.origin == Origin::History { Topic::History } else { self.data.topic() }
    }
}

/// A message named by our id where we know it, and by the vendor's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRef {
    /// Our id; `None` when the message has not been seen (yet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// The vendor's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<VendorMessageId>,
}

impl MessageRef {
    /// Names a message by the vendor's id; the store adds ours when it knows it.
    pub fn vendor(id: VendorMessageId) -> Self {
        Self { id: None, vendor_id: Some(id) }
    }
}

/// What happened. In the CloudEvents form the variant is the `type` (prefix `switchboard.`) and the content is `data`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventData {
    /// A message.
    Message(Message),
    /// A message was withdrawn. Its own event, with its own sequence; the target becomes a tombstone.
    Recall(Recall),
    /// A message was changed.
    Edit(Edit),
    /// Someone received or read something.
    Receipt(Receipt),
    /// A recipient was not online when a message came.
    RecipientOffline(RecipientOffline),
    /// A send changed its state.
    SendStatus(SendStatus),
    /// A user's device came or went.
    Presence(Presence),
    /// A group or room changed.
    Group(GroupChange),
    /// A contact changed.
    Contact(ContactChange),
    /// A reaction to a message.
    Reaction(Reaction),
    /// A moderation service's verdict.
    Moderation(Moderation),
    /// What became of an offline push.
    PushResult(PushResult),
    /// Anything Switchboard says of itself: connection, heartbeat, conversations, backfill, provider health.
    Notice(Notice),
    /// Something that verified and could not be understood.
    Unrecognised(Unrecognised),
}

impl EventData {
    /// The topic it is delivered under, unless it is [history](Topic::History): see [`Event::topic`].
    pub fn topic(&self) -> Topic {
        match self {
            Self::Message(_) | Self::Recall(_) | Self::Edit(_) | Self::Reaction(_) | Self::Moderation(_) => {
                Topic::Messages
            }
            Self::Receipt(_) | Self::RecipientOffline(_) | Self::PushResult(_) => Topic::Receipts,
            Self::SendStatus(_) => Topic::SendStatus,
            Self::Presence(_) => Topic::Presence,
            Self::Group(_) => Topic::Groups,
            Self::Contact(_) => Topic::Contacts,
            Self::Notice(notice) => notice.topic,
            Self::Unrecognised(_) => Topic::Unrecognised,
        }
    }

    /// The CloudEvents `type`, without the prefix `switchboard.`.
    pub fn type_name(&self) -> &'static str {
        &self.event_type()[TYPE_PREFIX.len()..]
    }

    /// The `type` of its CloudEvents form: [`TYPE_PREFIX`] and its [name](Self::type_name).
    pub(crate) const fn event_type(&self) -> &'static str {
        match self {
            Self::Message(_) => "switchboard.message",
            Self::Recall(_) => "switchboard.recall",
            Self::Edit(_) => "switchboard.edit",
            Self::Receipt(_) => "switchboard.receipt",
            Self::RecipientOffline(_) => "switchboard.recipient_offline",
            Self::SendStatus(_) => "switchboard.send_status",
            Self::Presence(_) => "switchboard.presence",
            Self::Group(_) => "switchboard.group",
            Self::Contact(_) => "switchboard.contact",
            Self::Reaction(_) => "switchboard.reaction",
            Self::Moderation(_) => "switchboard.moderation",
            Self::PushResult(_) => "switchboard.push_result",
            Self::Notice(_) => "switchboard.notice",
            Self::Unrecognised(_) => "switchboard.unrecognised",
        }
    }

    /// The message this event is about, other than a message itself.
    pub fn target_mut(&mut self) -> Option<&mut MessageRef> {
        match self {
            Self::Recall(recall) => Some(&mut recall.target),
            Self::Edit(edit) => Some(&mut edit.target),
            Self::Receipt(receipt) => receipt.target.as_mut(),
            Self::RecipientOffline(offline) => Some(&mut offline.target),
            Self::Reaction(reaction) => Some(&mut reaction.target),
            Self::Moderation(moderation) => Some(&mut moderation.target),
            Self::PushResult(push) => push.target.as_mut(),
            _ => None,
        }
    }
}

/// Something Switchboard says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The topic it is delivered under.
    pub topic: Topic,
    /// What: a stable lower-case word such as `provider_online`, `repair_window_opened`.
    pub kind: String,
    /// The provider concerned, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// Details, documented with each kind.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}
