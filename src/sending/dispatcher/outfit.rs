//! One call from inside: prepared, made, and its answer matched to the messages it carried.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use switchboard_contract::storage::{Leg, Recipients};
use switchboard_contract::{
    CallHeaders, Error, ErrorKind, MessageId, OutboundMessage, Provider, Result, Retry, SentTo, UserId,
    VendorMessageId, VendorUserId,
};

use crate::sending::context::Context;
use crate::sending::hooks::SendCall;

/// A message in the vendor's ids.
#[derive(Debug)]
pub(super) struct Outfit {
    pub(super) message: OutboundMessage,
    /// The recipients' vendor ids, for direct and system messages.
    pub(super) users: HashMap<MessageId, VendorUserId>,
}

pub(super) fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "the adapter panicked").with_retry(Retry::OutcomeUnknown)
}

/// Prepares a call, within its deadline.
pub(super) async fn prepare(ctx: Arc<Context>, provider: Arc<dyn Provider>, legs: Vec<Leg>) -> Result<Box<Outfit>> {
    let deadline = ctx.clock.sleep(ctx.config.prepare_timeout);
    let outfit = AssertUnwindSafe(outfit(ctx, provider, legs)).catch_unwind();
    tokio::select! {
        biased;
        outcome = outfit => outcome.unwrap_or_else(|_| Err(panicked())),
        () = deadline => {
            let late = Error::new(ErrorKind::Timeout, "preparation took too long");
            Err(late.with_retry(Retry::Safe { after: None }))
        }
    }
}

/// Makes users and groups at the vendor as needed, and the message in the vendor's ids.
async fn outfit(ctx: Arc<Context>, provider: Arc<dyn Provider>, legs: Vec<Leg>) -> Result<Box<Outfit>> {
    let Some(first) = legs.first() else { return Err(Error::new(ErrorKind::Internal, "a call without messages")) };
    let (provider, tenant) = (&*provider, &first.send.tenant);
    let payload = &first.send.payload;
    let recipients: Vec<UserId> = legs.iter().filter_map(|leg| leg.recipient.clone()).collect();
    let prepared = ctx.provisioner.prepare(tenant, provider, payload, &recipients).await?;
    let mut users = HashMap::new();
    if matches!(payload.to, Recipients::User(_) | Recipients::Users(_) | Recipients::System(_)) {
        for leg in &legs {
            if let Some(user) = &leg.recipient {
                users.insert(leg.message_id, ctx.identity.vendor_user(tenant, provider, user).await?);
            }
        }
    }
    let message = OutboundMessage {
        from: prepared.from,
        target: prepared.target,
        body: payload.body.clone(),
        ext: payload.ext.clone(),
        mark: Some(ctx.marks.mint(tenant, first.send.id)),
        mentions_everyone: payload.mentions.as_ref().is_some_and(|mentions| mentions.everyone),
        mentions: prepared.mentions,
        options: payload.options.clone(),
        headers: CallHeaders::new(),
    };
    // It was checked when it was accepted, but perhaps against another vendor.
    provider.messaging().check(&message)?;
    Ok(Box::new(Outfit { message, users }))
}

/// Makes a call, within its deadline. `about` is there when hooks are, and a hook may refuse the call.
pub(super) async fn call(
    ctx: &Context,
    provider: &dyn Provider,
    mut message: OutboundMessage,
    mut about: Option<SendCall>,
) -> Result<Vec<SentTo>> {
    // One deadline for both: evidence of a lost call is sought as of when it was dispatched, hooks and all.
    let mut deadline = ctx.clock.sleep(ctx.config.call_timeout);
    if let Some(about) = &mut about {
        tokio::select! {
            biased;
            outcome = ctx.hooks.before_send(&*ctx.clock, about) => outcome?,
            () = &mut deadline => {
                let late = Error::new(ErrorKind::Timeout, "the hooks took the time of the call");
                return Err(late.with_retry(Retry::Safe { after: None }));
            }
        }
        message.headers = about.headers().clone();
    }
    let send = AssertUnwindSafe(provider.messaging().send(&message)).catch_unwind();
    let outcome = tokio::select! {
        biased;
        outcome = send => outcome.unwrap_or_else(|_| Err(panicked())),
        () = deadline => Err(Error::new(ErrorKind::Timeout, "the call was cut off").with_retry(Retry::OutcomeUnknown)),
    };
    if let Some(about) = &about {
        ctx.hooks.after_answer(about, outcome.as_deref());
    }
    outcome
}

/// Finds each message's part of the answer: `None` where it was not named, else the vendor's id if it was told.
pub(super) fn match_answer(
    legs: Vec<Leg>,
    users: &HashMap<MessageId, VendorUserId>,
    sent: Vec<SentTo>,
) -> Vec<(Leg, Option<Option<VendorMessageId>>)> {
    if let ([leg], [only]) = (&legs[..], &sent[..]) {
        return vec![(leg.clone(), Some(only.id.clone()))];
    }
    let mut named: HashMap<VendorUserId, Option<VendorMessageId>> =
        sent.into_iter().filter_map(|sent| Some((sent.user?, sent.id))).collect();
    legs.into_iter()
        .map(|leg| {
            let answer = users.get(&leg.message_id).and_then(|user| named.remove(user));
            (leg, answer)
        })
        .collect()
}
