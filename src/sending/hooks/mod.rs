//! Hooks of the business's own into the way of a send: before it is built, before each call, after the vendor's answer,
//! and at each change of state.
//!
//! Owns what a hook sees and may change, and how hooks are run. A hook that panics, or takes too long, harms nothing but
//! what it was asked about.

mod run;

use std::fmt;

use async_trait::async_trait;
use switchboard_contract::storage::{NewSend, Recipients};
use switchboard_contract::{
    App, Body, CallHeaders, ClientMessageId, ConversationKind, Error, Ext, MessageId, ProviderId, Result, SendId,
    SendStatus, SentTo, TenantId, Timestamp, UserId,
};

pub(crate) use run::{Hooks, Telling};

/// Something of the business's own on the way of every send. Each method does nothing unless written.
///
/// Hooks are called in the order in which they were registered, each once the one before it is done. A panic is caught,
/// logged without content, and counted in `switchboard_send_hook_failures_total{hook,stage}`, as is a hook that takes
/// longer than `[sending] hook_within`.
#[async_trait]
pub trait SendHook: fmt::Debug + Send + Sync + 'static {
    /// Its name in logs and metrics; its type's name otherwise.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// A send is about to be checked by its vendor's rules and stored. Body and `ext` may be changed; what is stored,
    /// sent and journalled is what the last hook leaves. Not called for a repeat of a send that is stored already: a
    /// repeat is compared with what the caller gave, so hooks need not be deterministic. Of repeats that come at the
    /// same moment each may be shown, and one is stored.
    ///
    /// # Errors
    /// The send is refused to its caller with this error, and nothing is stored. A panic refuses it with `Internal`, a
    /// hook that takes too long with `Timeout`.
    async fn before_build(&self, _draft: &mut SendDraft<'_>) -> Result<()> {
        Ok(())
    }

    /// A call to the vendor is about to be made: once for each attempt. Headers may be added; they go with this attempt
    /// alone.
    ///
    /// # Errors
    /// No call is made, later hooks are not asked, and the error is handled as if the vendor had answered with it: its
    /// kind and its [`Retry`](crate::Retry) say what follows for the messages and for the app. As nothing was sent,
    /// `OutcomeUnknown` counts as `Safe`. A panic is `Internal` and never repeated; a hook that takes too long is
    /// `Timeout`, which pauses the app as an unreachable vendor does.
    async fn before_send(&self, _call: &mut SendCall) -> Result<()> {
        Ok(())
    }

    /// A call was made, and this is its answer: what became of each recipient, or the error. One whose retry is
    /// `OutcomeUnknown` tells of an answer that never came. Not called when no call was made. The answer is not yet
    /// durable, and this must return soon: the message waits for it.
    fn after_answer(&self, _call: &SendCall, _answer: std::result::Result<&[SentTo], &Error>) {}

    /// A stored message changed its state, and that is durable. Those of one message come in order. Called on a task of
    /// its own, some time later, at most once for each change: those behind a hook that is far too slow are left out
    /// (`switchboard_send_hook_missed_total`), as are those that a crash cuts off. Whoever needs every one subscribes to
    /// the topic `send_status`.
    fn on_state(&self, _change: &StateChange) {}
}

/// A send that is about to be stored, as [`SendHook::before_build`] sees it.
pub struct SendDraft<'a> {
    send: &'a mut NewSend,
}

impl SendDraft<'_> {
    /// Whose.
    pub fn tenant(&self) -> &TenantId {
        &self.send.tenant
    }

    /// The app that will carry it, as things stand.
    pub fn app(&self) -> &App {
        &self.send.app
    }

    /// The id it will have.
    pub fn send_id(&self) -> SendId {
        self.send.id
    }

    /// The caller's key, if it gave one.
    pub fn client_message_id(&self) -> Option<&ClientMessageId> {
        self.send.client_message_id.as_ref()
    }

    /// The sender.
    pub fn from(&self) -> &UserId {
        &self.send.payload.from
    }

    /// The recipients.
    pub fn to(&self) -> &Recipients {
        &self.send.payload.to
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.send.payload.body
    }

    /// What it says, to be changed.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.send.payload.body
    }

    /// The business's own fields.
    pub fn ext(&self) -> &Ext {
        &self.send.payload.ext
    }

    /// The business's own fields, to be changed.
    pub fn ext_mut(&mut self) -> &mut Ext {
        &mut self.send.payload.ext
    }
}

/// Shows no content: bodies do not belong in logs.
impl fmt::Debug for SendDraft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendDraft")
            .field("tenant", &self.send.tenant)
            .field("app", &self.send.app)
            .field("send", &self.send.id)
            .finish_non_exhaustive()
    }
}

/// One call to a vendor. It carries one message, or several of one send.
#[derive(Clone, Debug)]
pub struct SendCall {
    tenant: TenantId,
    provider: ProviderId,
    app: App,
    send: SendId,
    messages: Vec<MessageId>,
    attempt: u32,
    kind: ConversationKind,
    headers: CallHeaders,
}

impl SendCall {
    /// Whose.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The alias of the provider that is called.
    pub fn provider(&self) -> &ProviderId {
        &self.provider
    }

    /// The app that is called.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The send.
    pub fn send_id(&self) -> SendId {
        self.send
    }

    /// Those of its messages that the call carries.
    pub fn messages(&self) -> &[MessageId] {
        &self.messages
    }

    /// Which attempt of theirs it is, from 1. Attempts that the whole app failed do not count.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The kind of conversation it goes to.
    pub fn kind(&self) -> ConversationKind {
        self.kind
    }

    /// The headers that hooks have added.
    pub fn headers(&self) -> &CallHeaders {
        &self.headers
    }

    /// Adds a header to the call, for vendors that are called over HTTP; with others it has no effect. One of the same
    /// name replaces the other.
    ///
    /// # Errors
    /// As [`CallHeaders::set`]: credentials, signatures and what describes the body cannot be set.
    pub fn header(&mut self, name: &str, value: &str) -> Result<()> {
        self.headers.set(name, value)
    }
}

/// A message of a send is in another state than before.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StateChange {
    /// Whose.
    pub tenant: TenantId,
    /// The app that has the message.
    pub app: Option<App>,
    /// When it was written down.
    pub at: Timestamp,
    /// Which message, its new state, and why.
    pub status: SendStatus,
}
