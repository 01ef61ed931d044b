//! What the indexes by conversation do not hold yet.
//!
//! An index in the order of conversations is written to all over: when many conversations speak in turn, every event
//! changes a page of its own, and ever more pages are changed the longer the journal is. So these two, `threads` and
//! `histories`, are written behind the journal, in the order of their keys and many events of a conversation at a time.
//! Until then an event stands here as well. The journal tells what is missing when the file is opened again.

use std::collections::{BTreeMap, VecDeque};
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

/// See [`Shared`]. What it holds of a conversation is the end of it, in the order of its sequence.
#[derive(Debug, Default)]
pub(super) struct Behind {
    threads: BTreeMap<Thread, VecDeque<(i64, Stand)>>,
    events: usize,
}

impl Behind {
    pub(super) const fn len(&self) -> usize {
        self.events
    }

    pub(super) fn insert(&mut self, (tenant, conversation, sequence): Spot, stand: Stand) {
        let waiting = self.threads.entry((tenant, conversation)).or_default();
        match waiting.back() {
            // Nearly never: events come in the order of their conversation.
            Some((last, _)) if *last >= sequence => {
                let at = waiting.partition_point(|(other, _)| *other < sequence);
                waiting.insert(at, (sequence, stand));
            }
            _ => waiting.push_back((sequence, stand)),
        }
        self.events += 1;
    }

    pub(super) fn remove(&mut self, (tenant, conversation, sequence): &Spot) {
        let thread = (*tenant, *conversation);
        let Some(waiting) = self.threads.get_mut(&thread) else { return };
        if waiting.front().is_some_and(|(first, _)| first == sequence) {
            waiting.pop_front();
        } else {
            let Ok(at) = waiting.binary_search_by_key(sequence, |(other, _)| *other) else { return };
            waiting.remove(at);
        }
        self.events -= 1;
        if waiting.is_empty() {
            self.threads.remove(&thread);
        }
    }

    /// The events of a conversation with a sequence within these bounds, both included.
    pub(super) fn of(&self, thread: Thread, first: i64, last: i64) -> impl DoubleEndedIterator<Item = (i64, &Stand)> {
        let waiting = self.threads.get(&thread).map(|waiting| {
            let begin = waiting.partition_point(|(sequence, _)| *sequence < first);
            let end = waiting.partition_point(|(sequence, _)| *sequence <= last);
            // Bounds that end before they begin hold nothing.
            waiting.range(begin..end.max(begin))
        });
        waiting.into_iter().flatten().map(|(sequence, stand)| (*sequence, stand))
    }

    /// Everything of a conversation.
    pub(super) fn all(&self, thread: Thread) -> impl DoubleEndedIterator<Item = (i64, &Stand)> {
        self.of(thread, 0, i64::MAX)
    }

    /// Whatever of a tenant stands at places within these runs: its conversation and sequence.
    pub(super) fn at(&self, tenant: i64, runs: &[[i64; 2]]) -> Vec<(i64, i64)> {
        let of_tenant = self.threads.range((tenant, i64::MIN)..=(tenant, i64::MAX));
        let within = |place: i64| runs.iter().any(|[first, last]| (*first..=*last).contains(&place));
        let spots = of_tenant.flat_map(|((_, conversation), waiting)| {
            waiting.iter().map(|(sequence, stand)| ((*conversation, *sequence), stand.place))
        });
        spots.filter(|(_, place)| within(*place)).map(|(spot, _)| spot).collect()
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
    pub(super) fn after(&self, cursor: Option<Spot>) -> impl Iterator<Item = (Spot, &Stand)> {
        use std::ops::Bound;

        let (rest, from) = match cursor {
            None => (None, Bound::Unbounded),
            Some((tenant, conversation, sequence)) => {
                let thread = (tenant, conversation);
                let rest = self.of(thread, sequence.saturating_add(1), i64::MAX);
                let rest = rest.map(move |(sequence, stand)| ((tenant, conversation, sequence), stand));
                (Some(rest), Bound::Excluded(thread))
            }
        };
        let others = self.threads.range((from, Bound::Unbounded)).flat_map(|((tenant, conversation), waiting)| {
            waiting.iter().map(|(sequence, stand)| ((*tenant, *conversation, *sequence), stand))
        });
        rest.into_iter().flatten().chain(others)
    }
}
