//! Deliveries with their events, in runs over the chunks that everybody shares.

use std::sync::Arc;

use switchboard_contract::Shard;
use switchboard_contract::reception::{DeliveryKind, Dispatch, DispatchRun, Lease};
use switchboard_contract::storage::Entry;

use super::chunk::Chunk;
use super::core::{Core, Inner};
use super::id::DeliveryId;
use super::step::Read;

/// Deliveries of events that stand side by side in a chunk and have everything else in common. Never empty.
pub(super) struct Run {
    pub(super) chunk: Arc<Chunk>,
    /// The index of the first in the chunk.
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) lease: Lease,
    pub(super) attempt: u32,
    shard: Shard,
    pub(super) kind: DeliveryKind,
}

impl Run {
    fn one(chunk: Arc<Chunk>, index: usize, dispatch: &Dispatch) -> Self {
        Self {
            chunk,
            first: index as u32,
            count: 1,
            lease: dispatch.handle.lease,
            attempt: dispatch.attempt,
            shard: dispatch.handle.place.shard,
            kind: dispatch.kind,
        }
    }

    /// Its events, without a look at each.
    #[inline]
    pub(super) fn entries(&self) -> &[Entry] {
        let first = self.first as usize;
        &self.chunk.entries[first..first + self.count as usize]
    }

    /// The name of the delivery of the event with this index in the chunk, to the subscriber with this mark.
    #[inline]
    pub(super) fn id(&self, subscriber: u32, index: u32) -> DeliveryId {
        let position = self.chunk.heads[index as usize].position;
        DeliveryId { subscriber, attempt: self.attempt, lease: self.lease, position, shard: self.shard }
    }

    /// Takes in what comes next if it goes on with it.
    fn extend(&mut self, next: &Self) -> bool {
        let same = self.lease == next.lease && self.attempt == next.attempt && self.kind == next.kind;
        let goes_on = same && self.first + self.count == next.first && Arc::ptr_eq(&self.chunk, &next.chunk);
        if goes_on {
            self.count += next.count;
        }
        goes_on
    }
}

/// A delivery that was absent, where it belongs, and its event; `None` when that is gone.
pub(super) type Filling = (usize, Dispatch, Option<(Arc<Chunk>, u32)>);

/// What a look at the machine gave, as far as the events are at hand.
#[derive(Default)]
pub(super) struct Found {
    pub(super) runs: Vec<Run>,
    /// Deliveries in all, also those whose event has to be read.
    pub(super) len: usize,
    /// Those: each comes before the run with this index.
    pub(super) absent: Vec<(usize, Dispatch)>,
    /// What the machine wants to be read.
    pub(super) reads: Vec<Read>,
    pub(super) revocations: u64,
    /// Where the last chunk was found among those the core holds.
    pub(super) at: usize,
}

impl Found {
    /// When nothing was found: what is to be read, without the room for the rest.
    pub(super) fn into_reads(self) -> Vec<Read> {
        self.reads
    }

    /// Adds deliveries that were fed together. The chunk they were fed from has their indices.
    pub(super) fn add_run(&mut self, core: &Core, inner: &Inner, run: &DispatchRun) {
        let last = self.runs.last().map(|last| &last.chunk).filter(|chunk| Arc::ptr_eq(&chunk.heads, &run.heads));
        let chunk = last.cloned().or_else(|| inner.holding(&run.heads, &mut self.at));
        let Some(chunk) = chunk else {
            return run.dispatches().for_each(|dispatch| self.add(core, inner, &dispatch));
        };
        self.push(Run {
            chunk,
            first: run.range.start as u32,
            count: run.range.len() as u32,
            lease: run.lease,
            attempt: run.attempt,
            shard: run.shard,
            kind: run.kind,
        });
    }

    /// Adds one, wherever its event is found.
    pub(super) fn add(&mut self, core: &Core, inner: &Inner, dispatch: &Dispatch) {
        let place = dispatch.handle.place;
        let last = self.runs.last().filter(|run| run.shard == place.shard).map(|run| &run.chunk);
        let near = last.and_then(|chunk| chunk.find(place.position).map(|index| (Arc::clone(chunk), index)));
        match near.or_else(|| inner.find(place, &core.tails)) {
            Some((chunk, index)) => self.push(Run::one(chunk, index, dispatch)),
            None => {
                self.absent.push((self.runs.len(), *dispatch));
                self.len += 1;
            }
        }
    }

    fn push(&mut self, run: Run) {
        self.len += run.count as usize;
        // What is to be read stands between.
        let behind_absent = self.absent.last().is_some_and(|(at, _)| *at == self.runs.len());
        if behind_absent || !self.runs.last_mut().is_some_and(|last| last.extend(&run)) {
            self.runs.push(run);
        }
    }

    /// Puts the events that were absent and have been read into their places.
    pub(super) fn fill(&mut self, read: Vec<Filling>) {
        let mut inserted = 0;
        for (at, dispatch, event) in read {
            let Some((chunk, index)) = event else {
                self.len -= 1;
                continue;
            };
            let (at, run) = (at + inserted, Run::one(chunk, index as usize, &dispatch));
            let before = at.checked_sub(1).and_then(|before| self.runs.get_mut(before));
            if !before.is_some_and(|before| before.extend(&run)) {
                self.runs.insert(at, run);
                inserted += 1;
            }
        }
    }
}
