//! Events that stand side by side in what was fed and have everything else in common.

use std::ops::Range;
use std::sync::Arc;

use crate::ids::{Position, Shard};
use crate::reception::slot::Slot;
use crate::reception::types::{DeliveryKind, DispatchRun, Head, Lease, Worker};

/// Never empty. The fields are those of a [`Slot`], for all of its events.
#[derive(Clone, Debug)]
pub(super) struct Run {
    heads: Arc<[Head]>,
    range: Range<usize>,
    pub(super) lease: Lease,
    pub(super) attempt: u32,
    pub(super) failures: u32,
    /// The turn of its first event under its lease; the others follow.
    pub(super) turn: u32,
    pub(super) kind: DeliveryKind,
    pub(super) acked: bool,
}

impl Run {
    #[inline]
    pub(super) fn new(heads: &Arc<[Head]>, range: Range<usize>, kind: DeliveryKind, failures: u32) -> Self {
        let heads = Arc::clone(heads);
        Self { heads, range, lease: Lease(0), attempt: failures, failures, turn: 0, kind, acked: false }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    #[inline]
    pub(super) fn heads(&self) -> &[Head] {
        &self.heads[self.range.clone()]
    }

    #[inline]
    pub(super) fn first(&self) -> Position {
        self.heads[self.range.start].position
    }

    #[inline]
    pub(super) fn last(&self) -> Position {
        self.heads[self.range.end - 1].position
    }

    #[inline]
    pub(super) fn is_out(&self) -> bool {
        self.lease.0 != 0 && !self.acked
    }

    /// The offset of the event with this position.
    #[inline]
    pub(super) fn find(&self, position: Position) -> Option<usize> {
        let heads = self.heads();
        // Positions mostly follow one another.
        let guess = usize::try_from(position.0.checked_sub(self.first().0)?).ok()?;
        if heads.get(guess).is_some_and(|head| head.position == position) {
            return Some(guess);
        }
        heads.binary_search_by_key(&position, |head| head.position).ok()
    }

    /// Takes in what is fed now if the run is as fresh and of the same kind, and it stands right behind.
    #[inline]
    pub(super) fn extend(
        &mut self,
        heads: &Arc<[Head]>,
        range: &Range<usize>,
        kind: DeliveryKind,
        failures: u32,
    ) -> bool {
        let fresh = self.lease.0 == 0 && !self.acked && self.attempt == failures;
        let same = fresh && self.kind == kind && self.failures == failures;
        let goes_on = same && self.range.end == range.start && Arc::ptr_eq(&self.heads, heads);
        if goes_on {
            self.range.end = range.end;
        }
        goes_on
    }

    /// Takes in the acknowledged run behind this one. What else there was to know of the two does not matter any more.
    pub(super) fn join_acked(&mut self, next: &Self) -> bool {
        let side_by_side = self.range.end == next.range.start && Arc::ptr_eq(&self.heads, &next.heads);
        let joins = self.acked && next.acked && side_by_side;
        if joins {
            self.range.end = next.range.end;
        }
        joins
    }

    /// Keeps the first `count` events, which must leave some, and returns the others.
    pub(super) fn split_off(&mut self, count: usize) -> Self {
        let mut rest = self.clone();
        rest.skip(count);
        self.range.end = rest.range.start;
        rest
    }

    /// Lets go of the first `count` events; some must be left.
    #[inline]
    pub(super) fn skip(&mut self, count: usize) {
        debug_assert!(count < self.len(), "a run is never empty");
        self.range.start += count;
        self.turn += count as u32;
    }

    #[inline]
    pub(super) fn dispatch(&self, shard: Shard, worker: Worker) -> DispatchRun {
        DispatchRun {
            worker,
            shard,
            lease: self.lease,
            attempt: self.attempt,
            kind: self.kind,
            heads: Arc::clone(&self.heads),
            range: self.range.clone(),
        }
    }

    /// Its events, one by one.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.heads().iter().zip(self.turn..).map(|(head, turn)| Slot {
            lease: self.lease,
            attempt: self.attempt,
            turn,
            acked: self.acked,
            ..Slot::new(head, self.kind, self.failures)
        })
    }
}
