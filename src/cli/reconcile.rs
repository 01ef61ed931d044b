//! `switchboard reconcile`.

use serde_json::{Value, json};
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::span::{self, Span};
use super::{print_json, print_line};

/// Compare hours with the vendor's history files now, through a running sidecar, and journal what is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Reconcile {
    #[command(flatten)]
    sidecar: Sidecar,
    #[command(flatten)]
    span: Span,
    /// Read also files that were read before and did not change.
    #[arg(long)]
    again: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Reconcile {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let mut call = json!({ "again": self.again });
        if let Some(provider) = &self.span.provider {
            call["provider"] = json!(provider);
        }
        for (field, time) in [("from", self.span.from()?), ("until", self.span.until()?)] {
            if let Some(time) = time {
                call[field] = json!(time);
            }
        }
        let answer: Value = Client::new(self.sidecar).post("/v1/reconcile", &call).await?;
        if self.json {
            return print_json(&answer);
        }
        reconciled(&answer);
        Ok(())
    }
}

/// What was done, for people.
pub(crate) fn reconciled(answer: &Value) {
    for provider in answer["providers"].as_array().into_iter().flatten() {
        print_line(format_args!(
            "{}  {} messages repaired; {} hours needed no look",
            provider["provider"].as_str().unwrap_or_default(),
            provider["repaired"],
            provider["skipped_hours"]
        ));
        for hour in provider["hours"].as_array().into_iter().flatten() {
            print_line(format_args!(
                "  {}  {} ({}): {} lines, {} repaired, {} of history, {} others, {} unreadable",
                span::shown(&hour["hour"]),
                hour["state"].as_str().unwrap_or_default(),
                hour["reason"].as_str().unwrap_or_default(),
                hour["lines"],
                hour["repaired"],
                hour["history"],
                hour["others"],
                hour["skipped"]
            ));
        }
    }
}
