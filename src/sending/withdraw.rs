//! Taking messages back: before they were sent, and after.

use std::sync::Arc;

use async_trait::async_trait;
use switchboard_contract::storage::{
    ChangeOutcome, Commit, FailedAttempt, FailedAttempts, Leg, Setback, SetbackChange, SetbackKind,
};
use switchboard_contract::{
    App, ConversationId, ConversationKind, Error, ErrorKind, Event, EventData, EventKey, MessageId, Provider,
    RecallRequest, Result, Retry, SendState, Target, TenantId, Timestamp, UserId, VendorMessageId,
};

use super::context::Context;
use super::own::{Recalled, recall_draft};
use super::step::Step;
use crate::recovery::{Redriver, bury, verdict};

/// A message that can be recalled.
struct Sent {
    app: App,
    conversation: ConversationId,
    vendor_id: VendorMessageId,
    from: UserId,
    sent_at: Timestamp,
}

/// Cancels one leg that has not left.
///
/// # Errors
/// `Conflict` when it has, or is finished; cancelling again what was cancelled is harmless.
pub(super) async fn cancel(ctx: &Context, leg: &Leg) -> Result<()> {
    let now = ctx.clock.now();
    let change = Step::cancelled(leg).status_only(leg, now);
    let committed = ctx.store.commit(Commit { changes: vec![change], ..Commit::default() }).await?;
    match committed.changes.first() {
        Some(ChangeOutcome::Applied(_)) => {
            ctx.holds.release(&leg.send.tenant, &leg.conversation, leg.message_id);
            if let Some(post) = ctx.post(&leg.app) {
                post.closed(1);
                post.hint_settled(leg.message_id);
            }
            Ok(())
        }
        Some(ChangeOutcome::Stale(SendState::Cancelled)) => Ok(()),
        Some(ChangeOutcome::Stale(state)) => {
            Err(Error::new(ErrorKind::Conflict, format!("it is {state} and cannot be cancelled any more")))
        }
        Some(ChangeOutcome::Unknown) | None => Err(Error::new(ErrorKind::NotFound, "no such message")),
    }
}

/// Withdraws a message at its vendor and journals that.
///
/// # Errors
/// As [`Sending::recall`](super::Sending::recall).
pub(super) async fn recall(ctx: &Context, tenant: &TenantId, message: MessageId) -> Result<()> {
    let Some(sent) = find(ctx, tenant, message).await? else { return Ok(()) };
    let key = EventKey::recall(&sent.vendor_id);
    if ctx.store.find(tenant, &sent.app, &key).await?.is_some() {
        return Ok(());
    }
    let Some(post) = ctx.post(&sent.app) else {
        return Err(Error::new(ErrorKind::NotFound, "the app that carried it is not configured"));
    };
    let provider = post.provider();
    let request = request(ctx, tenant, &*provider, &sent).await?;
    if let Err((error, history)) = attempt(ctx, &*provider, &request).await {
        if matches!(error.retry(), Retry::Exhausted { .. }) {
            give_up(ctx, tenant, message, &sent, (&error, history)).await;
        }
        return Err(error);
    }
    let recalled = Recalled {
        tenant,
        app: &sent.app,
        conversation: &sent.conversation,
        message,
        vendor_id: &sent.vendor_id,
        by: &sent.from,
    };
    let drafts = vec![recall_draft(&recalled, ctx.clock.now())];
    // It may have been given up before.
    let setbacks =
        vec![SetbackChange::Clear { tenant: tenant.clone(), kind: SetbackKind::Recall, key: message.to_string() }];
    ctx.store.commit(Commit { drafts, setbacks, ..Commit::default() }).await.map(drop)
}

/// A recall that failed as often as allowed is a dead letter. The caller hears of the failure, too.
async fn give_up(
    ctx: &Context,
    tenant: &TenantId,
    message: MessageId,
    sent: &Sent,
    (error, history): (&Error, FailedAttempts),
) {
    let letter = Setback {
        number: 0,
        tenant: tenant.clone(),
        kind: SetbackKind::Recall,
        key: message.to_string(),
        app: Some(sent.app.clone()),
        conversation: Some(sent.conversation.clone()),
        next_at: None,
        reason: error.kind().as_str().to_owned(),
        attempts: ctx.config.max_attempts(),
        history,
        detail: serde_json::json!({ "message": message }),
        since: ctx.clock.now(),
    };
    if let Err(error) = bury(&*ctx.store, letter, None).await {
        tracing::error!(op = "recall", %message, %error, "a recall that failed could not be kept as a dead letter");
    }
}

/// Withdraws again what could not be withdrawn.
#[derive(Debug)]
pub(super) struct RecallAgain(pub(super) Arc<Context>);

#[async_trait]
impl Redriver for RecallAgain {
    async fn redrive(&self, letter: &Setback, _: Timestamp) -> Result<()> {
        let message = letter.key.parse().map_err(|_| Error::new(ErrorKind::NotFound, "no such message"))?;
        recall(&self.0, &letter.tenant, message).await?;
        let (tenant, key) = (letter.tenant.clone(), letter.key.clone());
        // Somebody else may have withdrawn it meanwhile.
        let setbacks = vec![SetbackChange::Clear { tenant, kind: SetbackKind::Recall, key }];
        self.0.store.commit(Commit { setbacks, ..Commit::default() }).await.map(drop)
    }
}

/// The message as its vendor has it; `None` when there is nothing (left) to recall.
async fn find(ctx: &Context, tenant: &TenantId, message: MessageId) -> Result<Option<Sent>> {
    let leg = ctx.store.leg(tenant, message).await?;
    if let Some(leg) = &leg {
        match leg.state {
            SendState::Queued => return cancel(ctx, leg).await.map(|()| None),
            SendState::Cancelled => return Ok(None),
            SendState::Dispatched | SendState::InDoubt => {
                let retry = Retry::Safe { after: None };
                return Err(Error::new(ErrorKind::Conflict, "it is on its way").with_retry(retry));
            }
            SendState::Failed | SendState::Expired => {
                return Err(Error::new(ErrorKind::Conflict, format!("it is {} and was not sent", leg.state)));
            }
            SendState::Accepted | SendState::Delivered | SendState::Read => {}
        }
    }
    let missing = || Error::new(ErrorKind::NotFound, "no such message");
    let entry = ctx.store.message(tenant, message).await?.ok_or_else(missing)?;
    let Event { app: Some(app), conversation: Some(conversation), sent_at, data: EventData::Message(data), .. } =
        entry.event()?
    else {
        return Err(missing());
    };
    if data.recalled {
        return Ok(None);
    }
    let vendor_id = leg.and_then(|leg| leg.vendor_id).or(data.vendor_id).ok_or_else(|| {
        let retry = Retry::Safe { after: None };
        Error::new(ErrorKind::Conflict, "the vendor has not told its id yet").with_retry(retry)
    })?;
    Ok(Some(Sent { app, conversation, vendor_id, from: data.from, sent_at }))
}

async fn request(ctx: &Context, tenant: &TenantId, provider: &dyn Provider, sent: &Sent) -> Result<RecallRequest> {
    let missing = || Error::new(ErrorKind::NotFound, "its conversation is not known at the vendor");
    let group = async |room| {
        let group = sent.conversation.group_id().ok_or_else(missing)?;
        ctx.identity.vendor_group(tenant, provider, &group, room).await?.ok_or_else(missing)
    };
    let target = match sent.conversation.kind() {
        ConversationKind::Direct => {
            let peer = sent.conversation.peer_of(&sent.from).ok_or_else(missing)?;
            Target::Users(vec![ctx.identity.vendor_user(tenant, provider, &peer).await?])
        }
        ConversationKind::System => {
            let to = sent.conversation.parts().into_iter().nth(1).map(UserId::from).ok_or_else(missing)?;
            Target::System(vec![ctx.identity.vendor_user(tenant, provider, &to).await?])
        }
        ConversationKind::Group => {
            Target::Group { group: group(false).await?, channel: sent.conversation.channel(), audience: Vec::new() }
        }
        ConversationKind::Room => Target::Room { room: group(true).await? },
    };
    let from = ctx.identity.vendor_user(tenant, provider, &sent.from).await?;
    Ok(RecallRequest { id: sent.vendor_id.clone(), from, target, sent_at: sent.sent_at })
}

/// Calls the vendor, again where that may help: a repeated recall is harmless.
async fn attempt(
    ctx: &Context,
    provider: &dyn Provider,
    request: &RecallRequest,
) -> Result<(), (Error, FailedAttempts)> {
    let config = &ctx.config;
    let (mut failures, mut history) = (0, FailedAttempts::default());
    loop {
        let call = provider.messaging().recall(request);
        let late = || Error::new(ErrorKind::Timeout, "the call was cut off").with_retry(Retry::OutcomeUnknown);
        let error = tokio::select! {
            biased;
            outcome = call => match outcome {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            () = ctx.clock.sleep(config.call_timeout) => late(),
        };
        failures += verdict::attempts(&error);
        history.push(FailedAttempt::of(&error, ctx.clock.now()));
        let named = match error.retry() {
            Retry::Safe { after } => after,
            Retry::OutcomeUnknown => None,
            Retry::Never | Retry::Exhausted { .. } => return Err((error, history)),
        };
        if failures >= config.max_attempts() {
            let attempts = u8::try_from(failures).unwrap_or(u8::MAX);
            return Err((error.with_retry(Retry::Exhausted { attempts }), history));
        }
        ctx.clock.sleep(ctx.jitter.wait(failures, config.backoff_min, config.backoff_max, named)).await;
    }
}
