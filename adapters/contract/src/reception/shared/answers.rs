//! What was answered, given back or taken out of the ledger.

use super::{Done, Removed, Shared};
use crate::ids::{Position, Sequence, Shard};
use crate::reception::guards::Guards;
use crate::reception::slot::Slot;
use crate::reception::types::{Handle, Key, Lease, Place};

impl Shared {
    /// Takes one out of the ledger because it is acknowledged. `hole` is what is unread of its shard.
    pub(in crate::reception) fn ack(
        &mut self,
        handle: Handle,
        hole: (Position, Position),
        guards: Guards,
    ) -> Option<Done> {
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
    pub(super) fn tidy(&mut self, key: Key) {
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
    pub(in crate::reception) fn go_back(&mut self, place: Place, guards: Guards) -> Vec<Lease> {
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

    /// Removes a whole conversation.
    pub(in crate::reception) fn remove_conv(&mut self, key: Key) -> Removed {
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
    pub(in crate::reception) fn remove(&mut self, place: Place) -> Option<Slot> {
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
    pub(in crate::reception) fn skip(&mut self, place: Place, hole: (Position, Position)) -> Option<(Slot, bool)> {
        let slot = *self.slot(place)?;
        let behind = self.leave_conv(&slot, place);
        self.remove(place);
        self.add_acked(place, hole);
        Some((slot, behind))
    }

    /// Remembers an acknowledged place, joined to its neighbours where nothing undone lies between.
    pub(in crate::reception) fn add_acked(&mut self, place: Place, hole: (Position, Position)) {
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

    pub(in crate::reception) fn is_acked(&self, place: Place) -> bool {
        let before = self.acked.range(..=place).next_back();
        before.is_some_and(|(start, end)| start.shard == place.shard && place.position <= *end)
    }

    /// An event that was acknowledged before a restart: its conversation remembers it as long as it has open ones.
    pub(in crate::reception) fn note_done(&mut self, key: Key, sequence: Sequence, place: Place) {
        if let Some(conv) = self.convs.get_mut(&key) {
            conv.done.push((sequence, place));
        }
    }

    /// Forgets ranges at or below the mark.
    pub(in crate::reception) fn forget_acked(&mut self, shard: Shard, mark: Position) {
        while let Some((start, end)) = self.acked.range(Place { shard, position: Position::START }..).next()
            && start.shard == shard
            && *end <= mark
        {
            let start = *start;
            self.acked.remove(&start);
        }
    }

    pub(in crate::reception) fn ranges(&self, shard: Shard) -> Vec<(Position, Position)> {
        let from = Place { shard, position: Position::START };
        let of_shard = self.acked.range(from..).take_while(|(start, _)| start.shard == shard);
        of_shard.map(|(start, end)| (start.position, *end)).collect()
    }
}
