//! Sending again what failed, because somebody has decided so.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use switchboard_contract::storage::{ChangeOutcome, Commit, Leg};
use switchboard_contract::{App, Error, ErrorKind, MessageId, Result, Retry, SendState, TenantId, Timestamp};

use super::AppMode;
use super::context::{AppPost, Context};
use super::step::{Step, reason};

/// Legs queued again in one transaction.
const AT_ONCE: usize = 512;

/// What whoever redrives is prepared to risk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedriveRisk {
    /// Nothing: only what surely never arrived is sent again.
    #[default]
    None,
    /// A message of which nobody knows whether it arrived is sent again, and may then arrive twice.
    MayArriveTwice,
}

/// Queues failed legs again, all in one transaction, with as many attempts as new ones. Those that are on their way
/// already are left alone. Returns how many were queued.
///
/// # Errors
/// As [`Sending::redrive`](super::Sending::redrive).
pub(super) async fn redrive(ctx: &Context, tenant: &TenantId, legs: Vec<Leg>, risk: RedriveRisk) -> Result<usize> {
    let now = ctx.clock.now();
    let mut refused = None;
    let mut ready = Vec::new();
    let mut under_way = false;
    for leg in legs {
        if leg.state.is_open() {
            under_way = true;
        } else if let Err(error) = check(ctx, &leg, risk, now).await {
            match error.kind() {
                ErrorKind::Conflict => refused = refused.or(Some(error)),
                _ => return Err(error),
            }
        } else {
            ready.push(leg);
        }
    }
    if ready.is_empty() {
        return match refused {
            Some(error) if !under_way => Err(error),
            _ => Ok(0),
        };
    }
    let post = post(ctx, tenant, &ready)?;
    let changes = ready.iter().map(|leg| Step::redriven(leg, now).status_only(leg, now)).collect();
    let committed = ctx.store.commit(Commit { changes, ..Commit::default() }).await?;
    let taken = committed.changes.iter().filter(|outcome| matches!(outcome, ChangeOutcome::Applied(_))).count();
    let queued = u64::try_from(taken).unwrap_or(u64::MAX);
    post.open.fetch_add(queued, Ordering::Relaxed);
    super::metrics::redriven(&post.app, queued);
    tracing::info!(op = "redrive", app = %post.app, messages = taken, "failed messages are sent again");
    post.hint(|hints| {
        // Read again from the start: what failed is older than what waits.
        hints.moved.insert(tenant.clone());
        hints.setup |= post.mode_for(tenant) == Some(AppMode::ReceiveOnly);
    });
    Ok(taken)
}

/// What became of a call that redrives many messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Messages that are queued again.
    pub queued: u64,
    /// Those that cannot go as they are, and why.
    pub refused: Vec<(MessageId, String)>,
}

/// Queues any number of failed legs again, app by app and in the order in which they were accepted.
///
/// # Errors
/// As [`Sending::redrive_all`](super::Sending::redrive_all).
pub(super) async fn redrive_all(
    ctx: &Context,
    tenant: &TenantId,
    messages: &[MessageId],
    risk: RedriveRisk,
) -> Result<Redriven> {
    let now = ctx.clock.now();
    let mut redriven = Redriven::default();
    let mut ready: BTreeMap<App, Vec<Leg>> = BTreeMap::new();
    for message in messages {
        let refused = match ctx.store.leg(tenant, *message).await? {
            None => Some("no such message".to_owned()),
            Some(leg) if leg.state.is_open() => None,
            Some(leg) => match check(ctx, &leg, risk, now).await {
                Ok(()) => {
                    ready.entry(leg.app.clone()).or_default().push(leg);
                    None
                }
                Err(error) if error.kind() == ErrorKind::Conflict => Some(error.message().to_owned()),
                Err(error) => return Err(error),
            },
        };
        redriven.refused.extend(refused.map(|why| (*message, why)));
    }
    for mut legs in ready.into_values() {
        legs.sort_unstable_by_key(|leg| leg.order);
        for part in legs.chunks(AT_ONCE) {
            match redrive(ctx, tenant, part.to_vec(), risk).await {
                Ok(queued) => redriven.queued += queued as u64,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                    let why = |leg: &Leg| (leg.message_id, error.message().to_owned());
                    redriven.refused.extend(part.iter().map(why));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(redriven)
}

fn conflict(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, why)
}

/// Whether a finished leg may be sent again.
async fn check(ctx: &Context, leg: &Leg, risk: RedriveRisk, now: Timestamp) -> Result<()> {
    if leg.state != SendState::Failed {
        return Err(conflict(format!("it is {} and has not failed", leg.state)));
    }
    let unknown = leg.reason.as_deref() == Some(reason::OUTCOME_UNKNOWN);
    if unknown && risk == RedriveRisk::None {
        return Err(conflict(
            "nobody knows whether it arrived; sent again it may arrive twice, which may_arrive_twice accepts",
        ));
    }
    if leg.send.expires_at.is_some_and(|at| at <= now) {
        return Err(conflict("its time has run out; send it anew"));
    }
    let arrived = leg.vendor_id.is_some() || ctx.store.message(&leg.send.tenant, leg.message_id).await?.is_some();
    if arrived {
        return Err(conflict("it arrived after all, as its echo shows"));
    }
    Ok(())
}

/// The app all of them belong to.
fn post(ctx: &Context, tenant: &TenantId, legs: &[Leg]) -> Result<std::sync::Arc<AppPost>> {
    let post = legs.first().and_then(|leg| ctx.post(&leg.app)).filter(|post| post.mode_for(tenant).is_some());
    let post =
        post.ok_or_else(|| Error::new(ErrorKind::NotFound, "the app that failed to carry it is not configured"))?;
    if legs.iter().any(|leg| leg.app != post.app) {
        return Err(conflict("its messages failed at several apps; redrive them one by one"));
    }
    let more = u64::try_from(legs.len()).unwrap_or(u64::MAX);
    if post.open.load(Ordering::Relaxed).saturating_add(more) > ctx.config.max_open {
        let retry = Retry::Safe { after: Some(std::time::Duration::from_secs(1)) };
        return Err(Error::new(ErrorKind::RateLimited, "too many unfinished messages").with_retry(retry));
    }
    Ok(post)
}
