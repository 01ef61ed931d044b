//! Writing the log and the timelines of the self-hosted service.

mod append;
mod marks;
mod names;

use rusqlite::{Connection, params};
use switchboard_contract::storage::Account;
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId};

pub(crate) use append::AppendLines;
pub(crate) use marks::{RaiseMarks, SaveDevices};
pub(super) use names::GateNames;

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;

const OP: &str = "timelines";

/// Finds or makes a gate.
pub(crate) struct OpenGate(pub(crate) TenantId, pub(crate) App);

impl Errand for OpenGate {
    type Outcome = i64;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<i64> {
        let tenant = memory.tenant(db, &self.0)?;
        let app = memory.app(db, &self.1)?;
        sql::scalar(
            db,
            "INSERT INTO gates (tenant, app) VALUES (?, ?) ON CONFLICT DO UPDATE SET tenant = excluded.tenant
             RETURNING id",
            params![tenant, app],
        )
        .map_err(failed(OP))
    }
}

/// Writes an account.
pub(crate) struct PutAccount(pub(crate) i64, pub(crate) Account);

impl Errand for PutAccount {
    type Outcome = ();

    fn run(&mut self, db: &Connection, _: &mut Memory) -> Result<()> {
        let Self(gate, account) = self;
        let profile = serde_json::to_string(&account.profile)
            .map_err(|error| Error::new(ErrorKind::Internal, "a profile could not be encoded").with_source(error))?;
        sql::execute(
            db,
            "INSERT INTO gate_users (gate, name, profile, banned_until) VALUES (?, ?, ?, ?)
             ON CONFLICT (gate, name) DO UPDATE SET profile = excluded.profile, banned_until = excluded.banned_until",
            params![*gate, account.user.as_str(), profile, account.banned_until.map(|time| time.0)],
        )
        .map(drop)
        .map_err(failed(OP))
    }
}
