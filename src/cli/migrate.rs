//! `switchboard migrate`.

use switchboard_contract::Error;

use super::{ConfigFile, print_json, print_line};
use crate::config::Config;

/// Bring the store's schema up to date. `serve` does the same when it starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    file: ConfigFile,
    /// Change nothing; show which steps are done and which are not.
    #[arg(long)]
    status: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Migrate {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let config = Config::load(&self.file.config)?;
        if !self.status {
            crate::assembly::store(&config.store).await?.close().await;
        }
        let path = crate::assembly::sqlite_path(&config.store.url)?;
        let steps = crate::store::sqlite::SqliteStore::migrate_status(path).await?;
        if self.json {
            return print_json(&steps);
        }
        for step in steps {
            let mark = if step.applied { "done" } else { "open" };
            print_line(format_args!("{mark}  {:04}  {}", step.version, step.description));
        }
        Ok(())
    }
}
