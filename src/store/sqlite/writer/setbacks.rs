//! Writing what failed: the retry queue and the dead letters.

use sqlx::SqliteConnection;
use switchboard_contract::storage::{Setback, SetbackChange};
use switchboard_contract::{Error, ErrorKind, Result};

use super::memory::Memory;
use crate::store::sqlite::error::failed;

/// Writes changes in their order. A thing that is written again gets the next number: lists go on behind it.
pub(super) async fn write(db: &mut SqliteConnection, memory: &mut Memory, changes: &[&SetbackChange]) -> Result<()> {
    for change in changes {
        let tenant = memory.tenant(db, change.tenant()).await?;
        match change {
            SetbackChange::Put(setback) => put(db, memory, tenant, setback).await?,
            SetbackChange::Clear { kind, key, .. } => {
                sqlx::query("DELETE FROM setbacks WHERE tenant = ? AND kind = ? AND key = ?")
                    .bind(tenant)
                    .bind(kind.code())
                    .bind(key.as_str())
                    .execute(&mut *db)
                    .await
                    .map_err(failed("setbacks"))?;
            }
        }
    }
    Ok(())
}

async fn put(db: &mut SqliteConnection, memory: &mut Memory, tenant: i64, setback: &Setback) -> Result<()> {
    let encoded = |error| Error::new(ErrorKind::Internal, "a setback could not be encoded").with_source(error);
    let app = match &setback.app {
        Some(app) => Some(memory.app(db, app).await?),
        None => None,
    };
    let history = serde_json::to_string(&setback.history).map_err(encoded)?;
    sqlx::query(
        "INSERT OR REPLACE INTO setbacks
             (tenant, kind, key, app, conversation, next_at, reason, attempts, history, detail, since)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant)
    .bind(setback.kind.code())
    .bind(setback.key.as_str())
    .bind(app)
    .bind(setback.conversation.as_ref().map(|id| id.as_str()))
    .bind(setback.next_at.map(|at| at.0))
    .bind(setback.reason.as_str())
    .bind(setback.attempts)
    .bind(history)
    .bind(setback.detail.to_string())
    .bind(setback.since.0)
    .execute(db)
    .await
    .map(drop)
    .map_err(failed("setbacks"))
}
