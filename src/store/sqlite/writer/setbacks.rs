//! Writing what failed: the retry queue and the dead letters.

use rusqlite::{Connection, params};
use switchboard_contract::storage::{Setback, SetbackChange};
use switchboard_contract::{Error, ErrorKind, Result};

use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;

/// Writes changes in their order. A thing that is written again gets the next number: lists go on behind it.
pub(super) fn write(db: &Connection, memory: &mut Memory, changes: &[&SetbackChange]) -> Result<()> {
    for change in changes {
        let tenant = memory.tenant(db, change.tenant())?;
        match change {
            SetbackChange::Put(setback) => put(db, memory, tenant, setback)?,
            SetbackChange::Clear { kind, key, .. } => {
                sql::execute(
                    db,
                    "DELETE FROM setbacks WHERE tenant = ? AND kind = ? AND key = ?",
                    params![tenant, kind.code(), key.as_str()],
                )
                .map_err(failed("setbacks"))?;
            }
        }
    }
    Ok(())
}

fn put(db: &Connection, memory: &mut Memory, tenant: i64, setback: &Setback) -> Result<()> {
    let encoded = |error| Error::new(ErrorKind::Internal, "a setback could not be encoded").with_source(error);
    let app = match &setback.app {
        Some(app) => Some(memory.app(db, app)?),
        None => None,
    };
    let history = serde_json::to_string(&setback.history).map_err(encoded)?;
    sql::execute(
        db,
        "INSERT OR REPLACE INTO setbacks
             (tenant, kind, key, app, conversation, next_at, reason, attempts, history, detail, since)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            tenant,
            setback.kind.code(),
            setback.key.as_str(),
            app,
            setback.conversation.as_ref().map(|id| id.as_str()),
            setback.next_at.map(|at| at.0),
            setback.reason.as_str(),
            setback.attempts,
            history,
            setback.detail.to_string(),
            setback.since.0
        ],
    )
    .map(drop)
    .map_err(failed("setbacks"))
}
