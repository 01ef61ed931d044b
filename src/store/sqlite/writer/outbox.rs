//! Writing sends, their legs and the legs' steps.

use rusqlite::{Connection, params};
use switchboard_contract::storage::FailedAttempts;
use switchboard_contract::{Error, ErrorKind, Result, SendState};

use super::plan::Plan;
use crate::store::sqlite::error::failed;

const SEND: &str = "
    INSERT INTO sends (id, tenant, send, client_id, digest, payload, created_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
const LEG: &str = "
    INSERT INTO legs (id, tenant, send, message, conversation, recipient, app, state, attempts, next_attempt_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?)";
const STEP: &str = "
    UPDATE legs SET state = ?2, attempts = ?3, next_attempt_at = ?4, dispatched_at = ?5, reason = ?6,
                    vendor = coalesce(?7, vendor), history = coalesce(?8, history)
    WHERE id = ?1";

pub(super) fn write(db: &Connection, plan: &Plan<'_>) -> Result<()> {
    sends(db, plan)?;
    legs(db, plan)?;
    steps(db, plan)
}

fn encoded(history: &FailedAttempts) -> Result<String> {
    serde_json::to_string(history)
        .map_err(|error| Error::new(ErrorKind::Internal, "attempts could not be encoded").with_source(error))
}

fn sends(db: &Connection, plan: &Plan<'_>) -> Result<()> {
    let mut insert = db.prepare_cached(SEND).map_err(failed("outbox"))?;
    for accepted in &plan.sends {
        let send = accepted.send;
        let payload = serde_json::to_vec(&send.payload)
            .map_err(|error| Error::new(ErrorKind::Internal, "a send could not be encoded").with_source(error))?;
        let written = insert.execute(params![
            accepted.id,
            accepted.tenant,
            send.id.as_bytes(),
            send.client_message_id.as_ref().map(|id| id.as_str()),
            send.digest,
            payload,
            send.created_at.0,
            send.expires_at.map(|at| at.0),
        ]);
        written.map_err(failed("outbox"))?;
    }
    Ok(())
}

fn legs(db: &Connection, plan: &Plan<'_>) -> Result<()> {
    let mut insert = db.prepare_cached(LEG).map_err(failed("outbox"))?;
    for (id, send, leg) in &plan.legs {
        let accepted = &plan.sends[*send];
        let written = insert.execute(params![
            id,
            accepted.tenant,
            accepted.id,
            leg.message_id.as_bytes(),
            leg.conversation.as_str(),
            leg.recipient.as_ref().map(|user| user.as_str()),
            accepted.app,
            SendState::Queued.code(),
            accepted.send.created_at.0,
        ]);
        written.map_err(failed("outbox"))?;
    }
    Ok(())
}

fn steps(db: &Connection, plan: &Plan<'_>) -> Result<()> {
    let mut update = db.prepare_cached(STEP).map_err(failed("outbox"))?;
    for (id, step) in &plan.steps {
        let change = step.change;
        let written = update.execute(params![
            id,
            change.to.code(),
            change.attempts,
            change.next_attempt_at.0,
            change.dispatched_at.map(|at| at.0),
            change.reason.as_deref(),
            step.vendor,
            step.history.map(encoded).transpose()?,
        ]);
        written.map_err(failed("outbox"))?;
    }
    Ok(())
}
