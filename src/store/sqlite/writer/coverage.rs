//! The ledger of coverage.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::HourCoverage;
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::signed;

/// Writes an hour.
pub(crate) struct PutHour(pub(crate) TenantId, pub(crate) App, pub(crate) HourCoverage);

#[async_trait]
impl Errand for PutHour {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, app, hour) = self;
        let runs = serde_json::to_string(&hour.runs)
            .map_err(|error| Error::new(ErrorKind::Internal, "positions could not be encoded").with_source(error))?;
        let file = hour.file.as_ref();
        sqlx::query(
            "INSERT OR REPLACE INTO hours (tenant, app, hour, state, reason, file_bytes, file_digest, file_lines, runs,
                                           journalled, repaired, looks, looked_at, next_look, reading)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(memory.tenant(db, tenant).await?)
        .bind(memory.app(db, app).await?)
        .bind(hour.hour.0)
        .bind(hour.state.code())
        .bind(hour.reason.as_str())
        .bind(file.map(|file| signed(file.bytes)))
        .bind(file.map(|file| file.digest.to_vec()))
        .bind(file.map(|file| signed(file.lines)))
        .bind(runs)
        .bind(signed(hour.journalled))
        .bind(signed(hour.repaired))
        .bind(hour.looks)
        .bind(hour.looked_at.0)
        .bind(hour.next_look.map(|at| at.0))
        .bind(hour.reading.map(|at| signed(at.0)))
        .execute(db)
        .await
        .map(drop)
        .map_err(failed("put_hour"))
    }
}
