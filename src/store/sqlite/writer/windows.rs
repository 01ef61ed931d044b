//! Signs of life and repair windows.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::RepairWindow;
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{signed, unsigned};

/// Notes a sign of life.
pub(crate) struct SetAlive(pub(crate) TenantId, pub(crate) App, pub(crate) Timestamp);

#[async_trait]
impl Errand for SetAlive {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, app, at) = self;
        sqlx::query(
            "INSERT INTO signs_of_life (tenant, app, at) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
        )
        .bind(memory.tenant(db, tenant).await?)
        .bind(memory.app(db, app).await?)
        .bind(at.0)
        .execute(db)
        .await
        .map(drop)
        .map_err(failed("set_alive"))
    }
}

/// Writes a window.
pub(crate) struct PutWindow(pub(crate) TenantId, pub(crate) App, pub(crate) RepairWindow);

#[async_trait]
impl Errand for PutWindow {
    type Outcome = u64;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<u64> {
        let Self(tenant, app, window) = self;
        let (tenant, app) = (memory.tenant(db, tenant).await?, memory.app(db, app).await?);
        // Without a number a new row; with one, the row that has it and belongs to the same app.
        let id: Option<i64> = if window.id == 0 {
            sqlx::query_scalar(
                "INSERT INTO repair_windows
                     (tenant, app, since, until, cause, queried, repaired, closed_at, complete, sent_again)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?11 WHERE ?10 = 0 RETURNING id",
            )
        } else {
            sqlx::query_scalar(
                "UPDATE repair_windows SET since = ?3, until = ?4, cause = ?5, queried = ?6, repaired = ?7,
                        closed_at = ?8, complete = ?9, sent_again = ?11
                 WHERE tenant = ?1 AND app = ?2 AND id = ?10 RETURNING id",
            )
        }
        .bind(tenant)
        .bind(app)
        .bind(window.since.0)
        .bind(window.until.0)
        .bind(window.cause.as_str())
        .bind(signed(window.queried))
        .bind(signed(window.repaired))
        .bind(window.closed_at.map(|at| at.0))
        .bind(window.complete)
        .bind(signed(window.id))
        .bind(signed(window.sent_again))
        .fetch_optional(db)
        .await
        .map_err(failed("put_window"))?;
        id.map(unsigned).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such window"))
    }
}
