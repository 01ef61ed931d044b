//! Sending and recalling messages.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::headers::CallHeaders;
use super::quota::{Quota, optional_seconds};
use crate::body::{Body, Ext};
use crate::conversation::ConversationKind;
use crate::error::Result;
use crate::ids::{VendorGroupId, VendorMessageId, VendorUserId};
use crate::time::Timestamp;

/// Whom a message is for, in the vendor's ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Users, each in the direct conversation with the sender. At most [`MessagingLimits::max_users`].
    Users(Vec<VendorUserId>),
    /// A group, in one of its channels where it has them, and only for `audience` when that is not empty.
    Group {
        /// Which.
        group: VendorGroupId,
        /// The channel, for groups that have channels.
        channel: Option<String>,
        /// Only these members; empty for all.
        audience: Vec<VendorUserId>,
    },
    /// A room.
    Room {
        /// Which.
        room: VendorGroupId,
    },
    /// Notices to users, in their system conversations.
    System(Vec<VendorUserId>),
}

impl Target {
    /// The kind of conversation it leads to.
    pub fn kind(&self) -> ConversationKind {
        match self {
            Self::Users(_) => ConversationKind::Direct,
            Self::Group { .. } => ConversationKind::Group,
            Self::Room { .. } => ConversationKind::Room,
            Self::System(_) => ConversationKind::System,
        }
    }
}

/// A message ready for the vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundMessage {
    /// The sender.
    pub from: VendorUserId,
    /// The recipients.
    pub target: Target,
    /// What it says.
    pub body: Body,
    /// The business's own fields.
    pub ext: Ext,
    /// Our mark, to be carried where the vendor gives it back with the echo and in history.
    pub mark: Option<String>,
    /// It points at everybody.
    pub mentions_everyone: bool,
    /// It points at these users.
    pub mentions: Vec<VendorUserId>,
    /// Details most callers leave alone.
    pub options: SendOptions,
    /// Headers to go with the call, for vendors that are called over HTTP; others ignore them. They never change the
    /// body.
    pub headers: CallHeaders,
}

/// How a message is to be handled. What the vendor cannot honour is refused, except where said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendOptions {
    /// Do not wake the recipient's phone.
    pub silent: bool,
    /// Only for recipients who are online now.
    pub online_only: bool,
    /// Show it on the sender's own devices too.
    pub sync_to_sender: bool,
    /// Ask for read statements.
    pub read_receipt: bool,
    /// The text of the offline push.
    pub push_text: Option<String>,
}

/// What became of one recipient, group or room of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentTo {
    /// The recipient user, for direct and system targets; `None` for a group or room.
    pub user: Option<VendorUserId>,
    /// The vendor's id of the message; some deployments do not tell it.
    pub id: Option<VendorMessageId>,
}

/// Sending and recalling.
#[async_trait]
pub trait Messaging: fmt::Debug + Send + Sync {
    /// What the vendor admits.
    fn limits(&self) -> MessagingLimits;

    /// Checks a message against the vendor's rules without sending it.
    ///
    /// # Errors
    /// `Unsupported` for a body, target or option it cannot carry, `InvalidInput` or `TooLarge` otherwise.
    fn check(&self, message: &OutboundMessage) -> Result<()>;

    /// Makes exactly one attempt. Not idempotent: vendors have no key for it. One entry comes back for each
    /// recipient, group or room the vendor named in its answer, in no particular order.
    ///
    /// # Errors
    /// The error's [`Retry`](crate::Retry) says whether the attempt can have had an effect:
    /// `Safe` only when the vendor refused it first or it never left.
    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>>;

    /// Withdraws a message. Repeating it is harmless.
    ///
    /// # Errors
    /// `NotFound` for a message the vendor does not have (any more), `Rejected` when it is too late.
    async fn recall(&self, recall: &RecallRequest) -> Result<()>;
}

/// A message to withdraw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallRequest {
    /// Which.
    pub id: VendorMessageId,
    /// Who withdraws it: its sender.
    pub from: VendorUserId,
    /// Where it was sent; one user for direct and system targets.
    pub target: Target,
    /// When it was sent, by the vendor's clock.
    pub sent_at: Timestamp,
}

/// What a vendor admits in sending, and what it tells afterwards. Durations are seconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MessagingLimits {
    /// Body kinds it carries, as in [`Body::kind`].
    pub bodies: Vec<&'static str>,
    /// Kinds of conversation it sends to.
    pub targets: Vec<ConversationKind>,
    /// Users in one direct call.
    pub max_users: u32,
    /// Users in one system call; 0 where there is none.
    pub max_system_users: u32,
    /// Bytes of body and `ext` together, as the vendor counts them.
    pub max_bytes: u32,
    /// Quotas by kind of conversation.
    pub quotas: Vec<(ConversationKind, Quota)>,
    /// How long after sending a recall is taken; `None` for no limit known.
    #[serde(serialize_with = "optional_seconds")]
    pub recall_window: Option<Duration>,
    /// Whether callbacks come for messages we send ourselves, so that an echo can prove acceptance.
    pub echoes: bool,
    /// Whether the vendor reports that a recipient received or read a message.
    pub receipts: bool,
}
