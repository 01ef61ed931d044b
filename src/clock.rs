//! The clocks behind [`Clock`]: the system's, and one that tests move by hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use switchboard_contract::{Clock, Sleep, Timestamp};
use tokio::sync::oneshot;

/// The system's clock; waits run on the tokio timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until [`advance`](Self::advance) moves it. Clones share their time.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Hand>>);

struct Hand {
    now: Timestamp,
    ticket: u64,
    sleepers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Hand { now, ticket: 0, sleepers: BTreeMap::new() })))
    }

    /// Moves the clock and wakes every sleeper whose time has come, the earliest first.
    pub fn advance(&self, by: Duration) {
        let mut hand = self.0.lock();
        hand.now = hand.now + by;
        let now = hand.now;
        while let Some(first) = hand.sleepers.first_entry() {
            if first.key().0 > now {
                break;
            }
            // The sleeper may be gone; then nobody needs waking.
            let _ = first.remove().send(());
        }
    }

    /// When the next sleeper wants to wake, if any sleeps.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let mut hand = self.0.lock();
        hand.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        hand.sleepers.keys().next().map(|(at, _)| *at)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({})", self.now().0)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().now
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        if duration.is_zero() {
            return Box::pin(tokio::task::yield_now());
        }
        let mut hand = self.0.lock();
        let (wake, woken) = oneshot::channel();
        hand.ticket += 1;
        let key = (hand.now + duration, hand.ticket);
        hand.sleepers.insert(key, wake);
        Box::pin(async move {
            // An error means the clock is gone: nobody will ever move it again.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_when_their_time_has_come() {
        let clock = ManualClock::new(Timestamp(0));
        let mut early = clock.sleep(Duration::from_secs(1));
        let mut later = clock.sleep(Duration::from_secs(2));
        clock.advance(Duration::from_millis(1999));
        (&mut early).await;
        assert!(futures::poll!(&mut later).is_pending());
        assert_eq!(clock.next_wake(), Some(Timestamp(2000)));
        clock.advance(Duration::from_millis(1));
        later.await;
    }
}
