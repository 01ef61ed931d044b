//! Deliveries in the hands of a consumer: names and counts beside events that everybody shares.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use switchboard_contract::reception::{DeliveryKind, Handle, Input, Lease, Worker};
use switchboard_contract::storage::Entry;
use switchboard_contract::{Event, Result};

use super::core::Core;
use super::found::Run;
use super::id::{DeliveryId, PageCursor};
use super::shared::Shared;
use super::types::AckOutcome;

/// Deliveries that were fetched together. They keep their chunks alive, so memory is bounded by what is in flight.
pub(super) struct Fetched {
    pub(super) shared: Arc<Shared>,
    pub(super) core: Arc<Core>,
    pub(super) worker: Worker,
    pub(super) runs: Vec<Run>,
    /// Deliveries in all runs.
    pub(super) len: usize,
    /// The core's count when they were handed out.
    pub(super) revocations: u64,
}

impl Fetched {
    /// Whether the delivery is still out. One that was taken back, because an earlier one of its conversation failed
    /// or its time is over, comes again and must not be handled now.
    fn is_open(&self, handle: impl FnOnce() -> Handle) -> bool {
        let same = self.core.revocations.load(Ordering::Acquire) == self.revocations;
        same || self.core.lock().machine.is_open(handle())
    }

    /// Appends the form of HTTP consumers.
    fn write_json(id: &DeliveryId, kind: DeliveryKind, entry: &Entry, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(&id.text());
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.extend_from_slice(if entry.late {
            b"\",\"late\":true,\"attempt\":"
        } else {
            b"\",\"late\":false,\"attempt\":"
        });
        if id.attempt == 1 {
            out.push(b'1');
        } else {
            out.extend_from_slice(id.attempt.to_string().as_bytes());
        }
        out.extend_from_slice(b",\"event\":");
        out.extend_from_slice(&entry.json);
        out.push(b'}');
    }
}

/// A place in what was fetched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spot {
    run: u32,
    offset: u32,
}

/// One event on its way to one subscriber. Dropping it does nothing: unless it is acknowledged it comes again when
/// its deadline has passed, or when its worker is gone.
#[derive(Clone)]
pub struct Delivery {
    fetched: Arc<Fetched>,
    id: DeliveryId,
    run: u32,
    /// In the chunk of the run.
    index: u32,
}

impl Delivery {
    /// The first delivery from `next` on that is still open; `next` is moved behind it.
    pub(super) fn next(fetched: &Arc<Fetched>, next: &mut Spot) -> Option<Self> {
        loop {
            let run = fetched.runs.get(next.run as usize)?;
            if next.offset >= run.count {
                *next = Spot { run: next.run + 1, offset: 0 };
                continue;
            }
            let (number, index) = (next.run, run.first + next.offset);
            next.offset += 1;
            let id = run.id(fetched.core.mark, index);
            if fetched.is_open(|| id.handle()) {
                return Some(Self { fetched: Arc::clone(fetched), id, run: number, index });
            }
        }
    }

    #[inline]
    fn run(&self) -> &Run {
        &self.fetched.runs[self.run as usize]
    }

    /// Its name, to acknowledge it by from elsewhere.
    pub fn id(&self) -> &DeliveryId {
        &self.id
    }

    /// The journalled event, encoded once and shared by all receivers.
    pub fn entry(&self) -> &Entry {
        &self.run().chunk.entries[self.index as usize]
    }

    /// The event, decoded now.
    ///
    /// # Errors
    /// `Decode` when the stored bytes are damaged.
    pub fn event(&self) -> Result<Event> {
        self.entry().event()
    }

    /// How it comes.
    pub fn kind(&self) -> DeliveryKind {
        self.run().kind
    }

    /// Found by repair: its sequence is later than its time.
    pub fn late(&self) -> bool {
        self.entry().late
    }

    /// The how-manieth delivery of this event, from 1, as far as remembered over a restart.
    pub fn attempt(&self) -> u32 {
        self.id.attempt
    }

    /// It is handled. Durable when this returns: it never comes again, unless a replay is asked for.
    ///
    /// # Errors
    /// `Conflict` when the delivery is no longer open: its deadline passed, or its worker is gone; it comes, or came,
    /// again. `Timeout` when the store did not confirm in time; `Closed` when the hub has stopped.
    pub async fn ack(self) -> Result<()> {
        let handle = self.id.handle();
        self.fetched.shared.ack(&self.fetched.core, Input::Ack(&[handle])).await.and_then(AckOutcome::took_effect)
    }

    /// As [`ack`](Self::ack), without waiting until it is durable: a crash right after may deliver it again.
    /// Returns whether the delivery was open.
    pub fn ack_soon(self) -> bool {
        let handle = self.id.handle();
        self.fetched.shared.settle(&self.fetched.core, Input::Ack(&[handle])).done > 0
    }

    /// This and everything its worker has of the same conversation before it is handled. Durable when this returns.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub async fn ack_through(self) -> Result<()> {
        let handle = self.id.handle();
        self.fetched.shared.ack(&self.fetched.core, Input::AckThrough(handle)).await.and_then(AckOutcome::took_effect)
    }

    /// It could not be handled: it comes again after `after` (by default ever more slowly), before anything behind
    /// it in its conversation, until the poison policy applies.
    ///
    /// # Errors
    /// `Conflict` when the delivery is no longer open; `Closed` when the hub has stopped.
    pub async fn nack(self, after: Option<Duration>) -> Result<()> {
        let handle = self.id.handle();
        self.fetched.shared.nack(&self.fetched.core, &[handle], after, None)?.took_effect()
    }

    /// Appends the form of HTTP consumers; see [`delivery_json`].
    pub fn write_json(&self, out: &mut Vec<u8>) {
        Fetched::write_json(&self.id, self.kind(), self.entry(), out);
    }

    /// The form of HTTP consumers; see [`delivery_json`].
    pub fn to_json(&self) -> Bytes {
        delivery_json(self)
    }
}

/// Shows the name and kind alone: bodies do not belong in logs.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("position", &self.id.position.0)
            .field("kind", &self.kind())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// Deliveries that came together, without a cost for each: the fast way to receive and to acknowledge.
#[derive(Clone)]
pub struct Batch(pub(super) Arc<Fetched>);

impl Batch {
    /// How many; never 0.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The journalled events, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.runs.iter().flat_map(Run::entries)
    }

    /// How each of them comes, in the same order.
    pub fn kinds(&self) -> impl Iterator<Item = DeliveryKind> + '_ {
        self.0.runs.iter().flat_map(|run| std::iter::repeat_n(run.kind, run.count as usize))
    }

    /// The deliveries, one by one; those that are no longer open when their turn comes are left out.
    pub fn deliveries(&self) -> impl Iterator<Item = Delivery> + '_ {
        let mut next = Spot::default();
        std::iter::from_fn(move || Delivery::next(&self.0, &mut next))
    }

    /// Its name, to acknowledge all of it by from elsewhere.
    ///
    /// See [`AckRequest::Cursor`](super::AckRequest::Cursor).
    pub fn cursor(&self) -> String {
        self.page().to_string()
    }

    /// It went out in one step, so its leases follow one another.
    fn page(&self) -> PageCursor {
        let lease = |run: Option<&Run>| run.map_or(Lease(0), |run| run.lease);
        let (first, last) = (lease(self.0.runs.first()), lease(self.0.runs.last()));
        PageCursor { subscriber: self.0.core.mark, worker: self.0.worker, first, last }
    }

    /// Bytes that its JSON takes, about.
    pub(crate) fn json_room(&self) -> usize {
        self.entries().map(|entry| entry.json.len() + HEAD).sum()
    }

    /// Appends the deliveries that are still open, as JSON with commas between them.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.reserve(self.json_room());
        let mut first = true;
        for run in &self.0.runs {
            for (index, entry) in (run.first..).zip(run.entries()) {
                let id = run.id(self.0.core.mark, index);
                if !self.0.is_open(|| id.handle()) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                Fetched::write_json(&id, run.kind, entry, out);
            }
        }
    }

    /// Everything in it that is still open is handled. Durable when this returns.
    ///
    /// # Errors
    /// `Timeout` when the store did not confirm in time; `Closed` when the hub has stopped.
    pub async fn ack(self) -> Result<AckOutcome> {
        let outcome = self.settle();
        self.0.shared.wait_saved(&self.0.core).await.map(|()| outcome)
    }

    /// As [`ack`](Self::ack), without waiting until it is durable.
    pub fn ack_soon(self) -> AckOutcome {
        self.settle()
    }

    fn settle(&self) -> AckOutcome {
        let mut outcome = self.0.shared.settle_page(&self.0.core, self.page());
        outcome.stale = self.len().saturating_sub(outcome.done);
        outcome
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({})", self.len())
    }
}

/// More than what stands around the bytes of an event.
const HEAD: usize = 112;

/// One delivery as JSON: what differs per delivery, around the event's shared bytes.
///
/// `{"id":"…","kind":"online","late":false,"attempt":1,"event":{…}}`
pub fn delivery_json(delivery: &Delivery) -> Bytes {
    let mut json = Vec::with_capacity(delivery.entry().json.len() + HEAD);
    delivery.write_json(&mut json);
    json.into()
}
