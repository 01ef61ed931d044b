//! What a child of the bench can be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

use super::child::{Ready, Said};
use super::gate::Devices;
use super::load::Load;
use super::measure::Figure;
use super::sockets::Sockets;
use super::{engine, gate, load, raw, sockets};
use crate::cli::print_line;

/// A process of the bench. Not for use by hand.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchChild {
    /// The role, as JSON.
    role: String,
}

/// What a child does. Those that serve go on until their standard input closes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Posts callbacks.
    Load(Load),
    /// Reads from many WebSockets.
    Sockets(Sockets),
    /// Answers every POST with nothing.
    EmptyPost,
    /// Callers that each wait for their own row in SQLite, however many share a transaction.
    Commits {
        dir: PathBuf,
        callers: usize,
        /// Rows of one transaction, at most; 1 gives each its own.
        most: usize,
        run_ms: u64,
    },
    /// Makes a page durable again and again.
    Fsync { dir: PathBuf },
    /// The rows of a journal written by the bare driver.
    RawAppend { source: PathBuf, dir: PathBuf, batch: usize },
    /// The rows of a journal read by the bare driver.
    RawSelect { source: PathBuf },
    /// One shared log and a cursor for each subscriber.
    RawLog { subscribers: usize, bytes: usize, run_ms: u64 },
    /// One bounded channel for each subscriber.
    RawChannels { subscribers: usize, bytes: usize, run_ms: u64 },
    /// Frames written once, a cursor for each connection.
    RawSockets { connections: usize, bytes: usize },
    /// Opens WebSockets and leaves them alone.
    IdleSockets,
    /// A group served with a row and a write for each member.
    NaiveGroup { dir: PathBuf, members: usize, bytes: usize },
    /// What waits for a user, read from the database and sent.
    RawBacklog { dir: PathBuf },
    /// Takes such a backlog.
    TakeBacklog { address: std::net::SocketAddr },
    /// The self-hosted service with its gate.
    Gate(engine::gate::Gate),
    /// Devices of that service.
    Devices(Devices),
    /// The sidecar.
    Serve(engine::serve::Serve),
    /// Events through the store.
    Append(engine::append::Append),
    /// Fills a store.
    Fill(engine::append::Fill),
    /// A new subscriber that reads everything.
    Replay { dir: PathBuf },
    /// A file of an hour compared with a journal that lacks nothing.
    Reconcile { dir: PathBuf, file: PathBuf },
    /// The same file unpacked and parsed.
    RawHour { file: PathBuf },
    /// The past of a conversation fetched.
    Backfill(engine::repair::Past),
    /// First pages of conversations.
    FirstPages(engine::history::FirstPages),
    /// A whole conversation in pages.
    WholeConversation { dir: PathBuf },
    /// A whole conversation by the bare driver.
    RawHistory { source: PathBuf },
    /// Subscribers of the hub in one process.
    Fanout { subscribers: usize, run_ms: u64 },
}

impl Role {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Sockets(_) => "sockets",
            Self::EmptyPost => "empty post",
            Self::Commits { .. } => "commits",
            Self::Fsync { .. } => "fsync",
            Self::RawAppend { .. } => "raw append",
            Self::RawSelect { .. } => "raw select",
            Self::RawLog { .. } => "raw log",
            Self::RawChannels { .. } => "raw channels",
            Self::RawSockets { .. } => "raw sockets",
            Self::IdleSockets => "idle sockets",
            Self::NaiveGroup { .. } => "naive group",
            Self::RawBacklog { .. } => "raw backlog",
            Self::TakeBacklog { .. } => "take backlog",
            Self::Gate(_) => "gate",
            Self::Devices(_) => "devices",
            Self::Serve(_) => "serve",
            Self::Append(_) => "append",
            Self::Fill(_) => "fill",
            Self::Replay { .. } => "replay",
            Self::Reconcile { .. } => "reconcile",
            Self::RawHour { .. } => "raw inflate and parse",
            Self::Backfill(_) => "backfill",
            Self::FirstPages(_) => "first pages",
            Self::WholeConversation { .. } => "whole conversation",
            Self::RawHistory { .. } => "raw history",
            Self::Fanout { .. } => "fanout",
        }
    }

    async fn run(self) -> Result<Figure> {
        match self {
            Self::Load(load) => load::run(load).await,
            Self::Sockets(sockets) => sockets::run(sockets).await,
            Self::EmptyPost => raw::http::empty_post().await,
            Self::Commits { dir, callers, most, run_ms } => raw::commits::run(&dir, callers, most, run_ms).await,
            Self::Fsync { dir } => blocking(move || raw::commits::fsync(&dir)).await,
            Self::RawAppend { source, dir, batch } => blocking(move || raw::append::run(&source, &dir, batch)).await,
            Self::RawSelect { source } => blocking(move || raw::select::run(&source)).await,
            Self::RawLog { subscribers, bytes, run_ms } => {
                blocking(move || raw::fanout::log(subscribers, bytes, run_ms)).await
            }
            Self::RawChannels { subscribers, bytes, run_ms } => {
                blocking(move || raw::fanout::channels(subscribers, bytes, run_ms)).await
            }
            Self::RawSockets { connections, bytes } => raw::sockets::serve(connections, bytes).await,
            Self::IdleSockets => raw::http::idle_sockets().await,
            Self::NaiveGroup { dir, members, bytes } => raw::gate::naive(&dir, members, bytes).await,
            Self::RawBacklog { dir } => raw::gate::backlog(&dir).await,
            Self::TakeBacklog { address } => raw::gate::take(address).await,
            Self::Gate(gate) => engine::gate::run(gate).await,
            Self::Devices(devices) => gate::run(devices).await,
            Self::Serve(serve) => engine::serve::run(serve).await,
            Self::Append(append) => engine::append::run(append).await,
            Self::Fill(fill) => engine::append::fill(fill).await,
            Self::Replay { dir } => engine::replay::run(&dir).await,
            Self::Reconcile { dir, file } => engine::repair::reconcile(&dir, &file).await,
            Self::RawHour { file } => blocking(move || raw::hour::read(&file)).await,
            Self::Backfill(past) => engine::repair::backfill(past).await,
            Self::FirstPages(pages) => engine::history::first_pages(pages).await,
            Self::WholeConversation { dir } => engine::history::whole(&dir).await,
            Self::RawHistory { source } => blocking(move || raw::select::history(&source)).await,
            Self::Fanout { subscribers, run_ms } => blocking(move || engine::fanout::run(subscribers, run_ms)).await,
        }
    }
}

impl BenchChild {
    pub(crate) async fn run(self) -> Result<()> {
        let role: Role = serde_json::from_str(&self.role).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "this command belongs to `switchboard bench`").with_source(error)
        })?;
        // What went wrong goes to the parent, which tells it.
        say(&match role.run().await {
            Ok(figure) => Said::Done(figure),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let news = !error.message().contains(&cause);
                Said::Failed(if news { format!("{} ({cause})", error.message()) } else { error.message().to_owned() })
            }
        });
        Ok(())
    }
}

/// Tells the parent that this child can be driven.
pub(super) fn ready(ready: Ready) {
    say(&Said::Ready(ready));
}

fn say(said: &Said) {
    if let Ok(text) = serde_json::to_string(said) {
        print_line(text);
    }
}

/// Resolves when the parent wants no more: its end of our standard input closes.
pub(super) async fn told_to_stop() {
    use std::io::Read as _;

    // An input that cannot be read has no parent behind it either.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().lock().read_to_end(&mut Vec::new())).await;
}

async fn blocking(work: impl FnOnce() -> Result<Figure> + Send + 'static) -> Result<Figure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "a measurement panicked").with_source(error))?
}
