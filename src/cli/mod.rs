//! The command line: one file for each subcommand, thin over the library and the HTTP API.

mod archive;
mod backfill;
mod bench;
mod caps;
mod check;
mod client;
mod coverage;
mod dead_letters;
mod emulate;
mod export;
mod history;
mod import;
mod ingest;
mod migrate;
mod progress;
mod reconcile;
mod repair;
mod send;
mod serve;
mod span;
mod tail;
mod trace;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use switchboard_contract::{Error, ErrorKind};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{LogConfig, LogFormat};

/// Middleware between a business and its instant-messaging vendor.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, propagate_version = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar: take callbacks, serve the API, send.
    Serve(serve::Serve),
    /// Show the product at work on this machine: both vendors emulated, no configuration, no network.
    Demo(crate::demo::Demo),
    /// Run a vendor's emulator.
    Emulate(emulate::Emulate),
    /// Check a configuration and report every fault at once.
    Check(check::Check),
    /// Show what each configured provider can do.
    Caps(caps::Caps),
    /// Send a message through a running sidecar.
    Send(send::Send),
    /// Follow a subscriber's events from a running sidecar, acknowledging each.
    Tail(tail::Tail),
    /// Show everything a running sidecar knows of one message.
    Trace(trace::Trace),
    /// Show how much of what was said a running sidecar has, and every hole.
    Coverage(coverage::Coverage),
    /// Compare hours with the vendor's history files now, and journal what is missing.
    Reconcile(reconcile::Reconcile),
    /// Show how the past of a conversation would be pulled, or pull it.
    History(history::History),
    /// Move old messages into object storage, or show and verify what is there.
    Archive(archive::Archive),
    /// Export a conversation, a user or everything as NDJSON with a manifest of hashes.
    Export(export::Export),
    /// Import an export into an empty store, or merge it into another.
    Import(import::Import),
    /// List, show, redrive or drop what was given up after its last retry.
    DeadLetters(dead_letters::DeadLetters),
    /// Bring history files that somebody has downloaded into the journal.
    Ingest(ingest::Ingest),
    /// Show what was missed, and what became of it.
    Repair(repair::Repair),
    /// Fetch the past in the background: start, list, look at, pause, resume and end jobs.
    Backfill(backfill::Backfill),
    /// Bring the store's schema up to date, or show where it stands.
    Migrate(migrate::Migrate),
    /// Measure this build against the raw limits of this machine, side by side.
    Bench(bench::Bench),
    /// What `bench` starts as processes of their own.
    #[command(hide = true)]
    BenchChild(bench::BenchChild),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file.
    #[arg(long, short, env = "SWITCHBOARD_CONFIG", default_value = "switchboard.toml")]
    config: PathBuf,
}

/// Parses the arguments, runs the command and turns its outcome into an exit code: 0, or 1 with the error on standard
/// error, or 2 for wrong arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("switchboard").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(arguments.command));
    // A reader that hangs up (`| head`) must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.message());
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                let text = source.to_string();
                if !error.message().contains(&text) {
                    eprintln!("  because: {text}");
                }
                cause = source.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Serve(command) => command.run().await,
        Command::Demo(command) => command.run().await,
        Command::Emulate(command) => command.run().await,
        Command::Check(command) => command.run(),
        Command::Caps(command) => command.run().await,
        Command::Send(command) => command.run().await,
        Command::Tail(command) => command.run().await,
        Command::Trace(command) => command.run().await,
        Command::Coverage(command) => command.run().await,
        Command::Reconcile(command) => command.run().await,
        Command::History(command) => command.run().await,
        Command::Archive(command) => command.run().await,
        Command::Export(command) => command.run().await,
        Command::Import(command) => command.run().await,
        Command::DeadLetters(command) => command.run().await,
        Command::Ingest(command) => command.run().await,
        Command::Repair(command) => command.run().await,
        Command::Backfill(command) => command.run().await,
        Command::Migrate(command) => command.run().await,
        Command::Bench(command) => command.run().await,
        Command::BenchChild(command) => command.run().await,
    }
}

/// What is logged, while the program runs.
#[derive(Debug)]
pub(crate) struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Logs by these levels from now on.
    pub(crate) fn set(&self, level: &str) -> Result<(), Error> {
        let filter = filter(level)?;
        tracing::info!(level, "the log level changes");
        self.0.reload(filter).map_err(|error| Error::new(ErrorKind::Internal, "the log is gone").with_source(error))
    }
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(level)
        .map_err(|error| Error::new(ErrorKind::Config, format!("log.level: {error}")).with_source(error))
}

/// Chooses where logs go: standard error, so that standard output stays what was asked for.
pub(crate) fn start_logging(log: &LogConfig) -> Result<LogLevel, Error> {
    let (filter, level) = reload::Layer::new(filter(&log.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(LogLevel(level))
}

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn wait_for_stop() -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let failed = |error| Error::new(ErrorKind::Internal, "signals cannot be watched").with_source(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result.map_err(failed)?,
    }
    Ok(())
}

/// Prints one line to standard output; a closed pipe ends the program quietly.
pub(crate) fn print_line(line: impl std::fmt::Display) {
    use std::io::Write as _;

    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}")
        && error.kind() == std::io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Error::new(ErrorKind::Internal, "the answer could not be written as JSON").with_source(error)
    })?;
    print_line(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
