//! The promises, checked from outside at every step.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Journal, Stored};
use crate::ids::{Position, Sequence, Shard};
use crate::reception::*;
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) dispatch: Dispatch,
    pub(super) deadline: Timestamp,
    /// Its turn among the first deliveries of its conversation.
    pub(super) turn: u64,
}

/// What a consumer and an auditor would remember.
#[derive(Clone, Debug, Default)]
pub(super) struct Checker {
    pub(super) out: BTreeMap<Place, Out>,
    /// Acknowledged as far as the machine in memory knows.
    pub(super) acked: BTreeSet<Place>,
    pub(super) skipped: BTreeSet<Place>,
    pub(super) aside: BTreeMap<Key, SetAside>,
    pub(super) failures: BTreeMap<Place, u32>,
    pub(super) missing: Vec<(u16, Position, Position)>,
    pub(super) not_before: BTreeMap<Key, Timestamp>,
    turns: BTreeMap<Key, BTreeMap<Place, u64>>,
    next_turn: u64,
    runs: BTreeMap<Key, Vec<(Sequence, Sequence)>>,
    /// Set aside since the last restart, or then: outside of the order of the walk.
    odd: BTreeSet<Key>,
    /// Conversations that were set aside at some time, over restarts.
    set_aside: BTreeSet<Key>,
    pub(super) walk_tails: Vec<Position>,
    online_seen: bool,
}

macro_rules! ensure {
    ($cond:expr, $($arg:tt)*) => { if !$cond { return Err(format!($($arg)*)); } };
}

impl Checker {
    pub(super) fn new(shards: usize) -> Self {
        Self { walk_tails: vec![Position::START; shards], ..Self::default() }
    }

    /// The machine is restored: what was only in memory is gone.
    pub(super) fn restart(&mut self, stored: &Stored) {
        *self = Self {
            acked: stored.acked.clone(),
            skipped: stored.skipped.clone(),
            aside: stored.aside.clone(),
            failures: stored.attempts.iter().filter(|(_, n)| **n != ACKNOWLEDGED).map(|(p, n)| (*p, *n)).collect(),
            missing: std::mem::take(&mut self.missing),
            walk_tails: self.walk_tails.clone(),
            odd: stored.aside.keys().copied().collect(),
            set_aside: std::mem::take(&mut self.set_aside),
            ..Self::default()
        };
    }

    /// Somebody is there again: a walk with nothing left over is a new one.
    pub(super) fn begin_walk(&mut self, shard: Shard, tail: Position, fresh: bool, journal: &Journal) {
        self.walk_tails[usize::from(shard.0)] = if fresh { tail } else { Position::START };
        if fresh {
            let here = |key: &Key| journal.conversation(*key).iter().any(|(place, _)| place.shard == shard);
            self.runs.retain(|key, _| !here(key));
        }
    }

    pub(super) fn was_set_aside(&self, key: Key) -> bool {
        self.set_aside.contains(&key)
    }

    pub(super) fn is_missing(&self, place: Place) -> bool {
        let inside = |(shard, after, until): &(u16, Position, Position)| {
            place.shard.0 == *shard && *after < place.position && place.position <= *until
        };
        self.missing.iter().any(inside)
    }

    pub(super) fn is_settled(&self, place: Place) -> bool {
        self.acked.contains(&place) || self.skipped.contains(&place) || self.is_missing(place)
    }

    pub(super) fn deliver(
        &mut self,
        d: &Dispatch,
        journal: &Journal,
        stored: &Stored,
        settings: &Settings,
        state: State,
        now: Timestamp,
    ) -> Result<(), String> {
        let place = d.handle.place;
        let event = journal.get(place);
        ensure!(event.wanted, "unwanted {d:?}");
        ensure!(event.head.key == d.key && event.head.sequence == d.sequence, "confused {d:?}");
        // A redrive after a newest-first walk repeats newer pages.
        if !(settings.newest_first() && self.odd.contains(&d.key)) {
            ensure!(!stored.acked.contains(&place), "again after its durable acknowledgement: {d:?}");
            ensure!(!self.acked.contains(&place), "again after its acknowledgement: {d:?}");
            ensure!(!self.skipped.contains(&place), "skipped, and delivered: {d:?}");
        }
        if let Some(at) = self.not_before.get(&d.key) {
            ensure!(now >= *at, "before its pause is over: {d:?}");
        }
        if let Some(aside) = self.aside.get(&d.key) {
            ensure!(aside.why != Why::Failed, "set aside, and delivered: {d:?}");
        }
        for (other, out) in &self.out {
            let same = out.dispatch.key == d.key && *other != place;
            ensure!(!same || out.dispatch.worker == d.worker, "one conversation at two workers: {d:?}");
        }
        self.check_kind(d, settings, state)?;
        let turn = *self.turns.entry(d.key).or_default().entry(place).or_insert(self.next_turn);
        for (other, out) in &self.out {
            let behind = out.dispatch.key == d.key && *other != place && out.turn > turn;
            ensure!(!behind, "{d:?} comes again while {other:?} behind it is out");
        }
        if d.sequence.0 != 0 {
            let odd = self.odd.contains(&d.key) || self.aside.contains_key(&d.key);
            if settings.newest_first() && !odd {
                self.check_pages(d, journal, settings, turn == self.next_turn)?;
            } else if !settings.newest_first() {
                self.check_ascending(d, journal)?;
            }
        }
        self.next_turn += u64::from(turn == self.next_turn);
        self.out.insert(place, Out { dispatch: *d, deadline: now + settings.ack_deadline, turn });
        Ok(())
    }

    fn check_kind(&mut self, d: &Dispatch, settings: &Settings, state: State) -> Result<(), String> {
        let redriven = self.aside.contains_key(&d.key);
        if settings.concurrent() || redriven {
            return Ok(());
        }
        if d.kind == DeliveryKind::Online {
            ensure!(state == State::Online, "online while {state}: {d:?}");
            let waiting = self
                .out
                .values()
                .find(|out| out.dispatch.kind != DeliveryKind::Online && !self.odd.contains(&out.dispatch.key));
            ensure!(waiting.is_none(), "{d:?} is online and precedes the offline {waiting:?}");
            self.online_seen = true;
        } else {
            let odd = self.odd.contains(&d.key);
            ensure!(!self.online_seen || odd, "offline after online: {d:?}");
        }
        Ok(())
    }

    /// Oldest first: everything before it in its conversation is settled or with the same worker.
    fn check_ascending(&self, d: &Dispatch, journal: &Journal) -> Result<(), String> {
        for (place, event) in journal.conversation(d.key) {
            let before = event.wanted && event.head.sequence < d.sequence;
            let fine = self.is_settled(place) || self.out.contains_key(&place) || journal.is_trimmed(place);
            ensure!(!before || fine, "{d:?} before {place:?} ({:?})", event.head.sequence);
        }
        Ok(())
    }

    /// Newest first: ascending within a page, pages descending, what came later behind them all.
    fn check_pages(&mut self, d: &Dispatch, journal: &Journal, settings: &Settings, first: bool) -> Result<(), String> {
        if !first {
            return Ok(());
        }
        let conv = journal.conversation(d.key);
        let turns = &self.turns[&d.key];
        let open = |from: Sequence, until: Sequence| {
            let between = |event: &Sequence| *event > from && *event < until;
            conv.iter().any(|(place, event)| {
                let seen = turns.contains_key(place) || self.is_settled(*place) || journal.is_trimmed(*place);
                event.wanted && between(&event.head.sequence) && !seen
            })
        };
        let runs = self.runs.get(&d.key).cloned().unwrap_or_default();
        let Some(current) = runs.last().copied() else {
            let tail = self.walk_tails[usize::from(d.handle.place.shard.0)];
            let rest = conv.iter().filter(|(place, event)| {
                let there = event.wanted && !self.is_settled(*place) && !journal.is_trimmed(*place);
                there && place.position <= tail && event.head.sequence >= d.sequence
            });
            let pages = rest.count();
            let whole = tail.0 <= settings.window() && !settings.concurrent();
            ensure!(!whole || pages <= settings.page_size, "{d:?} is not of the newest page: {pages} from there");
            self.runs.insert(d.key, vec![(d.sequence, d.sequence)]);
            return Ok(());
        };
        let follows = d.sequence > current.1 && !open(current.1, d.sequence);
        let lowest = runs.iter().map(|run| run.0).min().unwrap_or_default();
        let above = runs.len().checked_sub(2).map(|index| runs[index].0);
        let older = d.sequence < lowest && above.is_none_or(|above| !open(current.1, above));
        let highest = runs.iter().map(|run| run.1).max().unwrap_or_default();
        let newer = d.sequence > highest && !open(Sequence(0), d.sequence);
        ensure!(follows || older || newer, "{d:?} is out of order after {runs:?}");
        let mut runs = runs;
        if follows && let Some(last) = runs.last_mut() {
            last.1 = d.sequence;
        } else if newer {
            runs = vec![(d.sequence, d.sequence)];
        } else {
            runs.push((d.sequence, d.sequence));
        }
        self.runs.insert(d.key, runs);
        Ok(())
    }

    /// What is out, in the order of place.
    pub(super) fn dispatched(&self, which: impl Fn(&Dispatch) -> bool) -> Vec<Dispatch> {
        self.out.values().map(|out| out.dispatch).filter(which).collect()
    }

    /// What a worker worked on: the first of its conversations' first deliveries.
    pub(super) fn first_of(&self, worker: Worker) -> Option<Place> {
        let mut firsts: BTreeMap<Key, Out> = BTreeMap::new();
        for out in self.out.values().filter(|out| out.dispatch.worker == worker) {
            let first = firsts.entry(out.dispatch.key).or_insert(*out);
            if out.turn < first.turn {
                *first = *out;
            }
        }
        let handles = firsts.values().map(|out| out.dispatch.handle);
        handles.min_by_key(|handle| (handle.lease, handle.place)).map(|handle| handle.place)
    }

    /// The first delivery, by turn, of some conversation that has deliveries under the lease.
    pub(super) fn first_under(&self, lease: Lease) -> Option<Place> {
        let under = || self.out.values().filter(|out| out.dispatch.handle.lease == lease);
        let key = under().min_by_key(|out| out.dispatch.handle.place)?.dispatch.key;
        let same = under().filter(|out| out.dispatch.key == key);
        same.min_by_key(|out| out.turn).map(|out| out.dispatch.handle.place)
    }

    /// A delivery ends without an acknowledgement, and with it those behind it at the same worker.
    pub(super) fn revoke(&mut self, place: Place) {
        let Some(gone) = self.out.remove(&place) else { return };
        self.out.retain(|_, out| out.dispatch.key != gone.dispatch.key || out.turn < gone.turn);
    }

    pub(super) fn set_aside(&mut self, record: SetAside) {
        if record.why != Why::Redriving {
            self.out.retain(|_, out| out.dispatch.key != record.key);
            self.not_before.remove(&record.key);
            self.turns.remove(&record.key);
        }
        if record.why == Why::Redriving {
            self.failures.remove(&record.place);
        }
        self.odd.insert(record.key);
        self.set_aside.insert(record.key);
        self.aside.insert(record.key, record);
    }

    pub(super) fn state(
        &mut self,
        state: State,
        stored: &Stored,
        journal: &Journal,
        settings: &Settings,
    ) -> Result<(), String> {
        if state != State::Online {
            self.online_seen = false;
            return Ok(());
        }
        for out in self.out.values().filter(|out| out.dispatch.kind == DeliveryKind::Offline) {
            let outside = self.odd.contains(&out.dispatch.key);
            ensure!(outside || self.aside.contains_key(&out.dispatch.key), "online with {out:?} open");
        }
        if !settings.concurrent() {
            let usual = |place: &&Place| !self.odd.contains(&journal.get(**place).head.key);
            let unsaved = self.acked.difference(&stored.acked).find(usual);
            ensure!(unsaved.is_none(), "online, and the acknowledgement of {unsaved:?} is not durable");
        }
        Ok(())
    }

    /// A save may only pass over what is settled or set aside.
    pub(super) fn save(&self, save: &Save, stored: &Stored, journal: &Journal) -> Result<(), String> {
        let mut after = stored.clone();
        after.write(save)?;
        for (place, event) in journal.all().filter(|(_, event)| event.wanted) {
            let aside = after.aside.get(&event.head.key);
            let kept = aside.is_some_and(|record| event.head.sequence >= record.from);
            let fine = self.is_settled(place) || kept || journal.is_trimmed(place);
            ensure!(!after.covers(place) || fine, "the cursor passes {place:?} {event:?}, which is open");
        }
        Ok(())
    }
}
