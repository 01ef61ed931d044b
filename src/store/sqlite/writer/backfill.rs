//! Jobs that fetch the past, and the record of traffic.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::{BackfillItem, BackfillJob, BackfillPart, TrafficHour};
use switchboard_contract::{App, BackfillId, Error, ErrorKind, Result, TenantId, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::content::backfill_part;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::signed;

fn encoded(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "a job could not be encoded").with_source(error))
}

/// Writes a job and one of its parts.
pub(crate) struct PutBackfill(pub(crate) TenantId, pub(crate) BackfillJob, pub(crate) Option<BackfillItem>);

#[async_trait]
impl Errand for PutBackfill {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, job, item) = self;
        let tenant = memory.tenant(db, tenant).await?;
        sqlx::query(
            "INSERT INTO backfills (tenant, id, state, json) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET state = excluded.state, json = excluded.json",
        )
        .bind(tenant)
        .bind(job.id.as_bytes().as_slice())
        .bind(job.state.code())
        .bind(encoded(job)?)
        .execute(&mut *db)
        .await
        .map_err(failed("put_backfill"))?;
        if let Some(item) = item {
            sqlx::query("UPDATE backfill_items SET outcome = ?, json = ? WHERE tenant = ? AND job = ? AND name = ?")
                .bind(item.outcome.as_deref())
                .bind(encoded(item)?)
                .bind(tenant)
                .bind(job.id.as_bytes().as_slice())
                .bind(backfill_part(&item.part))
                .execute(&mut *db)
                .await
                .map_err(failed("put_backfill"))?;
        }
        Ok(())
    }
}

/// Adds parts to a plan.
pub(crate) struct PlanBackfill(pub(crate) TenantId, pub(crate) BackfillId, pub(crate) Vec<BackfillItem>);

#[async_trait]
impl Errand for PlanBackfill {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, id, items) = self;
        let tenant = memory.tenant(db, tenant).await?;
        for item in items {
            sqlx::query(
                "INSERT OR IGNORE INTO backfill_items (tenant, job, name, file, rank, outcome, json)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(tenant)
            .bind(id.as_bytes().as_slice())
            .bind(backfill_part(&item.part))
            .bind(matches!(item.part, BackfillPart::Hour(_)))
            .bind(item.rank)
            .bind(item.outcome.as_deref())
            .bind(encoded(item)?)
            .execute(&mut *db)
            .await
            .map_err(failed("plan_backfill"))?;
        }
        Ok(())
    }
}

/// Writes an hour of traffic.
pub(crate) struct PutTraffic(pub(crate) TenantId, pub(crate) App, pub(crate) TrafficHour, pub(crate) Timestamp);

#[async_trait]
impl Errand for PutTraffic {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, app, hour, keep) = self;
        let (tenant, app) = (memory.tenant(db, tenant).await?, memory.app(db, app).await?);
        let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT OR REPLACE INTO traffic (tenant, app, hour, callbacks, watched, longest_gap)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant)
        .bind(app)
        .bind(hour.hour.0)
        .bind(signed(hour.callbacks))
        .bind(millis(hour.watched))
        .bind(millis(hour.longest_gap))
        .execute(&mut *db)
        .await
        .map_err(failed("put_traffic"))?;
        sqlx::query("DELETE FROM traffic WHERE tenant = ? AND app = ? AND hour < ?")
            .bind(tenant)
            .bind(app)
            .bind(keep.0)
            .execute(db)
            .await
            .map(drop)
            .map_err(failed("put_traffic"))
    }
}
