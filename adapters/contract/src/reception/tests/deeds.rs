//! What workers, time, the store and fate do to the machine.

use std::sync::Arc;
use std::time::Duration;

use super::drive::{Life, Read};
use crate::ids::Position;
use crate::reception::*;

impl Life {
    pub(super) fn tell_tail(&mut self) -> Result<(), String> {
        let shard = self.shards()[self.chance.below(self.journal.shards.len())];
        let tail = self.journal.tail(shard);
        self.apply(Input::Tail(shard, tail)).map(drop)
    }

    pub(super) fn join(&mut self) -> Result<(), String> {
        if self.workers.len() >= 3 {
            return Ok(());
        }
        if self.workers.is_empty() {
            for shard in self.shards() {
                let trimmed = self.journal.trimmed[usize::from(shard.0)];
                self.apply(Input::Trimmed(shard, trimmed))?;
                self.apply(Input::Tail(shard, self.journal.tail(shard)))?;
            }
            for shard in self.shards() {
                let tail = self.journal.tail(shard);
                self.check.begin_walk(shard, tail, self.machine.is_fresh(shard), &self.journal);
            }
        }
        let worker = Worker(self.next_worker);
        self.next_worker += 1;
        self.workers.push(worker);
        self.apply(Input::Join(worker)).map(drop)
    }

    fn worker(&mut self) -> Option<Worker> {
        if self.workers.is_empty() { None } else { Some(self.workers[self.chance.below(self.workers.len())]) }
    }

    pub(super) fn leave(&mut self) -> Result<(), String> {
        let Some(worker) = self.worker() else { return Ok(()) };
        self.workers.retain(|other| *other != worker);
        let lost = self.chance.one_in(2);
        let first = self.check.first_of(worker);
        self.check.out.retain(|_, out| out.dispatch.worker != worker);
        if let Some(first) = first.filter(|_| lost) {
            *self.check.failures.entry(first).or_default() += 1;
        }
        self.apply(Input::Leave { worker, lost }).map(drop)
    }

    pub(super) fn take(&mut self) -> Result<(), String> {
        let Some(worker) = self.worker() else { return Ok(()) };
        let max = 1 + self.chance.below(6);
        self.apply(Input::Take(worker, max)).map(drop)
    }

    pub(super) fn page(&mut self) -> Result<(), String> {
        let Some(worker) = self.worker() else { return Ok(()) };
        let cursor = if self.chance.one_in(2) { self.any_lease() } else { None };
        let mine: Vec<Dispatch> = self.check.dispatched(|dispatch| dispatch.worker == worker);
        let (acked, open): (Vec<Dispatch>, Vec<Dispatch>) =
            mine.into_iter().partition(|dispatch| Some(dispatch.handle.lease) == cursor);
        let acked: Vec<Place> = acked.iter().map(|dispatch| dispatch.handle.place).collect();
        self.acknowledge(&acked);
        let max = 1 + self.chance.below(6);
        let actions = self.apply(Input::Page { worker, cursor, max })?;
        let page: Vec<Handle> = actions.iter().flat_map(Action::dispatches).map(|dispatch| dispatch.handle).collect();
        let same = page.len() == open.len() && open.iter().all(|dispatch| page.contains(&dispatch.handle));
        if !open.is_empty() && !same {
            return Err(format!("a repeated pull gave {page:?} instead of the open {open:?}"));
        }
        expect_acked(&actions, acked.len())
    }

    fn any_lease(&mut self) -> Option<Lease> {
        let open = self.check.dispatched(|_| true);
        if open.is_empty() { None } else { Some(open[self.chance.below(open.len())].handle.lease) }
    }

    pub(super) fn acknowledge(&mut self, places: &[Place]) {
        for place in places {
            self.check.out.remove(place);
            self.check.acked.insert(*place);
            self.check.failures.remove(place);
        }
    }

    pub(super) fn ack_something(&mut self) -> Result<(), String> {
        let out = self.check.dispatched(|_| true);
        if out.is_empty() {
            return Ok(());
        }
        let picked = if self.chance.one_in(2) { out[0] } else { out[self.chance.below(out.len())] };
        let way = self.chance.below(4);
        let with_it = |other: &&Dispatch| match way {
            0 => other.handle.lease == picked.handle.lease,
            1 if picked.sequence.0 != 0 => other.key == picked.key && other.sequence <= picked.sequence,
            _ => other.handle == picked.handle,
        };
        let places: Vec<Place> = out.iter().filter(with_it).map(|other| other.handle.place).collect();
        self.acknowledge(&places);
        let actions = match way {
            0 => self.apply(Input::AckLease(picked.worker, picked.handle.lease))?,
            1 => self.apply(Input::AckThrough(picked.handle))?,
            _ => self.apply(Input::Ack(&[picked.handle]))?,
        };
        expect_acked(&actions, places.len())
    }

    pub(super) fn nack_something(&mut self) -> Result<(), String> {
        let out = self.check.dispatched(|_| true);
        if out.is_empty() {
            return Ok(());
        }
        let picked = out[self.chance.below(out.len())];
        let place = picked.handle.place;
        self.check.revoke(place);
        if self.chance.one_in(5) {
            return self.apply(Input::Return(picked.handle)).map(drop);
        }
        let failures = self.check.failures.get(&place).copied().unwrap_or(0) + 1;
        self.check.failures.insert(place, failures);
        let pause = if self.chance.one_in(2) { Some(Duration::from_secs(self.chance.below(5) as u64)) } else { None };
        let wait = pause.unwrap_or_else(|| self.settings.retry_delay(failures));
        if failures < self.settings.max_attempts && !wait.is_zero() {
            let at = self.check.not_before.entry(picked.key).or_insert(self.now);
            *at = (*at).max(self.now + wait);
        }
        self.apply(Input::Nack(picked.handle, pause)).map(drop)
    }

    /// A late acknowledgement of an attempt that is over, or of somebody else's page.
    pub(super) fn stale_ack(&mut self) -> Result<(), String> {
        if self.old.is_empty() {
            return Ok(());
        }
        let handle = self.old[self.chance.below(self.old.len())];
        if self.check.out.get(&handle.place).is_some_and(|out| out.dispatch.handle == handle) {
            return Ok(());
        }
        let actions = if self.chance.one_in(3) {
            let stranger = Worker(self.next_worker + 7);
            let lease = self.any_lease().unwrap_or(handle.lease);
            self.apply(Input::AckLease(stranger, lease))?
        } else {
            self.apply(Input::Ack(&[handle]))?
        };
        expect_acked(&actions, 0)
    }

    pub(super) fn pass_time(&mut self, seconds: u64) -> Result<(), String> {
        self.now = self.now + Duration::from_secs(seconds);
        let now = self.now;
        let mut leases: Vec<Lease> =
            self.check.out.values().filter(|out| out.deadline <= now).map(|out| out.dispatch.handle.lease).collect();
        leases.sort_unstable();
        leases.dedup();
        for lease in leases {
            while let Some(first) = self.check.first_under(lease) {
                self.check.revoke(first);
                *self.check.failures.entry(first).or_default() += 1;
            }
        }
        self.check.not_before.retain(|_, at| *at > now);
        self.apply(Input::Tick).map(drop)
    }

    /// A read arrives: any of those under way, some of them twice.
    pub(super) fn some_read(&mut self) -> Result<(), String> {
        if self.reads.is_empty() {
            return Ok(());
        }
        let index = self.chance.below(self.reads.len());
        let read = if self.chance.one_in(6) { self.reads[index].clone() } else { self.reads.swap_remove(index) };
        self.arrive(&read)
    }

    pub(super) fn arrive(&mut self, read: &Read) -> Result<(), String> {
        match read {
            Read::Walk { shard, after, until, events } => {
                let heads: Arc<[Head]> = events.iter().map(|event| event.head).collect();
                let some = |index: usize| events[index].wanted;
                let all = events.iter().all(|event| event.wanted);
                let wanted = if all { Wanted::All } else { Wanted::Those(&some) };
                let feed = Feed { shard: *shard, after: *after, until: *until, heads: &heads, wanted };
                self.apply(Input::Feed(feed)).map(drop)
            }
            Read::Aside { key, shard, from, seen, events } => {
                let heads: Vec<Head> = events.iter().map(|event| event.head).collect();
                let wanted = |index: usize| events[index].wanted;
                let (key, shard, from, seen) = (*key, *shard, *from, *seen);
                let feed = AsideFeed { key, shard, from, seen, heads: &heads, wanted: &wanted };
                self.apply(Input::FeedAside(feed)).map(drop)
            }
            Read::Survey { shard, until, found, complete } => {
                let (shard, until, complete) = (*shard, *until, *complete);
                self.apply(Input::Surveyed { shard, until, conversations: found, complete }).map(drop)
            }
        }
    }

    /// The store writes, then the machine hears of it; in between anything may happen.
    pub(super) fn save(&mut self) -> Result<(), String> {
        match &mut self.saving {
            None => self.apply(Input::Collect).map(drop),
            Some(saving) if !saving.written => {
                saving.written = true;
                self.stored.acked.clone_from(&saving.acked);
                self.stored.skipped.clone_from(&saving.skipped);
                self.stored.write(&saving.save)
            }
            Some(_) => {
                self.saving = None;
                self.apply(Input::Saved).map(drop)
            }
        }
    }

    pub(super) fn odd_thing(&mut self) -> Result<(), String> {
        match self.chance.below(5) {
            0 | 1 => {
                self.trouble = !self.trouble;
                self.apply(Input::Trouble(self.trouble)).map(drop)
            }
            2 => {
                let out = self.check.dispatched(|_| true);
                let Some(gone) = out.first().map(|dispatch| dispatch.handle.place) else { return Ok(()) };
                self.check.out.remove(&gone);
                self.check.skipped.insert(gone);
                self.check.failures.remove(&gone);
                self.apply(Input::Gone(gone)).map(drop)
            }
            3 => self.apply(Input::Flush).map(drop),
            _ => self.apply(Input::Settings(self.settings.clone())).map(drop),
        }
    }

    /// Somebody pushes what was not asked for.
    pub(super) fn push(&mut self) -> Result<(), String> {
        let shard = self.shards()[self.chance.below(self.journal.shards.len())];
        let tail = self.journal.tail(shard);
        let after = Position(self.chance.below(tail.0 as usize + 1) as u64);
        if self.journal.is_trimmed(Place { shard, position: after.next() }) {
            return Ok(());
        }
        let events = self.journal.read(shard, after, tail);
        self.arrive(&Read::Walk { shard, after, until: tail, events })
    }

    pub(super) fn redrive(&mut self) -> Result<(), String> {
        let keys: Vec<Key> = self.check.aside.keys().copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let key = keys[self.chance.below(keys.len())];
        let failed = self.machine.set_aside_now().find(|record| record.key == key && record.why == Why::Failed);
        if let Some(place) = failed.map(|record| record.place).filter(|_| self.chance.one_in(4)) {
            // Somebody gives up what it failed for.
            self.check.skipped.insert(place);
            self.check.failures.remove(&place);
            return self.apply(Input::PassOver(key)).map(drop);
        }
        self.apply(Input::Redrive(key)).map(drop)
    }

    /// Everything in memory is gone; sometimes history went too, or a replay was asked for.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        self.crashed_in.push(self.machine.state());
        self.saving = None;
        self.reads.clear();
        self.workers.clear();
        self.history.clear();
        self.trouble = false;
        self.state = State::Connecting;
        self.lease_base += 1 << 20;
        if self.chance.one_in(6) {
            self.trim();
        } else if self.chance.one_in(6) {
            self.replay();
        }
        self.check.restart(&self.stored);
        let restored = self.stored.restored(self.history.clone());
        let machine = Reception::restore(self.settings.clone(), restored, Lease(self.lease_base), self.now);
        self.machine = machine.with_guards(self.guards);
        Ok(())
    }

    fn trim(&mut self) {
        for shard in self.shards() {
            let tail = self.journal.tail(shard).0 as usize;
            let trimmed = &mut self.journal.trimmed[usize::from(shard.0)];
            *trimmed = (*trimmed).max(Position(self.chance.below(tail + 1) as u64));
        }
    }

    fn replay(&mut self) {
        for cursor in &mut self.stored.cursors {
            let trimmed = self.journal.trimmed[usize::from(cursor.shard.0)];
            let back = Position(self.chance.below(cursor.low.0 as usize + 1) as u64).max(trimmed);
            if back >= cursor.low {
                continue;
            }
            self.history.push((cursor.shard, cursor.low));
            cursor.low = back;
            cursor.acked.clear();
        }
        if self.history.is_empty() {
            return;
        }
        self.stored.aside.clear();
        self.stored.attempts.clear();
        let cursors = self.stored.cursors.clone();
        let behind = |place: &Place| place.position <= cursors[usize::from(place.shard.0)].low;
        for cursor in &mut self.stored.cursors {
            cursor.acked.clear();
        }
        self.stored.acked.retain(behind);
        self.stored.skipped.retain(behind);
        // Who asks for a replay from some place has given up what was set aside before it.
        let given_up: Vec<Place> = self.journal.all().map(|(place, _)| place).filter(behind).collect();
        self.stored.skipped.extend(given_up.iter().filter(|place| !self.stored.acked.contains(place)));
    }
}

pub(super) fn expect_acked(actions: &[Action], expected: usize) -> Result<(), String> {
    let count = |action: &Action| match action {
        Action::Acked { acked, .. } => *acked,
        _ => 0,
    };
    let acked: usize = actions.iter().map(count).sum();
    if acked == expected { Ok(()) } else { Err(format!("{acked} acknowledgements took effect, not {expected}")) }
}
