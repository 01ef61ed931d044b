//! Where a worker asks for deliveries.
//!
//! The worker itself walks the subscriber's machine over the shared tail, or over shared pages of the store when it
//! fell behind; nothing is queued for it, and nothing runs for it while it is busy.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use switchboard_contract::reception::{Input, Lease, Worker};
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};

use super::batch::Fetched;
use super::core::{Core, Inner};
use super::found::Found;
use super::shared::Shared;
use super::step::Read;

thread_local! {
    /// Where a look at a machine gathers what is to be read, which is mostly at hand.
    static READS: Cell<Vec<Read>> = const { Cell::new(Vec::new()) };
}

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

impl Desk {
    /// As [`fetch`](Self::fetch), for somebody who keeps the future.
    pub(super) async fn fetch_owned(self, ask: Ask) -> Option<Arc<Fetched>> {
        self.fetch(ask).await
    }

    /// Waits for deliveries. `None` when the subscriber or the hub has ended.
    pub(super) async fn fetch(&self, ask: Ask) -> Option<Arc<Fetched>> {
        let mut ask = ask;
        let mut failures = 0;
        let _waiting = self.core.wait();
        loop {
            let wake = self.core.notify.notified();
            tokio::pin!(wake);
            // Registered before looking, so that nothing that happens meanwhile is missed.
            wake.as_mut().enable();
            if self.shared.stop.is_cancelled() {
                return None;
            }
            let found = self.ask(ask).ok()?;
            if let Ask::Page { cursor, .. } = &mut ask {
                *cursor = None;
            }
            // Boxed, like everything here that is not needed while nothing happens: a worker that waits is to be small.
            if !found.absent.is_empty() {
                match Box::pin(self.complete(found)).await {
                    Some(fetched) => return Some(fetched),
                    None => continue,
                }
            }
            if found.len > 0 {
                return Some(self.hand_over(found));
            }
            let reads = found.into_reads();
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
            let found = self.ask(ask)?;
            if let Ask::Page { cursor, .. } = &mut ask {
                *cursor = None;
            }
            if found.len > 0 {
                return Ok(self.complete(found).await);
            }
            if found.reads.is_empty() || !self.shared.read(&self.core, &found.reads).await? {
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

    /// One look at the machine, at one time: hands out what it has, feeding it from the tail as it asks. What it wants
    /// to be read besides is of interest only if nothing was found.
    fn ask(&self, ask: Ask) -> Result<Found> {
        let (core, shared) = (&self.core, &self.shared);
        let mut inner = core.lock();
        inner.ensure_open()?;
        let now = shared.clock.now();
        inner.used_at = now;
        core.tell_tails(shared, &mut inner, now);
        let mut found = Found { reads: READS.take(), ..Found::default() };
        let mut cursor = match ask {
            Ask::Page { cursor, .. } => cursor,
            Ask::Take(_) => None,
        };
        loop {
            let input = match ask {
                Ask::Take(max) => Input::Take(self.worker, max - found.len),
                Ask::Page { max, .. } => Input::Page { worker: self.worker, cursor: cursor.take(), max },
            };
            found.reads.clear();
            core.hand_out(shared, &mut inner, now, input, &mut found);
            let enough = match ask {
                Ask::Take(max) => found.len >= max,
                Ask::Page { .. } => found.len > 0,
            };
            if enough {
                break;
            }
            let wanted = found.reads.len();
            found.reads.retain(|read| !feed_from_tail(core, shared, &mut inner, now, read));
            if found.reads.len() == wanted {
                break;
            }
        }
        inner.let_go();
        if inner.machine.has_ready() && core.has_waiting() {
            // More than this worker takes: the next one gets the baton.
            core.wake();
        }
        let due = inner.machine.next_tick();
        found.revocations = core.revocations.load(Ordering::Acquire);
        drop(inner);
        shared.expect_tick(due);
        if found.len > 0 {
            found.reads.clear();
        }
        if found.reads.is_empty() {
            READS.set(std::mem::take(&mut found.reads));
        }
        Ok(found)
    }

    /// Reads the events that are not at hand. `None` when nothing is left to deliver.
    async fn complete(&self, mut found: Found) -> Option<Arc<Fetched>> {
        if !found.absent.is_empty() {
            Box::pin(self.read_absent(&mut found)).await?;
        }
        (found.len > 0).then(|| self.hand_over(found))
    }

    fn hand_over(&self, found: Found) -> Arc<Fetched> {
        self.shared.meters.delivered(&found.runs);
        Arc::new(Fetched {
            shared: Arc::clone(&self.shared),
            core: Arc::clone(&self.core),
            worker: self.worker,
            runs: found.runs,
            len: found.len,
            revocations: found.revocations,
        })
    }

    async fn read_absent(&self, found: &mut Found) -> Option<()> {
        let mut events = Vec::with_capacity(found.absent.len());
        for (at, dispatch) in std::mem::take(&mut found.absent) {
            let mut failures = 0;
            let event = loop {
                match self.shared.event_at(&self.core.tenant, dispatch.handle.place).await {
                    Ok(event) => break event,
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(subscriber = %self.core.name, %error, failures, "cannot read an event");
                        self.shared.trouble(&self.core, true);
                        self.pause(failures).await?;
                    }
                }
            };
            events.push((at, dispatch, event));
        }
        let gone = events.iter().rev().filter(|(.., event)| event.is_none());
        for (_, dispatch, _) in gone {
            let mut inner = self.core.lock();
            self.core.apply(&self.shared, &mut inner, Input::Gone(dispatch.handle.place));
        }
        found.fill(events);
        Some(())
    }
}

/// Feeds the machine from the tail, if that goes on where the machine wants to read.
fn feed_from_tail(core: &Arc<Core>, shared: &Shared, inner: &mut Inner, now: Timestamp, read: &Read) -> bool {
    let Read::Walk { shard, after, until, limit } = *read else { return false };
    let Some(tail) = core.tails.get(usize::from(shard.0)) else { return false };
    let (mut at, mut fed) = (after, 0);
    while at < until && fed < limit.max(1) {
        let Some(chunk) = tail.behind(at) else { break };
        core.feed(shared, inner, now, shard, &chunk);
        at = chunk.until;
        fed += chunk.heads.len().max(1);
    }
    fed > 0
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
