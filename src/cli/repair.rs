//! `switchboard repair`.

use clap::Subcommand;
use serde_json::{Value, json};
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::span::shown;
use super::{print_json, print_line};

/// What was missed, and what became of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Repair {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show the times in which something may have been missed, why, and what brought it back.
    Log(Log),
}

#[derive(Debug, clap::Args)]
struct Log {
    #[command(flatten)]
    sidecar: Sidecar,
    /// Only this provider.
    #[arg(long)]
    provider: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Repair {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Act::Log(log) = self.act;
        let client = Client::new(log.sidecar);
        let aliases = match log.provider {
            Some(alias) => vec![alias],
            None => {
                let answer: Value = client.get("/v1/providers").await?;
                let providers = answer["providers"].as_array().cloned().unwrap_or_default();
                providers.iter().filter_map(|one| one["alias"].as_str().map(str::to_owned)).collect()
            }
        };
        let mut providers = Vec::new();
        for alias in aliases {
            let answer: Value = client.get(&format!("/v1/providers/{alias}/windows")).await?;
            providers.push(json!({ "provider": alias, "windows": answer["windows"] }));
        }
        if log.json {
            return print_json(&json!({ "providers": providers }));
        }
        for provider in &providers {
            for window in provider["windows"].as_array().into_iter().flatten() {
                window_line(&provider["provider"], window);
            }
        }
        Ok(())
    }
}

fn window_line(provider: &Value, window: &Value) {
    let state = match (window["closed_at"].is_null(), window["complete"].as_bool()) {
        (true, _) => "open",
        (false, Some(true)) => "whole",
        _ => "closed with holes",
    };
    print_line(format_args!(
        "{}  {} to {}  {}: {} callbacks sent again, {} messages by query, {} by file; {state}",
        provider.as_str().unwrap_or_default(),
        shown(&window["since"]),
        shown(&window["until"]),
        window["cause"].as_str().unwrap_or_default(),
        window["sent_again"],
        window["queried"],
        window["repaired"]
    ));
}
