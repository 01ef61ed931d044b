//! The seam to the sending side: which inbound message is the echo of an own send.

use std::collections::HashSet;
use std::fmt;

use async_trait::async_trait;
use switchboard_contract::storage::{LegChange, LegGuard};
use switchboard_contract::{
    App, ClientMessageId, ConversationId, EventKey, MessageId, ReceiptKind, Result, TenantId, Timestamp, UserId,
    VendorMessageId,
};

/// A message that came in and may be one of ours.
#[derive(Clone, Copy, Debug)]
pub struct EchoCandidate<'a> {
    /// The mark found in it. End users can forge one: believe it only when everything else fits an open send.
    pub mark: Option<&'a str>,
    /// The vendor's id.
    pub vendor_id: &'a VendorMessageId,
    /// Who sent it.
    pub sender: &'a UserId,
    /// Where.
    pub conversation: &'a ConversationId,
    /// When, by the vendor's clock.
    pub sent_at: Timestamp,
}

/// One of our sends, come back.
#[derive(Clone, Debug)]
pub struct Echo {
    /// The id it was sent under.
    pub message_id: MessageId,
    /// The caller's key of the send.
    pub client_message_id: Option<ClientMessageId>,
    /// The key it is journalled under, when that is not the vendor's id.
    pub key: Option<EventKey>,
    /// The step of the send that the echo proves.
    pub change: Option<LegChange>,
    /// Where the send must still stand when the message is written. Between the question and the write the vendor's
    /// answer may be processed; what holds then is asked for again.
    pub only_if: Option<LegGuard>,
}

/// What a receipt says of the own sends.
#[derive(Clone, Debug)]
pub enum Receipted {
    /// One of them moves on.
    Step(Box<LegChange>),
    /// It says nothing new of them.
    Nothing,
    /// No send has this message; one may turn out to be it.
    Unknown,
}

/// Knows the own sends. Asked for every message, in order; answers are written with the message in one transaction.
/// A failed answer is asked for again.
#[async_trait]
pub trait EchoBook: fmt::Debug + Send + Sync {
    /// Whether this message is the echo of an own send.
    ///
    /// # Errors
    /// `Storage`, as any storage call.
    async fn echo(&self, tenant: &TenantId, app: &App, echo: &EchoCandidate<'_>) -> Result<Option<Echo>>;

    /// Which of these vendor ids may be of own sends. A message without a mark whose id is not among them is none.
    ///
    /// # Errors
    /// `Storage`, as any storage call.
    async fn own(&self, tenant: &TenantId, app: &App, ids: &[VendorMessageId]) -> Result<HashSet<VendorMessageId>>;

    /// What a receipt proves of an own send.
    ///
    /// # Errors
    /// `Storage`, as any storage call.
    async fn receipt(
        &self,
        tenant: &TenantId,
        app: &App,
        vendor_id: &VendorMessageId,
        kind: ReceiptKind,
        at: Timestamp,
    ) -> Result<Receipted>;
}

/// An [`EchoBook`] without sends, for those who only receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEchoes;

#[async_trait]
impl EchoBook for NoEchoes {
    async fn echo(&self, _: &TenantId, _: &App, _: &EchoCandidate<'_>) -> Result<Option<Echo>> {
        Ok(None)
    }

    async fn own(&self, _: &TenantId, _: &App, _: &[VendorMessageId]) -> Result<HashSet<VendorMessageId>> {
        Ok(HashSet::new())
    }

    async fn receipt(
        &self,
        _: &TenantId,
        _: &App,
        _: &VendorMessageId,
        _: ReceiptKind,
        _: Timestamp,
    ) -> Result<Receipted> {
        Ok(Receipted::Nothing)
    }
}
