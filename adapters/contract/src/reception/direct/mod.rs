//! The ledger of one worker while nothing is out of the ordinary: events in order of position, nothing looked up by
//! conversation.
//!
//! Events that were fed together are kept as one run over the heads they were fed with, so that many subscribers who
//! get the same cost a few words each and not a copy of every event.

mod run;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::guards::Guards;
use super::slot::Slot;
use super::types::{Action, DeliveryKind, Handle, Head, Lease, Place, Worker};
use crate::ids::{Position, Shard};

use run::Run;

/// The most runs. Each may keep the heads alive that it was fed with.
const RUNS: usize = 1024;

/// Room for runs that an empty ledger keeps.
const SPARE: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Direct {
    pub(super) shard: Shard,
    /// Positions ascend.
    runs: VecDeque<Run>,
    /// `runs[..sent]` are out or acknowledged.
    sent: usize,
    /// Events in all runs.
    len: usize,
    /// Events in `runs[sent..]`.
    queued: usize,
    out: usize,
    /// Events that are acknowledged and kept.
    kept: usize,
}

impl Direct {
    pub(super) fn new(shard: Shard) -> Self {
        Self { shard, runs: VecDeque::new(), sent: 0, len: 0, queued: 0, out: 0, kept: 0 }
    }

    pub(super) fn out(&self) -> usize {
        self.out
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn first(&self) -> Option<Position> {
        self.runs.front().map(Run::first)
    }

    /// Whether it holds more than so many events, or more runs than are good for memory.
    pub(super) fn exceeds(&self, events: usize) -> bool {
        self.len > events || self.runs.len() > RUNS
    }

    pub(super) fn relax(&mut self) {
        self.runs.shrink_to_fit();
    }

    /// Takes events in. Those right behind the last ones, fed with them and like them, become one run with them.
    #[inline]
    pub(super) fn push(&mut self, heads: &Arc<[Head]>, range: Range<usize>, kind: DeliveryKind, failures: u32) {
        if range.is_empty() {
            return;
        }
        let first = heads[range.start].position;
        debug_assert!(self.runs.back().is_none_or(|last| last.last() < first), "positions ascend");
        self.len += range.len();
        self.queued += range.len();
        let extended = self.runs.back_mut().is_some_and(|last| last.extend(heads, &range, kind, failures));
        if !extended {
            self.runs.push_back(Run::new(heads, range, kind, failures));
        }
    }

    /// Hands out up to `max`.
    pub(super) fn take(&mut self, worker: Worker, max: usize, lease: Lease, actions: &mut Vec<Action>) -> usize {
        let mut taken = 0;
        while taken < max {
            let Some(run) = self.runs.get_mut(self.sent) else { break };
            self.sent += 1;
            if run.acked {
                self.queued -= run.len();
                continue;
            }
            let rest = (run.len() > max - taken).then(|| run.split_off(max - taken));
            run.lease = lease;
            run.turn = taken as u32;
            run.attempt += 1;
            self.queued -= run.len();
            taken += run.len();
            actions.push(Action::DeliverRun(run.dispatch(self.shard, worker)));
            if let Some(rest) = rest {
                self.runs.insert(self.sent, rest);
            }
        }
        self.out += taken;
        taken
    }

    /// Says again what is out under these leases: it is in the order in which it went out.
    pub(super) fn again(&self, worker: Worker, open: &[Lease], actions: &mut Vec<Action>) {
        let out = self.runs.iter().filter(|run| run.is_out() && open.contains(&run.lease));
        actions.extend(out.map(|run| Action::DeliverRun(run.dispatch(self.shard, worker))));
    }

    /// The run with this position, and the offset in it.
    #[inline]
    fn find(&self, position: Position) -> Option<(usize, usize)> {
        let index = match self.runs.front() {
            Some(front) if position <= front.last() => 0,
            _ => self.runs.partition_point(|run| run.last() < position),
        };
        Some((index, self.runs.get(index)?.find(position)?))
    }

    /// The lease the event is out with.
    pub(super) fn lease(&self, position: Position) -> Option<Lease> {
        let (index, _) = self.find(position)?;
        self.runs.get(index).filter(|run| run.is_out()).map(|run| run.lease)
    }

    /// What is out of the same conversation with a lower number than this delivery, if that is open.
    pub(super) fn before(&self, handle: Handle) -> Vec<Handle> {
        let last = self.find(handle.place.position).and_then(|(index, offset)| {
            let run = self.runs.get(index).filter(|run| run.is_out() && run.lease == handle.lease)?;
            run.heads().get(offset).filter(|last| last.sequence.0 != 0)
        });
        let Some(last) = last else { return Vec::new() };
        let before = |run: &Run| {
            let heads = run.heads().iter().filter(|head| head.key == last.key && head.sequence < last.sequence);
            let handle = |head: &Head| Handle { place: self.place(head.position), lease: run.lease };
            heads.map(handle).collect::<Vec<_>>()
        };
        self.runs.iter().filter(|run| run.is_out()).flat_map(before).collect()
    }

    fn place(&self, position: Position) -> Place {
        Place { shard: self.shard, position }
    }

    /// Acknowledges one. Returns the lease it was out with and whether failures of it are remembered.
    pub(super) fn ack(&mut self, handle: Handle, guards: Guards) -> Option<(Lease, bool)> {
        if handle.place.shard != self.shard {
            return None;
        }
        let (index, offset) = self.find(handle.place.position)?;
        let run = self.runs.get_mut(index)?;
        if !run.is_out() || (guards.lease_matches() && run.lease != handle.lease) {
            return None;
        }
        let answer = (run.lease, run.failures > 0);
        self.out -= 1;
        if (index, offset) == (0, 0) && run.len() > 1 {
            // By far the usual one: nothing is before it, so it need not be kept.
            run.skip(1);
            self.len -= 1;
            return Some(answer);
        }
        let index = self.isolate(index, offset);
        self.runs[index].acked = true;
        self.kept += 1;
        self.join(index);
        self.drop_acked();
        Some(answer)
    }

    /// Makes an event that is out a run of its own; returns the index of that.
    fn isolate(&mut self, mut index: usize, offset: usize) -> usize {
        if offset > 0 {
            let rest = self.runs[index].split_off(offset);
            index += 1;
            self.runs.insert(index, rest);
            self.sent += 1;
        }
        if self.runs[index].len() > 1 {
            let rest = self.runs[index].split_off(1);
            self.runs.insert(index + 1, rest);
            self.sent += 1;
        }
        index
    }

    /// Keeps an acknowledged run and those beside it as one, so that many acknowledgements do not make many runs.
    fn join(&mut self, index: usize) {
        for left in [Some(index), index.checked_sub(1)].into_iter().flatten() {
            // What is not sent is counted as such, also when it is acknowledged.
            if left + 1 >= self.sent {
                continue;
            }
            let Some(next) = self.runs.get(left + 1).cloned() else { continue };
            if self.runs[left].join_acked(&next) {
                self.runs.remove(left + 1);
                self.sent -= 1;
            }
        }
    }

    /// Acknowledges everything out under a lease; `failed` gets the places whose failures are remembered.
    pub(super) fn ack_lease(&mut self, lease: Lease, failed: &mut Vec<Place>) -> usize {
        let mut count = 0;
        for run in self.runs.iter_mut().take(self.sent) {
            if run.lease == lease && !run.acked {
                run.acked = true;
                count += run.len();
                if run.failures > 0 {
                    let place = |head: &Head| Place { shard: self.shard, position: head.position };
                    failed.extend(run.heads().iter().map(place));
                }
            } else if run.lease > lease && !run.acked {
                break;
            }
        }
        self.out -= count;
        self.kept += count;
        self.drop_acked();
        count
    }

    #[inline]
    fn drop_acked(&mut self) {
        if self.out == 0 && self.sent == self.runs.len() {
            self.runs.clear();
            (self.sent, self.len, self.queued, self.kept) = (0, 0, 0, 0);
        }
        while let Some(run) = self.runs.front().filter(|run| run.acked) {
            let count = run.len();
            if self.sent > 0 {
                self.sent -= 1;
            } else {
                self.queued -= count;
            }
            self.len -= count;
            self.kept -= count;
            self.runs.pop_front();
        }
        // There are many subscribers, and most have nothing to do most of the time.
        if self.runs.is_empty() && self.runs.capacity() > SPARE {
            self.runs = VecDeque::new();
        }
    }

    /// Everything out comes again. Returns nothing: the caller forgets the leases.
    pub(super) fn revoke_all(&mut self) {
        for run in self.runs.iter_mut().filter(|run| !run.acked) {
            run.lease = Lease(0);
        }
        self.sent = 0;
        self.out = 0;
        self.queued = self.len;
        self.drop_acked();
    }

    /// What was live before is backlog now.
    pub(super) fn make_offline(&mut self) {
        for run in self.runs.iter_mut().filter(|run| run.kind == DeliveryKind::Online) {
            run.kind = DeliveryKind::Offline;
        }
    }

    /// Acknowledged positions above the first that is not, as ranges.
    pub(super) fn ranges(&self) -> Vec<(Position, Position)> {
        let mut ranges: Vec<(Position, Position)> = Vec::new();
        let (mut joined, mut left) = (false, self.kept);
        for run in &self.runs {
            if left == 0 {
                break;
            }
            if run.acked {
                left -= run.len();
                match ranges.last_mut() {
                    Some(last) if joined => last.1 = run.last(),
                    _ => ranges.push((run.first(), run.last())),
                }
            }
            joined = run.acked;
        }
        ranges
    }

    /// Its events, one by one, in order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.runs.iter().flat_map(Run::slots)
    }
}
