//! Conversations set aside: parked, blocked, or waiting for a retry. They have left the cursor and the tail; from
//! their first open event on they are the business of a redrive, which reads the conversation by itself until it has
//! caught up with the walk.
//!
//! What was acknowledged above the first open event is remembered and left out. The exception is a newest-first walk:
//! newer pages of the conversation, acknowledged before the one that failed, come again with its redrive.

use super::lane::Lane;
use super::shared::Removed;
use super::slot::Slot;
use super::types::{ACKNOWLEDGED, Action, AsideFeed, DeliveryKind, Head, Key, Place, SetAside, Why};
use super::{Flow, Reception};
use crate::ids::{Sequence, Shard};
use crate::storage::PoisonPolicy;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct Aside {
    pub(super) record: SetAside,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) drive: Option<Drive>,
    /// Acknowledged although an earlier one is open.
    done: Vec<(Sequence, Place)>,
    /// The walk has passed events of the conversation up to this number.
    skipped_to: Sequence,
    /// It was set aside before a restart: what was acknowledged of it then is stored with it.
    restored: bool,
}

/// A redrive under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drive {
    /// Read next.
    next: Sequence,
    /// Nothing more was there when it was last read.
    caught_up: bool,
}

impl Aside {
    /// From its stored form. What was trying again or being redriven goes on at once.
    pub(super) fn restore(record: SetAside, now: Timestamp) -> Self {
        let goes_on = record.why != Why::Failed;
        Self {
            record,
            retry_at: goes_on.then_some(now),
            drive: None,
            done: Vec::new(),
            skipped_to: Sequence(0),
            restored: true,
        }
    }

    fn new(record: SetAside) -> Self {
        let now = record.since;
        Self { restored: false, ..Self::restore(record, now) }
    }
}

impl Reception {
    /// The walk meets an event of a conversation that is set aside. Returns whether it is thereby done with.
    pub(super) fn pass_aside(&mut self, shard: Shard, head: &Head) -> bool {
        if !self.guards.aside_covers() {
            return false;
        }
        let Some(aside) = self.asides.get_mut(&head.key) else { return false };
        aside.skipped_to = aside.skipped_to.max(head.sequence);
        if let Some(drive) = &mut aside.drive {
            drive.caught_up = false;
        }
        // Under newest-first, older pages come after the one that failed; until then a redrive reads nothing.
        if head.sequence < aside.record.from {
            aside.record.from = head.sequence;
            aside.record.place = Place { shard, position: head.position };
            if let Some(drive) = &mut aside.drive {
                drive.next = head.sequence;
            }
            self.saving.change(head.key);
        }
        true
    }

    /// The walk meets an event that was acknowledged before a restart. If its conversation was set aside since, the
    /// redrive must know.
    pub(super) fn pass_acknowledged(&mut self, head: &Head, place: Place) {
        if let Flow::Shared(shared) = &mut self.flow {
            shared.note_done(head.key, head.sequence, place);
        }
        let Some(aside) = self.asides.get_mut(&head.key) else { return };
        if !aside.restored && head.sequence > aside.record.from {
            aside.done.push((head.sequence, place));
            self.attempts.insert(place, ACKNOWLEDGED);
            self.saving.attempts.insert(place, ACKNOWLEDGED);
            self.saving.dirty = true;
        }
    }

    /// The policy's answer to an event that has failed too often.
    pub(super) fn poison(&mut self, key: Key, place: Place, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(shared) = self.flow.shared() else { return };
        let Some(slot) = shared.slot(place).copied() else { return };
        match self.settings.poison {
            PoisonPolicy::Park if slot.sequence.0 != 0 => self.set_aside(key, Why::Failed, None, now, actions),
            PoisonPolicy::Block if slot.sequence.0 != 0 => {
                let again = now + self.settings.retry_delay(slot.failures);
                self.set_aside(key, Why::Blocked, Some(again), now, actions);
            }
            _ => {
                self.skip(place, actions);
                actions.push(Action::Skipped { place, attempts: slot.failures });
            }
        }
    }

    /// Takes a whole conversation out of the walk.
    pub(super) fn set_aside(
        &mut self,
        key: Key,
        why: Why,
        retry_at: Option<Timestamp>,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let Flow::Shared(shared) = &mut self.flow else { return };
        let Removed { slots, done } = shared.remove_conv(key);
        for (_, slot) in slots.iter().filter(|(_, slot)| slot.is_out()) {
            self.leases.close(slot.lease, 1);
            self.revocations += 1;
        }
        let (Some((place, first)), Some((_, last))) = (slots.first().copied(), slots.last()) else { return };
        let since = self.asides.get(&key).map_or(now, |aside| aside.record.since);
        let attempts = slots.iter().map(|(_, slot)| slot.failures).max().unwrap_or(0);
        let record = SetAside { key, place, from: first.sequence, attempts, why, since };
        let aside = self.asides.entry(key).or_insert_with(|| Aside::new(record));
        aside.record = record;
        aside.retry_at = retry_at;
        aside.drive = None;
        aside.skipped_to = aside.skipped_to.max(last.sequence);
        for (number, place) in done {
            if number > record.from {
                aside.done.push((number, place));
                self.attempts.insert(place, ACKNOWLEDGED);
                self.saving.attempts.insert(place, ACKNOWLEDGED);
            }
        }
        self.saving.change(key);
        actions.push(Action::Aside(record));
    }

    /// Somebody asks for a conversation that is set aside; it gets a fresh number of tries.
    pub(super) fn redrive(&mut self, key: Key, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(aside) = self.asides.get_mut(&key).filter(|aside| aside.drive.is_none()) else { return };
        aside.record.why = Why::Redriving;
        aside.record.attempts = 0;
        aside.retry_at = Some(now);
        let (place, record) = (aside.record.place, aside.record);
        if self.attempts.get(&place).is_some_and(|count| *count != ACKNOWLEDGED) {
            self.forget_failures(place);
        }
        self.saving.change(key);
        actions.push(Action::Aside(record));
        self.start_drives(now);
    }

    /// Somebody gives up the event that a conversation was set aside for: it counts as done with, and the conversation
    /// goes on behind it.
    pub(super) fn pass_over(&mut self, key: Key, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(aside) = self.asides.get(&key).filter(|aside| aside.drive.is_none()) else { return };
        let place = aside.record.place;
        // What retention has removed no redrive meets again, so nothing must be remembered of it.
        if self.lane(place.shard).is_some_and(|lane| lane.trimmed < place.position) {
            self.attempts.insert(place, ACKNOWLEDGED);
            self.saving.attempts.insert(place, ACKNOWLEDGED);
            self.saving.dirty = true;
        }
        self.redrive(key, now, actions);
    }

    /// Starts the redrives whose time has come.
    pub(super) fn start_drives(&mut self, now: Timestamp) {
        let due = |aside: &Aside| aside.drive.is_none() && aside.retry_at.is_some_and(|at| at <= now);
        if !self.asides.values().any(due) {
            return;
        }
        self.share();
        for aside in self.asides.values_mut().filter(|aside| due(aside)) {
            aside.retry_at = None;
            aside.drive = Some(Drive { next: aside.record.from, caught_up: false });
        }
    }

    pub(super) fn next_drive(&self) -> Option<Timestamp> {
        self.asides.values().filter_map(|aside| aside.retry_at).min()
    }

    /// Asks for what the redrives under way need.
    pub(super) fn read_asides(&self, actions: &mut Vec<Action>) {
        let Some(shared) = self.flow.shared() else { return };
        for (key, aside) in &self.asides {
            let Some(drive) = aside.drive.filter(|drive| !drive.caught_up) else { continue };
            let shard = aside.record.place.shard;
            // Where acknowledged ranges lie ahead of the walk, which events in them were acknowledged and which were
            // only set aside is known when the walk has passed them.
            let ahead = |lane: &Lane| shared.ranges(lane.shard).last().is_some_and(|(_, last)| *last > lane.hole.0);
            let mixed = |lane: &Lane| lane.has_hole() && (lane.descending || self.settings.concurrent() || ahead(lane));
            let blocked = self.lane(shard).is_some_and(mixed);
            if !blocked && !shared.convs.contains_key(key) {
                let limit = self.settings.page_size;
                let seen = aside.skipped_to;
                actions.push(Action::ReadAside { key: *key, shard, from: drive.next, seen, limit });
            }
        }
    }

    /// Takes a page of a redrive.
    pub(super) fn feed_aside(&mut self, feed: AsideFeed<'_>, actions: &mut Vec<Action>) {
        let Some(lane) = self.lanes.iter().find(|lane| lane.shard == feed.shard) else { return };
        let Some(aside) = self.asides.get_mut(&feed.key) else { return };
        let Flow::Shared(shared) = &mut self.flow else { return };
        let Some(drive) = aside.drive.as_mut().filter(|drive| drive.next == feed.from) else { return };
        drive.caught_up = feed.heads.is_empty();
        if drive.caught_up && feed.seen >= aside.skipped_to {
            // What was passed and is no longer there was removed by retention.
            aside.skipped_to = Sequence(drive.next.0.saturating_sub(1));
        }
        for (index, head) in feed.heads.iter().enumerate().take(self.settings.page_size) {
            let place = Place { shard: feed.shard, position: head.position };
            // What the walk has not reached is the walk's.
            if head.position > lane.live || lane.in_hole(head.position) {
                drive.caught_up = true;
                break;
            }
            drive.next = Sequence(head.sequence.0 + 1);
            let known = self.attempts.get(&place).copied().unwrap_or(0);
            if known == ACKNOWLEDGED && self.guards.aside_remembers() {
                aside.done.push((head.sequence, place));
                continue;
            }
            if (feed.wanted)(index) {
                let failures = if known == ACKNOWLEDGED { 0 } else { known };
                shared.push(feed.shard, Slot::new(head, DeliveryKind::Offline, failures), true, false);
            }
        }
        self.drive_on(feed.key, actions);
    }

    /// An event of a redriven conversation is done with: its record follows, and it is whole when nothing is left.
    pub(super) fn drive_on(&mut self, key: Key, actions: &mut Vec<Action>) {
        let Flow::Shared(shared) = &mut self.flow else { return };
        let Some(aside) = self.asides.get_mut(&key) else { return };
        let Some(drive) = &mut aside.drive else { return };
        let open = shared.first_open(key);
        let from = open.map_or(drive.next, |(_, number)| number);
        if from != aside.record.from {
            aside.record.from = from;
            aside.record.place = open.map_or(aside.record.place, |(place, _)| place);
            aside.record.attempts = 0;
            self.saving.change(key);
        }
        // What lies before the first open event needs no memory any more.
        let passed: Vec<Place> = aside.done.extract_if(.., |(number, _)| *number < from).map(|(_, at)| at).collect();
        if open.is_none() && drive.caught_up && drive.next <= aside.skipped_to {
            drive.caught_up = false;
        }
        let whole = open.is_none() && (drive.caught_up || !self.guards.aside_catches_up());
        for place in passed {
            self.forget_failures(place);
        }
        if whole {
            self.asides.remove(&key);
            self.saving.change(key);
            actions.push(Action::Restored(key));
        }
    }

    /// An acknowledgement of a redriven event.
    pub(super) fn aside_acked(&mut self, slot: &Slot, place: Place, behind: bool, actions: &mut Vec<Action>) {
        let key = slot.key;
        if behind && let Some(aside) = self.asides.get_mut(&key) {
            aside.done.push((slot.sequence, place));
            self.attempts.insert(place, ACKNOWLEDGED);
            self.saving.attempts.insert(place, ACKNOWLEDGED);
        }
        self.drive_on(key, actions);
    }

    /// Makes room: a conversation that waits for its retry is set aside until then.
    pub(super) fn spill(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        let Some((until, key)) = self.flow.shared().and_then(|shared| shared.longest_held()) else { return false };
        let single =
            self.flow.shared().and_then(|shared| shared.first_open(key)).is_none_or(|(_, number)| number.0 == 0);
        if single {
            return false;
        }
        self.set_aside(key, Why::Retrying, Some(until), now, actions);
        true
    }
}
