//! Whether and when to try again: the error's own answer and the call's replay rule decide, never its text.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::SmallRng;
use switchboard_contract::{Clock, Error, ErrorKind, Retry, Sleep};
use tokio::time::Instant;
use tower::retry::Policy;

use crate::call::{Replay, VendorReply};
use crate::config::OutboundConfig;
use crate::layers::{Labels, Ticket};

/// The policy of one call; a fresh clone serves each.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    backoff: Backoff,
    max_retries: u8,
    attempts: u8,
    clock: Arc<dyn Clock>,
    labels: Labels,
}

/// Exponential waits with full jitter: a random part of a ceiling that doubles up to its cap.
#[derive(Debug)]
pub(crate) struct Backoff {
    builder: ExponentialBuilder,
    ceilings: ExponentialBackoff,
    cap: Duration,
    random: Arc<Mutex<SmallRng>>,
}

impl Backoff {
    pub(crate) fn new(config: &OutboundConfig, random: Arc<Mutex<SmallRng>>) -> Self {
        let builder = ExponentialBuilder::new()
            .with_factor(2.0)
            .with_min_delay(config.backoff_base)
            .with_max_delay(config.backoff_cap)
            .without_max_times();
        Self { builder, ceilings: builder.build(), cap: config.backoff_cap, random }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = self.ceilings.next().unwrap_or(self.cap);
        ceiling.mul_f64(self.random.lock().random::<f64>())
    }
}

/// A clone serves another call, so it begins with the first wait again.
impl Clone for Backoff {
    fn clone(&self) -> Self {
        Self { builder: self.builder, ceilings: self.builder.build(), cap: self.cap, random: self.random.clone() }
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Try again after this wait, or after a backoff.
    Again(Option<Duration>),
    /// A repeat would not help, or could do harm.
    GiveUp,
}

fn verdict(retry: Retry, replay: Replay) -> Verdict {
    match (retry, replay) {
        (Retry::Safe { after }, _) => Verdict::Again(after),
        (Retry::OutcomeUnknown, Replay::ReadOnly | Replay::Keyed) => Verdict::Again(None),
        _ => Verdict::GiveUp,
    }
}

impl RetryPolicy {
    pub(crate) fn new(backoff: Backoff, max_retries: u8, clock: Arc<dyn Clock>, labels: Labels) -> Self {
        Self { backoff, max_retries, attempts: 0, clock, labels }
    }

    /// The wait before the next attempt, or `None` with the error in its last form.
    pub(crate) fn next(
        &mut self,
        error: &mut Error,
        replay: Replay,
        max_retries: Option<u8>,
        deadline: Instant,
    ) -> Option<Duration> {
        self.attempts = self.attempts.saturating_add(1);
        let allowed = max_retries.unwrap_or(self.max_retries);
        let Verdict::Again(after) = verdict(error.retry(), replay) else { return None };
        if self.attempts > allowed {
            // A caller that allowed no retries has its own and needs the plain answer.
            if allowed > 0 {
                change(error, Retry::Exhausted { attempts: self.attempts });
            }
            return None;
        }
        let wait = after.unwrap_or_else(|| self.backoff.next());
        // The next attempt would begin after the deadline: the answer at hand says more than "deadline passed".
        (Instant::now() + wait < deadline).then_some(wait)
    }
}

fn change(error: &mut Error, retry: Retry) {
    let whole = std::mem::replace(error, Error::new(ErrorKind::Closed, ""));
    *error = whole.with_retry(retry);
}

impl Policy<Ticket, VendorReply, Error> for RetryPolicy {
    type Future = Sleep;

    fn retry(&mut self, ticket: &mut Ticket, result: &mut Result<VendorReply, Error>) -> Option<Sleep> {
        let Err(error) = result else { return None };
        let (call, trip) = (&ticket.call, &ticket.trip);
        if error.retry() == Retry::OutcomeUnknown {
            trip.raise_doubt();
        }
        let wait = self.next(error, call.replay, call.max_retries, ticket.deadline);
        if wait.is_none() && trip.in_doubt() && call.replay != Replay::ReadOnly {
            // An earlier attempt may have been carried out, whatever the last one says.
            change(error, Retry::OutcomeUnknown);
        }
        let wait = wait?;
        metrics::counter!("switchboard_vendor_retries_total", self.labels.operation(call.operation).to_vec())
            .increment(1);
        tracing::debug!(attempt = self.attempts, kind = %error.kind(), wait_ms = wait.as_millis() as u64, "trying again");
        Some(self.clock.sleep(wait))
    }

    fn clone_request(&mut self, ticket: &Ticket) -> Option<Ticket> {
        Some(ticket.clone())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_rule_is_the_table_of_answer_and_replay() {
        let safe = Retry::Safe { after: Some(Duration::from_secs(9)) };
        for replay in [Replay::ReadOnly, Replay::Keyed, Replay::Once] {
            assert_eq!(verdict(safe, replay), Verdict::Again(Some(Duration::from_secs(9))));
            assert_eq!(verdict(Retry::Never, replay), Verdict::GiveUp);
            assert_eq!(verdict(Retry::Exhausted { attempts: 4 }, replay), Verdict::GiveUp);
        }
        assert_eq!(verdict(Retry::OutcomeUnknown, Replay::ReadOnly), Verdict::Again(None));
        assert_eq!(verdict(Retry::OutcomeUnknown, Replay::Keyed), Verdict::Again(None));
        assert_eq!(verdict(Retry::OutcomeUnknown, Replay::Once), Verdict::GiveUp);
    }

    #[test]
    fn waits_double_up_to_the_cap_and_the_seed_repeats_them() {
        let config = OutboundConfig {
            backoff_base: Duration::from_millis(100),
            backoff_cap: Duration::from_millis(500),
            ..Default::default()
        };
        let waits = |seed| {
            let random = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
            let mut backoff = Backoff::new(&config, random);
            (0..200).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        let one = waits(7);
        assert_eq!(one, waits(7));
        assert_ne!(one, waits(8));
        for (wait, ceiling) in one.iter().zip([100, 200, 400, 500, 500]) {
            assert!(*wait <= Duration::from_millis(ceiling), "{wait:?} exceeds {ceiling} ms");
        }
        assert!(one[3..].iter().any(|wait| *wait > Duration::from_millis(400)), "the ceiling does grow");
        assert!(one[3..].iter().any(|wait| *wait < Duration::from_millis(100)), "the jitter is full");
    }
}
