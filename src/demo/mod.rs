//! `switchboard demo`: the product at work in one command, with no configuration and no network.
//!
//! Both vendors are emulated, with faults; everything else is the product itself: its sidecar on a real port, its
//! SQLite file, its adapters. Nothing that is printed is made up: every figure is counted while it runs.

#[cfg(feature = "selfhosted")]
mod chat;
mod report;
mod stage;
mod story;

use std::time::{Duration, Instant};

use switchboard_contract::{Error, ErrorKind};

use crate::cli::start_logging;
use crate::config::LogConfig;
use report::Report;
use stage::Stage;

/// Show the product at work: two emulated vendors with faults, a business that receives everything once and in order,
/// and a change of vendor in the middle of a conversation.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// The seed of everything left to chance.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Messages a customer sends on each vendor.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    messages: u32,
    /// Leave everything running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Show the log of the sidecar too.
    #[arg(long)]
    log: bool,
    #[cfg(feature = "selfhosted")]
    #[command(flatten)]
    chat: chat::ChatOptions,
}

/// The whole demo must end well within this; an emulator or a port that hangs is reported, not waited for.
const DEADLINE: Duration = Duration::from_secs(120);

impl Demo {
    pub(crate) async fn run(self) -> Result<(), Error> {
        let level = if self.log { "info" } else { "error" };
        start_logging(&LogConfig { level: level.to_owned(), ..LogConfig::default() })?;
        let began = Instant::now();
        let report = Report;
        #[cfg(feature = "selfhosted")]
        if self.chat.chat {
            return chat::run(self.chat, &report).await;
        }
        report.title("Switchboard: two vendors, one business");
        report.text(&format!("Everything left to chance follows seed {}.", self.seed));

        let mut stage = Stage::set(self.seed).await?;
        let told = tokio::time::timeout(DEADLINE, story::tell(&mut stage, &report, self.messages)).await;
        let outcome = match told {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(ErrorKind::Timeout, format!("the demo did not end within {DEADLINE:?}"))),
        };
        if outcome.is_ok() {
            report.places(&stage);
            report.text(&format!("Done in {:.1} s.", began.elapsed().as_secs_f64()));
            if self.keep {
                report.text("Still running; Ctrl-C ends it.");
                tokio::signal::ctrl_c()
                    .await
                    .map_err(|error| Error::new(ErrorKind::Internal, "Ctrl-C cannot be watched").with_source(error))?;
            }
        }
        stage.strike(self.keep).await?;
        outcome
    }
}
