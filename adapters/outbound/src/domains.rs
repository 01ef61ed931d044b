//! Fail-over among the addresses of one vendor.
//!
//! Stays with an address until it fails, moves on to the next, stays there, and does not move again for the damping
//! time: both vendors ask their clients not to swing between addresses.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::Timestamp;
use url::Url;

pub(crate) struct Domains {
    urls: Vec<Url>,
    damping: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    current: usize,
    switched_at: Option<Timestamp>,
}

impl fmt::Debug for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domains").field("count", &self.urls.len()).field("current", &self.current().0).finish()
    }
}

impl Domains {
    /// `urls` holds at least one.
    pub(crate) fn new(urls: Vec<Url>, damping: Duration) -> Self {
        Self { urls, damping, state: Mutex::new(State { current: 0, switched_at: None }) }
    }

    /// The address in use, with the number by which a failure is reported.
    pub(crate) fn current(&self) -> (usize, &Url) {
        let at = self.state.lock().current;
        (at, &self.urls[at])
    }

    /// Reports that `failed` did not answer as it should. Returns whether this moved to another address. Reports of an
    /// address already left change nothing, so a burst of failures moves once.
    pub(crate) fn report(&self, failed: usize, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let damped = state.switched_at.is_some_and(|at| now.since(at) < self.damping);
        if self.urls.len() < 2 || failed != state.current || damped {
            return false;
        }
        *state = State { current: (failed + 1) % self.urls.len(), switched_at: Some(now) };
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn moves_once_stays_and_is_damped() {
        let urls = vec!["http://a".parse().unwrap(), "http://b".parse().unwrap()];
        let domains = Domains::new(urls, Duration::from_secs(30));
        assert!(domains.report(0, Timestamp(1_000)));
        assert!(!domains.report(0, Timestamp(1_001)), "a late failure of the address already left");
        assert_eq!(domains.current().0, 1);
        assert!(!domains.report(1, Timestamp(30_999)), "damped");
        assert!(domains.report(1, Timestamp(31_000)));
        assert_eq!(domains.current().0, 0);
    }

    #[test]
    fn a_single_address_is_kept() {
        let domains = Domains::new(vec!["http://a".parse().unwrap()], Duration::ZERO);
        assert!(!domains.report(0, Timestamp(1)));
    }
}
