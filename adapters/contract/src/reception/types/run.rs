//! Deliveries that go out together.

use std::ops::Range;
use std::sync::Arc;

use super::io::{Action, Dispatch};
use super::{DeliveryKind, Handle, Head, Lease, Place, Worker};
use crate::ids::Shard;

/// Deliveries of events that were fed together and stand side by side, said at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchRun {
    /// To whom.
    pub worker: Worker,
    /// Of which shard.
    pub shard: Shard,
    /// The lease they go out under.
    pub lease: Lease,
    /// The how-manieth delivery of each of these events, from 1, as far as remembered over a restart.
    pub attempt: u32,
    /// How they come.
    pub kind: DeliveryKind,
    /// What they were fed with, the very same.
    pub heads: Arc<[Head]>,
    /// Which of those; never empty.
    pub range: Range<usize>,
}

impl DispatchRun {
    /// The deliveries one by one, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = Dispatch> + '_ {
        self.heads[self.range.clone()].iter().map(|head| Dispatch {
            worker: self.worker,
            handle: Handle { place: Place { shard: self.shard, position: head.position }, lease: self.lease },
            sequence: head.sequence,
            key: head.key,
            attempt: self.attempt,
            kind: self.kind,
        })
    }
}

impl Action {
    /// The deliveries it asks for, one by one; none if it is something else.
    pub fn dispatches(&self) -> impl Iterator<Item = Dispatch> + '_ {
        let (one, run) = match self {
            Self::Deliver(dispatch) => (Some(*dispatch), None),
            Self::DeliverRun(run) => (None, Some(run)),
            _ => (None, None),
        };
        one.into_iter().chain(run.into_iter().flat_map(DispatchRun::dispatches))
    }
}
