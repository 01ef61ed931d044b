//! Which worker holds what, and until when.

use std::collections::VecDeque;

use super::types::{Lease, Worker};
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
struct Record {
    lease: Lease,
    worker: Worker,
    deadline: Timestamp,
    open: usize,
}

/// Leases in the order they were given. Those with nothing open are forgotten, at the latest when they outnumber
/// what can be open.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    records: VecDeque<Record>,
    next: u64,
    /// No deadline passes before this.
    due: Option<Timestamp>,
}

impl Leases {
    pub(super) fn new(first: u64) -> Self {
        Self { records: VecDeque::new(), next: first.max(1), due: None }
    }

    /// The number the next lease will have.
    pub(super) fn upcoming(&self) -> Lease {
        Lease(self.next)
    }

    pub(super) fn open(&mut self, worker: Worker, deadline: Timestamp, count: usize) {
        let lease = Lease(self.next);
        self.next += 1;
        if self.records.len() > 64 && self.records.len() > 2 * self.open_records() {
            self.records.retain(|record| record.open > 0);
        }
        self.records.push_back(Record { lease, worker, deadline, open: count });
        self.due = Some(self.due.map_or(deadline, |due| due.min(deadline)));
    }

    fn open_records(&self) -> usize {
        self.records.iter().filter(|record| record.open > 0).count()
    }

    /// So many of its deliveries are no longer out.
    #[inline]
    pub(super) fn close(&mut self, lease: Lease, count: usize) {
        let front = self.records.front().is_some_and(|record| record.lease == lease);
        let index = if front { Ok(0) } else { self.records.binary_search_by_key(&lease, |record| record.lease) };
        if let Some(record) = index.ok().and_then(|index| self.records.get_mut(index)) {
            record.open = record.open.saturating_sub(count);
        }
        while self.records.front().is_some_and(|record| record.open == 0) {
            self.records.pop_front();
        }
        if self.records.is_empty() {
            self.due = None;
        }
    }

    pub(super) fn worker(&self, lease: Lease) -> Option<Worker> {
        let index = self.records.binary_search_by_key(&lease, |record| record.lease).ok()?;
        self.records.get(index).filter(|record| record.open > 0).map(|record| record.worker)
    }

    /// The open leases of a worker, in order.
    pub(super) fn of(&self, worker: Worker) -> impl Iterator<Item = Lease> + '_ {
        self.records.iter().filter(move |record| record.worker == worker && record.open > 0).map(|record| record.lease)
    }

    /// The open leases whose time is over.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<Lease> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let open = || self.records.iter().filter(|record| record.open > 0);
        let expired = open().filter(|record| record.deadline <= now).map(|record| record.lease).collect();
        self.due = open().map(|record| record.deadline).filter(|deadline| *deadline > now).min();
        expired
    }

    pub(super) fn relax(&mut self) {
        self.records.shrink_to_fit();
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }
}
