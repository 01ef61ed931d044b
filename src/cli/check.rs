//! `switchboard check`.

use serde_json::json;
use switchboard_contract::{Error, ErrorKind};

use super::{ConfigFile, print_json, print_line};
use crate::config::{Config, ConfigFaults, DEFAULT_FILE};

/// Check a configuration and report every fault at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Print a commented configuration with every default instead.
    #[arg(long)]
    print_default: bool,
    /// As JSON: whether it is good, the providers, and the faults with line, path, problem and hint.
    #[arg(long, conflicts_with = "print_default")]
    json: bool,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Error> {
        if self.print_default {
            print_line(DEFAULT_FILE.trim_end());
            return Ok(());
        }
        let loaded = Config::load(&self.file.config);
        if self.json {
            return in_json(loaded);
        }
        let config = loaded?;
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

fn in_json(loaded: Result<Config, Error>) -> Result<(), Error> {
    match loaded {
        Ok(config) => {
            let providers = config.providers.iter().map(|(alias, provider)| {
                let view =
                    json!({ "kind": provider.kind, "tenant": provider.tenant, "receive_only": provider.receive_only });
                (alias.as_str().to_owned(), view)
            });
            let providers: serde_json::Map<_, _> = providers.collect();
            print_json(&json!({ "good": true, "providers": providers, "faults": [] }))
        }
        Err(error) => {
            let found = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<ConfigFaults>());
            let Some(found) = found else { return Err(error) };
            print_json(&json!({ "good": false, "providers": {}, "faults": found.faults }))?;
            Err(Error::new(ErrorKind::Config, format!("{}: {} faults", found.source, found.faults.len())))
        }
    }
}
