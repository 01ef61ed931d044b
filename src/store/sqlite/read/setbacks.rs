//! What failed: the retry queue and the dead letters.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{Setback, SetbackCount, SetbackFilter, SetbackKind, Setbacks};
use switchboard_contract::{App, Result, TenantId, Timestamp};

use super::bounded;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::unsigned;

macro_rules! setback_columns {
    () => {
        "SELECT s.number, s.kind, s.key, a.kind, a.key, s.conversation, s.next_at, s.reason, s.attempts, s.history,
                s.detail, s.since
         FROM setbacks s LEFT JOIN apps a ON a.id = s.app
         WHERE s.tenant = (SELECT id FROM tenants WHERE name = ?1) "
    };
}

fn kind(code: u8) -> Result<SetbackKind> {
    SetbackKind::from_code(code).ok_or_else(|| damaged("setback kind"))
}

fn setback(tenant: &TenantId, row: &SqliteRow) -> Result<Setback> {
    let fail = failed("setbacks");
    let app: (Option<String>, Option<String>) = (row.try_get(3).map_err(&fail)?, row.try_get(4).map_err(&fail)?);
    let conversation: Option<String> = row.try_get(5).map_err(&fail)?;
    let (history, detail): (String, String) = (row.try_get(9).map_err(&fail)?, row.try_get(10).map_err(&fail)?);
    Ok(Setback {
        number: unsigned(row.try_get(0).map_err(&fail)?),
        tenant: tenant.clone(),
        kind: kind(row.try_get(1).map_err(&fail)?)?,
        key: row.try_get(2).map_err(&fail)?,
        app: app.0.zip(app.1).map(|(kind, key)| App::new(kind, key)),
        conversation: conversation.map(|id| id.parse().map_err(|_| damaged("conversation"))).transpose()?,
        next_at: row.try_get::<Option<i64>, _>(6).map_err(&fail)?.map(Timestamp),
        reason: row.try_get(7).map_err(&fail)?,
        attempts: row.try_get(8).map_err(&fail)?,
        history: serde_json::from_str(&history).map_err(|_| damaged("setback history"))?,
        detail: serde_json::from_str(&detail).map_err(|_| damaged("setback detail"))?,
        since: Timestamp(row.try_get(11).map_err(&fail)?),
    })
}

#[async_trait]
impl Setbacks for SqliteStore {
    async fn setbacks(
        &self,
        tenant: &TenantId,
        filter: &SetbackFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Setback>> {
        let rows = sqlx::query(concat!(
            setback_columns!(),
            "AND s.number > ?2 AND (?3 IS NULL OR (s.next_at IS NULL) = ?3) AND (?4 IS NULL OR s.kind = ?4)
             AND (?5 IS NULL OR (a.kind = ?5 AND a.key = ?6)) AND (?7 IS NULL OR s.conversation = ?7)
             AND (?8 IS NULL OR s.reason = ?8) AND (?9 IS NULL OR s.since >= ?9) AND (?10 IS NULL OR s.since < ?10)
             ORDER BY s.number LIMIT ?11 + 0"
        ))
        .bind(tenant.as_str())
        .bind(bounded(usize::try_from(after).unwrap_or(usize::MAX)))
        .bind(filter.dead)
        .bind(filter.kind.map(SetbackKind::code))
        .bind(filter.app.as_ref().map(|app| app.kind.as_str()))
        .bind(filter.app.as_ref().map(|app| app.key.as_str()))
        .bind(filter.conversation.as_ref().map(|id| id.as_str()))
        .bind(filter.reason.as_deref())
        .bind(filter.since.map(|at| at.0))
        .bind(filter.until.map(|at| at.0))
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("setbacks"))?;
        rows.iter().map(|row| setback(tenant, row)).collect()
    }

    async fn setback(&self, tenant: &TenantId, kind: SetbackKind, key: &str) -> Result<Option<Setback>> {
        let row = sqlx::query(concat!(setback_columns!(), "AND s.kind = ?2 AND s.key = ?3"))
            .bind(tenant.as_str())
            .bind(kind.code())
            .bind(key)
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("setbacks"))?;
        row.map(|row| setback(tenant, &row)).transpose()
    }

    async fn due_setbacks(
        &self,
        tenant: &TenantId,
        app: &App,
        kind: SetbackKind,
        limit: usize,
    ) -> Result<Vec<Setback>> {
        let Some(number) = self.app_number(app).await? else { return Ok(Vec::new()) };
        let rows = sqlx::query(concat!(
            setback_columns!(),
            "AND s.app = ?2 AND s.kind = ?3 AND s.next_at IS NOT NULL ORDER BY s.next_at, s.number LIMIT ?4 + 0"
        ))
        .bind(tenant.as_str())
        .bind(number)
        .bind(kind.code())
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("setbacks"))?;
        rows.iter().map(|row| setback(tenant, row)).collect()
    }

    async fn setback_counts(&self) -> Result<Vec<SetbackCount>> {
        let rows: Vec<(String, u8, i64, i64)> = sqlx::query_as(
            "SELECT t.name, s.kind, count(s.next_at), count(*) - count(s.next_at)
             FROM setbacks s JOIN tenants t ON t.id = s.tenant GROUP BY t.name, s.kind ORDER BY t.name, s.kind",
        )
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("setbacks"))?;
        let count = |(tenant, code, waiting, dead): (String, u8, i64, i64)| {
            let (waiting, dead) = (unsigned(waiting), unsigned(dead));
            Ok(SetbackCount { tenant: tenant.into(), kind: kind(code)?, waiting, dead })
        };
        rows.into_iter().map(count).collect()
    }
}
