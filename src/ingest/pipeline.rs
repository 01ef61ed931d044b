//! From decoded callbacks to the journal, in order, whatever the database does meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::json;
use switchboard_contract::storage::{
    Appended, Commit, Committed, InboxMark, LegGuard, QuarantineReason, Quarantined, Store,
};
use switchboard_contract::{Clock, Error, ErrorKind, Result, TenantId, Timestamp, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::aside::Aside;
use super::decode::Reader;
use super::inbox::Inbox;
use super::intake::Behind;
use super::progress::Progress;
use super::record::Address;
use super::reorder::Window;
use super::resolve::{Arrival, Gathered, Resolver};
use super::retry::{Backoff, Waits, is_transient};
use super::settle::{Settler, WaitKey};
use super::waiting::Waiting;
use super::witness::{self, Seat};
use super::work::{Batch, Item, Parcel, Work};

/// After so many failures in a row it is asked whether the database or the batch is at fault.
const SUSPICIOUS: u32 = 8;
/// So often an event must fail while the database takes other writes before it counts as refused.
const STRIKES: u32 = 3;

/// The line from the inbox to the journal. There is one, and it keeps the order.
pub(super) struct Line {
    pub(super) inbox: Inbox,
    pub(super) name: String,
    pub(super) store: Arc<dyn Store>,
    pub(super) resolver: Resolver,
    pub(super) settler: Settler,
    pub(super) aside: Aside,
    pub(super) witness: Seat,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) backoff: Backoff,
    pub(super) batch_events: usize,
    pub(super) batch_bytes: usize,
    pub(super) max_waiting: usize,
    /// So much of the inbox may be held by what was read and waits.
    pub(super) max_held_bytes: u64,
    pub(super) quarantine_items: u32,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    pub(super) waiting: Waiting,
    pub(super) settling: JoinSet<WaitKey>,
    pub(super) window: Option<Window>,
    /// Reads again for tenants that were passed over.
    pub(super) reader: Reader,
    pub(super) behind: HashMap<TenantId, Behind>,
    /// Everything before this was read.
    pub(super) read_to: u64,
    /// When the last of it was received.
    pub(super) reached: Timestamp,
}

/// A try to write the first works of a line.
struct Attempt {
    used: usize,
    outcome: Result<()>,
}

/// What the failures of the present works were like.
#[derive(Default)]
struct Trouble {
    /// How often the first of them failed alone while the database took other writes.
    strikes: u32,
    /// So many works are written one by one, to find the one at fault.
    careful: usize,
}

/// Waits between tries of the store.
pub(super) struct Tries<'a> {
    line: &'a Line,
    waits: Waits,
    failures: u32,
}

impl Tries<'_> {
    /// Reports a failure and waits before the next try, or until stopped.
    pub(super) async fn failed(&mut self, error: &Error) {
        self.failures += 1;
        self.line.report(error, self.failures);
        let wait = self.line.clock.sleep(self.waits.next());
        self.line.stop.run_until_cancelled(wait).await;
    }
}

impl Line {
    /// Works until stopped or until the batches end.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        loop {
            let due = self.due_in();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(settled) = self.settling.join_next() => {
                    // The task itself never panics: what it runs is caught inside it.
                    let Ok(key) = settled else { continue };
                    self.resume(&key).await;
                }
                () = self.clock.sleep(due.unwrap_or_default()), if due.is_some() => self.release().await,
                batch = batches.recv() => match batch {
                    Some(batch) => self.take(batch).await,
                    None => break,
                },
                () = std::future::ready(()), if self.may_catch_up() => self.catch_up().await,
            }
            self.press();
        }
        self.settling.shutdown().await;
    }

    /// Journals what is ready, and moves the mark as far as it goes.
    pub(super) async fn finish(&mut self, ready: VecDeque<Work>, records: u64) {
        if let Some(first) = ready.front() {
            self.progress.working_on(first.parcel().raw.received_at);
        }
        self.journal(ready).await;
        self.progress.read(records);
        if self.inbox.released() < self.mark([].iter()) && !self.stop.is_cancelled() {
            // Nothing was written for it: all of it was skipped, or refused.
            let mark = self.mark([].iter());
            let mut tries = self.tries();
            while !self.stop.is_cancelled() {
                let commit = Commit { consumed: Some(self.inbox_mark(mark)), ..Commit::default() };
                match self.store.commit(commit).await {
                    Ok(_) => return self.consumed(mark),
                    Err(error) => tries.failed(&error).await,
                }
            }
        }
    }

    /// Writes everything, retrying for as long as the database fails; returns early only when stopped.
    async fn journal(&self, mut works: VecDeque<Work>) {
        let mut trouble = Trouble::default();
        let mut tries = self.tries();
        while !works.is_empty() && !self.stop.is_cancelled() {
            let limit = if trouble.careful > 0 { 1 } else { self.batch_events };
            let attempt = self.attempt(&works, limit).await;
            let error = match attempt.outcome {
                // Some send moved on between look-up and write. It moves a few times in its life and forward only.
                Err(error) if LegGuard::is_broken(&error) => continue,
                Ok(()) => {
                    for work in works.drain(..attempt.used) {
                        if let Work::Event(item) = work {
                            item.source.journalled(&item.inbound.key, item.inbound.sent_at);
                        }
                    }
                    trouble = Trouble { careful: trouble.careful.saturating_sub(attempt.used), strikes: 0 };
                    tries = self.tries();
                    if let Some(next) = works.front() {
                        self.progress.working_on(next.parcel().raw.received_at);
                    }
                    continue;
                }
                Err(error) => error,
            };
            if is_transient(&error) {
                tries.failed(&error).await;
                let suspicious = error.kind() == ErrorKind::Storage && tries.failures.is_multiple_of(SUSPICIOUS);
                if !suspicious || !self.is_writable().await {
                    continue;
                }
                // The database takes writes, so the fault is in what we write.
                trouble.strikes += u32::from(attempt.used == 1);
                if trouble.strikes < STRIKES {
                    trouble.careful = trouble.careful.max(attempt.used);
                    continue;
                }
            } else if attempt.used > 1 {
                trouble.careful = attempt.used;
                continue;
            }
            if let Some(work) = works.pop_front() {
                trouble = Trouble { careful: trouble.careful.saturating_sub(1), strikes: 0 };
                tries = self.tries();
                self.refuse(work, &error).await;
            }
        }
    }

    /// Writes as many of the first works as one transaction takes, with the mark that then holds.
    async fn attempt(&self, works: &VecDeque<Work>, limit: usize) -> Attempt {
        if let Some(Work::Aside(parcel, reason)) = works.front() {
            let outcome = self.keep(parcel, *reason).await;
            return match outcome {
                Ok(()) => {
                    Attempt { used: 1, outcome: self.commit(Gathered::default(), &[], works.iter().skip(1)).await }
                }
                Err(error) => Attempt { used: 1, outcome: Err(error) },
            };
        }
        let mut gathered = Gathered::default();
        let mut owners: Vec<&Item> = Vec::new();
        let mut used = 0;
        let events = works.iter().take(limit).map_while(|work| match work {
            Work::Event(item) => Some((item.source.as_ref(), &item.inbound)),
            Work::Aside(..) => None,
        });
        if let Err(error) = self.resolver.ask(events, &mut gathered).await {
            return Attempt { used: 1, outcome: Err(error) };
        }
        for work in works.iter().take(limit) {
            let Work::Event(item) = work else { break };
            if gathered.must_be_written_before(&item.inbound) || gathered.bytes > self.batch_bytes {
                break;
            }
            used += 1;
            let origin = item.source.origin(item.inbound.sent_at);
            let arrival = Arrival { source: &item.source, origin, at: item.parcel.raw.received_at };
            if let Err(error) = self.resolver.resolve(arrival, &item.inbound, &mut gathered).await {
                return Attempt { used, outcome: Err(error) };
            }
            owners.resize(gathered.commit.drafts.len(), item);
        }
        Attempt { used, outcome: self.commit(gathered, &owners, works.iter().skip(used)).await }
    }

    async fn commit<'a>(
        &self,
        gathered: Gathered,
        owners: &[&Item],
        rest: impl Iterator<Item = &'a Work>,
    ) -> Result<()> {
        let mark = self.mark(rest);
        let Gathered { mut commit, raised, sightings, .. } = gathered;
        commit.consumed = Some(self.inbox_mark(mark));
        let started = std::time::Instant::now();
        let committed = self.store.commit(commit).await?;
        self.progress.appended(started.elapsed(), owners.len());
        self.consumed(mark);
        self.resolver.raise(raised);
        witness::tell(&self.witness, sightings);
        self.count(&committed, owners);
        Ok(())
    }

    fn count(&self, committed: &Committed, owners: &[&Item]) {
        for (appended, item) in committed.drafts.iter().zip(owners) {
            item.source.count_appended(appended);
            if let Appended::Conflict { position } = appended {
                tracing::warn!(
                    provider = %item.source.alias(), op = "append", position = position.0,
                    "two callbacks of one key contradict each other"
                );
                let detail = json!({ "position": position.to_string() });
                self.tell(item, "callback_conflict", detail);
            }
        }
    }

    fn tell(&self, item: &Item, kind: &str, detail: serde_json::Value) {
        self.aside.tell(&item.parcel.address.tenant, Topic::Connection, kind, item.source.alias(), detail);
    }

    /// The store will not take it: it is kept aside, counted and told, and the line goes on.
    async fn refuse(&self, work: Work, error: &Error) {
        let parcel = work.parcel();
        tracing::error!(
            provider = %parcel.address.alias, op = "append", offset = parcel.offset, %error,
            "the store refuses an event; its callback goes to quarantine"
        );
        let alias = parcel.address.alias.as_str().to_owned();
        metrics::counter!("switchboard_ingest_refused_total", "provider" => alias).increment(1);
        let Work::Event(item) = &work else { return };
        let mut tries = self.tries();
        while !self.stop.is_cancelled() {
            match self.keep(parcel, QuarantineReason::Refused).await {
                Ok(()) => break,
                Err(error) if is_transient(&error) => tries.failed(&error).await,
                Err(error) => {
                    tracing::error!(offset = parcel.offset, %error, "nor can it be kept in quarantine");
                    break;
                }
            }
        }
        self.tell(
            item,
            "event_refused",
            json!({ "reason": error.kind().as_str(), "class": item.inbound.key.class.code() }),
        );
    }

    async fn keep(&self, parcel: &Parcel, reason: QuarantineReason) -> Result<()> {
        let Address { tenant, app, .. } = parcel.address.as_ref();
        let item = Quarantined { id: 0, tenant: tenant.clone(), app: app.clone(), reason, raw: parcel.raw.clone() };
        let alias = parcel.address.alias.as_str().to_owned();
        self.store.put_aside(item, self.quarantine_items).await?;
        metrics::counter!("switchboard_ingest_quarantined_total", "provider" => alias, "reason" => reason.as_str())
            .increment(1);
        Ok(())
    }

    /// Up to where everything is journalled once everything in hand but `rest` is.
    fn mark<'a>(&self, rest: impl Iterator<Item = &'a Work>) -> u64 {
        // Not in the order of the inbox: the window has turned some round.
        let held = rest.map(|work| work.parcel().offset).min();
        let behind = self.behind.values().map(|behind| behind.from).min();
        let window = self.window.as_ref().and_then(Window::low_water);
        let holds = [held, self.waiting.low_water(), behind, window];
        holds.into_iter().flatten().min().map_or(self.read_to, |low| low.min(self.read_to))
    }

    fn inbox_mark(&self, offset: u64) -> InboxMark {
        InboxMark { inbox: self.name.clone(), offset }
    }

    /// A mark is durable in the store: what is before it may go.
    fn consumed(&self, mark: u64) {
        self.inbox.release(mark);
        let caught_up = *self.inbox.durable().borrow() <= mark;
        self.progress.consumed(mark, caught_up);
    }

    /// Whether the database takes a write that changes nothing.
    async fn is_writable(&self) -> bool {
        let commit = Commit { consumed: Some(self.inbox_mark(self.inbox.released())), ..Commit::default() };
        self.store.commit(commit).await.is_ok()
    }

    pub(super) fn tries(&self) -> Tries<'_> {
        Tries { line: self, waits: self.backoff.waits(), failures: 0 }
    }

    fn report(&self, error: &Error, failures: u32) {
        metrics::counter!("switchboard_ingest_storage_retries_total").increment(1);
        if failures >= SUSPICIOUS || error.kind() == ErrorKind::StorageFull {
            self.progress.stalled(error);
        }
        if failures.is_power_of_two() {
            tracing::warn!(%error, op = "append", attempt = failures, "the store failed; callbacks wait in the inbox");
        }
    }
}
