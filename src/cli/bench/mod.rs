//! `switchboard bench`: our figures beside the raw limits of the same machine, in the same run.
//!
//! Everything measured is a child process of this binary, pinned to one core; what drives it is another, pinned to
//! another core. A figure is the median of alternating rounds (ours, raw, ours, raw …) over the same bytes and cores:
//! the speed of a machine drifts, so only ratios within one run mean anything. A figure below its bar is said, and is
//! no failure of the command.

mod callbacks;
mod child;
mod delay;
mod engine;
mod events;
mod frames;
mod gate;
mod load;
mod machine;
mod measure;
mod meter;
mod raw;
mod report;
mod role;
mod sockets;
mod suites;

use std::path::PathBuf;

use switchboard_contract::{Error, ErrorKind, Result};

use measure::{Bench as Context, Settings};
pub(crate) use role::BenchChild;

/// Measure this build against the raw limits of this machine, side by side.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// Alternating rounds; the median of them counts. Fewer than 7 give no figure to rely on.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pairs: u16,
    /// Seconds of each measurement. By default 60 for a pipeline, 3 for everything else.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Also measure `append`, `pipeline` and `history` over a store of this many messages, which is made first. Ten million need
    /// about 8 GB and some minutes.
    #[arg(long, default_value_t = 0)]
    store_rows: u64,
    /// Where files are made: a directory on the disk to be measured. The system's temporary directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only try the way, in seconds: one round of the smallest sizes. Its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Callbacks verified and durable before their answer.
    Ingest,
    /// Events into the journal.
    Append,
    /// From the callback to the acknowledged delivery.
    Pipeline,
    /// A new subscriber reading everything.
    Replay,
    /// Pages of a conversation's history.
    History,
    /// Deliveries to many subscribers in one process.
    Fanout,
    /// Deliveries to many subscribers over WebSockets.
    Ws,
    /// Memory with many conversations and idle streams.
    Memory,
    /// The self-hosted service: a group of 300, saturated and at steady rates.
    Group,
    /// The self-hosted service: pairs that talk.
    Direct,
    /// The self-hosted service: 10,000 devices that are silent.
    Idle,
    /// The self-hosted service: 10,000 messages that waited for one device.
    Offline,
    /// The file of an hour of which nothing is missing.
    Reconcile,
    /// The past of a conversation.
    Backfill,
    /// Everything.
    All,
}

impl What {
    fn covers(self, one: Self) -> bool {
        self == one || self == Self::All
    }
}

impl Bench {
    pub(crate) async fn run(self) -> Result<()> {
        // Measuring is waiting for other processes; it has no use for a runtime.
        tokio::task::spawn_blocking(move || self.measure())
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "the bench ended badly").with_source(error))?
    }

    fn measure(self) -> Result<()> {
        let settings = Settings {
            pairs: if self.quick { 1 } else { usize::from(self.pairs) },
            seconds: self.seconds,
            store_rows: if self.quick { self.store_rows.max(1000) } else { self.store_rows },
            quick: self.quick,
            dir: self.dir.unwrap_or_else(std::env::temp_dir),
        };
        let bench = Context::new(settings)?;
        let mut findings = Vec::new();
        type Suite = fn(&Context) -> Result<Vec<measure::Finding>>;
        let suites: [(What, Suite); 14] = [
            (What::Ingest, suites::ingest::run),
            (What::Append, suites::append::run),
            (What::Pipeline, suites::pipeline::run),
            (What::Replay, suites::replay::run),
            (What::History, suites::history::run),
            (What::Fanout, suites::fanout::run),
            (What::Ws, suites::sockets::run),
            (What::Memory, suites::memory::run),
            (What::Group, suites::gate::run_group),
            (What::Direct, suites::gate::run_direct),
            (What::Idle, suites::gate::run_idle),
            (What::Offline, suites::gate::run_offline),
            (What::Reconcile, suites::repair::reconcile),
            (What::Backfill, suites::repair::backfill),
        ];
        for (what, suite) in suites {
            if self.what.covers(what) {
                findings.extend(suite(&bench)?);
            }
        }
        report::print(&bench, &findings, self.json)
    }
}
