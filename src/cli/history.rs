//! `switchboard history`.

use clap::Subcommand;
use serde_json::Value;
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::span::{Span, shown};
use super::{print_json, print_line};

/// The past of a conversation, through a running sidecar.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show from where each part of the past would come, and why. Nothing is contacted.
    Plan(Past),
    /// Pull the past into the journal. What was said before Switchboard had the app is delivered to nobody who does
    /// not ask for the topic `history`.
    Pull(Past),
}

#[derive(Debug, clap::Args)]
struct Past {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The conversation's id, such as direct~alice~bob.
    #[arg(long, visible_alias = "conv")]
    conversation: String,
    /// Only this age.
    #[arg(long, value_parser = ["recent", "month", "archive"])]
    tier: Option<String>,
    #[command(flatten)]
    span: Span,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl History {
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self.act {
            Act::Plan(past) => {
                let (path, json) = (past.path("plan")?, past.json);
                let answer: Value = Client::new(past.sidecar).get(&path).await?;
                if json {
                    return print_json(&answer);
                }
                for plan in answer["plans"].as_array().into_iter().flatten() {
                    plan["steps"].as_array().into_iter().flatten().for_each(|step| part(&plan["provider"], step, ""));
                }
            }
            Act::Pull(past) => {
                let (path, json) = (past.path("pull")?, past.json);
                let answer: Value = Client::new(past.sidecar).post(&path, &serde_json::json!({})).await?;
                if json {
                    return print_json(&answer);
                }
                for pulled in answer["parts"].as_array().into_iter().flatten() {
                    let fault = pulled["fault"].as_str().map(|fault| format!("; {fault}")).unwrap_or_default();
                    let found = format!("  {} missed, {} of history{fault}", pulled["brought"], pulled["history"]);
                    part(&pulled["provider"], pulled, &found);
                }
            }
        }
        Ok(())
    }
}

impl Past {
    fn path(&self, act: &str) -> Result<String, Error> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.span.query()? {
            query.append_pair(if name == "from" { "since" } else { name }, &value);
        }
        if let Some(tier) = &self.tier {
            query.append_pair("tier", tier);
        }
        Ok(format!("/v1/conversations/{}/{act}?{}", self.conversation, query.finish()))
    }
}

fn part(provider: &Value, step: &Value, more: &str) {
    let text = |field: &str| step[field].as_str().unwrap_or_default().to_owned();
    print_line(format_args!(
        "{}  {:<7}  {} to {}  {:<7}  {} ({} calls){more}",
        provider.as_str().unwrap_or_default(),
        text("tier"),
        shown(&step["since"]),
        shown(&step["until"]),
        text("source"),
        text("reason"),
        step["calls"]
    ));
}
