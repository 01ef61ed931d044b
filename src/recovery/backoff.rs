//! Waits before retries: exponential ceilings with full jitter, drawn from one seeded generator.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Draws waits.
#[derive(Debug)]
pub(crate) struct Jitter(Mutex<StdRng>);

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(Mutex::new(seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64)))
    }

    /// The wait before the retry after `failures` failures (from 1): anything up to `min` doubled with each, at most
    /// `max`. A wait the other side named is honoured in full, with the draw added on top so that many who were told
    /// the same wait do not come back at once.
    pub(crate) fn wait(&self, failures: u32, min: Duration, max: Duration, named: Option<Duration>) -> Duration {
        let ceiling = ceiling(failures, min, max);
        let drawn = Duration::from_millis(self.0.lock().random_range(0..=millis(ceiling)));
        match named {
            Some(named) => named + drawn.min(named / 10),
            None => drawn,
        }
    }
}

/// The longest wait after `failures` failures.
pub(crate) fn ceiling(failures: u32, min: Duration, max: Duration) -> Duration {
    // Beyond 63 doublings every ceiling is `max`.
    let doublings = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(63);
    ExponentialBuilder::new()
        .with_min_delay(min)
        .with_max_delay(max)
        .with_factor(2.0)
        .without_max_times()
        .build()
        .nth(doublings)
        .unwrap_or(max)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn ceilings_double_up_to_the_longest() {
        let seconds: Vec<f32> = (1..=9).map(|failures| ceiling(failures, MIN, MAX).as_secs_f32()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(ceiling(u32::MAX, MIN, MAX), MAX);
    }

    #[test]
    fn waits_fill_the_whole_range_and_a_seed_repeats_them() {
        let draw = |seed| -> Vec<_> {
            let jitter = Jitter::new(Some(seed));
            (0..1000).map(|_| jitter.wait(2, MIN, MAX, None)).collect()
        };
        let waits = draw(7);
        assert_eq!(waits, draw(7));
        let least = waits.iter().min().copied().unwrap_or_default();
        let most = waits.iter().max().copied().unwrap_or_default();
        assert!(least < Duration::from_millis(20) && most > Duration::from_millis(980), "{least:?} {most:?}");
        assert!(most <= Duration::from_secs(1));
    }

    #[test]
    fn a_named_wait_is_never_shortened() {
        let jitter = Jitter::new(Some(1));
        let named = Duration::from_secs(5);
        for failures in 1..50 {
            let wait = jitter.wait(failures, MIN, MAX, Some(named));
            assert!((named..=named + named / 10).contains(&wait), "{wait:?}");
        }
    }
}
