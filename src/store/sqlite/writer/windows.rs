//! Signs of life and repair windows.

use rusqlite::{Connection, OptionalExtension as _, params};
use switchboard_contract::storage::RepairWindow;
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{signed, unsigned};

/// Notes a sign of life.
pub(crate) struct SetAlive(pub(crate) TenantId, pub(crate) App, pub(crate) Timestamp);

impl Errand for SetAlive {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, app, at) = self;
        sql::execute(
            db,
            "INSERT INTO signs_of_life (tenant, app, at) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
            params![memory.tenant(db, tenant)?, memory.app(db, app)?, at.0],
        )
        .map(drop)
        .map_err(failed("set_alive"))
    }
}

/// Writes a window.
pub(crate) struct PutWindow(pub(crate) TenantId, pub(crate) App, pub(crate) RepairWindow);

impl Errand for PutWindow {
    type Outcome = u64;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<u64> {
        let Self(tenant, app, window) = self;
        let (tenant, app) = (memory.tenant(db, tenant)?, memory.app(db, app)?);
        // Without a number a new row; with one, the row that has it and belongs to the same app.
        let sql = if window.id == 0 {
            "INSERT INTO repair_windows
                 (tenant, app, since, until, cause, queried, repaired, closed_at, complete, sent_again)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?11 WHERE ?10 = 0 RETURNING id"
        } else {
            "UPDATE repair_windows SET since = ?3, until = ?4, cause = ?5, queried = ?6, repaired = ?7,
                    closed_at = ?8, complete = ?9, sent_again = ?11
             WHERE tenant = ?1 AND app = ?2 AND id = ?10 RETURNING id"
        };
        let values = params![
            tenant,
            app,
            window.since.0,
            window.until.0,
            window.cause.as_str(),
            signed(window.queried),
            signed(window.repaired),
            window.closed_at.map(|at| at.0),
            window.complete,
            signed(window.id),
            signed(window.sent_again),
        ];
        let id = sql::scalar(db, sql, values).optional().map_err(failed("put_window"))?;
        id.map(unsigned).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such window"))
    }
}
