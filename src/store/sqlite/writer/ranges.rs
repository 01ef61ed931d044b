//! The ledger of conversations.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::{CoveredRange, overlay};
use switchboard_contract::{App, ConversationId, Result, TenantId};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::read::range_of;

/// Lays a range over those that are known.
pub(crate) struct PutRange {
    pub(crate) tenant: TenantId,
    pub(crate) app: App,
    pub(crate) conversation: ConversationId,
    pub(crate) range: CoveredRange,
}

#[async_trait]
impl Errand for PutRange {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let fail = failed("put_range");
        let (tenant, app) = (memory.tenant(db, &self.tenant).await?, memory.app(db, &self.app).await?);
        // Neighbours that end where this one begins may become one with it.
        let rows = sqlx::query(
            "DELETE FROM ranges WHERE tenant = ? AND app = ? AND conversation = ? AND since <= ? AND until >= ?
             RETURNING since, until, state, reason, checked_at",
        )
        .bind(tenant)
        .bind(app)
        .bind(self.conversation.as_str())
        .bind(self.range.until.0)
        .bind(self.range.since.0)
        .fetch_all(&mut *db)
        .await
        .map_err(&fail)?;
        let mut known = rows.iter().map(range_of).collect::<Result<Vec<_>>>()?;
        known.sort_unstable_by_key(|range| range.since);
        for range in overlay(known, self.range.clone()) {
            sqlx::query(
                "INSERT INTO ranges (tenant, app, conversation, since, until, state, reason, checked_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(tenant)
            .bind(app)
            .bind(self.conversation.as_str())
            .bind(range.since.0)
            .bind(range.until.0)
            .bind(range.state.code())
            .bind(range.reason)
            .bind(range.checked_at.0)
            .execute(&mut *db)
            .await
            .map_err(&fail)?;
        }
        Ok(())
    }
}
