//! `switchboard history`.

use clap::Subcommand;
use serde_json::Value;
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::span::{Span, shown as shown_time};
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
    /// Read the messages that are here, the newest first, page by page.
    Read(Read),
}

#[derive(Debug, clap::Args)]
struct Read {
    #[command(flatten)]
    past: Past,
    /// Only this sender.
    #[arg(long)]
    sender: Option<String>,
    /// Only these kinds of body, separated by commas.
    #[arg(long = "type")]
    body: Option<String>,
    /// The oldest first.
    #[arg(long)]
    oldest_first: bool,
    /// Fetch from the vendor first what is not here. By default only with --tier month.
    #[arg(long)]
    fetch: Option<bool>,
    /// Messages, at most; 0 for all of them.
    #[arg(long, default_value_t = 50)]
    limit: usize,
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
            Act::Read(read) => read.run().await?,
        }
        Ok(())
    }
}

/// Messages of one page.
const PAGE: usize = 500;

impl Read {
    async fn run(self) -> Result<(), Error> {
        let mut query = self.past.query()?;
        // Messages are the same whoever brought them.
        query.retain(|(name, _)| *name != "provider");
        query.extend(self.sender.map(|sender| ("sender", sender)));
        query.extend(self.body.map(|body| ("body", body)));
        query.extend(self.fetch.map(|fetch| ("fetch", fetch.to_string())));
        let most = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut cursor = self.oldest_first.then(|| "start".to_owned());
        let towards = if self.oldest_first { "after" } else { "before" };
        let client = Client::new(self.past.sidecar);
        let mut shown = 0;
        let mut all: Vec<Value> = Vec::new();
        loop {
            let size = PAGE.min(most - shown);
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(&query).append_pair("limit", &size.to_string());
            form.extend_pairs(cursor.iter().map(|cursor| (towards, cursor)));
            let path = format!("/v1/conversations/{}/messages?{}", self.past.conversation, form.finish());
            let answer: Value = client.get(&path).await?;
            let messages = answer["messages"].as_array().cloned().unwrap_or_default();
            shown += messages.len();
            if self.past.json {
                all.extend(messages);
            } else {
                messages.iter().for_each(message);
            }
            for gap in answer["gaps"].as_array().into_iter().flatten() {
                eprintln!(
                    "not whole: {} to {}: {}",
                    shown_time(&gap["since"]),
                    shown_time(&gap["until"]),
                    gap["reason"]
                );
            }
            cursor = answer["next"].as_str().map(str::to_owned);
            if cursor.is_none() || shown >= most {
                break;
            }
        }
        if self.past.json { print_json(&all) } else { Ok(()) }
    }
}

fn message(event: &Value) {
    let data = &event["data"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = match data["body"]["text"].as_str() {
        Some(text) => text.to_owned(),
        None if data["recalled"] == true => "(recalled)".to_owned(),
        None => format!("({})", word(&data["body"]["type"])),
    };
    print_line(format_args!("{}  {}: {said}", word(&event["time"]), word(&data["from"])));
}

impl Past {
    fn query(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let mut query = self.span.query()?;
        query.iter_mut().filter(|(name, _)| *name == "from").for_each(|pair| pair.0 = "since");
        query.extend(self.tier.clone().map(|tier| ("tier", tier)));
        Ok(query)
    }

    fn path(&self, act: &str) -> Result<String, Error> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.query()?).finish();
        Ok(format!("/v1/conversations/{}/{act}?{query}", self.conversation))
    }
}

fn part(provider: &Value, step: &Value, more: &str) {
    let text = |field: &str| step[field].as_str().unwrap_or_default().to_owned();
    print_line(format_args!(
        "{}  {:<7}  {} to {}  {:<7}  {} ({} calls){more}",
        provider.as_str().unwrap_or_default(),
        text("tier"),
        shown_time(&step["since"]),
        shown_time(&step["until"]),
        text("source"),
        text("reason"),
        step["calls"]
    ));
}
