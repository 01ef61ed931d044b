//! How many calls of a vendor may be spent on history.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::{Clock, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);

/// Calls that come back evenly, so many in an hour. An hour's worth may be spent at once.
#[derive(Debug)]
pub struct Budget {
    per_hour: u32,
    clock: Arc<dyn Clock>,
    /// What is left, in calls, and when that was.
    left: Mutex<(f64, Timestamp)>,
}

impl Budget {
    /// A full one.
    pub fn new(per_hour: u32, clock: Arc<dyn Clock>) -> Self {
        let left = Mutex::new((f64::from(per_hour), clock.now()));
        Self { per_hour, clock, left }
    }

    /// Takes one call, if one is left.
    pub fn take(&self) -> bool {
        let mut left = self.left.lock();
        self.refill(&mut left);
        let one = left.0 >= 1.0;
        if one {
            left.0 -= 1.0;
        }
        one
    }

    /// How many calls are left now.
    pub fn left(&self) -> u64 {
        let mut left = self.left.lock();
        self.refill(&mut left);
        left.0 as u64
    }

    fn refill(&self, (left, at): &mut (f64, Timestamp)) {
        let now = self.clock.now();
        let back = now.since(*at).as_secs_f64() * f64::from(self.per_hour) / HOUR.as_secs_f64();
        *left = (*left + back).min(f64::from(self.per_hour));
        *at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn calls_come_back_evenly_and_no_more_than_an_hours() {
        let clock = ManualClock::new(Timestamp(0));
        let budget = Budget::new(60, Arc::new(clock.clone()));
        assert_eq!((0..70).filter(|_| budget.take()).count(), 60);
        assert!(!budget.take());
        clock.advance(Duration::from_secs(59));
        assert_eq!(budget.left(), 0);
        clock.advance(Duration::from_secs(121));
        assert_eq!((0..9).filter(|_| budget.take()).count(), 3);
        clock.advance(9 * HOUR);
        assert_eq!(budget.left(), 60);
        assert!(!Budget::new(0, Arc::new(clock)).take());
    }
}
