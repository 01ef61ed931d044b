//! One event in a ledger.

use super::types::{DeliveryKind, Dispatch, Handle, Head, Key, Lease, Place, Worker};
use crate::ids::{Position, Sequence, Shard};

/// An event that is read and not done with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) position: Position,
    pub(super) sequence: Sequence,
    pub(super) key: Key,
    /// Under which it is out; 0 while it is not.
    pub(super) lease: Lease,
    pub(super) attempt: u32,
    pub(super) failures: u32,
    /// Its turn under its lease.
    pub(super) turn: u32,
    pub(super) kind: DeliveryKind,
    /// Acknowledged, and kept because an earlier one is not.
    pub(super) acked: bool,
}

impl Slot {
    #[inline]
    pub(super) fn new(head: &Head, kind: DeliveryKind, failures: u32) -> Self {
        Self {
            position: head.position,
            sequence: head.sequence,
            key: head.key,
            lease: Lease(0),
            attempt: failures,
            failures,
            turn: 0,
            kind,
            acked: false,
        }
    }

    #[inline]
    pub(super) fn is_out(&self) -> bool {
        self.lease.0 != 0 && !self.acked
    }

    #[inline]
    pub(super) fn dispatch(&self, shard: Shard, worker: Worker) -> Dispatch {
        Dispatch {
            worker,
            handle: Handle { place: Place { shard, position: self.position }, lease: self.lease },
            sequence: self.sequence,
            key: self.key,
            attempt: self.attempt,
            kind: self.kind,
        }
    }
}
