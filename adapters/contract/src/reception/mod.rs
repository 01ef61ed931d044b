//! Offline first, then the acknowledgement, then online: the machine that walks a subscriber from its last
//! acknowledgement to the present and keeps it there.
//!
//! It owns one subscriber's progress: what is out, to which worker, what is acknowledged, what is set aside. It does
//! no I/O and knows no clock, channel, store or connection: its owner feeds it [`Input`]s with the time they happened
//! and carries out the [`Action`]s it answers with. The owner may be a hub with its consumers or a gate with its
//! users' devices.
//!
//! It promises, whatever the order of the inputs and wherever its owner crashes and restores it from the last save:
//! - every wanted event is delivered until it is acknowledged, and never after the acknowledgement is durable;
//! - within a conversation deliveries are in order of sequence (under newest-first: pages descending, ascending within
//!   a page), a failed event comes again before anything behind it, and one worker has the conversation at a time;
//! - under `ack_online` nothing is delivered as online before everything offline is acknowledged;
//! - the cursor moves on acknowledgement only, and only when the store has confirmed it;
//! - memory is bounded by `max_in_flight` and `page_size`, and by 16 × `max_in_flight` during a newest-first walk.
//!
//! A conversation set aside is outside of all this until it is redriven; then its order holds again.

mod aside;
mod direct;
mod feeding;
mod guards;
mod lane;
mod leases;
mod outcome;
mod saving;
mod shared;
mod slot;
#[cfg(test)]
mod tests;
mod types;
mod walk;

use std::collections::BTreeMap;

pub use types::{
    ACKNOWLEDGED, Action, AsideFeed, DeliveryKind, Dispatch, DispatchRun, Feed, Handle, Head, Input, Key, Lease, Place,
    Save, SetAside, Settings, State, Wanted, Why, Worker,
};

use aside::Aside;
use direct::Direct;
use guards::Guards;
use lane::Lane;
use leases::Leases;
use saving::Saving;
use shared::Shared;

use crate::ids::{Position, Shard};
use crate::storage::ShardCursor;
use crate::time::Timestamp;

/// The ledger of what is read and not done with.
#[derive(Clone, Debug)]
enum Flow {
    /// One worker, one shard, nothing out of the ordinary: by far the usual case, and the fast one.
    Direct(Direct),
    /// Everything else.
    Shared(Shared),
}

impl Flow {
    fn shared(&self) -> Option<&Shared> {
        match self {
            Self::Shared(shared) => Some(shared),
            Self::Direct(_) => None,
        }
    }

    #[inline]
    fn out(&self) -> usize {
        match self {
            Self::Direct(direct) => direct.out(),
            Self::Shared(shared) => shared.out(),
        }
    }

    fn first(&self, shard: Shard) -> Option<Position> {
        match self {
            Self::Direct(direct) => direct.first(),
            Self::Shared(shared) => shared.first(shard),
        }
    }
}

/// What a subscriber had stored, to go on from.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// One cursor for every shard there is.
    pub cursors: Vec<ShardCursor>,
    /// Up to here of each shard a replay was asked for; what is missing has none.
    pub history: Vec<(Shard, Position)>,
    /// Conversations set aside.
    pub aside: Vec<SetAside>,
    /// As in [`Save::attempts`].
    pub attempts: Vec<(Place, u32)>,
}

/// One subscriber's progress. See the [module](self).
#[derive(Clone, Debug)]
pub struct Reception {
    settings: Settings,
    lanes: Vec<Lane>,
    workers: Vec<Worker>,
    flow: Flow,
    leases: Leases,
    asides: BTreeMap<Key, Aside>,
    /// Failures of events that are not done with, and what is acknowledged in a conversation set aside.
    attempts: BTreeMap<Place, u32>,
    saving: Saving,
    /// Under concurrent reception: the conversations of the backlog were asked for.
    surveying: bool,
    online: bool,
    /// The acknowledgement has reached the tail; the save with this number makes it durable.
    reached: Option<u64>,
    trouble: bool,
    state: State,
    /// How often deliveries were taken back.
    revocations: u64,
    guards: Guards,
}

impl Reception {
    /// Goes on from what was stored. `first_lease` must be higher than any lease given before, also before a restart.
    pub fn restore(settings: Settings, restored: Restored, first_lease: Lease, now: Timestamp) -> Self {
        let mut lanes = Vec::with_capacity(restored.cursors.len());
        let mut shared = Shared::default();
        for cursor in &restored.cursors {
            let mut lane = Lane::new(cursor.shard, cursor.low);
            let history = restored.history.iter().find(|(shard, _)| *shard == cursor.shard);
            lane.history = history.map_or(Position::START, |(_, position)| *position);
            lanes.push(lane);
            for (first, last) in &cursor.acked {
                shared.acked.insert(Place { shard: cursor.shard, position: *first }, *last);
            }
        }
        let asides = restored.aside.into_iter().map(|record| (record.key, Aside::restore(record, now)));
        let mut machine = Self {
            settings,
            lanes,
            workers: Vec::new(),
            flow: Flow::Shared(shared),
            leases: Leases::new(first_lease.0),
            asides: asides.collect(),
            attempts: restored.attempts.into_iter().collect(),
            saving: Saving::default(),
            surveying: false,
            online: false,
            reached: None,
            trouble: false,
            state: State::Connecting,
            revocations: 0,
            guards: Guards::ALL,
        };
        machine.start_drives(now);
        machine
    }

    /// Something happened; what is to be done is appended to `actions`.
    pub fn apply(&mut self, now: Timestamp, input: Input<'_>, actions: &mut Vec<Action>) {
        match input {
            Input::Join(worker) => self.join(worker),
            Input::Leave { worker, lost } => self.leave(worker, lost, now, actions),
            Input::Tail(shard, tail) => self.raise(shard, tail),
            Input::Trimmed(shard, until) => self.trimmed(shard, until, actions),
            Input::Surveyed { shard, until, conversations, complete } => {
                self.surveyed(shard, until, conversations, complete);
            }
            Input::Feed(feed) => self.feed(&feed),
            Input::FeedAside(feed) => self.feed_aside(feed, actions),
            Input::Take(worker, max) => self.take(worker, max, now, actions),
            Input::Page { worker, cursor, max } => self.page(worker, cursor, max, now, actions),
            Input::Ack(handles) => self.ack(handles, actions),
            Input::AckThrough(handle) => self.ack_through(handle, actions),
            Input::AckLease(worker, lease) => self.ack_lease(worker, lease, actions),
            Input::Nack(handle, after) => self.nack(handle, after, now, actions),
            Input::Return(handle) => self.give_back(handle),
            Input::Gone(place) => self.gone(place, actions),
            Input::Redrive(key) => self.redrive(key, now, actions),
            Input::PassOver(key) => self.pass_over(key, now, actions),
            Input::Collect => self.collect(actions),
            Input::Saved => self.saved(),
            Input::Flush => self.flush(),
            Input::Trouble(trouble) => self.trouble = trouble,
            Input::Tick => self.tick(now, actions),
            Input::Settings(settings) => self.change_settings(settings),
        }
        self.settle(actions);
        self.ask_for_save(actions);
    }

    /// Where the subscriber stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Deliveries out and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.flow.out()
    }

    /// The stored low-water mark of a shard.
    pub fn low(&self, shard: Shard) -> Position {
        self.lane(shard).map_or(Position::START, |lane| lane.low)
    }

    /// Positions between what is done with and the end, over all shards.
    pub fn lag(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.tail.0.saturating_sub(self.mark(lane).0)).sum()
    }

    /// The number of the last save confirmed.
    pub fn saved_number(&self) -> u64 {
        self.saving.saved
    }

    /// The save that must be confirmed for everything done so far to be durable.
    pub fn ticket(&self) -> u64 {
        self.saving.ticket()
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Whether a worker that asks now would get something without anything being read.
    pub fn has_ready(&self) -> bool {
        let room = self.flow.out() < self.settings.max_in_flight;
        room && match &self.flow {
            Flow::Direct(direct) => direct.queued() > 0,
            Flow::Shared(shared) => shared.has_ready(),
        }
    }

    /// What is set aside.
    pub fn set_aside_now(&self) -> impl Iterator<Item = SetAside> + '_ {
        self.asides.values().map(|aside| aside.record)
    }

    /// The open deliveries of a worker under its oldest lease: its page, if it pulls.
    pub fn open_lease(&self, worker: Worker) -> Option<Lease> {
        self.leases.of(worker).next()
    }

    /// Whether a delivery is still out, so that handling it now would not overtake anything.
    pub fn is_open(&self, handle: Handle) -> bool {
        self.is_out_with(handle)
    }

    /// Grows whenever deliveries that were out are taken back: until then, all are still open.
    pub fn revocations(&self) -> u64 {
        self.revocations
    }

    /// Gives back memory that is not in use. Worth it when nothing is likely to happen soon.
    pub fn relax(&mut self) {
        if let Flow::Direct(direct) = &mut self.flow {
            direct.relax();
        }
        self.leases.relax();
        self.workers.shrink_to_fit();
    }

    /// When [`Input::Tick`] is next due. It may come earlier or later than that without harm.
    pub fn next_tick(&self) -> Option<Timestamp> {
        let held = self.flow.shared().and_then(Shared::next_held);
        [self.leases.due(), held, self.next_drive()].into_iter().flatten().min()
    }

    fn lane(&self, shard: Shard) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.shard == shard)
    }

    fn hole(&self, shard: Shard) -> (Position, Position) {
        self.lane(shard).map_or_else(Default::default, |lane| lane.hole)
    }

    /// Everything up to here is done with.
    #[inline]
    fn mark(&self, lane: &Lane) -> Position {
        let unread = if lane.has_hole() { lane.hole.0 } else { lane.live };
        match self.flow.first(lane.shard) {
            Some(first) if self.guards.mark_stops() => unread.min(Position(first.0 - 1)),
            _ => unread,
        }
    }

    fn cursor(&self, lane: &Lane) -> ShardCursor {
        let low = self.mark(lane).max(lane.low);
        let mut acked = match &self.flow {
            Flow::Direct(direct) => direct.ranges(),
            Flow::Shared(shared) => shared.ranges(lane.shard),
        };
        // Removed history may end in the middle of a range.
        acked.retain(|(_, last)| *last > low);
        if let Some(first) = acked.first_mut() {
            first.0 = first.0.max(low.next());
        }
        if !self.guards.ranges() {
            acked.clear();
        }
        ShardCursor { shard: lane.shard, low, acked }
    }
}

#[cfg(test)]
impl Reception {
    /// Nothing of this shard is open.
    pub(crate) fn is_fresh(&self, shard: Shard) -> bool {
        self.flow.first(shard).is_none()
    }

    pub(crate) fn with_guards(mut self, guards: Guards) -> Self {
        self.guards = guards;
        self
    }
}
