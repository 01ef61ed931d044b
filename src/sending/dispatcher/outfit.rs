//! One call from inside: prepared, made, and its answer matched to the messages it carried.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use switchboard_contract::storage::{Leg, Recipients};
use switchboard_contract::{
    Error, ErrorKind, MessageId, OutboundMessage, Provider, Result, Retry, SentTo, UserId, VendorMessageId,
    VendorUserId,
};

use super::within;
use crate::sending::context::Context;

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
    };
    // It was checked when it was accepted, but perhaps against another vendor.
    provider.messaging().check(&message)?;
    Ok(Box::new(Outfit { message, users }))
}

/// Makes a call, within its deadline.
pub(super) async fn call(ctx: &Context, provider: &dyn Provider, message: &OutboundMessage) -> Result<Vec<SentTo>> {
    let send = AssertUnwindSafe(provider.messaging().send(message)).catch_unwind();
    let send = send.map(|outcome| outcome.unwrap_or_else(|_| Err(panicked())));
    let late = || Err(Error::new(ErrorKind::Timeout, "the call was cut off").with_retry(Retry::OutcomeUnknown));
    within(&*ctx.clock, ctx.config.call_timeout, send).await.unwrap_or_else(late)
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
