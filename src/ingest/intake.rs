//! What comes from the inbox, before it is journalled: it waits for its group and its turn, and no tenant's waiting
//! stops the others.
//!
//! Events held in memory are bounded for each tenant. A tenant that has reached its bound is passed over: its records
//! stay in the inbox and are read again, in order, once there is room. What is held, or passed over, holds the mark.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use switchboard_contract::{TenantId, Timestamp};

use super::pipeline::Line;
use super::retry::is_transient;
use super::settle::WaitKey;
use super::work::{Batch, Item, Work};

/// Between two looks whether what was just received has been read.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A tenant that was passed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    /// Its records from here on are still to be taken.
    pub(super) from: u64,
    /// Up to here they are being taken.
    until: u64,
    /// When the last that was taken was received.
    reached: Timestamp,
}

impl Line {
    /// Takes what was read next.
    pub(super) async fn take(&mut self, batch: Batch) {
        if let Some(last) = batch.works.last() {
            self.reached = self.reached.max(last.parcel().raw.received_at);
        }
        self.read_to = batch.end;
        let ready = self.sort(batch.works).await;
        self.finish(ready, batch.records).await;
        // In turn with what is new, so that neither waits for the other.
        self.catch_up().await;
    }

    /// Takes events whose group is settled.
    pub(super) async fn resume(&mut self, key: &WaitKey) {
        let items = self.waiting.take(key);
        self.finish(items.into_iter().map(Work::Event).collect(), 0).await;
    }

    /// Lets go what has waited its time in the window.
    pub(super) async fn release(&mut self) {
        let ready = self.sort(Vec::new()).await;
        self.finish(ready, 0).await;
    }

    /// What of these can be journalled now, with what waited for its time; the rest waits.
    async fn sort(&mut self, works: Vec<Work>) -> VecDeque<Work> {
        let mut ready = VecDeque::with_capacity(works.len());
        let mut due = VecDeque::new();
        for work in works {
            if !self.admits(&work) {
                continue;
            }
            match (work, &mut self.window) {
                (Work::Event(item), Some(window)) => window.take(item, &mut due),
                (Work::Event(item), None) => self.hold_back(item, &mut ready).await,
                (aside, _) => ready.push_back(aside),
            }
        }
        self.let_due(&mut due);
        for item in due {
            self.hold_back(item, &mut ready).await;
        }
        ready
    }

    fn let_due(&mut self, due: &mut VecDeque<Item>) {
        if self.window.is_none() {
            return;
        }
        let (now, reached) = (self.clock.now(), self.reached_now());
        let Some(window) = &mut self.window else { return };
        let behind = &self.behind;
        window.release(|tenant| behind.get(tenant).map_or(reached, |behind| behind.reached), now, due);
        let held = window.low_water().map_or(0, |low| self.read_to.saturating_sub(low));
        if held > self.max_held_bytes {
            metrics::counter!("switchboard_ingest_reorder_cut_short_total").increment(window.events() as u64);
            window.clear(due);
        }
        metrics::gauge!("switchboard_ingest_reorder_held").set(window.events() as f64);
    }

    /// Everything received up to then was read.
    fn reached_now(&self) -> Timestamp {
        if self.inbox.accepted() <= self.read_to { self.clock.now() } else { self.reached }
    }

    /// How long until something in the window is due, for all that is known now.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let due = self.window.as_ref()?.next(self.clock.now(), |tenant| !self.behind.contains_key(tenant))?;
        // What was received and not yet read may come before what is due.
        Some(if self.inbox.accepted() > self.read_to { due.max(LOOK_AGAIN) } else { due })
    }

    /// Whether this is taken now. If not, its tenant is passed over from here on.
    fn admits(&mut self, work: &Work) -> bool {
        if self.behind.is_empty() && self.waiting.is_empty() {
            return true;
        }
        let parcel = work.parcel();
        let tenant = &parcel.address.tenant;
        if self.behind.get(tenant).is_some_and(|behind| parcel.offset >= behind.until) {
            return false;
        }
        if self.waiting.events_of(tenant) < self.max_waiting {
            return true;
        }
        tracing::warn!(%tenant, offset = parcel.offset, "too many events wait for their groups; the tenant is passed over");
        metrics::counter!("switchboard_ingest_passed_over_total").increment(1);
        let behind = Behind { from: parcel.offset, until: parcel.offset, reached: parcel.raw.received_at };
        self.behind.insert(tenant.clone(), behind);
        false
    }

    /// Whether some tenant that was passed over has room again.
    pub(super) fn may_catch_up(&self) -> bool {
        self.behind.keys().any(|tenant| self.has_room(tenant))
    }

    fn has_room(&self, tenant: &TenantId) -> bool {
        self.waiting.events_of(tenant) <= self.max_waiting / 2
    }

    /// Takes some of the records of the tenant that is furthest behind and has room.
    pub(super) async fn catch_up(&mut self) {
        let behind = self.behind.iter().filter(|(tenant, _)| self.has_room(tenant));
        let Some((tenant, behind)) = behind.min_by_key(|(_, behind)| behind.from) else { return };
        let (tenant, behind) = (tenant.clone(), *behind);
        let (mut frames, next) = match self.reader.read(behind.from).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, op = "read_inbox", "the inbox could not be read");
                return self.clock.sleep(self.backoff.waits().next()).await;
            }
        };
        let next = next.min(self.read_to);
        frames.retain(|frame| frame.offset < next);
        let works = self.reader.decode(frames, Some(&tenant)).await;
        let reached = works.last().map_or(behind.reached, |work| work.parcel().raw.received_at.max(behind.reached));
        self.behind.insert(tenant.clone(), Behind { from: behind.from, until: next, reached });
        let ready = self.sort(works).await;
        // Before anything is written, for the mark must not pass what is still to be taken.
        if let Some(behind) = self.behind.get_mut(&tenant).filter(|behind| behind.until == next) {
            behind.from = next;
            if next >= self.read_to {
                self.behind.remove(&tenant);
                tracing::info!(%tenant, "everything of a tenant that was passed over is taken");
            }
        }
        self.finish(ready, 0).await;
    }

    /// Lets an event of an unsettled group wait, or passes it on.
    async fn hold_back(&mut self, item: Item, ready: &mut VecDeque<Work>) {
        let Some(key) = WaitKey::of(&item.source, &item.inbound.place) else {
            return ready.push_back(Work::Event(item));
        };
        if !self.waiting.holds(&key) {
            if self.is_settled(&item).await {
                return ready.push_back(Work::Event(item));
            }
            self.settle(key.clone(), &item);
        }
        self.waiting.add(key, item);
    }

    /// Whether this event can be journalled now. When stopped it says yes, as then nothing is journalled any more.
    async fn is_settled(&self, item: &Item) -> bool {
        let mut tries = self.tries();
        while !self.stop.is_cancelled() {
            match self.settler.settle_now(&item.source, &item.inbound.place).await {
                Ok(settled) => return settled,
                // Not the store's fault: let the write find out, which knows what to do.
                Err(error) if !is_transient(&error) => return true,
                Err(error) => tries.failed(&error).await,
            }
        }
        true
    }

    fn settle(&mut self, key: WaitKey, item: &Item) {
        let (settler, source, place) = (self.settler.clone(), item.source.clone(), item.inbound.place.clone());
        let hurry = self.waiting.hurry(key.tenant());
        self.settling.spawn(async move {
            if AssertUnwindSafe(settler.settle(&source, &place, &hurry)).catch_unwind().await.is_err() {
                tracing::error!(provider = %source.alias(), op = "kind_of", "a look-up panicked");
            }
            key
        });
    }

    /// Look-ups that hold too much of the inbox end now: its room belongs to everybody.
    pub(super) fn press(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        for tenant in self.waiting.hurry_before(self.read_to.saturating_sub(self.max_held_bytes)) {
            tracing::warn!(%tenant, "look-ups are ended early: what waits for them holds half of the inbox");
            metrics::counter!("switchboard_ingest_hurried_total").increment(1);
        }
    }
}
