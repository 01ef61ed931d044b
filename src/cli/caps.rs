//! `switchboard caps`.

use switchboard_contract::{Capabilities, Error, ErrorKind, ProviderId};

use super::{ConfigFile, print_json, print_line};
use crate::config::Config;

/// Show what each configured provider can do. Nothing is contacted.
#[derive(Debug, clap::Args)]
pub(crate) struct Caps {
    #[command(flatten)]
    file: ConfigFile,
    /// Only this provider, by its alias.
    #[arg(long)]
    provider: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Caps {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let config = Config::load(&self.file.config)?;
        let mut found = std::collections::BTreeMap::<ProviderId, Capabilities>::new();
        for (alias, settings) in &config.providers {
            if self.provider.as_deref().is_none_or(|wanted| wanted == alias.as_str()) {
                found.insert(alias.clone(), crate::assembly::capabilities(alias, settings).await?);
            }
        }
        if let Some(wanted) = self.provider.filter(|_| found.is_empty()) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no provider {wanted}")));
        }
        if self.json {
            return print_json(&found);
        }
        for (alias, capabilities) in &found {
            show(alias, capabilities);
        }
        Ok(())
    }
}

fn show(alias: &ProviderId, caps: &Capabilities) {
    let yes = |known: bool| if known { "yes" } else { "no" };
    let targets: Vec<&str> = caps.messaging.targets.iter().map(|kind| kind.as_str()).collect();
    print_line(format_args!("{alias} ({})", caps.vendor));
    print_line(format_args!("  sends to            {}", targets.join(", ")));
    print_line(format_args!("  bodies              {}", caps.messaging.bodies.join(", ")));
    print_line(format_args!("  users in one call   {}", caps.messaging.max_users));
    print_line(format_args!("  bytes of a message  {}", caps.messaging.max_bytes));
    print_line(format_args!("  calls back          {}", yes(caps.callbacks)));
    print_line(format_args!("  echoes own sends    {}", yes(caps.messaging.echoes)));
    print_line(format_args!("  history by query    {}", yes(caps.roaming.is_some())));
    print_line(format_args!("  history by file     {}", yes(caps.history_files.is_some())));
    print_line(format_args!("  sends again         {}", yes(caps.kept_callbacks.is_some())));
    print_line(format_args!("  users and logins    {}", yes(caps.users.is_some())));
    print_line(format_args!("  groups and rooms    {}", yes(caps.groups.is_some())));
}
