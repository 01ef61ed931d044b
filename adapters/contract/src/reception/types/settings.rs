//! How one subscriber wants to be served.

use std::time::Duration;

use crate::storage::{Backlog, PoisonPolicy, Reception as Mode, SubscriberSpec};

/// What the subscriber asked for, as far as the machine is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How backlog and live events meet.
    pub reception: Mode,
    /// In which order backlog comes.
    pub backlog: Backlog,
    /// Deliveries that may be out at a time, over all workers. At least 1.
    pub max_in_flight: usize,
    /// Events in one page of backlog. At least 1.
    pub page_size: usize,
    /// How long a delivery may be out.
    pub ack_deadline: Duration,
    /// Failed deliveries of one event before the poison policy applies. At least 1.
    pub max_attempts: u32,
    /// What happens then.
    pub poison: PoisonPolicy,
    /// The wait after the first failure; each further one doubles it.
    pub retry_base: Duration,
    /// The longest wait between two tries.
    pub retry_cap: Duration,
}

impl Settings {
    /// Takes over a specification; values of zero become one.
    pub fn new(spec: &SubscriberSpec) -> Self {
        let at_least_one = |n: u32| usize::try_from(n.max(1)).unwrap_or(usize::MAX);
        Self {
            reception: spec.reception,
            backlog: spec.backlog,
            max_in_flight: at_least_one(spec.max_in_flight),
            page_size: at_least_one(spec.page_size),
            ack_deadline: spec.ack_deadline,
            max_attempts: spec.max_attempts.max(1),
            poison: spec.poison,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(300),
        }
    }

    /// Events that may wait for acknowledgement before those ahead of them count as more than the mailbox holds.
    pub(in crate::reception) fn mailbox(&self) -> u64 {
        self.max_in_flight.max(self.page_size) as u64
    }

    /// How much backlog a newest-first walk looks at in one go; also bounds the ranges it has to remember.
    pub(in crate::reception) fn window(&self) -> u64 {
        (self.max_in_flight as u64).saturating_mul(16)
    }

    pub(in crate::reception) fn newest_first(&self) -> bool {
        self.backlog == Backlog::NewestFirst
    }

    pub(in crate::reception) fn concurrent(&self) -> bool {
        self.reception == Mode::Concurrent
    }

    /// The wait after the `failures`th failure.
    pub(in crate::reception) fn retry_delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.retry_base.saturating_mul(1 << doublings).min(self.retry_cap)
    }
}
