//! Jobs that fetch the past, and the record of traffic.

use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use switchboard_contract::storage::{BackfillItem, BackfillJob, Backfills, Traffic, TrafficHour};
use switchboard_contract::{App, BackfillId, Result, TenantId, Timestamp};

use super::bounded;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::unsigned;
use crate::store::sqlite::writer::{PlanBackfill, PutBackfill, PutTraffic};

fn decoded<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|_| damaged("job"))
}

#[async_trait]
impl Backfills for SqliteStore {
    async fn put_backfill(&self, tenant: &TenantId, job: &BackfillJob, item: Option<&BackfillItem>) -> Result<()> {
        self.write(PutBackfill(tenant.clone(), job.clone(), item.cloned())).await
    }

    async fn plan_backfill(&self, tenant: &TenantId, id: BackfillId, items: &[BackfillItem]) -> Result<()> {
        self.write(PlanBackfill(tenant.clone(), id, items.to_vec())).await
    }

    async fn planned_backfill(&self, tenant: &TenantId, id: BackfillId) -> Result<(u64, u64)> {
        let (files, conversations): (i64, i64) = sqlx::query_as(
            "SELECT coalesce(sum(file), 0), coalesce(sum(1 - file), 0) FROM backfill_items
             WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND job = ?",
        )
        .bind(tenant.as_str())
        .bind(id.as_bytes().as_slice())
        .fetch_one(self.readers()?)
        .await
        .map_err(failed("planned_backfill"))?;
        Ok((unsigned(files), unsigned(conversations)))
    }

    async fn backfill(&self, tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillJob>> {
        let json: Option<String> = sqlx::query_scalar(
            "SELECT json FROM backfills WHERE id = ? AND tenant = (SELECT id FROM tenants WHERE name = ?)",
        )
        .bind(id.as_bytes().as_slice())
        .bind(tenant.as_str())
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("backfill"))?;
        json.as_deref().map(decoded).transpose()
    }

    async fn backfills(&self, tenant: &TenantId, open: bool, limit: usize) -> Result<Vec<BackfillJob>> {
        let sql = if open {
            "SELECT json FROM backfills WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND state <= 2
             ORDER BY id DESC LIMIT ? + 0"
        } else {
            "SELECT json FROM backfills WHERE tenant = (SELECT id FROM tenants WHERE name = ?)
             ORDER BY id DESC LIMIT ? + 0"
        };
        let rows: Vec<String> = sqlx::query_scalar(sql)
            .bind(tenant.as_str())
            .bind(bounded(limit))
            .fetch_all(self.readers()?)
            .await
            .map_err(failed("backfills"))?;
        rows.iter().map(|json| decoded(json)).collect()
    }

    async fn next_backfill_item(&self, tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillItem>> {
        let json: Option<String> = sqlx::query_scalar(
            "SELECT json FROM backfill_items WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND job = ?
             AND outcome IS NULL ORDER BY file DESC, rank DESC, name LIMIT 1",
        )
        .bind(tenant.as_str())
        .bind(id.as_bytes().as_slice())
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("next_backfill_item"))?;
        json.as_deref().map(decoded).transpose()
    }

    async fn ended_backfill_items(
        &self,
        tenant: &TenantId,
        id: BackfillId,
        outcome: &str,
        limit: usize,
    ) -> Result<Vec<BackfillItem>> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT json FROM backfill_items WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND job = ?
             AND outcome = ? ORDER BY name LIMIT ? + 0",
        )
        .bind(tenant.as_str())
        .bind(id.as_bytes().as_slice())
        .bind(outcome)
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("ended_backfill_items"))?;
        rows.iter().map(|json| decoded(json)).collect()
    }
}

#[async_trait]
impl Traffic for SqliteStore {
    async fn put_traffic(&self, tenant: &TenantId, app: &App, hour: &TrafficHour, keep: Timestamp) -> Result<()> {
        self.write(PutTraffic(tenant.clone(), app.clone(), *hour, keep)).await
    }

    async fn traffic(&self, tenant: &TenantId, app: &App, since: Timestamp) -> Result<Vec<TrafficHour>> {
        let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
            "SELECT hour, callbacks, watched, longest_gap FROM traffic
             WHERE tenant = (SELECT id FROM tenants WHERE name = ?)
             AND app = (SELECT id FROM apps WHERE kind = ? AND key = ?) AND hour >= ? ORDER BY hour",
        )
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .bind(since.0)
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("traffic"))?;
        let hour = |(hour, callbacks, watched, longest): (i64, i64, i64, i64)| TrafficHour {
            hour: Timestamp(hour),
            callbacks: unsigned(callbacks),
            watched: Duration::from_millis(unsigned(watched)),
            longest_gap: Duration::from_millis(unsigned(longest)),
        };
        Ok(rows.into_iter().map(hour).collect())
    }
}
