//! One subscriber in memory: its machine and everything the machine does not know.
//!
//! The machine has one owner, this lock; nothing is awaited under it. Workers ask for deliveries themselves, so that
//! an event costs no task wake and no channel; see [`desk`](super::desk).

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use switchboard_contract::reception::{
    Action, AsideFeed, Dispatch, Feed, Head, Input, Key, Lease, Place, Reception, Save, SetAside, State, Worker,
};
use switchboard_contract::storage::{CursorState, SubscriberSpec};
use switchboard_contract::{
    ConversationId, Error, ErrorKind, Position, Result, Sequence, Shard, SubscriberName, TenantId, Timestamp,
};
use tokio::sync::{Notify, watch};

use super::chunk::Chunk;
use super::filter::Filter;
use super::restore;
use super::shared::Shared;
use super::tail::Tail;
use super::types::{MissingRange, Recovery, SubscriptionState};

thread_local! {
    /// Where machines write what they want done. One for each thread, so that an idle subscriber keeps none.
    static ACTIONS: Cell<Vec<Action>> = const { Cell::new(Vec::new()) };
}

/// Chunks kept for what the machine has read and not handed out.
const HELD: usize = 512;

pub(super) struct Core {
    pub(super) tenant: TenantId,
    pub(super) name: SubscriberName,
    pub(super) mark: u32,
    pub(super) tails: Vec<Arc<Tail>>,
    inner: Mutex<Inner>,
    pub(super) notify: Notify,
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

/// What an input led to, apart from what the core sees to by itself.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) reads: Vec<Read>,
    pub(super) acked: usize,
    pub(super) stale: usize,
    pub(super) save: Option<Box<Save>>,
    pub(super) told: Vec<Told>,
}

/// Something to read from the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Walk { shard: Shard, after: Position, until: Position, limit: usize },
    Aside { key: Key, place: Place, from: Sequence, seen: Sequence, limit: usize },
    Survey { shard: Shard, after: Position, until: Position },
}

/// Something worth a notice.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Aside(SetAside),
    Skipped { place: Place, attempts: u32 },
    Restored(Key),
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

    /// Whether it has to be put into the queue of those with something to store.
    pub(super) fn enqueue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    pub(super) fn dequeue(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// Applies one input and sees to everything that needs nothing but this core.
    pub(super) fn apply(self: &Arc<Self>, shared: &Shared, inner: &mut Inner, input: Input<'_>) -> Step {
        let mut actions = ACTIONS.take();
        inner.machine.apply(shared.clock.now(), input, &mut actions);
        self.sort(shared, inner, actions)
    }

    /// Sorts what the machine asked for into what is done here and what the caller does.
    fn sort(self: &Arc<Self>, shared: &Shared, inner: &mut Inner, mut actions: Vec<Action>) -> Step {
        // A batch of deliveries is nearly all of it; a single action is none most of the time.
        let room = if actions.len() > 1 { actions.len() } else { 0 };
        let mut step = Step { dispatches: Vec::with_capacity(room), ..Step::default() };
        for action in actions.drain(..) {
            match action {
                Action::Deliver(dispatch) => step.dispatches.push(dispatch),
                Action::Read { shard, after, until, limit } => {
                    step.reads.push(Read::Walk { shard, after, until, limit });
                }
                Action::ReadAside { key, shard, from, seen, limit } => {
                    let place = inner.machine.set_aside_now().find(|record| record.key == key);
                    let place = place.map_or(Place { shard, position: Position::START }, |record| record.place);
                    step.reads.push(Read::Aside { key, place, from, seen, limit });
                }
                Action::Survey { shard, after, until } => step.reads.push(Read::Survey { shard, after, until }),
                Action::Unsaved => shared.has_unsaved(self),
                Action::Save(save) => step.save = Some(save),
                Action::State(state) => self.publish(inner, state),
                Action::Acked { acked, stale, .. } => {
                    step.acked += acked;
                    step.stale += stale;
                }
                Action::Aside(record) => step.told.push(Told::Aside(record)),
                Action::Skipped { place, attempts } => step.told.push(Told::Skipped { place, attempts }),
                Action::Restored(key) => step.told.push(Told::Restored(key)),
                Action::Missing { shard, after, until } => {
                    inner.missing.push(MissingRange { shard, first: after.next(), last: until });
                }
            }
        }
        ACTIONS.set(actions);
        let revocations = inner.revoked_before + inner.machine.revocations();
        self.revocations.store(revocations, Ordering::Release);
        if !step.told.is_empty() {
            shared.tell(self, inner, &step.told);
        }
        step
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

    /// Tells the machine how far the journal has come.
    #[inline]
    pub(super) fn tell_tails(self: &Arc<Self>, shared: &Shared, inner: &mut Inner) {
        for (index, tail) in self.tails.iter().enumerate() {
            let end = tail.end();
            if inner.told[index] < end {
                inner.told[index] = end;
                let _ = self.apply(shared, inner, Input::Tail(tail.shard, end));
            }
        }
    }

    /// Gives the machine a chunk of the journal.
    pub(super) fn feed(self: &Arc<Self>, shared: &Shared, inner: &mut Inner, shard: Shard, chunk: &Arc<Chunk>) {
        let now = shared.clock.now();
        let mut actions = ACTIONS.take();
        let Inner { machine, filter, held, .. } = &mut *inner;
        let some = |index: usize| filter.takes(&chunk.entries[index]);
        let all = |_: usize| true;
        let wanted: &dyn Fn(usize) -> bool = if filter.takes_all(chunk) { &all } else { &some };
        let feed = Feed { shard, after: chunk.after, until: chunk.until, heads: &chunk.heads, wanted };
        machine.apply(now, Input::Feed(feed), &mut actions);
        if !chunk.heads.is_empty() && !held.back().is_some_and(|last| Arc::ptr_eq(last, chunk)) {
            held.push_back(Arc::clone(chunk));
            if held.len() > HELD {
                held.pop_front();
            }
        }
        let _ = self.sort(shared, inner, actions);
    }

    /// Gives the machine a part of a conversation that is being redriven.
    pub(super) fn feed_aside(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut Inner,
        read: (Key, Shard, Sequence, Sequence),
        chunk: &Arc<Chunk>,
    ) {
        let now = shared.clock.now();
        let (key, shard, from, seen) = read;
        // The key is the one it was set aside under, whatever process that was.
        let heads: Vec<Head> = chunk.heads.iter().map(|head| Head { key, ..*head }).collect();
        let mut actions = ACTIONS.take();
        let Inner { machine, filter, held, .. } = &mut *inner;
        let wanted = |index: usize| filter.takes(&chunk.entries[index]);
        let feed = AsideFeed { key, shard, from, seen, heads: &heads, wanted: &wanted };
        machine.apply(now, Input::FeedAside(feed), &mut actions);
        if !chunk.heads.is_empty() {
            held.push_front(Arc::clone(chunk));
        }
        let _ = self.sort(shared, inner, actions);
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
