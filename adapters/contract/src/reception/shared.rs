//! The ledger of several workers, or of one that has trouble: every conversation with something to do is known, and
//! out to one worker at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::direct::{Direct, Slot};
use super::guards::Guards;
use super::types::{Action, Handle, Key, Lease, Place, Worker};
use crate::ids::{Position, Sequence, Shard};
use crate::time::Timestamp;

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

/// Where a conversation waits to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    No,
    Any,
    Own,
}

/// A conversation with something to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Conv {
    pub(super) owner: Option<Worker>,
    /// Out, in the order of delivery.
    pub(super) out: VecDeque<Place>,
    /// Next, in the order of delivery.
    pub(super) queue: VecDeque<Place>,
    /// Live events that wait until the backlog of the conversation has been read (concurrent reception).
    pub(super) later: VecDeque<Place>,
    /// Acknowledged although an earlier one is not.
    pub(super) done: Vec<(Sequence, Place)>,
    pub(super) held: Option<Timestamp>,
    listed: Listed,
}

impl Conv {
    fn is_over(&self) -> bool {
        self.out.is_empty() && self.queue.is_empty() && self.later.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// Events read and not done with.
    pub(super) slots: BTreeMap<Place, Slot>,
    /// The same, of conversations being redriven: they have left the cursor.
    pub(super) aside: BTreeMap<Place, Slot>,
    /// Acknowledged ranges above the mark, by their first place.
    pub(super) acked: BTreeMap<Place, Position>,
    pub(super) convs: KeyMap<Conv>,
    ready: VecDeque<Key>,
    own: BTreeMap<Worker, VecDeque<Key>>,
    held: BTreeSet<(Timestamp, Key)>,
    out: usize,
    later: usize,
}

/// What an acknowledgement did.
pub(super) struct Done {
    pub(super) slot: Slot,
    pub(super) lease: Lease,
    /// It belonged to a conversation that is being redriven.
    pub(super) aside: bool,
    /// An earlier one of its conversation is still open.
    pub(super) behind: bool,
}

/// What is left of a conversation that was removed whole.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Its events in the order of their sequence, with their places.
    pub(super) slots: Vec<(Place, Slot)>,
    /// What of it is acknowledged above the mark.
    pub(super) done: Vec<(Sequence, Place)>,
}

impl Shared {
    /// Takes over from the ledger of one worker.
    pub(super) fn from_direct(direct: Direct, worker: Option<Worker>) -> Self {
        let mut shared = Self::default();
        let shard = direct.shard;
        let (acked, open): (Vec<Slot>, Vec<Slot>) = direct.slots.into_iter().partition(|slot| slot.acked);
        for slot in open {
            let place = Place { shard, position: slot.position };
            let conv = shared.convs.entry(slot.key).or_default();
            if slot.is_out() {
                conv.owner = worker;
                conv.out.push_back(place);
                shared.out += 1;
            } else {
                conv.queue.push_back(place);
            }
            shared.slots.insert(place, slot);
            if !slot.is_out() {
                shared.list(slot.key);
            }
        }
        for slot in acked {
            let place = Place { shard, position: slot.position };
            if let Some(conv) = shared.convs.get_mut(&slot.key) {
                conv.done.push((slot.sequence, place));
            }
            shared.add_acked(place, (Position::START, Position::START));
        }
        shared
    }

    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.aside.is_empty() && self.acked.is_empty() && self.convs.is_empty()
    }

    pub(super) fn out(&self) -> usize {
        self.out
    }

    pub(super) fn queued(&self) -> usize {
        (self.slots.len() + self.aside.len()).saturating_sub(self.out + self.later)
    }

    pub(super) fn later(&self) -> usize {
        self.later
    }

    pub(super) fn has_ready(&self) -> bool {
        self.ready.iter().any(|key| self.convs.get(key).is_some_and(|conv| conv.listed == Listed::Any))
    }

    pub(super) fn first(&self, shard: Shard) -> Option<Position> {
        let from = Place { shard, position: Position::START };
        self.slots.range(from..).next().filter(|(place, _)| place.shard == shard).map(|(place, _)| place.position)
    }

    pub(super) fn next_held(&self) -> Option<Timestamp> {
        self.held.first().map(|(at, _)| *at)
    }

    pub(super) fn slot(&self, place: Place) -> Option<&Slot> {
        self.slots.get(&place).or_else(|| self.aside.get(&place))
    }

    pub(super) fn slot_mut(&mut self, place: Place) -> Option<&mut Slot> {
        self.slots.get_mut(&place).or_else(|| self.aside.get_mut(&place))
    }

    /// Adds an event behind everything of its conversation. With `later` it waits for [`release_later`](Self::release_later).
    pub(super) fn push(&mut self, shard: Shard, slot: Slot, aside: bool, later: bool) {
        let place = Place { shard, position: slot.position };
        let conv = self.convs.entry(slot.key).or_default();
        if later {
            conv.later.push_back(place);
            self.later += 1;
        } else {
            conv.queue.push_back(place);
        }
        if aside {
            self.aside.insert(place, slot)
        } else {
            self.slots.insert(place, slot)
        };
        self.list(slot.key);
    }

    /// The backlog of these conversations has been read: their live events may follow.
    pub(super) fn release_later(&mut self, is_read: impl Fn(Key, Shard) -> bool) {
        if self.later == 0 {
            return;
        }
        let waiting = self.convs.iter().filter_map(|(key, conv)| conv.later.front().map(|place| (*key, place.shard)));
        let read: Vec<Key> = waiting.filter(|(key, shard)| is_read(*key, *shard)).map(|(key, _)| key).collect();
        for key in read {
            if let Some(conv) = self.convs.get_mut(&key) {
                self.later -= conv.later.len();
                let later = std::mem::take(&mut conv.later);
                conv.queue.extend(later);
                self.list(key);
            }
        }
    }

    /// Puts a conversation where it will be found, if it has something to give.
    pub(super) fn list(&mut self, key: Key) {
        let Some(conv) = self.convs.get_mut(&key) else { return };
        if conv.listed != Listed::No || conv.queue.is_empty() || conv.held.is_some() {
            return;
        }
        match conv.owner {
            None => {
                conv.listed = Listed::Any;
                self.ready.push_back(key);
            }
            Some(owner) => {
                conv.listed = Listed::Own;
                self.own.entry(owner).or_default().push_back(key);
            }
        }
    }

    fn unlist(&mut self, key: Key) {
        let Some(conv) = self.convs.get_mut(&key) else { return };
        match std::mem::take(&mut conv.listed) {
            Listed::No => {}
            Listed::Any => self.ready.retain(|other| *other != key),
            Listed::Own => {
                if let Some(own) = conv.owner.and_then(|owner| self.own.get_mut(&owner)) {
                    own.retain(|other| *other != key);
                }
            }
        }
    }

    /// Hands out up to `max`, at most `page` of one conversation in a row.
    pub(super) fn take(
        &mut self,
        worker: Worker,
        max: usize,
        page: usize,
        lease: Lease,
        guards: Guards,
        actions: &mut Vec<Action>,
    ) -> usize {
        let mut taken = 0;
        while taken < max {
            let own = self.own.get_mut(&worker);
            let mut next = self.ready.pop_front().or_else(|| own.and_then(VecDeque::pop_front));
            if next.is_none() && !guards.one_worker() {
                next = self.own.values_mut().find_map(VecDeque::pop_front);
            }
            let Some(key) = next else { break };
            let max = (max - taken).min(page);
            taken += self.take_from(key, worker, max, (lease, taken), actions);
        }
        self.out += taken;
        taken
    }

    fn take_from(
        &mut self,
        key: Key,
        worker: Worker,
        max: usize,
        (lease, turn): (Lease, usize),
        actions: &mut Vec<Action>,
    ) -> usize {
        let Some(conv) = self.convs.get_mut(&key) else { return 0 };
        conv.listed = Listed::No;
        conv.owner = Some(worker);
        let count = max.min(conv.queue.len());
        for (index, place) in conv.queue.drain(..count).enumerate() {
            let slot = match self.slots.get_mut(&place) {
                Some(slot) => Some(slot),
                None => self.aside.get_mut(&place),
            };
            if let Some(slot) = slot {
                slot.lease = lease;
                slot.turn = (turn + index) as u32;
                slot.attempt += 1;
                actions.push(Action::Deliver(slot.dispatch(place.shard, worker)));
            }
            conv.out.push_back(place);
        }
        self.list(key);
        count
    }

    /// Takes one out of the ledger because it is acknowledged. `hole` is what is unread of its shard.
    pub(super) fn ack(&mut self, handle: Handle, hole: (Position, Position), guards: Guards) -> Option<Done> {
        let slot = *self.slot(handle.place)?;
        if !slot.is_out() || (guards.lease_matches() && slot.lease != handle.lease) {
            return None;
        }
        let aside = self.slots.remove(&handle.place).is_none();
        if aside {
            self.aside.remove(&handle.place);
        }
        self.add_acked(handle.place, hole);
        self.out -= 1;
        let behind = self.leave_conv(&slot, handle.place);
        self.tidy(slot.key);
        Some(Done { slot, lease: slot.lease, aside, behind })
    }

    /// Takes an acknowledged event out of its conversation. Returns whether an earlier one is still open; then the
    /// conversation remembers it.
    fn leave_conv(&mut self, slot: &Slot, place: Place) -> bool {
        let Some(conv) = self.convs.get_mut(&slot.key) else { return false };
        if let Some(index) = conv.out.iter().position(|other| *other == place) {
            conv.out.remove(index);
        }
        if slot.sequence.0 == 0 {
            return false;
        }
        let (slots, aside) = (&self.slots, &self.aside);
        let number = |place: &Place| slots.get(place).or_else(|| aside.get(place)).map(|slot| slot.sequence);
        let open = conv.out.iter().chain(&conv.queue);
        let behind = open.filter_map(number).any(|other| other < slot.sequence);
        if behind {
            conv.done.push((slot.sequence, place));
        }
        behind
    }

    /// Frees a conversation from its worker when nothing of it is out, and forgets it when nothing is left.
    fn tidy(&mut self, key: Key) {
        let Some(conv) = self.convs.get_mut(&key) else { return };
        if !conv.out.is_empty() {
            return;
        }
        if conv.is_over() {
            if let Some(at) = conv.held {
                self.held.remove(&(at, key));
            }
            self.unlist(key);
            self.convs.remove(&key);
            return;
        }
        if conv.owner.is_some() {
            self.unlist(key);
            if let Some(conv) = self.convs.get_mut(&key) {
                conv.owner = None;
            }
            self.list(key);
        }
    }

    /// Takes back a delivery and what its worker holds of the conversation behind it; they go to the front again, in
    /// order. Returns the leases that were closed.
    pub(super) fn go_back(&mut self, place: Place, guards: Guards) -> Vec<Lease> {
        let Some(key) = self.slot(place).map(|slot| slot.key) else { return Vec::new() };
        let Some(conv) = self.convs.get_mut(&key) else { return Vec::new() };
        let Some(index) = conv.out.iter().position(|other| *other == place) else { return Vec::new() };
        let back: Vec<Place> = if guards.go_back() {
            conv.out.split_off(index).into()
        } else {
            conv.out.remove(index).into_iter().collect()
        };
        for place in back.iter().rev() {
            conv.queue.push_front(*place);
        }
        let mut leases = Vec::with_capacity(back.len());
        for place in &back {
            if let Some(slot) = self.slot_mut(*place) {
                leases.push(std::mem::take(&mut slot.lease));
            }
        }
        self.out -= leases.len();
        leases
    }

    /// Settles a conversation after [`go_back`](Self::go_back): it waits until `until`, if not longer already.
    pub(super) fn hold(&mut self, key: Key, until: Option<Timestamp>) {
        self.unlist(key);
        let Some(conv) = self.convs.get_mut(&key) else { return };
        if let Some(until) = until
            && conv.held.is_none_or(|held| held < until)
        {
            if let Some(old) = conv.held {
                self.held.remove(&(old, key));
            }
            conv.held = Some(until);
            self.held.insert((until, key));
        }
        self.tidy(key);
        self.list(key);
    }

    /// Frees the conversations whose pause is over.
    pub(super) fn release_held(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.held.first().copied().filter(|(at, _)| *at <= now) {
            self.held.remove(&(at, key));
            if let Some(conv) = self.convs.get_mut(&key) {
                conv.held = None;
            }
            self.list(key);
        }
    }

    /// A conversation that waits for its retry, the one with the longest pause.
    pub(super) fn longest_held(&self) -> Option<(Timestamp, Key)> {
        self.held.last().copied()
    }

    /// Places out under a lease, in order.
    pub(super) fn places(&self, lease: Lease) -> Vec<Place> {
        let out = self.slots.iter().chain(&self.aside);
        out.filter(|(_, slot)| slot.lease == lease).map(|(place, _)| *place).collect()
    }

    /// Everything a worker has out, by conversation, in the order of delivery.
    pub(super) fn out_to(&self, worker: Worker) -> Vec<Place> {
        let convs = self.convs.values().filter(|conv| conv.owner == Some(worker));
        let mut places: Vec<Place> = convs.filter_map(|conv| conv.out.front().copied()).collect();
        places.sort_by_key(|place| self.slot(*place).map(|slot| (slot.lease, *place)));
        places
    }

    /// Removes a whole conversation.
    pub(super) fn remove_conv(&mut self, key: Key) -> Removed {
        self.unlist(key);
        let Some(conv) = self.convs.remove(&key) else { return Removed::default() };
        if let Some(at) = conv.held {
            self.held.remove(&(at, key));
        }
        self.later -= conv.later.len();
        let mut slots = Vec::new();
        for place in conv.out.into_iter().chain(conv.queue).chain(conv.later) {
            if let Some(slot) = self.slots.remove(&place).or_else(|| self.aside.remove(&place)) {
                self.out -= usize::from(slot.is_out());
                slots.push((place, slot));
            }
        }
        slots.sort_by_key(|(_, slot)| slot.sequence);
        Removed { slots, done: conv.done }
    }

    /// Removes one event for good, whatever its state. Returns it.
    pub(super) fn remove(&mut self, place: Place) -> Option<Slot> {
        let slot = self.slots.remove(&place).or_else(|| self.aside.remove(&place))?;
        self.out -= usize::from(slot.is_out());
        if let Some(conv) = self.convs.get_mut(&slot.key) {
            let later = conv.later.len();
            conv.out.retain(|other| *other != place);
            conv.queue.retain(|other| *other != place);
            conv.later.retain(|other| *other != place);
            self.later -= later - conv.later.len();
            if conv.queue.is_empty() {
                self.unlist(slot.key);
            }
        }
        self.tidy(slot.key);
        Some(slot)
    }

    /// Removes one event as if it were acknowledged. Returns it, and whether an earlier one of its conversation is
    /// still open.
    pub(super) fn skip(&mut self, place: Place, hole: (Position, Position)) -> Option<(Slot, bool)> {
        let slot = *self.slot(place)?;
        let behind = self.leave_conv(&slot, place);
        self.remove(place);
        self.add_acked(place, hole);
        Some((slot, behind))
    }

    /// Remembers an acknowledged place, joined to its neighbours where nothing undone lies between.
    fn add_acked(&mut self, place: Place, hole: (Position, Position)) {
        let clear = |after: Position, until: Position| after.max(hole.0) >= until.min(hole.1);
        let (mut first, mut last) = (place, place.position);
        let below = self.slots.range(..place).next_back().map(|(place, _)| *place);
        if let Some((start, end)) = self.acked.range(..place).next_back().map(|(start, end)| (*start, *end))
            && start.shard == place.shard
            && below.is_none_or(|below| below.shard != place.shard || below.position < start.position)
            && clear(end, place.position)
        {
            first = start;
            last = last.max(end);
        }
        let above = self.slots.range(place..).next().map(|(place, _)| *place);
        if let Some((start, end)) = self.acked.range(place..).next().map(|(start, end)| (*start, *end))
            && start.shard == place.shard
            && above.is_none_or(|above| above > start)
            && clear(place.position, start.position)
        {
            self.acked.remove(&start);
            last = last.max(end);
        }
        self.acked.insert(first, last);
    }

    pub(super) fn is_acked(&self, place: Place) -> bool {
        let before = self.acked.range(..=place).next_back();
        before.is_some_and(|(start, end)| start.shard == place.shard && place.position <= *end)
    }

    /// An event that was acknowledged before a restart: its conversation remembers it as long as it has open ones.
    pub(super) fn note_done(&mut self, key: Key, sequence: Sequence, place: Place) {
        if let Some(conv) = self.convs.get_mut(&key) {
            conv.done.push((sequence, place));
        }
    }

    /// Forgets ranges at or below the mark.
    pub(super) fn forget_acked(&mut self, shard: Shard, mark: Position) {
        while let Some((start, end)) = self.acked.range(Place { shard, position: Position::START }..).next()
            && start.shard == shard
            && *end <= mark
        {
            let start = *start;
            self.acked.remove(&start);
        }
    }

    pub(super) fn ranges(&self, shard: Shard) -> Vec<(Position, Position)> {
        let from = Place { shard, position: Position::START };
        let of_shard = self.acked.range(from..).take_while(|(start, _)| start.shard == shard);
        of_shard.map(|(start, end)| (start.position, *end)).collect()
    }

    /// The first open event of a conversation, by sequence.
    pub(super) fn first_open(&self, key: Key) -> Option<(Place, Sequence)> {
        let conv = self.convs.get(&key)?;
        let open = conv.out.iter().chain(&conv.queue).chain(&conv.later);
        open.filter_map(|place| self.slot(*place).map(|slot| (*place, slot.sequence))).min_by_key(|(_, number)| *number)
    }

    /// A worker is gone.
    pub(super) fn forget_worker(&mut self, worker: Worker) {
        self.own.remove(&worker);
    }
}
