//! `switchboard trace`.

use serde_json::Value;
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::{print_json, print_line};

/// Show everything a running sidecar knows of one message: where it came from, where it stands, what was tried.
#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The message's id.
    message: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Trace {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let answer: Value = Client::new(self.sidecar).get(&format!("/v1/messages/{}/trace", self.message)).await?;
        if self.json {
            return print_json(&answer);
        }
        for hop in answer["hops"].as_array().into_iter().flatten() {
            let text = |name: &str| hop[name].as_str().unwrap_or_default().to_owned();
            print_line(format_args!("{:<26} {:<14} {}", text("at"), text("what"), text("detail")));
        }
        Ok(())
    }
}
