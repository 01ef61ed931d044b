//! The way in: what is read from the journal becomes open events, in the order of the walk.

use std::ops::Range;
use std::sync::Arc;

use super::direct::Direct;
use super::lane::{Gather, Lane};
use super::shared::KeyMap;
use super::slot::Slot;
use super::types::{ACKNOWLEDGED, Action, DeliveryKind, Feed, Head, Key, Place, Wanted};
use super::{Flow, Reception};
use crate::ids::{Position, Shard};

impl Reception {
    pub(super) fn trimmed(&mut self, shard: Shard, until: Position, actions: &mut Vec<Action>) {
        let Some(index) = self.lanes.iter().position(|lane| lane.shard == shard) else { return };
        let removed = |place: &&Place| place.shard == shard && place.position <= until;
        for place in self.attempts.keys().filter(removed).copied().collect::<Vec<_>>() {
            self.forget_failures(place);
        }
        let before = self.mark(&self.lanes[index]);
        let lane = &mut self.lanes[index];
        lane.tail = lane.tail.max(until);
        lane.trimmed = lane.trimmed.max(until);
        if until <= before {
            return;
        }
        if lane.has_hole() {
            lane.hole.0 = lane.hole.0.max(until).min(lane.hole.1);
        }
        lane.live = lane.live.max(until);
        if !lane.has_hole() {
            lane.hole = (lane.live, lane.live);
        }
        lane.gather = None;
        self.share();
        if let Flow::Shared(shared) = &mut self.flow {
            let gone = shared
                .slots
                .iter()
                .filter(|(place, slot)| place.shard == shard && place.position <= until && slot.lease.0 == 0);
            for place in gone.map(|(place, _)| *place).collect::<Vec<_>>() {
                shared.remove(place);
            }
        }
        self.release_later();
        self.saving.dirty = true;
        if self.guards.missing_said() {
            actions.push(Action::Missing { shard, after: before, until });
        }
    }

    pub(super) fn surveyed(&mut self, shard: Shard, until: Position, found: &[(Key, Position)], complete: bool) {
        let lane = self.lanes.iter_mut().find(|lane| lane.shard == shard && lane.goal == until);
        // What is too much to remember is worked off first: without a survey no live event passes the backlog.
        if let Some(lane) = lane.filter(|_| self.surveying && complete) {
            lane.survey.get_or_insert_default().extend(found.iter().copied());
        }
    }

    pub(super) fn feed(&mut self, feed: &Feed<'_>) {
        let Some(index) = self.lanes.iter().position(|lane| lane.shard == feed.shard) else { return };
        self.unshare();
        if self.settings.concurrent() && self.lanes[index].has_hole() {
            // Backlog and live events come in between one another: positions no longer ascend.
            self.share();
        }
        let lane = &mut self.lanes[index];
        lane.tail = lane.tail.max(feed.until);
        if lane.has_hole() && feed.after < lane.hole.1 {
            if lane.descending {
                self.gather(index, feed);
            } else {
                self.feed_hole(index, feed);
            }
            self.release_later();
        } else if self.may_feed_live() {
            self.feed_live(index, feed);
        }
    }

    fn may_feed_live(&self) -> bool {
        self.online || self.settings.concurrent() || !self.guards.live_waits()
    }

    fn feed_hole(&mut self, index: usize, feed: &Feed<'_>) {
        let (frontier, end) = self.lanes[index].hole;
        if feed.until <= frontier || (feed.after > frontier && self.guards.contiguous()) {
            return;
        }
        let until = feed.until.min(end);
        let reached = self.admit(index, feed, frontier, until, false);
        let lane = &mut self.lanes[index];
        lane.hole.0 = reached.max(frontier);
    }

    fn feed_live(&mut self, index: usize, feed: &Feed<'_>) {
        let lane = &self.lanes[index];
        let frontier = lane.live;
        if feed.until <= frontier || (feed.after > frontier && self.guards.contiguous()) {
            return;
        }
        if lane.has_hole() && lane.survey.is_none() && self.guards.concurrent_waits() && self.settings.concurrent() {
            return;
        }
        let reached = self.admit(index, feed, frontier, feed.until, true);
        let lane = &mut self.lanes[index];
        lane.live = reached.max(frontier);
        if !lane.has_hole() {
            lane.hole = (lane.live, lane.live);
        }
    }

    /// How many events the ledger still takes.
    pub(super) fn room(&self) -> usize {
        match &self.flow {
            Flow::Direct(direct) => self.settings.page_size.saturating_sub(direct.queued()),
            Flow::Shared(shared) => {
                self.settings.max_in_flight.max(self.settings.page_size).saturating_sub(shared.queued())
            }
        }
    }

    /// Takes the wanted events behind `frontier` up to `until` into the ledger. Returns how far it came.
    fn admit(&mut self, index: usize, feed: &Feed<'_>, frontier: Position, until: Position, live: bool) -> Position {
        let mut room = self.room();
        let lane = &self.lanes[index];
        if !live && self.settings.concurrent() && lane.live < lane.tail {
            // Backlog must not take all the room, or live events would wait for the end of it.
            room = room.div_ceil(2);
        }
        let frontier = if self.guards.no_repeat() { frontier } else { Position::START };
        let range = between(feed.heads, frontier, until);
        let full = if self.asides.is_empty()
            && self.attempts.is_empty()
            && let Flow::Direct(direct) = &mut self.flow
        {
            let history = (!live).then_some(self.lanes[index].history);
            admit_plain(direct, feed, range, room, history)
        } else {
            self.admit_each(index, feed, range, room, live)
        };
        full.and_then(|full| feed.heads.get(full)).map_or(until, |full| Position(full.position.0 - 1))
    }

    /// As [`admit_plain`], when events may be known or set aside, or there are several workers.
    fn admit_each(
        &mut self,
        index: usize,
        feed: &Feed<'_>,
        range: Range<usize>,
        mut room: usize,
        live: bool,
    ) -> Option<usize> {
        let history = (!live).then_some(self.lanes[index].history);
        for offset in range {
            let head = &feed.heads[offset];
            if room == 0 {
                return Some(offset);
            }
            if !feed.wanted.has(offset) {
                continue;
            }
            let later = live && self.must_wait(index, head.key);
            if later && !self.has_room_for_later() {
                return Some(offset);
            }
            if self.is_due(feed.shard, head) {
                let (kind, failures) = (kind_of(head, history), self.failures(feed.shard, head));
                match &mut self.flow {
                    Flow::Direct(direct) => direct.push(feed.heads, offset..offset + 1, kind, failures),
                    Flow::Shared(shared) => shared.push(feed.shard, Slot::new(head, kind, failures), false, later),
                }
                room -= usize::from(!later);
            }
        }
        None
    }

    /// Whether an event that the walk meets has still to be delivered by the walk.
    fn is_due(&mut self, shard: Shard, head: &Head) -> bool {
        let place = Place { shard, position: head.position };
        if self.flow.shared().is_some_and(|shared| shared.is_acked(place)) {
            self.pass_acknowledged(head, place);
            return false;
        }
        let known = !self.attempts.is_empty() && self.attempts.get(&place) == Some(&ACKNOWLEDGED);
        if known && !self.asides.contains_key(&head.key) {
            self.keep_acknowledged(head, place);
        }
        !known && !self.pass_aside(shard, head)
    }

    /// The walk meets an event that is done with though its conversation is no longer set aside, as after a restart that
    /// put the walk back behind it: from now on the cursor says so.
    fn keep_acknowledged(&mut self, head: &Head, place: Place) {
        self.share();
        let hole = self.hole(place.shard);
        if let Flow::Shared(shared) = &mut self.flow {
            shared.add_acked(place, hole);
            shared.note_done(head.key, head.sequence, place);
        }
        self.forget_failures(place);
    }

    fn failures(&self, shard: Shard, head: &Head) -> u32 {
        let place = Place { shard, position: head.position };
        if self.attempts.is_empty() { 0 } else { self.attempts.get(&place).copied().unwrap_or(0) }
    }

    fn has_room_for_later(&self) -> bool {
        self.flow.shared().is_none_or(|shared| shared.later() <= self.settings.max_in_flight / 2)
    }

    /// Under concurrent reception: the backlog of this conversation is not read yet.
    fn must_wait(&self, index: usize, key: Key) -> bool {
        let lane = &self.lanes[index];
        if !lane.has_hole() || !self.guards.concurrent_waits() {
            return false;
        }
        !lane.has_read(key)
    }

    fn release_later(&mut self) {
        if let Flow::Shared(shared) = &mut self.flow {
            let lane = |shard: Shard| self.lanes.iter().find(|lane| lane.shard == shard);
            shared.release_later(|key, shard| lane(shard).is_none_or(|lane| lane.has_read(key)));
        }
    }

    /// Collects the next window of a newest-first walk, and opens it when it is whole.
    fn gather(&mut self, index: usize, feed: &Feed<'_>) {
        let lane = &mut self.lanes[index];
        let window = lane.window(&self.settings);
        let gather = lane.gather.get_or_insert_with(|| Gather { after: window.0, read: window.0, heads: Vec::new() });
        if feed.until <= gather.read || (feed.after > gather.read && self.guards.contiguous()) {
            return;
        }
        let (read, end) = (gather.read, lane.hole.1);
        let mut heads = std::mem::take(&mut gather.heads);
        for (offset, head) in feed.heads.iter().enumerate() {
            let fresh = head.position > read || !self.guards.no_repeat();
            if fresh && head.position <= end && feed.wanted.has(offset) && self.is_due(feed.shard, head) {
                heads.push(*head);
            }
        }
        let lane = &mut self.lanes[index];
        let Some(gather) = lane.gather.as_mut() else { return };
        gather.heads = heads;
        gather.read = feed.until.min(end);
        if gather.read >= end
            && let Some(gather) = lane.gather.take()
        {
            lane.hole.1 = gather.after.max(lane.hole.0);
            if !lane.has_hole() {
                lane.hole = (lane.live, lane.live);
            }
            self.open_window(index, gather.heads);
        }
    }

    /// The latest page of each conversation first, the conversation with the newest event before the others.
    fn open_window(&mut self, index: usize, heads: Vec<Head>) {
        self.share();
        let (shard, history) = (self.lanes[index].shard, self.lanes[index].history);
        let mut order: Vec<Key> = Vec::new();
        let mut convs: KeyMap<Vec<Head>> = KeyMap::default();
        for head in heads.into_iter().rev() {
            let conv = convs.entry(head.key).or_default();
            if conv.is_empty() {
                order.push(head.key);
            }
            conv.push(head);
        }
        for key in order {
            let Some(mut newest_first) = convs.remove(&key) else { continue };
            if !self.guards.newest_pages() {
                newest_first.reverse();
            }
            for page in newest_first.chunks(self.settings.page_size) {
                for head in page.iter().rev() {
                    let slot = Slot::new(head, kind_of(head, Some(history)), self.failures(shard, head));
                    if let Flow::Shared(shared) = &mut self.flow {
                        shared.push(shard, slot, false, false);
                    }
                }
            }
        }
    }

    /// Asks for what the ledger has room for.
    pub(super) fn read(&mut self, actions: &mut Vec<Action>) {
        self.unshare();
        let room = self.room();
        let limit = room.min(self.settings.page_size);
        if room == 0 {
            return;
        }
        self.ask_survey(actions);
        for lane in &self.lanes {
            if lane.has_hole() {
                let (after, until) = match &lane.gather {
                    Some(gather) => (gather.read, lane.hole.1),
                    None if lane.descending => lane.window(&self.settings),
                    None => lane.hole,
                };
                let limit = if lane.descending { self.settings.page_size.max(256) } else { limit };
                actions.push(Action::Read { shard: lane.shard, after, until, limit });
            }
            if lane.live < lane.tail && self.may_feed_live() && self.has_room_for_later() {
                actions.push(Action::Read { shard: lane.shard, after: lane.live, until: lane.tail, limit });
            }
        }
    }

    fn ask_survey(&mut self, actions: &mut Vec<Action>) {
        if self.surveying || !self.settings.concurrent() || !self.lanes.iter().any(Lane::has_hole) {
            return;
        }
        self.surveying = true;
        for lane in self.lanes.iter().filter(|lane| lane.has_hole()) {
            actions.push(Action::Survey { shard: lane.shard, after: lane.hole.0, until: lane.goal });
        }
    }

    /// What was live before is backlog now: nothing of it comes as online before the walk is over.
    pub(super) fn make_offline(&mut self) {
        match &mut self.flow {
            Flow::Direct(direct) => direct.make_offline(),
            Flow::Shared(shared) => {
                for slot in shared.slots.values_mut().filter(|slot| slot.kind == DeliveryKind::Online) {
                    slot.kind = DeliveryKind::Offline;
                }
            }
        }
    }
}

/// The indices of the events behind `after` up to `until`.
#[inline]
fn between(heads: &[Head], after: Position, until: Position) -> Range<usize> {
    // Mostly it is all of them, and nothing has to be looked for.
    let start = match heads.first() {
        Some(first) if first.position <= after => heads.partition_point(|head| head.position <= after),
        _ => 0,
    };
    let end = match heads.last() {
        Some(last) if last.position > until => heads.partition_point(|head| head.position <= until),
        _ => heads.len(),
    };
    start..end.max(start)
}

/// Takes up to `room` wanted events into the ledger. Returns the index of the first one that there was no room for.
/// `history` is `None` for live events.
fn admit_plain(
    direct: &mut Direct,
    feed: &Feed<'_>,
    range: Range<usize>,
    mut room: usize,
    history: Option<Position>,
) -> Option<usize> {
    let Wanted::Those(wanted) = feed.wanted else {
        let end = range.end.min(range.start.saturating_add(room));
        push_all(direct, feed.heads, range.start..end, history);
        return (end < range.end).then_some(end);
    };
    for index in range {
        if room == 0 {
            return Some(index);
        }
        if wanted(index) {
            direct.push(feed.heads, index..index + 1, kind_of(&feed.heads[index], history), 0);
            room -= 1;
        }
    }
    None
}

/// One run of each kind, without a look at every event.
#[inline]
fn push_all(direct: &mut Direct, heads: &Arc<[Head]>, range: Range<usize>, history: Option<Position>) {
    let Some(history) = history else { return direct.push(heads, range, DeliveryKind::Online, 0) };
    let middle = range.start + heads[range.clone()].partition_point(|head| head.position <= history);
    direct.push(heads, range.start..middle, DeliveryKind::Historical, 0);
    direct.push(heads, middle..range.end, DeliveryKind::Offline, 0);
}

/// `history` is `None` for live events.
#[inline]
fn kind_of(head: &Head, history: Option<Position>) -> DeliveryKind {
    match history {
        None => DeliveryKind::Online,
        Some(history) if head.position <= history => DeliveryKind::Historical,
        Some(_) => DeliveryKind::Offline,
    }
}
