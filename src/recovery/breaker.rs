//! Whether an app can be reached: a circuit breaker whose trial is a probe, where there is one, and then one call.

use std::time::Duration;

use switchboard_contract::{ErrorKind, Timestamp};

/// What the app may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Any number of calls.
    Open,
    /// Nothing before this time.
    Paused(Timestamp),
    /// The pause is over: ask the vendor something harmless.
    Probe,
    /// A probe or the trial call is under way: wait for it.
    Trying,
    /// The probe went well: one call.
    Trial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Timestamp },
    Probing,
    Ready,
    OnTrial,
}

/// Failures of the whole app open it; a call that got through closes it. No item's attempts are spent on it.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    trips: u32,
    era: u64,
    /// When and why the first pause since a call last got through began.
    fault: Option<(Timestamp, ErrorKind)>,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: State::Closed, trips: 0, era: 0, fault: None }
    }

    pub(crate) fn gate(&self, now: Timestamp) -> Gate {
        match self.state {
            State::Closed => Gate::Open,
            State::Open { until } if until > now => Gate::Paused(until),
            State::Open { .. } => Gate::Probe,
            State::Probing | State::OnTrial => Gate::Trying,
            State::Ready => Gate::Trial,
        }
    }

    /// To be kept with a call that leaves, and handed back with its failure.
    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    /// Pauses so far since a call last got through.
    pub(crate) fn trips(&self) -> u32 {
        self.trips
    }

    /// Since when no call has got through.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.fault.map(|(since, _)| since)
    }

    /// Why it was paused last.
    pub(crate) fn reason(&self) -> Option<ErrorKind> {
        self.fault.map(|(_, kind)| kind)
    }

    /// The app failed. Failures of calls that left before the last pause are the same failure. Returns whether the
    /// pause is new; `pause` is asked for the length of the n-th pause in a row, from 1.
    pub(crate) fn failed(
        &mut self,
        era: u64,
        now: Timestamp,
        kind: ErrorKind,
        pause: impl FnOnce(u32) -> Duration,
    ) -> bool {
        if era != self.era {
            return false;
        }
        self.trips += 1;
        self.era += 1;
        self.fault = Some((self.since().unwrap_or(now), kind));
        self.state = State::Open { until: now + pause(self.trips) };
        true
    }

    /// The probe leaves.
    pub(crate) fn probing(&mut self) {
        self.state = State::Probing;
    }

    /// The probe was answered.
    pub(crate) fn probed(&mut self) {
        if self.state == State::Probing {
            self.state = State::Ready;
        }
    }

    /// A call leaves.
    pub(crate) fn called(&mut self) {
        if self.state == State::Ready {
            self.state = State::OnTrial;
        }
    }

    /// A call came back without the app having failed, whatever became of the item.
    pub(crate) fn answered(&mut self, era: u64) {
        // An answer to a call from before the pause says nothing of the app now.
        if era == self.era {
            self.state = State::Closed;
            self.trips = 0;
            self.fault = None;
        }
    }

    /// Somebody else got through to the app: a pause ends at once, and the next call tries it.
    pub(crate) fn reached(&mut self) {
        if let State::Open { .. } = self.state {
            self.state = State::Ready;
        }
    }

    /// The trial call was not made after all.
    pub(crate) fn withdrawn(&mut self, era: u64) {
        if era == self.era && self.state == State::OnTrial {
            self.state = State::Ready;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DOWN: ErrorKind = ErrorKind::Unavailable;

    #[test]
    fn a_failure_pauses_then_probes_then_tries_one_call() {
        let mut breaker = Breaker::new();
        let era = breaker.era();
        assert!(breaker.failed(era, Timestamp(0), DOWN, |_| SECOND));
        assert_eq!(breaker.gate(Timestamp(999)), Gate::Paused(Timestamp(1000)));
        assert_eq!(breaker.gate(Timestamp(1000)), Gate::Probe);
        breaker.probing();
        assert_eq!(breaker.gate(Timestamp(1000)), Gate::Trying);
        breaker.probed();
        assert_eq!(breaker.gate(Timestamp(1000)), Gate::Trial);
        breaker.called();
        assert_eq!(breaker.gate(Timestamp(1000)), Gate::Trying);
        breaker.answered(breaker.era());
        assert_eq!(breaker.gate(Timestamp(1000)), Gate::Open);
    }

    #[test]
    fn many_calls_that_fail_together_are_one_failure_and_late_answers_open_nothing() {
        let mut breaker = Breaker::new();
        let era = breaker.era();
        assert!(breaker.failed(era, Timestamp(0), DOWN, |_| SECOND));
        assert!(!breaker.failed(era, Timestamp(1), DOWN, |_| SECOND));
        breaker.answered(era);
        assert_eq!(breaker.gate(Timestamp(1)), Gate::Paused(Timestamp(1000)));
        assert_eq!(breaker.trips(), 1);
    }

    #[test]
    fn pauses_grow_until_a_call_gets_through() {
        let mut breaker = Breaker::new();
        for trip in 1..5 {
            let era = breaker.era();
            assert!(breaker.failed(era, Timestamp(0), DOWN, |n| SECOND * n));
            assert_eq!(breaker.gate(Timestamp(0)), Gate::Paused(Timestamp(1000 * i64::from(trip))));
            breaker.probing();
            breaker.probed();
            breaker.called();
        }
        breaker.answered(breaker.era());
        assert_eq!(breaker.trips(), 0);
    }
}
