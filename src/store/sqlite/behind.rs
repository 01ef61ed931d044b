//! What the indexes by conversation do not hold yet.
//!
//! An index in the order of conversations is written to all over: when many conversations speak in turn, every event
//! changes a page of its own, and ever more pages are changed the longer the journal is. So these two, `threads` and
//! `histories`, are written behind the journal, in the order of their keys and many events of a conversation at a time.
//! Until then an event stands here as well. The journal tells what is missing when the file is opened again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// A conversation: the numbers of its tenant and of itself.
pub(super) type Thread = (i64, i64);

/// An event: its conversation, and its sequence there.
pub(super) type Spot = (i64, i64, i64);

/// Where an event stands.
#[derive(Clone, Debug)]
pub(super) struct Stand {
    /// In the journal.
    pub(super) place: i64,
    pub(super) sent_at: i64,
    /// In the history of its conversation, if it is a message.
    pub(super) message: Option<Named>,
}

/// What orders messages of one time, in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) sort_key: Box<str>,
    pub(super) message: [u8; 16],
}

/// Committed events that the indexes do not hold, shared by the writer and the readers.
///
/// A reader looks here first and into the database after. The writer removes an event from here only when it is
/// committed there, so whoever looks in this order finds every event in one of them, or in both.
pub(super) type Shared = Arc<RwLock<Behind>>;

/// See [`Shared`]. What it holds of a conversation is the end of it, without a gap.
#[derive(Debug, Default)]
pub(super) struct Behind(BTreeMap<Spot, Stand>);

impl Behind {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, spot: Spot, stand: Stand) {
        self.0.insert(spot, stand);
    }

    pub(super) fn remove(&mut self, spot: &Spot) {
        self.0.remove(spot);
    }

    /// The events of a conversation with a sequence within these bounds, both included.
    pub(super) fn of(
        &self,
        (tenant, conversation): Thread,
        first: i64,
        last: i64,
    ) -> impl DoubleEndedIterator<Item = (i64, &Stand)> {
        // A range that ends before it begins is no range.
        let last = last.max(first.saturating_sub(1));
        let (low, high) = ((tenant, conversation, first), (tenant, conversation, last));
        let range = (low <= high).then(|| self.0.range(low..=high));
        range.into_iter().flatten().map(|(spot, stand)| (spot.2, stand))
    }

    /// Everything of a conversation.
    pub(super) fn all(&self, thread: Thread) -> impl DoubleEndedIterator<Item = (i64, &Stand)> {
        self.of(thread, 0, i64::MAX)
    }

    /// Whatever of a tenant stands at places within these runs: its conversation and sequence.
    pub(super) fn at(&self, tenant: i64, runs: &[[i64; 2]]) -> Vec<(i64, i64)> {
        let of_tenant = self.0.range((tenant, i64::MIN, i64::MIN)..=(tenant, i64::MAX, i64::MAX));
        let within = |place: i64| runs.iter().any(|[first, last]| (*first..=*last).contains(&place));
        of_tenant.filter(|(_, stand)| within(stand.place)).map(|(spot, _)| (spot.1, spot.2)).collect()
    }

    /// The first sequence of a conversation here; beyond every sequence when nothing of it is here.
    pub(super) fn first(&self, thread: Thread) -> i64 {
        self.all(thread).next().map_or(i64::MAX, |(sequence, _)| sequence)
    }

    /// The last sequence of a conversation, when it is here, with its time.
    pub(super) fn last(&self, thread: Thread) -> Option<(i64, i64)> {
        self.all(thread).next_back().map(|(sequence, stand)| (sequence, stand.sent_at))
    }

    /// The next events in the order of the indexes.
    pub(super) fn after(&self, cursor: Option<Spot>) -> impl Iterator<Item = (&Spot, &Stand)> {
        use std::ops::Bound;

        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range((from, Bound::Unbounded))
    }
}
