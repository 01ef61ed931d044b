//! `switchboard import`.

use std::path::PathBuf;

use switchboard_contract::Error;

use super::{ConfigFile, print_json, print_line, progress};
use crate::config::Config;
use crate::transfer::{ImportOptions, import};

/// Import an export into the store of a configuration; no sidecar may be running on it. Killed, it goes on where it
/// ended when it is called again.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The folder of the export.
    folder: PathBuf,
    #[command(flatten)]
    file: ConfigFile,
    /// Bring what is missing into a store that is not empty. It takes new numbers behind what is there and counts as
    /// history; repeating it brings nothing.
    #[arg(long)]
    merge: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let config = Config::load(&self.file.config)?;
        let store = crate::assembly::store(&config.store).await?;
        let bar = progress::bar("events");
        let outcome = import(&*store, &self.folder, ImportOptions { merge: self.merge }, |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })
        .await;
        bar.finish_and_clear();
        store.close().await;
        let report = outcome?;
        if self.json {
            return print_json(&report);
        }
        print_line(format_args!(
            "{} of {} events imported, {} there before, {} with other content",
            report.imported, report.events, report.known, report.other
        ));
        Ok(())
    }
}
