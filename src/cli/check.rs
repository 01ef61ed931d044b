//! `switchboard check`.

use switchboard_contract::Error;

use super::{ConfigFile, print_line};
use crate::config::{Config, DEFAULT_FILE};

/// Check a configuration and report every fault at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Print a commented configuration with every default instead.
    #[arg(long)]
    print_default: bool,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Error> {
        if self.print_default {
            print_line(DEFAULT_FILE.trim_end());
            return Ok(());
        }
        let config = Config::load(&self.file.config)?;
        print_line(format_args!("{}: good", self.file.config.display()));
        for (alias, provider) in &config.providers {
            let only = if provider.receive_only { ", receives only" } else { "" };
            print_line(format_args!("  provider {alias}: {}{only}; callbacks at /callbacks/{alias}", provider.kind));
        }
        if config.providers.is_empty() {
            print_line("  no provider: nothing can be received or sent");
        }
        if config.tokens.is_empty() {
            print_line("  no [[tokens]]: the API refuses everybody");
        }
        Ok(())
    }
}
