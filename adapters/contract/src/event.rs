//! What happened, in the business's own ids: the thing that is journalled once and delivered to subscribers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body::{Body, Ext, Unrecognised};
use crate::conversation::ConversationId;
use crate::ids::{
    App, ClientMessageId, EventId, GroupId, MessageId, ProviderId, SendId, TenantId, UserId, VendorMessageId,
};
use crate::time::Timestamp;

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
}

impl Topic {
    /// Every topic, in the order of their numbers.
    pub const ALL: [Self; 13] = [
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
        match self {
            Self::Message(_) => "message",
            Self::Recall(_) => "recall",
            Self::Edit(_) => "edit",
            Self::Receipt(_) => "receipt",
            Self::RecipientOffline(_) => "recipient_offline",
            Self::SendStatus(_) => "send_status",
            Self::Presence(_) => "presence",
            Self::Group(_) => "group",
            Self::Contact(_) => "contact",
            Self::Reaction(_) => "reaction",
            Self::Moderation(_) => "moderation",
            Self::PushResult(_) => "push_result",
            Self::Notice(_) => "notice",
            Self::Unrecognised(_) => "unrecognised",
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

/// Who a message points at by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mentions {
    /// Everybody in the conversation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
    /// These users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Ours; the same whatever vendor carried it.
    pub id: MessageId,
    /// The vendor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<VendorMessageId>,
    /// Who sent it.
    pub from: UserId,
    /// The only recipients, for a group message directed at some members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<UserId>,
    /// What it says; `None` once it was recalled (a tombstone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// The business's own fields.
    #[serde(default, skip_serializing_if = "Ext::is_empty")]
    pub ext: Ext,
    /// Who it points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<Mentions>,
    /// The key it was sent under, when it was sent through us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// Withdrawn: `body` and `ext` are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recalled: bool,
}

/// A message was withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// Which.
    pub target: MessageRef,
    /// By whom, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// Words that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A message was changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Which.
    pub target: MessageRef,
    /// The how-manieth change, from 1, where the vendor counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// By whom, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The new body, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// The new fields of the business, if they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<Ext>,
}

/// What a receipt states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// It reached the recipient's device.
    Delivered,
    /// The recipient read it.
    Read,
}

/// Someone received or read a message, or everything up to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// What it states.
    pub kind: ReceiptKind,
    /// By whom.
    pub reader: UserId,
    /// Which message; `None` when the whole conversation is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MessageRef>,
    /// It covers everything up to the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_conversation: bool,
}

/// A recipient was not online when a message came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipientOffline {
    /// Which message.
    pub target: MessageRef,
    /// Which recipient.
    pub recipient: UserId,
}

/// Where a send stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SendState {
    /// Durable here, not yet on its way.
    Queued = 0,
    /// Handed to the vendor, no answer yet.
    Dispatched = 1,
    /// The answer never came; it may or may not have been accepted.
    InDoubt = 2,
    /// The vendor took it.
    Accepted = 3,
    /// It reached the recipient (where the vendor says so).
    Delivered = 4,
    /// The recipient read it (where the vendor says so).
    Read = 5,
    /// It will not be sent; see the reason.
    Failed = 6,
    /// Its time ran out before it was sent.
    Expired = 7,
    /// It was withdrawn before it was sent.
    Cancelled = 8,
}

impl SendState {
    /// The number stored with a send.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Queued,
            1 => Self::Dispatched,
            2 => Self::InDoubt,
            3 => Self::Accepted,
            4 => Self::Delivered,
            5 => Self::Read,
            6 => Self::Failed,
            7 => Self::Expired,
            8 => Self::Cancelled,
            _ => return None,
        })
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::InDoubt => "in_doubt",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a send in this state may go to `next`. Every other step is a fault of ours.
    pub const fn may_become(self, next: Self) -> bool {
        use SendState::{Accepted, Cancelled, Delivered, Dispatched, Expired, Failed, InDoubt, Queued, Read};
        matches!(
            (self, next),
            // An echo, or evidence found in history, can overtake the answer from any open state.
            (Queued, Dispatched | Accepted | Failed | Expired | Cancelled)
                | (Dispatched, Queued | InDoubt | Accepted | Failed)
                | (InDoubt, Queued | Accepted | Failed)
                | (Accepted, Delivered | Read)
                | (Delivered, Read)
        )
    }

    /// Whether the send still waits for something that we must do.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Dispatched | Self::InDoubt)
    }
}

impl fmt::Display for SendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A send changed its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendStatus {
    /// The request.
    pub send_id: SendId,
    /// The message of this recipient.
    pub message_id: MessageId,
    /// The caller's key, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// The new state.
    pub state: SendState,
    /// Why, for `in_doubt`, `failed`, `expired` and a return to `queued`: a stable lower-case word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Attempts made so far.
    pub attempts: u32,
    /// The vendor's id, once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<VendorMessageId>,
}

/// Whether a user or device can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// Connected.
    Online,
    /// Not connected.
    Offline,
    /// The vendor did not say something we understand.
    Unknown,
}

/// A user's device came or went. Vendors tell it out of order: `Event::sent_at` decides which is newer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// Online or not.
    pub state: PresenceState,
    /// Why: `login`, `logout`, `replaced`, `disconnected`, or the vendor's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The platform, such as `android`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The device or session, as the vendor names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A group or room changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupChange {
    /// Which.
    pub group: GroupId,
    /// It is a room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub room: bool,
    /// What: `created`, `dissolved`, `joined`, `left`, `removed`, `updated`, `muted`, `unmuted`, `blocked`, `unblocked`,
    /// `owner_changed`, `admin_added`, `admin_removed`, `disabled`, `enabled`, `announcement`, … or the vendor's own
    /// words in lower case with underscores.
    pub change: String,
    /// Who did it, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<UserId>,
    /// Everything else the vendor said.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// A contact changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContactChange {
    /// Whose list.
    pub user: UserId,
    /// Who on it.
    pub peer: UserId,
    /// What: `requested`, `accepted`, `declined`, `added`, `removed`, `blocked`, `unblocked`, or the vendor's own word.
    pub change: String,
}

/// A reaction to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    /// To which.
    pub target: MessageRef,
    /// By whom, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The reaction's name or emoji.
    pub reaction: String,
    /// Taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// A moderation service's verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moderation {
    /// On which message.
    pub target: MessageRef,
    /// `pass`, `reject`, `replace`, `recall`, or the vendor's own word.
    pub verdict: String,
    /// Everything else the vendor said of it, the message itself excepted.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// What became of an offline push.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PushResult {
    /// For which message, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MessageRef>,
    /// To whom.
    pub recipient: UserId,
    /// `sent` or `failed`, or the vendor's own word.
    pub outcome: String,
    /// Everything else the vendor said.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
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
