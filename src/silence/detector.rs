//! When silence is an alarm. No I/O, no clock.
//!
//! Callbacks come at random: now and then four expected gaps pass without one though nothing is wrong. Then the vendor
//! is asked whether something was said; if so, silence is a fault, and the alarm comes within five expected gaps. Where
//! nobody can be asked it takes longer: until chance and what was seen in the weeks before cannot explain it.

use std::time::Duration;

use switchboard_contract::Timestamp;

use super::SilenceConfig;
use super::model::Expectation;
use crate::ingest::Arrivals;

/// Where a callback a second is expected, asking before this long would be asking all the time.
const SOONEST: Duration = Duration::from_secs(10);
/// Refusals shortly before a silence that make a ban of it.
const BAN: u64 = 10;
/// How long refusals count.
const BAN_MEMORY: Duration = Duration::from_secs(120);
/// While nothing is learnt the vendor is not asked more often than this.
const UNLEARNT: Duration = Duration::from_secs(60);
/// Asked in vain, the vendor is asked once more after so many further gaps.
const ONCE_MORE: f64 = 0.75;
/// The longest wait between two looks.
const LONGEST: Duration = Duration::from_secs(60);

/// Why callbacks do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody knows.
    Silence,
    /// Many were refused just before: vendors ban receivers that fail.
    Ban,
}

impl Cause {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Ban => "ban",
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing.
    Nothing,
    /// Ask the vendor whether something was said.
    Ask,
    /// It is a fault.
    Alarm(Cause),
    /// It is over: callbacks come again.
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calm,
    Silent,
}

/// Watches one app.
#[derive(Clone, Debug)]
pub(super) struct Detector {
    config: SilenceConfig,
    state: State,
    /// From here on it is silent; the last callback, or when the watch began.
    since: Timestamp,
    accepted: u64,
    refused: u64,
    /// Refusals, and when the last of them was seen.
    refusals: (u64, Timestamp),
    /// The vendor is not asked again before, nor before so many gaps have passed.
    ask_at: (Timestamp, f64),
}

impl Detector {
    pub(super) fn new(config: SilenceConfig, now: Timestamp) -> Self {
        Self {
            config,
            state: State::Calm,
            since: now,
            accepted: 0,
            refused: 0,
            refusals: (0, Timestamp(0)),
            ask_at: (Timestamp(0), 0.0),
        }
    }

    /// Since when no callback came.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// Since when no callback came, with what has come now.
    pub(super) fn since_last(&self, arrivals: &Arrivals) -> Timestamp {
        arrivals.last.map_or(self.since, |last| last.max(self.since))
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state == State::Silent
    }

    /// The watch begins anew: we were away, or callbacks could not be taken.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.since = self.since.max(now);
        self.state = State::Calm;
        self.ask_at = (Timestamp(0), 0.0);
    }

    /// The vendor says that something was said.
    pub(super) fn confirmed(&mut self) -> Act {
        self.alarm()
    }

    /// Looks; what to do, and when to look again.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        arrivals: &Arrivals,
        expected: Option<Expectation>,
    ) -> (Act, Timestamp) {
        self.count_refusals(now, arrivals);
        let came = arrivals.accepted > self.accepted;
        self.accepted = arrivals.accepted;
        if came {
            self.since = arrivals.last.unwrap_or(now).max(self.since);
            self.ask_at = (Timestamp(0), 0.0);
        }
        if self.state == State::Silent {
            if came {
                self.state = State::Calm;
                return (Act::Back, now + Duration::from_secs(1));
            }
            return (Act::Nothing, now + Duration::from_secs(1));
        }
        let rare = 1.0 / self.config.rarest.as_secs_f64();
        let Some(expected) = expected.filter(|expected| expected.rate >= rare) else {
            return (Act::Nothing, now + LONGEST);
        };
        let alarm_at = self.alarm_at(now, &expected);
        if alarm_at.is_some_and(|at| now >= at) {
            return (self.alarm(), now + Duration::from_secs(1));
        }
        let next = |ask: Timestamp| alarm_at.map_or(ask, |alarm| alarm.min(ask)).min(now + LONGEST);
        let ask_at = self.ask_at(now, &expected);
        if now < ask_at {
            return (Act::Nothing, next(ask_at));
        }
        // Callbacks may have stopped in the middle of a long gap, so that nothing was said yet that did not come: it is
        // asked once more before five have passed, and then whenever they have doubled.
        let wait = if expected.learnt { SOONEST / 4 } else { UNLEARNT };
        let once_more = self.config.gaps_to_ask + ONCE_MORE;
        let gaps = if expected.due < once_more { once_more } else { expected.due * 2.0 };
        self.ask_at = (now + wait, gaps);
        (Act::Ask, next(self.ask_at(now, &expected)))
    }

    fn count_refusals(&mut self, now: Timestamp, arrivals: &Arrivals) {
        let fresh = arrivals.refused.saturating_sub(self.refused);
        self.refused = arrivals.refused;
        if now.since(self.refusals.1) > BAN_MEMORY {
            self.refusals.0 = 0;
        }
        if fresh > 0 {
            self.refusals = (self.refusals.0 + fresh, now);
        }
    }

    fn alarm(&mut self) -> Act {
        self.state = State::Silent;
        Act::Alarm(if self.banned() { Cause::Ban } else { Cause::Silence })
    }

    fn banned(&self) -> bool {
        self.refusals.0 >= BAN && self.refusals.1 + BAN_MEMORY >= self.since
    }

    /// When so many gaps have passed, if the rate stays: `now` when they have.
    fn passed(now: Timestamp, expected: &Expectation, gaps: f64) -> Timestamp {
        let left = ((gaps - expected.due) / expected.rate).max(0.0);
        now + Duration::try_from_secs_f64(left).unwrap_or(LONGEST).min(LONGEST * 2)
    }

    /// When the vendor is asked.
    fn ask_at(&self, now: Timestamp, expected: &Expectation) -> Timestamp {
        let (not_before, gaps) = self.ask_at;
        let at = Self::passed(now, expected, gaps.max(self.config.gaps_to_ask)).max(not_before);
        if expected.rate >= 1.0 { at.max(self.since + SOONEST) } else { at }
    }

    /// When it is an alarm without an answer; `None` for never.
    fn alarm_at(&self, now: Timestamp, expected: &Expectation) -> Option<Timestamp> {
        let (soon, within) = (self.since + SOONEST * 2, self.since + self.config.alarm_within);
        if self.banned() {
            // Refusals and then nothing: that needs no further witness.
            let at = Self::passed(now, expected, self.config.gaps_to_ask + 0.5);
            return Some(if expected.rate >= 1.0 { at.max(soon).min(within) } else { at });
        }
        let at = Self::passed(now, expected, self.config.gaps_to_alarm);
        if expected.rate >= 1.0 {
            return Some(at.max(soon).min(within));
        }
        expected.learnt.then(|| at.max(self.since + expected.longest_gap * 2).max(within))
    }
}
