//! The ledger of coverage.

use rusqlite::{Connection, params};
use switchboard_contract::storage::HourCoverage;
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId};

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::signed;

/// Writes an hour.
pub(crate) struct PutHour(pub(crate) TenantId, pub(crate) App, pub(crate) HourCoverage);

impl Errand for PutHour {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, app, hour) = self;
        let runs = serde_json::to_string(&hour.runs)
            .map_err(|error| Error::new(ErrorKind::Internal, "positions could not be encoded").with_source(error))?;
        let file = hour.file.as_ref();
        sql::execute(
            db,
            "INSERT OR REPLACE INTO hours (tenant, app, hour, state, reason, file_bytes, file_digest, file_lines, runs,
                                           journalled, repaired, looks, looked_at, next_look, reading)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                memory.tenant(db, tenant)?,
                memory.app(db, app)?,
                hour.hour.0,
                hour.state.code(),
                hour.reason.as_str(),
                file.map(|file| signed(file.bytes)),
                file.map(|file| file.digest.to_vec()),
                file.map(|file| signed(file.lines)),
                runs,
                signed(hour.journalled),
                signed(hour.repaired),
                hour.looks,
                hour.looked_at.0,
                hour.next_look.map(|at| at.0),
                hour.reading.map(|at| signed(at.0))
            ],
        )
        .map(drop)
        .map_err(failed("put_hour"))
    }
}
