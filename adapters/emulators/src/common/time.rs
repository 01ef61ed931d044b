//! The emulated vendor's clock.
//!
//! Every deadline of an emulator (token lifetime, quota window, ban, history hour, callback timeout) reads this clock,
//! so a test can move days in a microsecond. It owns no schedule of its own: what expires is computed from the time now.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering as Atomic};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A clock: the system's, or one that moves only when told. Clones share the clock and its skew.
#[derive(Clone, Debug)]
pub struct Time {
    source: Clock,
    skew_ms: Arc<AtomicI64>,
}

#[derive(Clone, Debug)]
enum Clock {
    System,
    Manual(Arc<Mutex<Manual>>),
}

#[derive(Debug)]
struct Manual {
    now_ms: i64,
    order: u64,
    sleepers: BinaryHeap<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    deadline_ms: i64,
    order: u64,
    wake: oneshot::Sender<()>,
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Sleeper {}
impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sleeper {
    /// Reversed, so that the heap's greatest is the earliest deadline.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.deadline_ms, other.order).cmp(&(self.deadline_ms, self.order))
    }
}

/// The deadline was reached before the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl Time {
    /// The system's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self { source: Clock::System, skew_ms: Arc::default() }
    }

    /// A clock standing at `start_ms` (Unix milliseconds) until [`Time::advance`] moves it.
    #[must_use]
    pub fn manual(start_ms: i64) -> Self {
        let manual = Manual { now_ms: start_ms, order: 0, sleepers: BinaryHeap::new() };
        Self { source: Clock::Manual(Arc::new(Mutex::new(manual))), skew_ms: Arc::default() }
    }

    /// The same clock as seen by someone whose watch is `skew_ms` ahead (negative: behind). The skew of the original
    /// does not change.
    #[must_use]
    pub fn with_skew(&self, skew_ms: i64) -> Self {
        Self { source: self.source.clone(), skew_ms: Arc::new(AtomicI64::new(skew_ms)) }
    }

    /// Replaces the skew of this clock and of all its clones.
    pub fn set_skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Atomic::Relaxed);
    }

    /// Unix milliseconds, skew included.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.true_ms() + self.skew_ms.load(Atomic::Relaxed)
    }

    /// Whether the clock moves only by [`Time::advance`].
    #[must_use]
    pub fn is_manual(&self) -> bool {
        matches!(self.source, Clock::Manual(_))
    }

    fn true_ms(&self) -> i64 {
        match &self.source {
            Clock::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Clock::Manual(manual) => manual.lock().now_ms,
        }
    }

    /// Waits for `duration` of this clock. A manual clock never wakes the caller by itself.
    pub async fn sleep(&self, duration: Duration) {
        let Clock::Manual(manual) = &self.source else {
            tokio::time::sleep(duration).await;
            return;
        };
        let woken = {
            let mut manual = manual.lock();
            let deadline_ms = manual.now_ms.saturating_add(millis(duration));
            if deadline_ms <= manual.now_ms {
                return;
            }
            let (wake, woken) = oneshot::channel();
            manual.order += 1;
            let order = manual.order;
            manual.sleepers.push(Sleeper { deadline_ms, order, wake });
            woken
        };
        // The sender is dropped only with the clock itself; then nobody can advance it and waking is harmless.
        let _ = woken.await;
    }

    /// Runs `work` for at most `limit` of this clock.
    ///
    /// # Errors
    /// [`Elapsed`] when the limit came first; the work is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, work: F) -> Result<F::Output, Elapsed> {
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = self.sleep(limit) => Err(Elapsed),
        }
    }

    /// Tasks that wait on a manual clock now. A test that is about to advance it can first see that the one it means
    /// has begun to wait. Always 0 for the system's clock.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        match &self.source {
            Clock::System => 0,
            Clock::Manual(manual) => {
                let manual = manual.lock();
                manual.sleepers.iter().filter(|sleeper| !sleeper.wake.is_closed()).count()
            }
        }
    }

    /// Moves a manual clock forward and wakes every sleeper whose deadline is reached, in the order of deadlines.
    /// A woken task runs when the runtime next schedules it and reads the final time; one that then sleeps again
    /// counts from there. Has no effect on the system clock.
    pub fn advance(&self, by: Duration) {
        let Clock::Manual(manual) = &self.source else {
            return;
        };
        let mut manual = manual.lock();
        manual.now_ms = manual.now_ms.saturating_add(millis(by));
        while manual.sleepers.peek().is_some_and(|next| next.deadline_ms <= manual.now_ms) {
            if let Some(sleeper) = manual.sleepers.pop() {
                // A sleeper that was cancelled has dropped its receiver.
                let _ = sleeper.wake.send(());
            }
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_by_deadline() {
        let time = Time::manual(1_000);
        let (log, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for delay in [30_u64, 10, 20] {
            let (time, log) = (time.clone(), log.clone());
            tasks.push(tokio::spawn(async move {
                time.sleep(Duration::from_millis(delay)).await;
                log.send(delay).ok();
            }));
        }
        while time.sleepers() < 3 {
            tokio::task::yield_now().await;
        }
        time.advance(Duration::from_millis(25));
        assert_eq!((seen.recv().await, seen.recv().await), (Some(10), Some(20)));
        assert_eq!(time.sleepers(), 1);
        time.advance(Duration::from_millis(5));
        assert_eq!(seen.recv().await, Some(30));
        assert_eq!(time.now_ms(), 1_030);
    }

    #[test]
    fn skew_belongs_to_one_view_of_the_clock() {
        let time = Time::manual(0);
        let ahead = time.with_skew(420_000);
        time.advance(Duration::from_secs(1));
        assert_eq!((time.now_ms(), ahead.now_ms()), (1_000, 421_000));
    }

    #[tokio::test]
    async fn a_timeout_follows_the_same_clock() {
        let time = Time::manual(0);
        let waiting = tokio::spawn({
            let time = time.clone();
            async move { time.timeout(Duration::from_secs(10), std::future::pending::<()>()).await }
        });
        while time.sleepers() < 1 {
            tokio::task::yield_now().await;
        }
        time.advance(Duration::from_secs(10));
        assert_eq!(waiting.await.ok(), Some(Err(Elapsed)));
    }
}
