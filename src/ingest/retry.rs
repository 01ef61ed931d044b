//! Waits between tries of a database or a vendor.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use switchboard_contract::{Error, ErrorKind};

/// Doubling waits with jitter, between two bounds, without end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    pub(super) fn waits(self) -> Waits {
        let waits = ExponentialBuilder::default()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_jitter()
            .without_max_times()
            .build();
        Waits { waits, longest: self.longest }
    }
}

/// One series of waits.
#[derive(Debug)]
pub(super) struct Waits {
    waits: ExponentialBackoff,
    longest: Duration,
}

impl Waits {
    pub(super) fn next(&mut self) -> Duration {
        // Jitter is added on top of the bound.
        self.waits.next().unwrap_or(self.longest).min(self.longest)
    }
}

/// Whether the store, not what was written, is at fault: the same write may succeed later.
pub(super) fn is_transient(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Storage
            | ErrorKind::StorageFull
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::RateLimited
            | ErrorKind::Closed
    )
}
