//! The book in which ingest looks up whether a message that came in is the echo of an own send.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde::Deserialize;
use switchboard_contract::storage::{CommitListener, Entry, Leg, LegChange, LegGuard};
use switchboard_contract::{
    App, MessageId, Origin, ReceiptKind, Result, SendState, Shard, TenantId, Timestamp, Topic, VendorMessageId,
};

use super::context::Context;
use super::metrics;
use super::own::{Carried, own_key};
use super::step::{Step, learn_vendor_id, reason};
use crate::ingest::{Echo, EchoBook, EchoCandidate, Receipted};

#[derive(Debug)]
pub(crate) struct Book {
    pub ctx: Arc<Context>,
}

#[async_trait]
impl EchoBook for Book {
    async fn echo(&self, tenant: &TenantId, app: &App, echo: &EchoCandidate<'_>) -> Result<Option<Echo>> {
        let known = self.ctx.store.leg_by_vendor_id(tenant, app, echo.vendor_id).await?;
        if let Some(leg) = known.filter(|leg| leg.conversation == *echo.conversation) {
            metrics::echo(app);
            // The vendor's id is known, and with it the key: nothing that happens meanwhile changes either.
            return Ok(Some(as_is(&leg, None)));
        }
        let Some(mark) = echo.mark else { return Ok(None) };
        let Some(leg) = self.marked(tenant, mark, echo).await? else {
            metrics::forged_mark(app);
            tracing::warn!(op = "echo", %app, conversation = %echo.conversation, "a mark that is not ours");
            return Ok(None);
        };
        metrics::echo(app);
        Ok(Some(Echo { only_if: Some(guard(&leg)), ..self.claim(&leg, echo) }))
    }

    async fn own(&self, tenant: &TenantId, app: &App, ids: &[VendorMessageId]) -> Result<HashSet<VendorMessageId>> {
        self.ctx.store.known_vendor_ids(tenant, app, ids).await
    }

    async fn receipt(
        &self,
        tenant: &TenantId,
        app: &App,
        vendor_id: &VendorMessageId,
        kind: ReceiptKind,
        _at: Timestamp,
    ) -> Result<Receipted> {
        let Some(leg) = self.ctx.store.leg_by_vendor_id(tenant, app, vendor_id).await? else {
            if let Some(post) = self.ctx.post(app) {
                post.early.store(true, Ordering::Relaxed);
            }
            return Ok(Receipted::Unknown);
        };
        let to = match kind {
            ReceiptKind::Delivered => SendState::Delivered,
            ReceiptKind::Read => SendState::Read,
        };
        if !leg.state.may_become(to) {
            return Ok(Receipted::Nothing);
        }
        Ok(Receipted::Step(Box::new(Step::received(&leg, to).status_only(&leg, self.ctx.clock.now()))))
    }
}

impl Book {
    /// The leg a mark names, if the mark is ours and the message is where and from whom that leg is. A mark copied
    /// into another message of the same sender and conversation does not get a second one accepted.
    async fn marked(&self, tenant: &TenantId, mark: &str, echo: &EchoCandidate<'_>) -> Result<Option<Leg>> {
        let Some(send) = self.ctx.marks.verify(tenant, mark) else { return Ok(None) };
        let legs = self.ctx.store.legs(tenant, send).await?;
        Ok(legs.into_iter().find(|leg| {
            leg.conversation == *echo.conversation
                && leg.send.payload.from == *echo.sender
                && leg.vendor_id.as_ref().is_none_or(|known| known == echo.vendor_id)
        }))
    }

    fn claim(&self, leg: &Leg, echo: &EchoCandidate<'_>) -> Echo {
        if leg.state.is_open() {
            // Ingest journals the message itself, under the vendor's id.
            let carried = Carried {
                vendor_id: Some(echo.vendor_id.clone()),
                sent_at: echo.sent_at,
                origin: Origin::Callback,
                sort_key: None,
            };
            let change = Step::accepted(leg, carried).status_only(leg, self.ctx.clock.now());
            return as_is(leg, Some(change));
        }
        let accepted = matches!(leg.state, SendState::Accepted | SendState::Delivered | SendState::Read);
        if accepted && leg.vendor_id.is_none() {
            // The answer told no id: the message stands under our own key, and only now gets the vendor's id.
            return as_is(leg, Some(learn_vendor_id(leg, echo.vendor_id)));
        }
        // Given up, and carried after all: the message is what it is, the state of the send stands. Its vendor id is
        // kept, so that nobody sends it again.
        let given_up = leg.state == SendState::Failed && leg.vendor_id.is_none();
        as_is(leg, given_up.then(|| learn_vendor_id(leg, echo.vendor_id)))
    }
}

fn as_is(leg: &Leg, change: Option<LegChange>) -> Echo {
    let under_own_key = leg.reason.as_deref() == Some(reason::NO_VENDOR_ID);
    Echo {
        message_id: leg.message_id,
        client_message_id: leg.send.client_message_id.clone(),
        key: under_own_key.then(|| own_key(leg.message_id)),
        change,
        only_if: None,
    }
}

/// The leg stands where it stood when it was looked up, as far as the answer depends on it.
fn guard(leg: &Leg) -> LegGuard {
    let states = match leg.state.is_open() {
        true => vec![SendState::Queued, SendState::Dispatched, SendState::InDoubt],
        false => vec![leg.state],
    };
    LegGuard { tenant: leg.send.tenant.clone(), message_id: leg.message_id, states }
}

/// Tells dispatchers of messages in doubt that somebody else settled, so that their conversations go on at once.
#[derive(Debug)]
pub(crate) struct Watch(pub Weak<Context>);

#[derive(Deserialize)]
struct StatusEvent {
    data: StatusData,
}

#[derive(Deserialize)]
struct StatusData {
    message_id: MessageId,
    state: SendState,
}

impl CommitListener for Watch {
    fn committed(&self, _: &TenantId, _: Shard, entries: &[Entry]) {
        let Some(ctx) = self.0.upgrade() else { return };
        for entry in entries.iter().filter(|entry| entry.topic == Topic::SendStatus) {
            let Some(post) = entry.app.as_ref().and_then(|app| ctx.post(app)) else { continue };
            let doubts = post.in_doubt.load(Ordering::Relaxed) > 0;
            let early = post.early.load(Ordering::Relaxed);
            if !doubts && !early {
                continue;
            }
            let Ok(StatusEvent { data }) = serde_json::from_slice(&entry.json) else { continue };
            if doubts && !data.state.is_open() {
                post.hint_settled(data.message_id);
            }
            if early && data.state == SendState::Accepted {
                post.hint(|hints| hints.receipts = true);
            }
        }
    }
}
