//! Jobs that fetch the past, and the record of traffic.

use rusqlite::{Connection, params};
use switchboard_contract::storage::{BackfillItem, BackfillJob, BackfillPart, TrafficHour};
use switchboard_contract::{App, BackfillId, Error, ErrorKind, Result, TenantId, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
use crate::store::content::backfill_part;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::signed;

fn encoded(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "a job could not be encoded").with_source(error))
}

/// Writes a job and one of its parts.
pub(crate) struct PutBackfill(pub(crate) TenantId, pub(crate) BackfillJob, pub(crate) Option<BackfillItem>);

impl Errand for PutBackfill {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, job, item) = self;
        let tenant = memory.tenant(db, tenant)?;
        put(db, tenant, job, item.as_ref())
    }
}

pub(super) fn put(db: &Connection, tenant: i64, job: &BackfillJob, item: Option<&BackfillItem>) -> Result<()> {
    sql::execute(
        db,
        "INSERT INTO backfills (tenant, id, state, json) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET state = excluded.state, json = excluded.json",
        params![tenant, job.id.as_bytes(), job.state.code(), encoded(job)?],
    )
    .map_err(failed("put_backfill"))?;
    if let Some(item) = item {
        sql::execute(
            db,
            "UPDATE backfill_items SET outcome = ?, json = ? WHERE tenant = ? AND job = ? AND name = ?",
            params![item.outcome.as_deref(), encoded(item)?, tenant, job.id.as_bytes(), backfill_part(&item.part)],
        )
        .map_err(failed("put_backfill"))?;
    }
    Ok(())
}

/// Adds parts to a plan.
pub(crate) struct PlanBackfill(pub(crate) TenantId, pub(crate) BackfillId, pub(crate) Vec<BackfillItem>);

impl Errand for PlanBackfill {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, id, items) = self;
        let tenant = memory.tenant(db, tenant)?;
        for item in items {
            sql::execute(
                db,
                "INSERT OR IGNORE INTO backfill_items (tenant, job, name, file, rank, outcome, json)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
                params![
                    tenant,
                    id.as_bytes().as_slice(),
                    backfill_part(&item.part),
                    matches!(item.part, BackfillPart::Hour(_)),
                    item.rank,
                    item.outcome.as_deref(),
                    encoded(item)?
                ],
            )
            .map_err(failed("plan_backfill"))?;
        }
        Ok(())
    }
}

/// Writes an hour of traffic.
pub(crate) struct PutTraffic(pub(crate) TenantId, pub(crate) App, pub(crate) TrafficHour, pub(crate) Timestamp);

impl Errand for PutTraffic {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, app, hour, keep) = self;
        let (tenant, app) = (memory.tenant(db, tenant)?, memory.app(db, app)?);
        let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        sql::execute(
            db,
            "INSERT OR REPLACE INTO traffic (tenant, app, hour, callbacks, watched, longest_gap)
             VALUES (?, ?, ?, ?, ?, ?)",
            params![tenant, app, hour.hour.0, signed(hour.callbacks), millis(hour.watched), millis(hour.longest_gap)],
        )
        .map_err(failed("put_traffic"))?;
        sql::execute(db, "DELETE FROM traffic WHERE tenant = ? AND app = ? AND hour < ?", params![tenant, app, keep.0])
            .map(drop)
            .map_err(failed("put_traffic"))
    }
}
