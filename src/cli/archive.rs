//! `switchboard archive`.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use switchboard_contract::{Error, ErrorKind};

use super::client::{Client, Sidecar};
use super::{print_json, print_line, progress};

/// How often a run is asked how it goes.
const LOOK: Duration = Duration::from_millis(200);

/// Old messages in object storage, through a running sidecar.
#[derive(Debug, clap::Args)]
pub(crate) struct Archive {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Move what is old enough, and acknowledged by every subscriber, into the archive now.
    Run(Run),
    /// Show what the archive holds and what waits for it.
    Status(Look),
    /// Read every file and compare it with what was written.
    Verify(Look),
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    look: Look,
    /// Messages older than this move, such as 180d; at least a day. As configured when missing.
    #[arg(long)]
    older_than: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    sidecar: Sidecar,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Archive {
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self.act {
            Act::Run(run) => run.run().await,
            Act::Status(look) => {
                let answer: Value = Client::new(look.sidecar).get("/v1/archive").await?;
                if look.json {
                    return print_json(&answer);
                }
                print_line(format_args!("{}", answer["location"].as_str().unwrap_or_default()));
                print_line(format_args!(
                    "{} messages in {} files, {} bytes, from {} to {}",
                    answer["messages"],
                    answer["files"],
                    answer["bytes"],
                    answer["first_day"].as_str().unwrap_or("-"),
                    answer["last_day"].as_str().unwrap_or("-")
                ));
                print_line(format_args!(
                    "{} messages are due, {} recalls wait to be written; the last run: {}",
                    answer["due"],
                    answer["changes"],
                    answer["run"]["state"].as_str().unwrap_or_default()
                ));
                Ok(())
            }
            Act::Verify(look) => {
                let answer: Value = Client::new(look.sidecar).post("/v1/archive/verify", &json!({})).await?;
                if look.json {
                    print_json(&answer)?;
                } else {
                    print_line(format_args!("{} files, {} messages", answer["files"], answer["messages"]));
                    for fault in answer["faults"].as_array().into_iter().flatten() {
                        let text = |field: &str| fault[field].as_str().unwrap_or_default().to_owned();
                        print_line(format_args!("  {}: {}", text("file"), text("problem")));
                    }
                }
                if answer["good"] == true {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::Storage, "the archive is not what was written"))
            }
        }
    }
}

impl Run {
    async fn run(self) -> Result<(), Error> {
        let client = Client::new(self.look.sidecar);
        let call = self.older_than.map_or_else(|| json!({}), |age| json!({ "older_than": age }));
        let mut run: Value = client.post("/v1/archive/run", &call).await?;
        let bar = progress::bar("messages");
        while run["state"] == "running" {
            bar.set_length(run["messages_total"].as_u64().unwrap_or_default());
            bar.set_position(run["messages_done"].as_u64().unwrap_or_default());
            tokio::time::sleep(LOOK).await;
            run = client.get::<Value>("/v1/archive").await?["run"].take();
        }
        bar.finish_and_clear();
        if self.look.json {
            print_json(&run)?;
        } else if run["state"] == "done" {
            let report = &run["report"];
            print_line(format_args!(
                "{} messages of {} days moved to {} files, {} bytes; {} days rewritten, {} messages expired",
                report["messages"],
                report["days"],
                report["files"],
                report["bytes"],
                report["rewritten"],
                report["expired"]
            ));
        }
        if run["state"] == "done" {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Storage, run["fault"].as_str().unwrap_or("the run did not end").to_owned()))
    }
}
