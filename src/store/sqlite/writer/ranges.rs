//! The ledger of conversations.

use rusqlite::{Connection, params};
use switchboard_contract::storage::{CoveredRange, overlay};
use switchboard_contract::{App, ConversationId, Result, TenantId};

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::read::{RangeColumns, range};

/// Lays a range over those that are known.
pub(crate) struct PutRange {
    pub(crate) tenant: TenantId,
    pub(crate) app: App,
    pub(crate) conversation: ConversationId,
    pub(crate) range: CoveredRange,
}

impl Errand for PutRange {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let fail = failed("put_range");
        let (tenant, app) = (memory.tenant(db, &self.tenant)?, memory.app(db, &self.app)?);
        // Neighbours that end where this one begins may become one with it.
        let rows: Vec<RangeColumns> = sql::rows(
            db,
            "DELETE FROM ranges WHERE tenant = ? AND app = ? AND conversation = ? AND since <= ? AND until >= ?
             RETURNING since, until, state, reason, checked_at",
            params![tenant, app, self.conversation.as_str(), self.range.until.0, self.range.since.0],
        )
        .map_err(&fail)?;
        let mut known = rows.into_iter().map(range).collect::<Result<Vec<_>>>()?;
        known.sort_unstable_by_key(|range| range.since);
        for range in overlay(known, self.range.clone()) {
            sql::execute(
                db,
                "INSERT INTO ranges (tenant, app, conversation, since, until, state, reason, checked_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    tenant,
                    app,
                    self.conversation.as_str(),
                    range.since.0,
                    range.until.0,
                    range.state.code(),
                    range.reason,
                    range.checked_at.0
                ],
            )
            .map_err(&fail)?;
        }
        Ok(())
    }
}
