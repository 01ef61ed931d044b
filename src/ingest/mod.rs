//! The way in: verify, keep durably, answer, decode, deduplicate, append.
//!
//! A callback's reply depends on the [`inbox`] alone. Behind it one line of tasks decodes what was kept, resolves
//! ids, and appends to the journal in batches together with the mark of how far the inbox is consumed; a database
//! that fails or stalls delays delivery and nothing else. Every other source enters by [`Ingest::submit`] and meets
//! the callbacks in the same unique key.
//!
//! This module knows no HTTP and no vendor. It promises: a success reply means durable bytes; one vendor event has
//! one effect; within a conversation the events of one source keep their order; memory is bounded by
//! [`IngestConfig`].

mod aside;
mod config;
mod decode;
mod digest;
mod echo;
mod floors;
mod health;
pub mod inbox;
mod intake;
mod link;
mod offsets;
mod pipeline;
mod progress;
mod receive;
mod record;
mod reorder;
mod resolve;
mod retry;
mod settle;
mod source;
mod submit;
mod waiting;
mod witness;
mod work;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use switchboard_contract::storage::Store;
use switchboard_contract::{Clock, Error, ErrorKind, Provider, ProviderId, Result, TenantId, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::IngestConfig;
pub use digest::digest;
pub use echo::{Echo, EchoBook, EchoCandidate, NoEchoes, Receipted};
pub use health::WeakIngest;
pub use receive::{CallbackAnswer, Unread};
pub use source::Arrivals;
pub(crate) use source::CameAgain;
pub use witness::{NamedBy, Seen, Sighting, Witness};

use crate::identity::{Identity, Provisioner};
use aside::Aside;
use decode::{Decoder, Reader};
use floors::Floors;
use inbox::{DiskDir, Found, Inbox, InboxDir};
use pipeline::Line;
use progress::Progress;
use record::Address;
use reorder::Window;
use resolve::Resolver;
use retry::Backoff;
use settle::Settler;
use source::Sources;
use waiting::Waiting;

/// Batches decoded ahead of the journal.
const AHEAD: usize = 2;
/// Waits between look-ups of one group at its vendor.
const LOOKUP: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The way in. Clones share it; the last one to go stops its tasks, at once and safely. Prefer
/// [`shutdown`](Self::shutdown), which waits for them.
#[derive(Clone, Debug)]
pub struct Ingest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    core: Core,
    tasks: TaskTracker,
    _stop: DropGuard,
}

struct Core {
    config: IngestConfig,
    inbox: Inbox,
    sources: Arc<Sources>,
    store: Arc<dyn Store>,
    resolver: Resolver,
    settler: Settler,
    aside: Aside,
    witness: witness::Seat,
    clock: Arc<dyn Clock>,
    progress: Arc<Progress>,
    paused: watch::Sender<bool>,
    stop: CancellationToken,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("sources", &self.sources).field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// How much was received and is not in the journal yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxLag {
    /// Bytes of the inbox that may not be used again yet.
    pub bytes: u64,
    /// Callbacks, without those that only wait for the look-up of their group.
    pub records: u64,
    /// How long the oldest of them has been here.
    pub oldest: Duration,
}

impl Ingest {
    /// Opens the inbox in its directory (makes, reserves, recovers it) and starts journalling what is in it.
    ///
    /// # Errors
    /// `Config` for settings that make no sense; `Conflict` when another process has the inbox; `StorageFull` when
    /// its room cannot be reserved; `Storage` when the disk or the store fails.
    pub async fn open(
        config: IngestConfig,
        store: Arc<dyn Store>,
        identity: Arc<Identity>,
        provisioner: Arc<Provisioner>,
        echoes: Arc<dyn EchoBook>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let path = config.inbox.path.clone();
        let dir = blocking(move || {
            DiskDir::open(&path).map_err(|error| {
                inbox::failed(&format!("{}: the directory of the inbox cannot be opened", path.display()), error)
            })
        })
        .await?;
        Self::open_on(Arc::new(dir), config, store, identity, provisioner, echoes, clock).await
    }

    /// As [`open`](Self::open), on a file layer of the caller's. For tests that lose what was not synced.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_on(
        dir: Arc<dyn InboxDir>,
        config: IngestConfig,
        store: Arc<dyn Store>,
        identity: Arc<Identity>,
        provisioner: Arc<Provisioner>,
        echoes: Arc<dyn EchoBook>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        let inbox_config = config.inbox.clone();
        let found = blocking(move || Found::look(inbox_config, dir)).await?;
        let consumed = store.consumed(&found.name()).await?;
        let inbox = blocking(move || Inbox::open(found, consumed)).await?;

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let backoff = Backoff::new(config.retry_first, config.retry_longest);
        let (aside, worker) = Aside::new(store.clone(), clock.clone(), backoff, config.quarantine_items, stop.clone());
        let settler = Settler::new(
            identity.clone(),
            provisioner,
            store.clone(),
            clock.clone(),
            Backoff::new(LOOKUP.0, LOOKUP.1),
            config.settle_within,
        );
        let core = Core {
            progress: Arc::new(Progress::new(consumed)),
            sources: Arc::default(),
            resolver: Resolver { identity, echoes, floors: config.reorders().then(|| Floors::new(store.clone())) },
            paused: watch::Sender::new(false),
            config,
            inbox,
            store,
            settler,
            aside,
            witness: witness::Seat::default(),
            clock,
            stop: stop.clone(),
        };
        let (batches, line) = mpsc::channel(AHEAD);
        start(&tasks, "aside", worker.run());
        start(&tasks, "decode", core.decoder(backoff).run(consumed, batches));
        start(&tasks, "journal", core.line(backoff, consumed).run(line));
        tasks.close();
        Ok(Self(Arc::new(Inner { core, tasks, _stop: stop.drop_guard() })))
    }

    /// Receives callbacks for `alias` from now on, and reads its link if it has one. Registering it again replaces
    /// the provider.
    pub fn register(&self, alias: ProviderId, tenant: TenantId, provider: Arc<dyn Provider>) {
        let core = self.core();
        let verdict = core.config.verdict(&alias);
        let app = provider.app().clone();
        let address = Address { alias: alias.clone(), tenant: tenant.clone(), app };
        core.sources.register(address, provider.clone(), verdict);
        self.follow(&alias, &tenant, &provider);
    }

    /// How far the journal is behind.
    pub fn lag(&self) -> InboxLag {
        let core = self.core();
        let bytes = core.inbox.lag_bytes();
        InboxLag {
            bytes,
            records: core.inbox.records().saturating_sub(core.progress.records()),
            oldest: match core.progress.behind_since() {
                Some(since) if bytes > 0 => core.clock.now().since(since),
                _ => Duration::ZERO,
            },
        }
    }

    /// Resolves once everything received before the call is journalled (or in quarantine). Without end while the
    /// database fails, or while it is [paused](Self::pause).
    pub async fn idle(&self) {
        let core = self.core();
        let (mut consumed, mut durable) = (core.progress.watch(), core.inbox.durable());
        let target = core.inbox.accepted();
        loop {
            let reached = *consumed.borrow_and_update();
            durable.mark_unchanged();
            // Less is accepted than before when the disk failed: what it lost was refused, and is not waited for.
            if reached >= target.min(core.inbox.accepted()) {
                break;
            }
            let ended = tokio::select! {
                changed = consumed.changed() => changed.is_err(),
                changed = durable.changed() => changed.is_err(),
                () = core.stop.cancelled() => true,
            };
            if ended {
                break;
            }
        }
        core.aside.flush().await;
    }

    /// Stops reading the inbox, for maintenance of the database: callbacks are received and stay in the inbox as
    /// long as there is room.
    pub fn pause(&self) {
        self.core().paused.send_replace(true);
    }

    /// Reads the inbox again.
    pub fn resume(&self) {
        self.core().paused.send_replace(false);
    }

    /// Takes nothing more, ends the transaction in progress and closes the inbox. What is not journalled stays in
    /// the inbox for the next start. Other clones answer 503 from now on.
    ///
    /// # Errors
    /// `Timeout` when the database did not end its transaction within `stop_within`; nothing is lost.
    pub async fn shutdown(self) -> Result<()> {
        let core = self.core();
        core.stop.cancel();
        let ended = tokio::select! {
            () = self.0.tasks.wait() => true,
            () = core.clock.sleep(core.config.stop_within) => false,
        };
        let inbox = core.inbox.clone();
        blocking(move || {
            inbox.close();
            Ok(())
        })
        .await?;
        if ended {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Timeout, "the journal did not end its transaction in time"))
        }
    }

    fn core(&self) -> &Core {
        &self.0.core
    }
}

impl Core {
    fn decoder(&self, backoff: Backoff) -> Decoder {
        let (paused, stop) = (self.paused.subscribe(), self.stop.clone());
        Decoder { reader: self.reader(), backoff, paused, stop }
    }

    fn reader(&self) -> Reader {
        Reader {
            inbox: self.inbox.clone(),
            sources: self.sources.clone(),
            clock: self.clock.clone(),
            batch_bytes: self.config.batch_bytes,
            unregistered_within: self.config.unregistered_within,
            addresses: HashMap::new(),
            missing: HashMap::new(),
        }
    }

    fn line(&self, backoff: Backoff, consumed: u64) -> Line {
        Line {
            inbox: self.inbox.clone(),
            name: self.inbox.name(),
            store: self.store.clone(),
            resolver: self.resolver.clone(),
            settler: self.settler.clone(),
            aside: self.aside.clone(),
            witness: self.witness.clone(),
            clock: self.clock.clone(),
            backoff,
            batch_events: self.config.batch_events,
            batch_bytes: self.config.batch_bytes,
            max_waiting: self.config.max_waiting,
            max_held_bytes: self.config.inbox.capacity_bytes / 2,
            quarantine_items: self.config.quarantine_items,
            progress: self.progress.clone(),
            stop: self.stop.clone(),
            waiting: Waiting::default(),
            settling: JoinSet::new(),
            window: self
                .config
                .reorders()
                .then(|| Window::new(self.config.reorder_window, self.config.reorder_max_held)),
            reader: self.reader(),
            behind: HashMap::new(),
            read_to: consumed,
            reached: Timestamp(0),
        }
    }
}

/// Runs a task under a name; a panic in it is reported, since nothing goes on without it.
fn start(tasks: &TaskTracker, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!(task = name, "a task of the way in panicked; callbacks stay in the inbox");
            metrics::counter!("switchboard_ingest_panics_total", "task" => name).increment(1);
        }
    });
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "a task of the inbox panicked").with_source(error)))
}
