//! `switchboard backfill`.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use switchboard_contract::Error;

use super::client::{Client, Sidecar};
use super::span::{Span, shown};
use super::{print_json, print_line};

/// How often a job is asked for while it is watched.
const LOOK: Duration = Duration::from_millis(500);

/// Fetch the past in the background, newest first, through a running sidecar.
#[derive(Debug, clap::Args)]
pub(crate) struct Backfill {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Start a job: for a conversation, a user, or (with neither) everything of an app.
    Start(Start),
    /// List jobs, the newest first.
    List(List),
    /// Show a job; on a terminal, as a bar until it is over.
    Status(Status),
    /// Stop a job for now.
    Pause(One),
    /// Go on with a job that was stopped.
    Resume(One),
    /// End a job. What it brought stays.
    Cancel(One),
}

#[derive(Debug, clap::Args)]
struct Start {
    #[command(flatten)]
    sidecar: Sidecar,
    #[command(flatten)]
    span: Span,
    /// Only this conversation, such as direct~alice~bob.
    #[arg(long, visible_alias = "conv", conflicts_with = "user")]
    conversation: Option<String>,
    /// Only conversations of this user.
    #[arg(long)]
    user: Option<String>,
    /// The newest so many messages of each conversation, and no more.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    max_messages: Option<u64>,
    /// Stay and show a bar until the job is over.
    #[arg(long)]
    watch: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    sidecar: Sidecar,
    /// Only jobs with something left to do.
    #[arg(long)]
    open: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Status {
    #[command(flatten)]
    one: One,
    /// Show it once, also on a terminal.
    #[arg(long)]
    once: bool,
}

#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    sidecar: Sidecar,
    /// The job's id.
    id: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Backfill {
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self.act {
            Act::Start(start) => start.run().await,
            Act::List(list) => list.run().await,
            Act::Status(status) => {
                let watch = !status.once && !status.one.json && std::io::stderr().is_terminal();
                let client = Client::new(status.one.sidecar);
                let job = get(&client, &status.one.id).await?;
                if watch { follow(&client, job).await } else { show(&job, status.one.json) }
            }
            Act::Pause(one) => one.post("pause").await,
            Act::Resume(one) => one.post("resume").await,
            Act::Cancel(one) => one.post("cancel").await,
        }
    }
}

impl Start {
    async fn run(self) -> Result<(), Error> {
        let mut call = json!({});
        for (field, value) in
            [("provider", &self.span.provider), ("conversation", &self.conversation), ("user", &self.user)]
        {
            if let Some(value) = value {
                call[field] = json!(value);
            }
        }
        for (field, time) in [("since", self.span.from()?), ("until", self.span.until()?)] {
            if let Some(time) = time {
                call[field] = json!(time);
            }
        }
        if let Some(most) = self.max_messages {
            call["max_messages"] = json!(most);
        }
        let client = Client::new(self.sidecar);
        let job: Value = client.post("/v1/backfills", &call).await?;
        if self.watch { follow(&client, job).await } else { show(&job, self.json) }
    }
}

impl List {
    async fn run(self) -> Result<(), Error> {
        let answer: Value = Client::new(self.sidecar).get(&format!("/v1/backfills?open={}", self.open)).await?;
        if self.json {
            return print_json(&answer);
        }
        answer["backfills"].as_array().into_iter().flatten().for_each(line);
        Ok(())
    }
}

impl One {
    async fn post(self, act: &str) -> Result<(), Error> {
        let path = format!("/v1/backfills/{}/{act}", self.id);
        let job: Value = Client::new(self.sidecar).post(&path, &json!({})).await?;
        show(&job, self.json)
    }
}

async fn get(client: &Client, id: &str) -> Result<Value, Error> {
    client.get(&format!("/v1/backfills/{id}")).await
}

fn show(job: &Value, as_json: bool) -> Result<(), Error> {
    if as_json {
        return print_json(job);
    }
    line(job);
    Ok(())
}

fn line(job: &Value) {
    print_line(format_args!(
        "{}  {:<9}  {}  {}  until {}  {}",
        text(&job["id"]),
        text(&job["state"]),
        text(&job["provider"]),
        scope(&job["scope"]),
        shown(&job["until"]),
        summary(job)
    ));
    if let Some(reason) = job["reason"].as_str() {
        print_line(format_args!("  {reason}"));
    }
}

/// How far a job is, in words.
fn summary(job: &Value) -> String {
    let progress = &job["progress"];
    let known = |value: &Value, unit: &str| match value.as_f64() {
        Some(number) => format!("{number:.1}{unit}"),
        None => "unknown".to_owned(),
    };
    let eta = match progress["eta_seconds"].as_f64() {
        Some(seconds) => duration(seconds),
        None => "unknown".to_owned(),
    };
    let remaining = progress["remaining"].as_u64().map_or("unknown".to_owned(), |left| left.to_string());
    format!(
        "{}, {remaining} parts left, ETA {eta}, {} messages/s, {} inserted, {} missed, {} given up",
        known(&progress["percent"], " %"),
        known(&progress["messages_per_second"], ""),
        job["inserted"],
        job["missed"],
        job["failed"]
    )
}

fn duration(seconds: f64) -> String {
    let whole = seconds.ceil() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn scope(scope: &Value) -> String {
    match scope {
        Value::String(word) => word.clone(),
        _ => {
            let named = ["user", "conversation"].into_iter().find_map(|kind| Some((kind, scope[kind].as_str()?)));
            named.map_or(String::new(), |(kind, id)| format!("{kind} {id}"))
        }
    }
}

/// A bar until the job is over.
async fn follow(client: &Client, mut job: Value) -> Result<(), Error> {
    let bar = ProgressBar::new(1000);
    let style =
        |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let (known, unknown) = (style("[{bar:40}] {msg}"), style("{spinner} {msg}"));
    let id = text(&job["id"]).to_owned();
    while matches!(text(&job["state"]), "queued" | "running" | "paused") {
        match job["progress"]["percent"].as_f64() {
            Some(percent) => {
                bar.set_style(known.clone());
                bar.set_position((percent * 10.0) as u64);
            }
            None => bar.set_style(unknown.clone()),
        }
        bar.set_message(format!("{} {}", text(&job["state"]), summary(&job)));
        bar.tick();
        tokio::time::sleep(LOOK).await;
        job = get(client, &id).await?;
    }
    bar.finish_and_clear();
    line(&job);
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_said_so() {
        let job = json!({ "inserted": 3, "missed": 0, "failed": 0, "progress": {
            "percent": null, "remaining": 1, "eta_seconds": null, "messages_per_second": 12.34 } });
        let text = summary(&job);
        assert!(text.starts_with("unknown, 1 parts left, ETA unknown, 12.3 messages/s, 3 inserted"), "{text}");
        assert_eq!(duration(3_725.0), "1 h 2 min");
        assert_eq!(duration(61.2), "1 min 2 s");
        assert_eq!(scope(&json!({ "user": "ann" })), "user ann");
    }
}
