//! One subscriber in memory: its machine and everything the machine does not know.
//!
//! The machine has one owner, this lock; nothing is awaited under it. Workers ask for deliveries themselves, so that
//! an event costs no task wake and no channel; see [`desk`](super::desk).

mod apply;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use switchboard_contract::reception::{Head, Key, Lease, Place, Reception, State, Worker};
use switchboard_contract::storage::{CursorState, SubscriberSpec};
use switchboard_contract::{ConversationId, Error, ErrorKind, Position, Result, SubscriberName, TenantId, Timestamp};
use tokio::sync::{Notify, watch};

use super::chunk::Chunk;
use super::filter::Filter;
use super::restore;
use super::shared::Shared;
use super::tail::Tail;
use super::types::{MissingRange, Recovery, SubscriptionState};

pub(super) struct Core {
    pub(super) tenant: TenantId,
    pub(super) name: SubscriberName,
    pub(super) mark: u32,
    pub(super) tails: Vec<Arc<Tail>>,
    inner: Mutex<Inner>,
    pub(super) notify: Notify,
    /// Workers that look for deliveries, or have looked and wait.
    waiting: AtomicUsize,
    /// The number of the last save, counted over replays.
    pub(super) saved: watch::Sender<u64>,
    pub(super) states: watch::Sender<SubscriptionState>,
    /// It stands in the queue of those with something to store.
    queued: AtomicBool,
    /// Grows when deliveries are taken back; while it stands still, none of those fetched has been.
    pub(super) revocations: AtomicU64,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({}/{})", self.tenant, self.name)
    }
}

/// A worker that pulls, between its pulls.
#[derive(Debug)]
pub(super) struct Puller {
    pub(super) worker: Worker,
    pub(super) seen: Timestamp,
}

/// A worker that looks for deliveries, or has looked and waits.
pub(super) struct Waiting<'a>(&'a Core);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) struct Inner {
    pub(super) machine: Reception,
    pub(super) spec: SubscriberSpec,
    pub(super) filter: Filter,
    held: VecDeque<Arc<Chunk>>,
    told: Vec<Position>,
    pub(super) names: HashMap<Key, ConversationId>,
    /// Words a consumer gave with its refusals, until they are stored.
    pub(super) reasons: HashMap<Place, String>,
    pub(super) workers: Vec<Worker>,
    next_worker: u32,
    pub(super) pullers: HashMap<String, Puller>,
    /// Which machine this is: a replay starts another.
    pub(super) epoch: u64,
    /// What the saves of earlier machines counted.
    base: u64,
    pub(super) closed: bool,
    missing: Vec<MissingRange>,
    pub(super) expired: bool,
    pub(super) seen_at: Timestamp,
    /// When the store was last told.
    pub(super) seen_stored: Timestamp,
    pub(super) used_at: Timestamp,
    troubled: bool,
    /// What earlier machines counted.
    revoked_before: u64,
}

impl Core {
    pub(super) fn new(
        shared: &Shared,
        tenant: &TenantId,
        name: &SubscriberName,
        state: CursorState,
        tails: Vec<Arc<Tail>>,
    ) -> Self {
        let now = shared.clock.now();
        let filter = Filter::new(&state.spec, &shared.apps.read());
        let (machine, names) = restore::machine(shared, &state, Vec::new(), now);
        let inner = Inner {
            machine,
            filter,
            held: VecDeque::new(),
            told: vec![Position::START; tails.len()],
            names,
            reasons: HashMap::new(),
            workers: Vec::new(),
            next_worker: 1,
            pullers: HashMap::new(),
            epoch: 0,
            base: 0,
            closed: false,
            missing: Vec::new(),
            expired: state.expired || restore::is_away(&state.spec, state.seen_at, now),
            seen_at: state.seen_at,
            seen_stored: state.seen_at,
            used_at: now,
            troubled: false,
            revoked_before: 0,
            spec: state.spec,
        };
        Self {
            tenant: tenant.clone(),
            name: name.clone(),
            mark: super::id::mark(tenant, name),
            tails,
            inner: Mutex::new(inner),
            notify: Notify::new(),
            waiting: AtomicUsize::new(0),
            saved: watch::Sender::new(0),
            states: watch::Sender::new(SubscriptionState::default()),
            queued: AtomicBool::new(false),
            revocations: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Wakes a worker that waits, or keeps the next one from waiting.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Whether somebody may be waiting, asked under the lock of what was changed: a worker that comes later looks by
    /// itself, so that nobody else needs a wake.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Counts a worker as waiting. It must look after this before it waits.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Whether it has to be put into the queue of those with something to store.
    pub(super) fn enqueue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    pub(super) fn dequeue(&self) {
        self.queued.store(false, Ordering::Release);
    }

    fn publish(&self, inner: &Inner, state: State) {
        tracing::debug!(tenant = %self.tenant, subscriber = %self.name, %state, "subscriber");
        self.show(inner, state);
    }

    /// Brings the numbers of the published state up to date.
    pub(super) fn refresh(&self, inner: &Inner) {
        self.show(inner, inner.machine.state());
    }

    fn show(&self, inner: &Inner, state: State) {
        self.states.send_if_modified(|known| {
            let next = SubscriptionState {
                state,
                lag: inner.machine.lag(),
                in_flight: inner.machine.in_flight() as u64,
                parked: inner.machine.set_aside_now().count() as u64,
                missing: inner.missing.clone(),
            };
            let changed = *known != next;
            *known = next;
            changed
        });
    }
}

impl Inner {
    /// A chunk with the event at this place, if one is at hand.
    pub(super) fn find(&self, place: Place, tails: &[Arc<Tail>]) -> Option<(Arc<Chunk>, usize)> {
        let held = self.held.iter().filter(|chunk| chunk.entries.first().is_some_and(|e| e.shard == place.shard));
        for chunk in held {
            if let Some(index) = chunk.find(place.position) {
                return Some((Arc::clone(chunk), index));
            }
        }
        let tail = tails.get(usize::from(place.shard.0))?;
        let chunk = tail.behind(Position(place.position.0.checked_sub(1)?))?;
        chunk.find(place.position).map(|index| (chunk, index))
    }

    /// The chunk that the machine was fed these heads from, if it is still held. They go out mostly in the order in
    /// which they were fed, so the search goes on behind `at`, the place of the last one found.
    #[inline]
    pub(super) fn holding(&self, heads: &Arc<[Head]>, at: &mut usize) -> Option<Arc<Chunk>> {
        let is_it = |index: &usize| self.held.get(*index).is_some_and(|chunk| Arc::ptr_eq(&chunk.heads, heads));
        *at = (*at..self.held.len()).chain(0..*at).find(is_it)?;
        self.held.get(*at).cloned()
    }

    /// Lets go of chunks when nothing waits to be handed out.
    pub(super) fn let_go(&mut self) {
        if !self.held.is_empty() && !self.machine.has_ready() {
            self.held.clear();
            self.held.shrink_to(8);
        }
    }

    /// Gives back memory of a subscriber with nothing to do.
    pub(super) fn relax(&mut self) {
        if self.machine.in_flight() == 0 && self.machine.lag() == 0 {
            self.machine.relax();
            self.held = VecDeque::new();
        }
    }

    pub(super) fn ensure_open(&self) -> Result<()> {
        if self.closed {
            Err(Error::new(ErrorKind::Closed, "the subscriber was removed or the hub stops"))
        } else {
            Ok(())
        }
    }

    pub(super) fn new_worker(&mut self) -> Worker {
        let worker = Worker(self.next_worker);
        self.next_worker = self.next_worker.wrapping_add(1).max(1);
        worker
    }

    /// The number to wait for until everything done so far is durable.
    pub(super) fn ticket(&self) -> u64 {
        self.base + self.machine.ticket()
    }

    pub(super) fn saved_number(&self) -> u64 {
        self.base + self.machine.saved_number()
    }

    /// What a worker that joins is told.
    pub(super) fn recovery(&mut self) -> Recovery {
        let missing = std::mem::take(&mut self.missing);
        let expired = std::mem::take(&mut self.expired);
        Recovery { recovered: missing.is_empty() && !expired, missing, expired }
    }

    /// Another machine takes over, with the same workers.
    pub(super) fn replace(&mut self, machine: Reception, names: HashMap<Key, ConversationId>) {
        self.base = self.ticket() + 1;
        self.revoked_before += self.machine.revocations() + 1;
        self.machine = machine;
        self.names = names;
        self.epoch += 1;
        self.reasons.clear();
        self.held.clear();
        self.told.fill(Position::START);
    }

    /// Notes whether the store answers. Returns whether that changed.
    pub(super) fn note_trouble(&mut self, trouble: bool) -> bool {
        std::mem::replace(&mut self.troubled, trouble) != trouble
    }
}

/// The lowest lease a process may give that starts now: above all of earlier processes, unless the clock went back.
pub(super) fn first_lease(now: Timestamp, epoch: u64) -> Lease {
    Lease((u64::try_from(now.as_millis()).unwrap_or(0) << 20) + (epoch << 12) + 1)
}
