//! Writing the log and the timelines of the self-hosted service.

mod append;
mod marks;
mod names;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::Account;
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId};

pub(crate) use append::AppendLines;
pub(crate) use marks::{RaiseMarks, SaveDevices};
pub(super) use names::GateNames;

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;

const OP: &str = "timelines";

/// Finds or makes a gate.
pub(crate) struct OpenGate(pub(crate) TenantId, pub(crate) App);

#[async_trait]
impl Errand for OpenGate {
    type Outcome = i64;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<i64> {
        let tenant = memory.tenant(db, &self.0).await?;
        let app = memory.app(db, &self.1).await?;
        sqlx::query_scalar(
            "INSERT INTO gates (tenant, app) VALUES (?, ?) ON CONFLICT DO UPDATE SET tenant = excluded.tenant
             RETURNING id",
        )
        .bind(tenant)
        .bind(app)
        .fetch_one(db)
        .await
        .map_err(failed(OP))
    }
}

/// Writes an account.
pub(crate) struct PutAccount(pub(crate) i64, pub(crate) Account);

#[async_trait]
impl Errand for PutAccount {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut Memory) -> Result<()> {
        let Self(gate, account) = self;
        let profile = serde_json::to_string(&account.profile)
            .map_err(|error| Error::new(ErrorKind::Internal, "a profile could not be encoded").with_source(error))?;
        sqlx::query(
            "INSERT INTO gate_users (gate, name, profile, banned_until) VALUES (?, ?, ?, ?)
             ON CONFLICT (gate, name) DO UPDATE SET profile = excluded.profile, banned_until = excluded.banned_until",
        )
        .bind(*gate)
        .bind(account.user.as_str())
        .bind(profile)
        .bind(account.banned_until.map(|time| time.0))
        .execute(db)
        .await
        .map(drop)
        .map_err(failed(OP))
    }
}
