//! The ledger of several workers, or of one that has trouble: every conversation with something to do is known, and
//! out to one worker at a time.

mod answers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::direct::Direct;
use super::guards::Guards;
use super::slot::Slot;
use super::types::{Action, Key, Lease, Place, Worker};
use crate::ids::{Position, Sequence, Shard};
use crate::time::Timestamp;

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::reception) struct KeyHasher(u64);

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

pub(in crate::reception) type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

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
pub(in crate::reception) struct Conv {
    pub(in crate::reception) owner: Option<Worker>,
    /// Out, in the order of delivery.
    pub(in crate::reception) out: VecDeque<Place>,
    /// Next, in the order of delivery.
    pub(in crate::reception) queue: VecDeque<Place>,
    /// Live events that wait until the backlog of the conversation has been read (concurrent reception).
    pub(in crate::reception) later: VecDeque<Place>,
    /// Acknowledged although an earlier one is not.
    pub(in crate::reception) done: Vec<(Sequence, Place)>,
    pub(in crate::reception) held: Option<Timestamp>,
    listed: Listed,
}

impl Conv {
    fn is_over(&self) -> bool {
        self.out.is_empty() && self.queue.is_empty() && self.later.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
pub(in crate::reception) struct Shared {
    /// Events read and not done with.
    pub(in crate::reception) slots: BTreeMap<Place, Slot>,
    /// The same, of conversations being redriven: they have left the cursor.
    pub(in crate::reception) aside: BTreeMap<Place, Slot>,
    /// Acknowledged ranges above the mark, by their first place.
    pub(in crate::reception) acked: BTreeMap<Place, Position>,
    pub(in crate::reception) convs: KeyMap<Conv>,
    ready: VecDeque<Key>,
    own: BTreeMap<Worker, VecDeque<Key>>,
    held: BTreeSet<(Timestamp, Key)>,
    out: usize,
    later: usize,
}

/// What an acknowledgement did.
pub(in crate::reception) struct Done {
    pub(in crate::reception) slot: Slot,
    pub(in crate::reception) lease: Lease,
    /// It belonged to a conversation that is being redriven.
    pub(in crate::reception) aside: bool,
    /// An earlier one of its conversation is still open.
    pub(in crate::reception) behind: bool,
}

/// What is left of a conversation that was removed whole.
#[derive(Debug, Default)]
pub(in crate::reception) struct Removed {
    /// Its events in the order of their sequence, with their places.
    pub(in crate::reception) slots: Vec<(Place, Slot)>,
    /// What of it is acknowledged above the mark.
    pub(in crate::reception) done: Vec<(Sequence, Place)>,
}

impl Shared {
    /// Takes over from the ledger of one worker.
    pub(in crate::reception) fn from_direct(direct: &Direct, worker: Option<Worker>) -> Self {
        let mut shared = Self::default();
        let shard = direct.shard;
        let (acked, open): (Vec<Slot>, Vec<Slot>) = direct.slots().partition(|slot| slot.acked);
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

    pub(in crate::reception) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.aside.is_empty() && self.acked.is_empty() && self.convs.is_empty()
    }

    pub(in crate::reception) fn out(&self) -> usize {
        self.out
    }

    pub(in crate::reception) fn queued(&self) -> usize {
        (self.slots.len() + self.aside.len()).saturating_sub(self.out + self.later)
    }

    pub(in crate::reception) fn later(&self) -> usize {
        self.later
    }

    pub(in crate::reception) fn has_ready(&self) -> bool {
        self.ready.iter().any(|key| self.convs.get(key).is_some_and(|conv| conv.listed == Listed::Any))
    }

    pub(in crate::reception) fn first(&self, shard: Shard) -> Option<Position> {
        let from = Place { shard, position: Position::START };
        self.slots.range(from..).next().filter(|(place, _)| place.shard == shard).map(|(place, _)| place.position)
    }

    pub(in crate::reception) fn next_held(&self) -> Option<Timestamp> {
        self.held.first().map(|(at, _)| *at)
    }

    pub(in crate::reception) fn slot(&self, place: Place) -> Option<&Slot> {
        self.slots.get(&place).or_else(|| self.aside.get(&place))
    }

    pub(in crate::reception) fn slot_mut(&mut self, place: Place) -> Option<&mut Slot> {
        self.slots.get_mut(&place).or_else(|| self.aside.get_mut(&place))
    }

    /// Adds an event behind everything of its conversation. With `later` it waits for [`release_later`](Self::release_later).
    pub(in crate::reception) fn push(&mut self, shard: Shard, slot: Slot, aside: bool, later: bool) {
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
    pub(in crate::reception) fn release_later(&mut self, is_read: impl Fn(Key, Shard) -> bool) {
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
    pub(in crate::reception) fn list(&mut self, key: Key) {
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
    pub(in crate::reception) fn take(
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

    /// Settles a conversation after [`go_back`](Self::go_back): it waits until `until`, if not longer already.
    pub(in crate::reception) fn hold(&mut self, key: Key, until: Option<Timestamp>) {
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
    pub(in crate::reception) fn release_held(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.held.first().copied().filter(|(at, _)| *at <= now) {
            self.held.remove(&(at, key));
            if let Some(conv) = self.convs.get_mut(&key) {
                conv.held = None;
            }
            self.list(key);
        }
    }

    /// A conversation that waits for its retry, the one with the longest pause.
    pub(in crate::reception) fn longest_held(&self) -> Option<(Timestamp, Key)> {
        self.held.last().copied()
    }

    /// Places out under a lease, in order.
    pub(in crate::reception) fn places(&self, lease: Lease) -> Vec<Place> {
        let out = self.slots.iter().chain(&self.aside);
        out.filter(|(_, slot)| slot.lease == lease).map(|(place, _)| *place).collect()
    }

    /// Everything a worker has out, by conversation, in the order of delivery.
    pub(in crate::reception) fn out_to(&self, worker: Worker) -> Vec<Place> {
        let convs = self.convs.values().filter(|conv| conv.owner == Some(worker));
        let mut places: Vec<Place> = convs.filter_map(|conv| conv.out.front().copied()).collect();
        places.sort_by_key(|place| self.slot(*place).map(|slot| (slot.lease, *place)));
        places
    }

    /// The first open event of a conversation, by sequence.
    pub(in crate::reception) fn first_open(&self, key: Key) -> Option<(Place, Sequence)> {
        let conv = self.convs.get(&key)?;
        let open = conv.out.iter().chain(&conv.queue).chain(&conv.later);
        open.filter_map(|place| self.slot(*place).map(|slot| (*place, slot.sequence))).min_by_key(|(_, number)| *number)
    }

    /// A worker is gone.
    pub(in crate::reception) fn forget_worker(&mut self, worker: Worker) {
        self.own.remove(&worker);
    }
}
