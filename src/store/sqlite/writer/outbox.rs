//! Writing sends, their legs and the legs' steps.

use sqlx::SqliteConnection;
use switchboard_contract::storage::FailedAttempts;
use switchboard_contract::{Error, ErrorKind, Result, SendState};

use super::plan::Plan;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{Bulk, Values};

static SENDS: Bulk = Bulk::new(
    "INSERT INTO sends (id, tenant, send, client_id, digest, payload, created_at, expires_at) VALUES ",
    "(?,?,?,?,?,?,?,?)",
    "",
);
static LEGS: Bulk = Bulk::new(
    "INSERT INTO legs (id, tenant, send, message, conversation, recipient, app, state, attempts, next_attempt_at) VALUES ",
    "(?,?,?,?,?,?,?,?,0,?)",
    "",
);
static STEPS: Bulk = Bulk::new(
    "WITH step (id, state, attempts, next_attempt_at, dispatched_at, reason, vendor, history) AS (VALUES ",
    "(?,?,?,?,?,?,?,?)",
    ") UPDATE legs SET state = step.state, attempts = step.attempts, next_attempt_at = step.next_attempt_at,
       dispatched_at = step.dispatched_at, reason = step.reason, vendor = coalesce(step.vendor, legs.vendor),
       history = coalesce(step.history, legs.history)
     FROM step WHERE legs.id = step.id",
);

pub(super) async fn write(db: &mut SqliteConnection, plan: &Plan<'_>) -> Result<()> {
    sends(db, plan).await?;
    legs(db, plan).await?;
    steps(db, plan).await
}

async fn run(db: &mut SqliteConnection, bulk: &'static Bulk, rows: usize, values: Values) -> Result<()> {
    let values = values.done().map_err(failed("outbox"))?;
    sqlx::query_with(bulk.text(rows), values).execute(db).await.map(drop).map_err(failed("outbox"))
}

fn encoded(history: &FailedAttempts) -> Result<String> {
    serde_json::to_string(history)
        .map_err(|error| Error::new(ErrorKind::Internal, "attempts could not be encoded").with_source(error))
}

async fn sends(db: &mut SqliteConnection, plan: &Plan<'_>) -> Result<()> {
    let mut rest = plan.sends.as_slice();
    while !rest.is_empty() {
        let (part, left) = rest.split_at(SENDS.fit(rest.len()));
        rest = left;
        let mut values = Values::with_capacity(part.len() * 8);
        for accepted in part {
            let send = accepted.send;
            let payload = serde_json::to_vec(&send.payload)
                .map_err(|error| Error::new(ErrorKind::Internal, "a send could not be encoded").with_source(error))?;
            values.push(accepted.id);
            values.push(accepted.tenant);
            values.push(send.id.as_bytes().as_slice());
            values.push(send.client_message_id.as_ref().map(|id| id.as_str()));
            values.push(send.digest.as_slice());
            values.push(payload);
            values.push(send.created_at.0);
            values.push(send.expires_at.map(|at| at.0));
        }
        run(db, &SENDS, part.len(), values).await?;
    }
    Ok(())
}

async fn legs(db: &mut SqliteConnection, plan: &Plan<'_>) -> Result<()> {
    let mut rest = plan.legs.as_slice();
    while !rest.is_empty() {
        let (part, left) = rest.split_at(LEGS.fit(rest.len()));
        rest = left;
        let mut values = Values::with_capacity(part.len() * 9);
        for (id, send, leg) in part {
            let accepted = &plan.sends[*send];
            values.push(*id);
            values.push(accepted.tenant);
            values.push(accepted.id);
            values.push(leg.message_id.as_bytes().as_slice());
            values.push(leg.conversation.as_str());
            values.push(leg.recipient.as_ref().map(|user| user.as_str()));
            values.push(accepted.app);
            values.push(SendState::Queued.code());
            values.push(accepted.send.created_at.0);
        }
        run(db, &LEGS, part.len(), values).await?;
    }
    Ok(())
}

async fn steps(db: &mut SqliteConnection, plan: &Plan<'_>) -> Result<()> {
    let all: Vec<_> = plan.steps.iter().collect();
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        let (part, left) = rest.split_at(STEPS.fit(rest.len()));
        rest = left;
        let mut values = Values::with_capacity(part.len() * 8);
        for (id, step) in part {
            let change = step.change;
            values.push(**id);
            values.push(change.to.code());
            values.push(change.attempts);
            values.push(change.next_attempt_at.0);
            values.push(change.dispatched_at.map(|at| at.0));
            values.push(change.reason.as_deref());
            values.push(step.vendor);
            values.push(step.history.map(encoded).transpose()?);
        }
        run(db, &STEPS, part.len(), values).await?;
    }
    Ok(())
}
