//! The way out and back: deliveries, acknowledgements, failures and the end of workers.

use std::time::Duration;

use super::slot::Slot;
use super::types::{Action, Handle, Lease, Place, Worker};
use super::{Flow, Reception};
use crate::ids::Shard;
use crate::time::Timestamp;

impl Reception {
    pub(super) fn take(&mut self, worker: Worker, max: usize, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.workers.contains(&worker) {
            return;
        }
        self.limit_direct();
        let free = self.settings.max_in_flight.saturating_sub(self.flow.out());
        let budget = if self.guards.in_flight() { max.min(free) } else { max };
        let lease = self.leases.upcoming();
        let taken = match &mut self.flow {
            Flow::Direct(direct) => direct.take(worker, budget, lease, actions),
            Flow::Shared(shared) => shared.take(worker, budget, self.settings.page_size, lease, self.guards, actions),
        };
        if taken > 0 {
            self.leases.open(worker, now + self.settings.ack_deadline, taken);
        }
        if taken < budget {
            self.read_asides(actions);
            if self.room() == 0 && taken == 0 {
                self.spill(now, actions);
            }
            self.read(actions);
        }
    }

    /// The ledger of one worker must not grow behind an event that is never acknowledged.
    fn limit_direct(&mut self) {
        let limit = self.settings.max_in_flight.saturating_mul(2).saturating_add(self.settings.page_size);
        if let Flow::Direct(direct) = &self.flow
            && direct.exceeds(limit)
        {
            self.share();
        }
    }

    pub(super) fn page(
        &mut self,
        worker: Worker,
        cursor: Option<Lease>,
        max: usize,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        if let Some(lease) = cursor {
            self.ack_lease(worker, lease, actions);
        }
        let open: Vec<Lease> = self.leases.of(worker).collect();
        if open.is_empty() || !self.guards.page_repeats() {
            self.take(worker, max, now, actions);
            return;
        }
        let shared = match &self.flow {
            Flow::Direct(direct) => return direct.again(worker, &open, actions),
            Flow::Shared(shared) => shared,
        };
        let slots = shared.slots.iter().chain(&shared.aside);
        let mut again: Vec<(Shard, &Slot)> = slots.map(|(place, slot)| (place.shard, slot)).collect();
        again.retain(|(_, slot)| slot.is_out() && open.contains(&slot.lease));
        again.sort_by_key(|(_, slot)| (slot.lease, slot.turn));
        actions.extend(again.into_iter().map(|(shard, slot)| Action::Deliver(slot.dispatch(shard, worker))));
    }

    pub(super) fn ack(&mut self, handles: &[Handle], actions: &mut Vec<Action>) {
        let mut acked = 0;
        for handle in handles {
            acked += usize::from(self.ack_one(*handle, actions));
        }
        self.acked(acked, handles.len() - acked, actions);
    }

    fn acked(&mut self, acked: usize, stale: usize, actions: &mut Vec<Action>) {
        if acked > 0 {
            self.saving.dirty = true;
            self.forget_passed();
        }
        actions.push(Action::Acked { acked, stale, save: self.saving.ticket() });
    }

    fn ack_one(&mut self, handle: Handle, actions: &mut Vec<Action>) -> bool {
        let hole = self.hole(handle.place.shard);
        match &mut self.flow {
            Flow::Direct(direct) => {
                let Some((lease, failed)) = direct.ack(handle, self.guards) else { return false };
                self.leases.close(lease, 1);
                if failed {
                    self.forget_failures(handle.place);
                }
            }
            Flow::Shared(shared) => {
                let Some(done) = shared.ack(handle, hole, self.guards) else { return false };
                self.leases.close(done.lease, 1);
                if done.slot.failures > 0 {
                    self.forget_failures(handle.place);
                }
                if done.aside {
                    self.aside_acked(&done.slot, handle.place, done.behind, actions);
                }
            }
        }
        true
    }

    /// Ranges that the mark has passed need no memory.
    fn forget_passed(&mut self) {
        if matches!(self.flow, Flow::Direct(_)) {
            return;
        }
        let marks: Vec<_> = self.lanes.iter().map(|lane| (lane.shard, self.mark(lane))).collect();
        if let Flow::Shared(shared) = &mut self.flow {
            for (shard, mark) in marks {
                shared.forget_acked(shard, mark);
            }
        }
    }

    pub(super) fn ack_through(&mut self, handle: Handle, actions: &mut Vec<Action>) {
        let mut handles = vec![handle];
        match &self.flow {
            Flow::Direct(direct) => handles.extend(direct.before(handle)),
            Flow::Shared(shared) => {
                let last = shared.slot(handle.place).filter(|slot| slot.lease == handle.lease);
                let conv = last.filter(|last| last.sequence.0 != 0).and_then(|last| shared.convs.get(&last.key));
                for place in conv.into_iter().flat_map(|conv| &conv.out) {
                    if let (Some(slot), Some(last)) = (shared.slot(*place), last)
                        && slot.sequence < last.sequence
                    {
                        handles.push(Handle { place: *place, lease: slot.lease });
                    }
                }
            }
        }
        self.ack(&handles, actions);
    }

    /// Everything open under a lease, if it is this worker's.
    pub(super) fn ack_lease(&mut self, worker: Worker, lease: Lease, actions: &mut Vec<Action>) {
        let owner = self.leases.worker(lease);
        if owner.is_none() || (owner != Some(worker) && self.guards.cursor_owner()) {
            self.acked(0, 0, actions);
            return;
        }
        match &mut self.flow {
            Flow::Direct(direct) => {
                let mut failed = Vec::new();
                let count = direct.ack_lease(lease, &mut failed);
                self.leases.close(lease, count);
                for place in failed {
                    self.forget_failures(place);
                }
                self.acked(count, 0, actions);
            }
            Flow::Shared(shared) => {
                let handles: Vec<Handle> =
                    shared.places(lease).into_iter().map(|place| Handle { place, lease }).collect();
                self.ack(&handles, actions);
            }
        }
    }

    pub(super) fn nack(&mut self, handle: Handle, after: Option<Duration>, now: Timestamp, actions: &mut Vec<Action>) {
        if self.is_out_with(handle) {
            self.fail(handle.place, after, true, now, actions);
        }
    }

    pub(super) fn give_back(&mut self, handle: Handle) {
        if self.is_out_with(handle) {
            self.share();
            self.take_back(handle.place, None);
        }
    }

    pub(super) fn is_out_with(&self, handle: Handle) -> bool {
        let lease = match &self.flow {
            Flow::Direct(direct) if direct.shard == handle.place.shard => direct.lease(handle.place.position),
            Flow::Direct(_) => None,
            Flow::Shared(shared) => shared.slot(handle.place).filter(|slot| slot.is_out()).map(|slot| slot.lease),
        };
        lease.is_some_and(|lease| lease == handle.lease || !self.guards.lease_matches())
    }

    /// Takes a delivery and those behind it back; the conversation goes on at `until`, or at once.
    fn take_back(&mut self, place: Place, until: Option<Timestamp>) {
        let Flow::Shared(shared) = &mut self.flow else { return };
        let Some(key) = shared.slot(place).map(|slot| slot.key) else { return };
        self.revocations += 1;
        for lease in shared.go_back(place, self.guards) {
            self.leases.close(lease, 1);
        }
        shared.hold(key, until);
    }

    /// A delivery failed: it comes again, or the poison policy applies.
    fn fail(
        &mut self,
        place: Place,
        after: Option<Duration>,
        counted: bool,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        self.share();
        let Flow::Shared(shared) = &mut self.flow else { return };
        let Some(slot) = shared.slot_mut(place).filter(|slot| slot.is_out()) else { return };
        slot.failures = slot.failures.saturating_add(u32::from(counted));
        let (key, failures) = (slot.key, slot.failures);
        if counted {
            self.attempts.insert(place, failures);
            self.saving.attempts.insert(place, failures);
            self.saving.dirty = true;
        }
        let pause = after.unwrap_or_else(|| self.settings.retry_delay(failures));
        let over = counted && failures >= self.settings.max_attempts && self.guards.poison();
        let waits = counted && !over && !pause.is_zero() && self.guards.pause();
        self.take_back(place, waits.then(|| now + pause));
        if over {
            self.poison(key, place, now, actions);
        }
    }

    pub(super) fn forget_failures(&mut self, place: Place) {
        if self.attempts.remove(&place).is_some() {
            self.saving.attempts.insert(place, 0);
            self.saving.dirty = true;
        }
    }

    pub(super) fn gone(&mut self, place: Place, actions: &mut Vec<Action>) {
        self.share();
        self.skip(place, actions);
        self.forget_passed();
    }

    /// An event is done with although nobody acknowledged it.
    pub(super) fn skip(&mut self, place: Place, actions: &mut Vec<Action>) {
        let hole = self.hole(place.shard);
        let Flow::Shared(shared) = &mut self.flow else { return };
        let aside = shared.aside.contains_key(&place);
        let Some((slot, behind)) = shared.skip(place, hole) else { return };
        shared.hold(slot.key, None);
        if slot.is_out() {
            self.leases.close(slot.lease, 1);
            self.revocations += 1;
        }
        self.forget_failures(place);
        self.saving.dirty = true;
        if aside {
            self.aside_acked(&slot, place, behind, actions);
        }
    }

    pub(super) fn leave(&mut self, worker: Worker, lost: bool, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(index) = self.workers.iter().position(|other| *other == worker) else { return };
        if self.guards.leave_returns() {
            self.take_everything_back(worker, lost, now, actions);
        }
        self.workers.remove(index);
        if let Flow::Shared(shared) = &mut self.flow {
            shared.forget_worker(worker);
        }
    }

    fn take_everything_back(&mut self, worker: Worker, lost: bool, now: Timestamp, actions: &mut Vec<Action>) {
        if let Flow::Direct(direct) = &mut self.flow
            && !lost
        {
            let open: Vec<Lease> = self.leases.of(worker).collect();
            for lease in open {
                self.leases.close(lease, usize::MAX);
            }
            direct.revoke_all();
            self.revocations += 1;
            return;
        }
        self.share();
        let places = self.flow.shared().map(|shared| shared.out_to(worker)).unwrap_or_default();
        for (index, place) in places.into_iter().enumerate() {
            // What it worked on when it died may be what killed it.
            self.fail(place, Some(Duration::ZERO), lost && index == 0, now, actions);
        }
    }

    pub(super) fn tick(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.guards.deadline() {
            for lease in self.leases.expired(now) {
                self.expire(lease, now, actions);
            }
        }
        if let Flow::Shared(shared) = &mut self.flow {
            shared.release_held(now);
        }
        self.start_drives(now);
    }

    /// The first event of each conversation under the lease has failed; what is behind it comes again with it.
    fn expire(&mut self, lease: Lease, now: Timestamp, actions: &mut Vec<Action>) {
        self.share();
        while let Some(place) = self.flow.shared().and_then(|shared| {
            let key = shared.places(lease).first().and_then(|place| shared.slot(*place)).map(|slot| slot.key)?;
            let out = &shared.convs.get(&key)?.out;
            out.iter().find(|place| shared.slot(**place).is_some_and(|slot| slot.lease == lease)).copied()
        }) {
            self.fail(place, Some(Duration::ZERO), true, now, actions);
        }
    }
}
