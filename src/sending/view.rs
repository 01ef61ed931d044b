//! What became of a send, for those who ask.

use serde::Serialize;
use switchboard_contract::storage::{FailedAttempts, Leg, SendRecord};
use switchboard_contract::{
    App, ClientMessageId, ConversationId, MessageId, SendId, SendState, Timestamp, UserId, VendorMessageId,
};

/// Names a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendKey {
    /// By its own id.
    Send(SendId),
    /// By the id of one of its messages.
    Message(MessageId),
    /// By the caller's key.
    Client(ClientMessageId),
}

impl From<SendId> for SendKey {
    fn from(id: SendId) -> Self {
        Self::Send(id)
    }
}

impl From<MessageId> for SendKey {
    fn from(id: MessageId) -> Self {
        Self::Message(id)
    }
}

impl From<ClientMessageId> for SendKey {
    fn from(id: ClientMessageId) -> Self {
        Self::Client(id)
    }
}

/// The answer to an accepted send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SendReceipt {
    /// Ours.
    pub id: SendId,
    /// One for each conversation it goes to, in the order of the recipients.
    pub messages: Vec<(ConversationId, MessageId)>,
    /// It was accepted before, under the same `client_message_id`; nothing was sent again.
    pub repeated: bool,
}

/// A send and where each of its messages stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SendView {
    /// Ours.
    pub id: SendId,
    /// The caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// When it was accepted. Milliseconds.
    pub created_at: Timestamp,
    /// When it is no longer worth sending. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// One for each conversation, in the order of the recipients.
    pub messages: Vec<LegView>,
}

/// One message of a send.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LegView {
    /// Ours.
    pub message_id: MessageId,
    /// Where it goes.
    pub conversation: ConversationId,
    /// The user, for direct and system conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<UserId>,
    /// The app that has it.
    pub app: App,
    /// Where it stands.
    pub state: SendState,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Attempts whose outcome was its own.
    pub attempts: u32,
    /// Those of them that failed, with their times, and those of before it was redriven.
    #[serde(skip_serializing_if = "FailedAttempts::is_empty")]
    pub failed_attempts: FailedAttempts,
    /// When the last attempt left. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatched_at: Option<Timestamp>,
    /// The vendor's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<VendorMessageId>,
}

impl SendView {
    /// From all legs of a send; `None` without any.
    pub(super) fn of(legs: Vec<Leg>) -> Option<Self> {
        let SendRecord { id, client_message_id, created_at, expires_at, .. } = (*legs.first()?.send).clone();
        let messages = legs.into_iter().map(LegView::from).collect();
        Some(Self { id, client_message_id, created_at, expires_at, messages })
    }
}

impl From<Leg> for LegView {
    fn from(leg: Leg) -> Self {
        Self {
            message_id: leg.message_id,
            conversation: leg.conversation,
            recipient: leg.recipient,
            app: leg.app,
            state: leg.state,
            reason: leg.reason,
            attempts: leg.attempts,
            failed_attempts: leg.history,
            dispatched_at: leg.dispatched_at,
            vendor_id: leg.vendor_id,
        }
    }
}
