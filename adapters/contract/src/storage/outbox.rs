//! Sends that are not finished, and what became of those that are.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::journal::{Appended, Draft};
use super::setbacks::{FailedAttempts, SetbackChange};
use crate::body::{Body, Ext};
use crate::conversation::ConversationId;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::{Mentions, ReceiptKind, SendState};
use crate::ids::{App, ClientMessageId, GroupId, MessageId, SendId, TenantId, UserId, VendorMessageId};
use crate::provider::SendOptions;
use crate::time::Timestamp;

/// Whom a send is for, in the business's ids. In JSON exactly one of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipients {
    /// One user.
    User(UserId),
    /// Several users, each in the direct conversation with the sender.
    Users(Vec<UserId>),
    /// A group, or one channel of it, or only some members.
    Group(GroupId),
    /// A room.
    Room(GroupId),
    /// Notices to users, in their system conversations.
    System(Vec<UserId>),
}

/// What was asked to be sent. Stored once, whatever the number of recipients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendPayload {
    /// The sender.
    pub from: UserId,
    /// The recipients.
    pub to: Recipients,
    /// The channel of a group that has channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Only these members of the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<UserId>,
    /// What it says.
    pub body: Body,
    /// The business's own fields.
    #[serde(default, skip_serializing_if = "Ext::is_empty")]
    pub ext: Ext,
    /// Who it points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<Mentions>,
    /// How to handle it.
    #[serde(default)]
    pub options: SendOptions,
}

/// A send to accept.
#[derive(Clone, Debug)]
pub struct NewSend {
    /// Ours.
    pub id: SendId,
    /// Whose.
    pub tenant: TenantId,
    /// The caller's key: unique within the tenant for ever.
    pub client_message_id: Option<ClientMessageId>,
    /// A hash of the payload, to notice another message under the same key.
    pub digest: [u8; 32],
    /// What to send.
    pub payload: SendPayload,
    /// The app it is routed to; may change while a leg is still queued.
    pub app: App,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it is no longer worth sending.
    pub expires_at: Option<Timestamp>,
    /// One for each conversation it goes to, in order.
    pub legs: Vec<NewLeg>,
    /// Status events to journal with it.
    pub drafts: Vec<Draft>,
}

/// One recipient, group or room of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLeg {
    /// The id its message will have.
    pub message_id: MessageId,
    /// Where it goes.
    pub conversation: ConversationId,
    /// The user, for direct and system conversations.
    pub recipient: Option<UserId>,
}

/// What became of a [`NewSend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is stored, all its legs queued.
    Fresh,
    /// The same send was accepted before, under this id; nothing was written.
    Repeated(SendId),
    /// Another message was accepted before under the same `client_message_id`; nothing was written.
    Conflict(SendId),
}

/// What all legs of a send share.
#[derive(Clone, Debug, PartialEq)]
pub struct SendRecord {
    /// Ours.
    pub id: SendId,
    /// Whose.
    pub tenant: TenantId,
    /// The caller's key.
    pub client_message_id: Option<ClientMessageId>,
    /// What to send.
    pub payload: SendPayload,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it is no longer worth sending.
    pub expires_at: Option<Timestamp>,
}

/// One recipient, group or room of a send, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg {
    /// What it shares with its siblings.
    pub send: Arc<SendRecord>,
    /// The order in which legs were accepted in this store; also the order of dispatch within a conversation.
    pub order: u64,
    /// The id of its message.
    pub message_id: MessageId,
    /// Where it goes.
    pub conversation: ConversationId,
    /// The user, for direct and system conversations.
    pub recipient: Option<UserId>,
    /// The app that has it.
    pub app: App,
    /// Where it stands.
    pub state: SendState,
    /// Attempts that were its own fault or whose outcome it had to bear.
    pub attempts: u32,
    /// Those of them that failed, and those of before it was redriven.
    pub history: FailedAttempts,
    /// Not before.
    pub next_attempt_at: Timestamp,
    /// When the last attempt left; `None` when none did.
    pub dispatched_at: Option<Timestamp>,
    /// The reason of the present state.
    pub reason: Option<String>,
    /// The vendor's id.
    pub vendor_id: Option<VendorMessageId>,
}

/// A step of one leg. It is taken only if the leg stands in one of the states in `expect` and may go to `to`
/// ([`SendState::may_become`]). One without drafts may also stand in `to` already: then it is no step and only records
/// what became known, such as the vendor's id.
#[derive(Clone, Debug)]
pub struct LegChange {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub message_id: MessageId,
    /// The states it may come from.
    pub expect: Vec<SendState>,
    /// Where it goes.
    pub to: SendState,
    /// Attempts from now on.
    pub attempts: u32,
    /// The attempts that failed from now on; `None` leaves those known.
    pub history: Option<FailedAttempts>,
    /// Not before.
    pub next_attempt_at: Timestamp,
    /// When the last attempt left.
    pub dispatched_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// The vendor's id; `None` leaves the one known.
    pub vendor_id: Option<VendorMessageId>,
    /// What it does to the leg's dead letter, if the step is taken.
    pub setback: Option<SetbackChange>,
    /// Events to journal if the step is taken, before the commit's own drafts.
    pub drafts: Vec<Draft>,
}

/// Where a leg was found to stand by somebody whose write is only true while it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegGuard {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub message_id: MessageId,
    /// Any of these.
    pub states: Vec<SendState>,
}

impl LegGuard {
    /// What a commit answers when a guard does not hold: ask again where the legs stand, and build it anew.
    pub fn broken() -> Error {
        Error::new(ErrorKind::Conflict, "a send moved on before this was written")
            .with_retry(Retry::Safe { after: None })
    }

    /// Whether a commit was refused for one of its guards.
    pub fn is_broken(error: &Error) -> bool {
        error.kind() == ErrorKind::Conflict && matches!(error.retry(), Retry::Safe { .. })
    }
}

/// A receipt for a message that is not known to be a send's: the vendor may tell of its receipt before it has told us
/// the message's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyReceipt {
    /// Whose.
    pub tenant: TenantId,
    /// At which app.
    pub app: App,
    /// Of which message, by the vendor's id.
    pub vendor_id: VendorMessageId,
    /// What it states.
    pub kind: ReceiptKind,
    /// When it was taken in.
    pub at: Timestamp,
}

/// An [`EarlyReceipt`] whose message turned out to be a send's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundReceipt {
    /// Its number in the store.
    pub id: u64,
    /// Whose.
    pub tenant: TenantId,
    /// Of which message.
    pub message_id: MessageId,
    /// What it states.
    pub kind: ReceiptKind,
}

/// What became of a [`LegChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// Taken; one answer for each of its drafts.
    Applied(Vec<Appended>),
    /// Not taken: the leg stood in this state.
    Stale(SendState),
    /// There is no such leg.
    Unknown,
}

/// The durable queue of sends.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Accepts sends, all in one transaction, each with its own answer.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`; then none was accepted.
    async fn enqueue(&self, sends: Vec<NewSend>) -> Result<Vec<Enqueued>>;

    /// Legs of this app that are queued, dispatched or in doubt, in order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn open_legs(&self, app: &App, after: u64, limit: usize) -> Result<Vec<Leg>>;

    /// As [`open_legs`](Self::open_legs), of one tenant alone: its price does not depend on how much others
    /// have queued.
    ///
    /// # Errors
    /// `Storage`.
    async fn open_legs_of(&self, app: &App, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Leg>>;

    /// How many legs of this app are open.
    ///
    /// # Errors
    /// `Storage`.
    async fn open_count(&self, app: &App) -> Result<u64>;

    /// Every app that has open legs.
    ///
    /// # Errors
    /// `Storage`.
    async fn open_apps(&self) -> Result<Vec<App>>;

    /// All legs of one send, in order; empty when there is none.
    ///
    /// # Errors
    /// `Storage`.
    async fn legs(&self, tenant: &TenantId, send: SendId) -> Result<Vec<Leg>>;

    /// The leg with this message id.
    ///
    /// # Errors
    /// `Storage`.
    async fn leg(&self, tenant: &TenantId, message: MessageId) -> Result<Option<Leg>>;

    /// The leg the vendor knows by this id.
    ///
    /// # Errors
    /// `Storage`.
    async fn leg_by_vendor_id(&self, tenant: &TenantId, app: &App, id: &VendorMessageId) -> Result<Option<Leg>>;

    /// Those of these ids by which the vendor knows a leg: the same as asking for each, in one go.
    ///
    /// # Errors
    /// `Storage`.
    async fn known_vendor_ids(
        &self,
        tenant: &TenantId,
        app: &App,
        ids: &[VendorMessageId],
    ) -> Result<HashSet<VendorMessageId>> {
        let mut known = HashSet::new();
        for id in ids {
            if self.leg_by_vendor_id(tenant, app, id).await?.is_some() {
                known.insert(id.clone());
            }
        }
        Ok(known)
    }

    /// Receipts of this app that came early and whose message is by now known to be a send's, in the order in which they
    /// came, at most `limit`. Of each message the store keeps one of each kind; none of a message that is journalled and
    /// no send's.
    ///
    /// # Errors
    /// `Storage`.
    async fn early_receipts(&self, app: &App, limit: usize) -> Result<Vec<BoundReceipt>>;

    /// Forgets early receipts of this app: those with these numbers, those from before `before`, and of each tenant all
    /// but the last `keep`. Returns how many stay.
    ///
    /// # Errors
    /// `Storage`.
    async fn forget_receipts(&self, app: &App, ids: Vec<u64>, before: Timestamp, keep: u32) -> Result<u64>;

    /// The send under this client key.
    ///
    /// # Errors
    /// `Storage`.
    async fn send_by_client_id(&self, tenant: &TenantId, id: &ClientMessageId) -> Result<Option<SendId>>;

    /// Hands every queued leg of `from` (those dispatched or in doubt stay) to `to`. Returns how many.
    ///
    /// # Errors
    /// `Storage`.
    async fn reroute(&self, tenant: &TenantId, from: &App, to: &App) -> Result<u64>;
}
