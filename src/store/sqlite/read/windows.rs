//! Signs of life and repair windows.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{RepairWindow, RepairWindows};
use switchboard_contract::{App, Result, TenantId, Timestamp};

use super::bounded;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::unsigned;
use crate::store::sqlite::writer::{PutWindow, SetAlive};

fn window_of(row: &SqliteRow) -> Result<RepairWindow> {
    let fail = failed("windows");
    Ok(RepairWindow {
        id: unsigned(row.try_get(0).map_err(&fail)?),
        since: Timestamp(row.try_get(1).map_err(&fail)?),
        until: Timestamp(row.try_get(2).map_err(&fail)?),
        cause: row.try_get(3).map_err(&fail)?,
        queried: unsigned(row.try_get(4).map_err(&fail)?),
        repaired: unsigned(row.try_get(5).map_err(&fail)?),
        closed_at: row.try_get::<Option<i64>, _>(6).map_err(&fail)?.map(Timestamp),
        complete: row.try_get(7).map_err(&fail)?,
        sent_again: unsigned(row.try_get(8).map_err(&fail)?),
    })
}

#[async_trait]
impl RepairWindows for SqliteStore {
    async fn set_alive(&self, tenant: &TenantId, app: &App, at: Timestamp) -> Result<()> {
        self.write(SetAlive(tenant.clone(), app.clone(), at)).await
    }

    async fn alive(&self, tenant: &TenantId, app: &App) -> Result<Option<Timestamp>> {
        let at: Option<i64> = sqlx::query_scalar(
            "SELECT at FROM signs_of_life WHERE tenant = (SELECT id FROM tenants WHERE name = ?)
             AND app = (SELECT id FROM apps WHERE kind = ? AND key = ?)",
        )
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("alive"))?;
        Ok(at.map(Timestamp))
    }

    async fn served(&self, app: &App) -> Result<Vec<(TenantId, Timestamp)>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT t.name, s.at FROM signs_of_life s JOIN tenants t ON t.id = s.tenant
             WHERE s.app = (SELECT id FROM apps WHERE kind = ? AND key = ?) ORDER BY t.name",
        )
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("served"))?;
        Ok(rows.into_iter().map(|(tenant, at)| (tenant.into(), Timestamp(at))).collect())
    }

    async fn put_window(&self, tenant: &TenantId, app: &App, window: &RepairWindow) -> Result<u64> {
        self.write(PutWindow(tenant.clone(), app.clone(), window.clone())).await
    }

    async fn windows(&self, tenant: &TenantId, app: &App, open: bool, limit: usize) -> Result<Vec<RepairWindow>> {
        let rows = sqlx::query(
            "SELECT id, since, until, cause, queried, repaired, closed_at, complete, sent_again
             FROM repair_windows
             WHERE tenant = (SELECT id FROM tenants WHERE name = ?)
             AND app = (SELECT id FROM apps WHERE kind = ? AND key = ?) AND (NOT ? OR closed_at IS NULL)
             ORDER BY id DESC LIMIT ? + 0",
        )
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .bind(open)
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("windows"))?;
        rows.iter().map(window_of).collect()
    }
}
