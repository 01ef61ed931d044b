//! The schema: numbered steps, each applied once, never edited once released.

use std::collections::HashMap;
use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use switchboard_contract::{Error, ErrorKind, Result};

use super::error::failed;

static STEPS: Migrator = sqlx::migrate!("migrations/sqlite");

/// One numbered step of the schema.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MigrationStep {
    /// Its number.
    pub version: i64,
    /// What it adds. Empty for a step of a newer program.
    pub description: String,
    /// Whether the file has it.
    pub applied: bool,
    /// Whether this program knows it. A file with unknown steps is refused.
    pub known: bool,
}

/// The error of a file that is not usable as a database.
pub(super) fn unusable(path: &Path, error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Config, format!("{}: cannot be opened as a database: {error}", path.display()))
        .with_source(error)
}

/// Refuses a file from the future, then applies what it lacks.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let newest = STEPS.iter().map(|step| step.version).max().unwrap_or(0);
    let stored = applied(connection).await.map_err(|error| unusable(path, error))?;
    if let Some(&found) = stored.iter().max()
        && found > newest
    {
        let message = format!(
            "{}: the store has schema {found}, this program knows up to {newest}; use the newer program",
            path.display()
        );
        return Err(Error::new(ErrorKind::Config, message).with_operation("open"));
    }
    STEPS.run(&mut *connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => failed("migrate")(error),
        error => Error::new(ErrorKind::Config, format!("{}: the schema cannot be brought up to date", path.display()))
            .with_operation("migrate")
            .with_source(error),
    })
}

async fn applied(connection: &mut SqliteConnection) -> sqlx::Result<Vec<i64>> {
    let table: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'")
            .fetch_optional(&mut *connection)
            .await?;
    if table.is_none() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(connection).await
}

pub(super) async fn status(path: &Path) -> Result<Vec<MigrationStep>> {
    let stored = if path.exists() {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(|error| unusable(path, error))?;
        let stored = applied(&mut connection).await.map_err(|error| unusable(path, error))?;
        connection.close().await.map_err(failed("migrate"))?;
        stored
    } else {
        Vec::new()
    };
    let mut steps: HashMap<i64, MigrationStep> = STEPS
        .iter()
        .map(|step| {
            let (version, description) = (step.version, step.description.to_string());
            (version, MigrationStep { version, description, applied: false, known: true })
        })
        .collect();
    for version in stored {
        steps
            .entry(version)
            .or_insert(MigrationStep { version, description: String::new(), applied: true, known: false })
            .applied = true;
    }
    let mut steps: Vec<_> = steps.into_values().collect();
    steps.sort_by_key(|step| step.version);
    Ok(steps)
}
