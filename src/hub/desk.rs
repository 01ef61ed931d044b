//! Where a worker asks for deliveries.
//!
//! The worker itself walks the subscriber's machine over the shared tail, or over shared pages of the store when it
//! fell behind; nothing is queued for it, and nothing runs for it while it is busy.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use switchboard_contract::reception::{Dispatch, Input, Lease, Worker};
use switchboard_contract::{Error, ErrorKind, Result};

use super::batch::{Fetched, Item};
use super::chunk::Chunk;
use super::core::{Core, Inner, Read};
use super::shared::Shared;

/// What a worker asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    /// Up to so many.
    Take(usize),
    /// A page.
    Page { cursor: Option<Lease>, max: usize },
}

#[derive(Clone)]
pub(super) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) core: Arc<Core>,
    pub(super) worker: Worker,
}

/// Deliveries with their events, as far as those are at hand.
#[derive(Default)]
struct Found {
    items: Vec<Item>,
    chunks: Vec<Arc<Chunk>>,
    /// Deliveries whose event has to be read, by their place among the items.
    absent: Vec<(usize, Dispatch)>,
    revocations: u64,
}

impl Desk {
    /// Waits for deliveries. `None` when the subscriber or the hub has ended.
    pub(super) async fn fetch(&self, ask: Ask) -> Option<Arc<Fetched>> {
        let mut ask = ask;
        let mut failures = 0;
        loop {
            let wake = self.core.notify.notified();
            tokio::pin!(wake);
            // Registered before looking, so that nothing that happens meanwhile is missed.
            wake.as_mut().enable();
            if self.shared.stop.is_cancelled() {
                return None;
            }
            let (found, reads) = self.ask(ask).ok()?;
            if let Ask::Page { cursor, .. } = &mut ask {
                *cursor = None;
            }
            if !found.items.is_empty() {
                match self.complete(found).await {
                    Some(fetched) => return Some(fetched),
                    None => continue,
                }
            }
            // Boxed, like everything here that is not needed while nothing happens: a worker that waits is to be small.
            let outcome =
                if reads.is_empty() { Ok(false) } else { Box::pin(self.shared.read(&self.core, &reads)).await };
            match outcome {
                Ok(true) => failures = 0,
                Ok(false) => {
                    tokio::select! {
                        () = &mut wake => {}
                        () = self.shared.stop.cancelled() => return None,
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(subscriber = %self.core.name, %error, failures, "cannot read the journal");
                    Box::pin(self.pause(failures)).await?;
                }
            }
        }
    }

    /// Whatever is there without waiting for anything to happen.
    pub(super) async fn poll(&self, ask: Ask) -> Result<Option<Arc<Fetched>>> {
        let mut ask = ask;
        loop {
            let (found, reads) = self.ask(ask)?;
            if let Ask::Page { cursor, .. } = &mut ask {
                *cursor = None;
            }
            if !found.items.is_empty() {
                return Ok(self.complete(found).await);
            }
            if reads.is_empty() || !self.shared.read(&self.core, &reads).await? {
                return Ok(None);
            }
        }
    }

    async fn pause(&self, failures: u32) -> Option<()> {
        let wait = Duration::from_millis(50 << failures.min(6));
        tokio::select! {
            () = self.shared.clock.sleep(wait) => Some(()),
            () = self.shared.stop.cancelled() => None,
        }
    }

    /// One look at the machine: hands out what it has, feeding it from the tail as it asks.
    fn ask(&self, ask: Ask) -> Result<(Found, Vec<Read>)> {
        let (core, shared) = (&self.core, &self.shared);
        let mut inner = core.lock();
        inner.ensure_open()?;
        inner.used_at = shared.clock.now();
        core.tell_tails(shared, &mut inner);
        let mut found = Found::default();
        let mut rest = Vec::new();
        let mut cursor = match ask {
            Ask::Page { cursor, .. } => cursor,
            Ask::Take(_) => None,
        };
        loop {
            let step = match ask {
                Ask::Take(max) => {
                    let input = Input::Take(self.worker, max - found.items.len());
                    core.apply(shared, &mut inner, input)
                }
                Ask::Page { max, .. } => {
                    let input = Input::Page { worker: self.worker, cursor: cursor.take(), max };
                    core.apply(shared, &mut inner, input)
                }
            };
            found.add(core, &inner, &step.dispatches);
            let enough = match ask {
                Ask::Take(max) => found.items.len() >= max,
                Ask::Page { .. } => !found.items.is_empty(),
            };
            if enough {
                break;
            }
            let (near, far): (Vec<Read>, Vec<Read>) =
                step.reads.into_iter().partition(|read| feed_from_tail(core, shared, &mut inner, read));
            rest = far;
            if near.is_empty() {
                break;
            }
        }
        inner.let_go();
        if inner.machine.has_ready() {
            // More than this worker takes: the next one gets the baton.
            core.wake();
        }
        let due = inner.machine.next_tick();
        found.revocations = core.revocations.load(Ordering::Acquire);
        drop(inner);
        shared.expect_tick(due);
        Ok((found, rest))
    }

    /// Reads the events that are not at hand. `None` when nothing is left to deliver.
    async fn complete(&self, mut found: Found) -> Option<Arc<Fetched>> {
        if !found.absent.is_empty() {
            found = Box::pin(self.read_absent(found)).await?;
        }
        if found.items.is_empty() {
            return None;
        }
        self.shared.meters.delivered(&found.items);
        Some(Arc::new(Fetched {
            shared: Arc::clone(&self.shared),
            core: Arc::clone(&self.core),
            worker: self.worker,
            items: found.items,
            chunks: found.chunks,
            revocations: found.revocations,
        }))
    }

    async fn read_absent(&self, mut found: Found) -> Option<Found> {
        let mut gone = Vec::new();
        for (index, dispatch) in std::mem::take(&mut found.absent) {
            let mut failures = 0;
            let read = loop {
                match self.shared.event_at(&self.core.tenant, dispatch.handle.place).await {
                    Ok(read) => break read,
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(subscriber = %self.core.name, %error, failures, "cannot read an event");
                        self.shared.trouble(&self.core, true);
                        self.pause(failures).await?;
                    }
                }
            };
            match read {
                Some((chunk, at)) => {
                    let chunk = found.keep(chunk);
                    found.items[index].chunk = chunk;
                    found.items[index].index = at;
                }
                None => gone.push((index, dispatch)),
            }
        }
        for (index, dispatch) in gone.into_iter().rev() {
            found.items.remove(index);
            let mut inner = self.core.lock();
            self.core.apply(&self.shared, &mut inner, Input::Gone(dispatch.handle.place));
        }
        Some(found)
    }
}

/// Feeds the machine from the tail, if that goes on where the machine wants to read.
fn feed_from_tail(core: &Arc<Core>, shared: &Shared, inner: &mut Inner, read: &Read) -> bool {
    let Read::Walk { shard, after, until, limit } = *read else { return false };
    let Some(tail) = core.tails.get(usize::from(shard.0)) else { return false };
    let (mut at, mut fed) = (after, 0);
    while at < until && fed < limit.max(1) {
        let Some(chunk) = tail.behind(at) else { break };
        core.feed(shared, inner, shard, &chunk);
        at = chunk.until;
        fed += chunk.heads.len().max(1);
    }
    fed > 0
}

impl Found {
    fn add(&mut self, core: &Core, inner: &Inner, dispatches: &[Dispatch]) {
        self.items.reserve(dispatches.len());
        for dispatch in dispatches {
            let place = dispatch.handle.place;
            let last = self.chunks.last().filter(|chunk| chunk.entries.first().is_some_and(|e| e.shard == place.shard));
            let index = last.and_then(|chunk| chunk.find(place.position));
            let (chunk, index) = match index {
                Some(index) => (self.chunks.len() - 1, index),
                None => match inner.find(place, &core.tails) {
                    Some((chunk, index)) => (self.keep(chunk) as usize, index),
                    None => {
                        self.absent.push((self.items.len(), *dispatch));
                        (0, 0)
                    }
                },
            };
            self.items.push(Item::new(core, dispatch, chunk as u32, index as u32));
        }
    }

    fn keep(&mut self, chunk: Arc<Chunk>) -> u32 {
        let known = self.chunks.iter().position(|other| Arc::ptr_eq(other, &chunk));
        let index = known.unwrap_or_else(|| {
            self.chunks.push(chunk);
            self.chunks.len() - 1
        });
        index as u32
    }
}

/// Runs `work`, or gives up at a deadline on the hub's clock.
pub(super) async fn within<T>(
    shared: &Shared,
    longest: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T> {
    tokio::select! {
        done = work => Ok(done),
        () = shared.clock.sleep(longest) => Err(Error::new(ErrorKind::Timeout, format!("{what} took too long"))),
    }
}
