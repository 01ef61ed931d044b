//! What a business asks of the hub, in one sentence.

use std::time::Duration;

use switchboard_contract::storage::{Backlog, PoisonPolicy, Reception, StartAt, SubscriberFilter, SubscriberSpec};
use switchboard_contract::{SubscriberName, Topic};

use crate::hub::WorkerOptions;

/// A subscriber by name, with what it wants. The name is durable: a second subscription under it goes on where the
/// first left off, and several at once share the work.
#[derive(Clone, Debug)]
pub struct Subscriber {
    name: SubscriberName,
    spec: SubscriberSpec,
    worker: WorkerOptions,
}

impl Subscriber {
    /// A subscriber to messages, oldest first, offline before online, from the beginning.
    pub fn named(name: impl Into<SubscriberName>) -> Self {
        Self { name: name.into(), spec: SubscriberSpec::default(), worker: WorkerOptions::default() }
    }

    /// The topics it wants.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = Topic>) -> Self {
        self.spec.topics = topics.into_iter().collect();
        self
    }

    /// What to leave out.
    #[must_use]
    pub fn filter(mut self, filter: SubscriberFilter) -> Self {
        self.spec.filter = filter;
        self
    }

    /// How backlog and live events meet.
    #[must_use]
    pub fn reception(mut self, reception: Reception) -> Self {
        self.spec.reception = reception;
        self
    }

    /// In which order backlog comes.
    #[must_use]
    pub fn backlog(mut self, backlog: Backlog) -> Self {
        self.spec.backlog = backlog;
        self
    }

    /// Where it begins when it is new.
    #[must_use]
    pub fn start(mut self, start: StartAt) -> Self {
        self.spec.start = start;
        self
    }

    /// Deliveries that may be out without an acknowledgement.
    #[must_use]
    pub fn max_in_flight(mut self, max: u32) -> Self {
        self.spec.max_in_flight = max;
        self
    }

    /// How long a delivery may stay out before it comes again.
    #[must_use]
    pub fn ack_deadline(mut self, deadline: Duration) -> Self {
        self.spec.ack_deadline = deadline;
        self
    }

    /// Deliveries of one event before `poison` applies, and what that is.
    #[must_use]
    pub fn poison(mut self, max_attempts: u32, policy: PoisonPolicy) -> Self {
        self.spec.max_attempts = max_attempts;
        self.spec.poison = policy;
        self
    }

    /// Expires it after this long without a connection or pull.
    #[must_use]
    pub fn expires_after(mut self, time: Duration) -> Self {
        self.spec.expires_after = Some(time);
        self
    }

    /// Everything at once, as the API takes it.
    #[must_use]
    pub fn with_spec(mut self, spec: SubscriberSpec) -> Self {
        self.spec = spec;
        self
    }

    pub(super) fn into_parts(self) -> (SubscriberName, SubscriberSpec, WorkerOptions) {
        (self.name, self.spec, self.worker)
    }
}
