//! Inputs on their way to the machine, and what it wants done.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use switchboard_contract::reception::{Action, AsideFeed, Feed, Head, Input, Key, Place, Wanted};
use switchboard_contract::{Position, Sequence, Shard, Timestamp};

use super::{Core, Inner};
use crate::hub::chunk::Chunk;
use crate::hub::found::Found;
use crate::hub::shared::Shared;
use crate::hub::step::{Read, Step, Told};
use crate::hub::types::MissingRange;

thread_local! {
    /// Where machines write what they want done. One for each thread, so that an idle subscriber keeps none.
    static ACTIONS: Cell<Vec<Action>> = const { Cell::new(Vec::new()) };
}

/// Chunks kept for what the machine has read and not handed out.
const HELD: usize = 512;

impl Core {
    /// Applies one input and sees to everything that needs nothing but this core.
    pub(in crate::hub) fn apply(self: &Arc<Self>, shared: &Shared, inner: &mut Inner, input: Input<'_>) -> Step {
        self.apply_at(shared, inner, shared.clock.now(), input)
    }

    /// As [`apply`](Self::apply), by somebody who has read the clock.
    #[inline]
    pub(in crate::hub) fn apply_at(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut Inner,
        now: Timestamp,
        input: Input<'_>,
    ) -> Step {
        let mut actions = ACTIONS.take();
        inner.machine.apply(now, input, &mut actions);
        self.sort(shared, inner, actions, None)
    }

    /// Applies an input that hands out: what goes out and what is to be read is added to `found`.
    #[inline]
    pub(in crate::hub) fn hand_out(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut Inner,
        now: Timestamp,
        input: Input<'_>,
        found: &mut Found,
    ) {
        let mut actions = ACTIONS.take();
        inner.machine.apply(now, input, &mut actions);
        let _ = self.sort(shared, inner, actions, Some(found));
    }

    /// Sorts what the machine asked for into what is done here and what the caller does. Nothing is handed out or
    /// read unless somebody asked for deliveries, who then has a place for it.
    fn sort(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut Inner,
        mut actions: Vec<Action>,
        mut found: Option<&mut Found>,
    ) -> Step {
        let mut step = Step::default();
        let mut told = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::DeliverRun(_)
                | Action::Deliver(_)
                | Action::Read { .. }
                | Action::ReadAside { .. }
                | Action::Survey { .. } => {
                    if let Some(found) = &mut found {
                        self.give(inner, &action, found);
                    }
                }
                Action::Unsaved => shared.has_unsaved(self),
                Action::Save(save) => step.save = Some(save),
                Action::State(state) => self.publish(inner, state),
                Action::Acked { acked, stale, .. } => {
                    step.acked += acked;
                    step.stale += stale;
                }
                Action::Aside(record) => told.push(Told::Aside(record)),
                Action::Skipped { place, attempts } => told.push(Told::Skipped { place, attempts }),
                Action::Restored(key) => told.push(Told::Restored(key)),
                Action::Missing { shard, after, until } => {
                    inner.missing.push(MissingRange { shard, first: after.next(), last: until });
                }
            }
        }
        ACTIONS.set(actions);
        let revocations = inner.revoked_before + inner.machine.revocations();
        self.revocations.store(revocations, Ordering::Release);
        if !told.is_empty() {
            shared.tell(self, inner, &told);
        }
        step
    }

    /// What the one who asked for deliveries gets, and what he has to read.
    fn give(&self, inner: &Inner, action: &Action, found: &mut Found) {
        match *action {
            Action::DeliverRun(ref run) => found.add_run(self, inner, run),
            Action::Deliver(ref dispatch) => found.add(self, inner, dispatch),
            Action::Read { shard, after, until, limit } => found.reads.push(Read::Walk { shard, after, until, limit }),
            Action::ReadAside { key, shard, from, seen, limit } => {
                let place = inner.machine.set_aside_now().find(|record| record.key == key);
                let place = place.map_or(Place { shard, position: Position::START }, |record| record.place);
                found.reads.push(Read::Aside { key, place, from, seen, limit });
            }
            Action::Survey { shard, after, until } => found.reads.push(Read::Survey { shard, after, until }),
            _ => {}
        }
    }

    /// Tells the machine how far the journal has come.
    #[inline]
    pub(in crate::hub) fn tell_tails(self: &Arc<Self>, shared: &Shared, inner: &mut Inner, now: Timestamp) {
        for (index, tail) in self.tails.iter().enumerate() {
            let end = tail.end();
            if inner.told[index] < end {
                inner.told[index] = end;
                let _ = self.apply_at(shared, inner, now, Input::Tail(tail.shard, end));
            }
        }
    }

    /// Gives the machine a chunk of the journal.
    pub(in crate::hub) fn feed(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut Inner,
        now: Timestamp,
        shard: Shard,
        chunk: &Arc<Chunk>,
    ) {
        let mut actions = ACTIONS.take();
        let Inner { machine, filter, held, .. } = &mut *inner;
        let some = |index: usize| filter.takes(&chunk.entries[index]);
        let wanted = if filter.takes_all(chunk) { Wanted::All } else { Wanted::Those(&some) };
        let feed = Feed { shard, after: chunk.after, until: chunk.until, heads: &chunk.heads, wanted };
        machine.apply(now, Input::Feed(feed), &mut actions);
        if !chunk.heads.is_empty() && !held.back().is_some_and(|last| Arc::ptr_eq(last, chunk)) {
            held.push_back(Arc::clone(chunk));
            if held.len() > HELD {
                held.pop_front();
            }
        }
        let _ = self.sort(shared, inner, actions, None);
    }

    /// Gives the machine a part of a conversation that is being redriven.
    pub(in crate::hub) fn feed_aside(
        self: &Arc<Self>,
        shared: &Shared,
        inner: &mut Inner,
        read: (Key, Shard, Sequence, Sequence),
        chunk: &Arc<Chunk>,
    ) {
        let now = shared.clock.now();
        let (key, shard, from, seen) = read;
        // The key is the one it was set aside under, whatever process that was.
        let heads: Vec<Head> = chunk.heads.iter().map(|head| Head { key, ..*head }).collect();
        let mut actions = ACTIONS.take();
        let Inner { machine, filter, held, .. } = &mut *inner;
        let wanted = |index: usize| filter.takes(&chunk.entries[index]);
        let feed = AsideFeed { key, shard, from, seen, heads: &heads, wanted: &wanted };
        machine.apply(now, Input::FeedAside(feed), &mut actions);
        if !chunk.heads.is_empty() {
            held.push_front(Arc::clone(chunk));
        }
        let _ = self.sort(shared, inner, actions, None);
    }
}
