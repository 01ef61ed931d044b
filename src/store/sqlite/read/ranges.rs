//! The ledger of conversations.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow as _, Row as _};
use switchboard_contract::storage::{ConversationLedger, CoverageState, CoveredRange};
use switchboard_contract::{App, ConversationId, Result, TenantId, Timestamp};

use super::bounded;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::writer::PutRange;

/// The first columns of the table.
pub(in crate::store::sqlite) type RangeColumns = (i64, i64, u8, String, i64);

fn range_of(row: &SqliteRow) -> Result<CoveredRange> {
    range(RangeColumns::from_row(row).map_err(failed("ranges"))?)
}

/// A range from its columns.
pub(in crate::store::sqlite) fn range(columns: RangeColumns) -> Result<CoveredRange> {
    let (since, until, state, reason, checked_at) = columns;
    Ok(CoveredRange {
        since: Timestamp(since),
        until: Timestamp(until),
        state: CoverageState::from_code(state).ok_or_else(|| damaged("coverage"))?,
        reason,
        checked_at: Timestamp(checked_at),
    })
}

/// The last conversation of a page comes whole.
const INCOMPLETE: &str = "
    SELECT since, until, state, reason, checked_at, conversation FROM ranges INDEXED BY ranges_incomplete
    WHERE tenant = ?1 AND app = ?2 AND state <> 0 AND conversation > ?3 AND conversation <= coalesce(
        (SELECT conversation FROM ranges INDEXED BY ranges_incomplete
         WHERE tenant = ?1 AND app = ?2 AND state <> 0 AND conversation > ?3
         ORDER BY conversation, since LIMIT 1 OFFSET ?4 - 1), char(1114111))
    ORDER BY conversation, since";

#[async_trait]
impl ConversationLedger for SqliteStore {
    async fn put_range(
        &self,
        tenant: &TenantId,
        app: &App,
        conversation: &ConversationId,
        range: &CoveredRange,
    ) -> Result<()> {
        let (tenant, app, conversation) = (tenant.clone(), app.clone(), conversation.clone());
        self.write(PutRange { tenant, app, conversation, range: range.clone() }).await
    }

    async fn ranges(
        &self,
        tenant: &TenantId,
        app: &App,
        conversation: &ConversationId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CoveredRange>> {
        let rows = sqlx::query(
            "SELECT since, until, state, reason, checked_at FROM ranges
             WHERE tenant = (SELECT id FROM tenants WHERE name = ?)
             AND app = (SELECT id FROM apps WHERE kind = ? AND key = ?)
             AND conversation = ? AND since < ? AND until > ? ORDER BY since",
        )
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .bind(conversation.as_str())
        .bind(until.0)
        .bind(since.0)
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("ranges"))?;
        rows.iter().map(range_of).collect()
    }

    async fn incomplete(
        &self,
        tenant: &TenantId,
        app: &App,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, CoveredRange)>> {
        let numbers = self.tenant_number(tenant).await?.zip(self.app_number(app).await?);
        let Some((tenant, app)) = numbers.filter(|_| limit > 0) else { return Ok(Vec::new()) };
        let rows = sqlx::query(INCOMPLETE)
            .bind(tenant)
            .bind(app)
            .bind(after.map_or("", ConversationId::as_str))
            .bind(bounded(limit))
            .fetch_all(self.readers()?)
            .await
            .map_err(failed("incomplete"))?;
        rows.iter()
            .map(|row| {
                let name: &str = row.try_get(5).map_err(failed("incomplete"))?;
                Ok((name.parse().map_err(|_| damaged("conversation"))?, range_of(row)?))
            })
            .collect()
    }
}
