//! The ledger of one worker while nothing is out of the ordinary: events in order of position, nothing looked up by
//! conversation.

use std::collections::VecDeque;

use super::guards::Guards;
use super::types::{Action, DeliveryKind, Dispatch, Handle, Head, Key, Lease, Place, Worker};
use crate::ids::{Position, Sequence, Shard};

/// An event that is read and not done with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) position: Position,
    pub(super) sequence: Sequence,
    pub(super) key: Key,
    /// Under which it is out; 0 while it is not.
    pub(super) lease: Lease,
    pub(super) attempt: u32,
    pub(super) failures: u32,
    /// Its turn under its lease.
    pub(super) turn: u32,
    pub(super) kind: DeliveryKind,
    /// Acknowledged, and kept because an earlier one is not.
    pub(super) acked: bool,
}

impl Slot {
    #[inline]
    pub(super) fn new(head: &Head, kind: DeliveryKind, failures: u32) -> Self {
        Self {
            position: head.position,
            sequence: head.sequence,
            key: head.key,
            lease: Lease(0),
            attempt: failures,
            failures,
            turn: 0,
            kind,
            acked: false,
        }
    }

    #[inline]
    pub(super) fn is_out(&self) -> bool {
        self.lease.0 != 0 && !self.acked
    }

    #[inline]
    pub(super) fn dispatch(&self, shard: Shard, worker: Worker) -> Dispatch {
        Dispatch {
            worker,
            handle: Handle { place: Place { shard, position: self.position }, lease: self.lease },
            sequence: self.sequence,
            key: self.key,
            attempt: self.attempt,
            kind: self.kind,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Direct {
    pub(super) shard: Shard,
    pub(super) slots: VecDeque<Slot>,
    /// `slots[..sent]` are out or acknowledged.
    sent: usize,
    out: usize,
    /// Slots that are acknowledged and kept.
    kept: usize,
}

impl Direct {
    pub(super) fn new(shard: Shard) -> Self {
        Self { shard, slots: VecDeque::new(), sent: 0, out: 0, kept: 0 }
    }

    pub(super) fn out(&self) -> usize {
        self.out
    }

    pub(super) fn queued(&self) -> usize {
        self.slots.len() - self.sent
    }

    pub(super) fn first(&self) -> Option<Position> {
        self.slots.front().map(|slot| slot.position)
    }

    #[inline]
    pub(super) fn push(&mut self, slot: Slot) {
        debug_assert!(self.slots.back().is_none_or(|last| last.position < slot.position), "positions ascend");
        self.slots.push_back(slot);
    }

    /// Hands out up to `max`.
    pub(super) fn take(&mut self, worker: Worker, max: usize, lease: Lease, actions: &mut Vec<Action>) -> usize {
        let mut taken = 0;
        while taken < max {
            let Some(slot) = self.slots.get_mut(self.sent) else { break };
            self.sent += 1;
            if slot.acked {
                continue;
            }
            slot.lease = lease;
            slot.turn = taken as u32;
            slot.attempt += 1;
            actions.push(Action::Deliver(slot.dispatch(self.shard, worker)));
            taken += 1;
        }
        self.out += taken;
        taken
    }

    /// The slot with this position.
    fn index(&self, position: Position) -> Option<usize> {
        if self.slots.front().is_some_and(|slot| slot.position == position) {
            return Some(0);
        }
        self.slots.binary_search_by_key(&position, |slot| slot.position).ok()
    }

    /// The lease the event is out with.
    pub(super) fn lease(&self, position: Position) -> Option<Lease> {
        self.index(position).map(|index| &self.slots[index]).filter(|slot| slot.is_out()).map(|slot| slot.lease)
    }

    /// Acknowledges one. Returns the lease it was out with and whether failures of it are remembered.
    pub(super) fn ack(&mut self, handle: Handle, guards: Guards) -> Option<(Lease, bool)> {
        if handle.place.shard != self.shard {
            return None;
        }
        let slot = self.index(handle.place.position).and_then(|index| self.slots.get_mut(index))?;
        if !slot.is_out() || (guards.lease_matches() && slot.lease != handle.lease) {
            return None;
        }
        slot.acked = true;
        let answer = (slot.lease, slot.failures > 0);
        self.out -= 1;
        self.kept += 1;
        self.drop_acked();
        Some(answer)
    }

    /// Acknowledges everything out under a lease; `failed` gets the places whose failures are remembered.
    pub(super) fn ack_lease(&mut self, lease: Lease, failed: &mut Vec<Place>) -> usize {
        let mut count = 0;
        for slot in self.slots.iter_mut().take(self.sent) {
            if slot.lease == lease && !slot.acked {
                slot.acked = true;
                count += 1;
                if slot.failures > 0 {
                    failed.push(Place { shard: self.shard, position: slot.position });
                }
            } else if slot.lease > lease && !slot.acked {
                break;
            }
        }
        self.out -= count;
        self.kept += count;
        self.drop_acked();
        count
    }

    #[inline]
    fn drop_acked(&mut self) {
        if self.out == 0 && self.sent == self.slots.len() {
            self.slots.clear();
            (self.sent, self.kept) = (0, 0);
        }
        while self.slots.front().is_some_and(|slot| slot.acked) {
            self.slots.pop_front();
            self.sent = self.sent.saturating_sub(1);
            self.kept -= 1;
        }
        // There are many subscribers, and most have nothing to do most of the time.
        if self.slots.is_empty() && self.slots.capacity() > 16 {
            self.slots = VecDeque::new();
        }
    }

    /// Everything out comes again. Returns nothing: the caller forgets the leases.
    pub(super) fn revoke_all(&mut self) {
        for slot in &mut self.slots {
            if !slot.acked {
                slot.lease = Lease(0);
            }
        }
        self.sent = 0;
        self.out = 0;
        self.drop_acked();
    }

    /// Acknowledged positions above the first that is not, as ranges.
    pub(super) fn ranges(&self) -> Vec<(Position, Position)> {
        let mut ranges: Vec<(Position, Position)> = Vec::new();
        let (mut joined, mut left) = (false, self.kept);
        for slot in &self.slots {
            if left == 0 {
                break;
            }
            left -= usize::from(slot.acked);
            match ranges.last_mut() {
                Some(last) if slot.acked && joined => last.1 = slot.position,
                _ if slot.acked => ranges.push((slot.position, slot.position)),
                _ => {}
            }
            joined = slot.acked;
        }
        ranges
    }
}
