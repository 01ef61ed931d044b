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
    /// The vendor is not asked again before.
    ask_at: Timestamp,
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
            ask_at: Timestamp(0),
        }
    }

    /// Since when no callback came.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state == State::Silent
    }

    /// The watch begins anew: we were away, or callbacks could not be taken.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.since = self.since.max(now);
        self.state = State::Calm;
        self.ask_at = Timestamp(0);
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
            self.ask_at = Timestamp(0);
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
        let (ask, alarm) = (self.ask_after(&expected), self.alarm_after(&expected));
        let gap = now.since(self.since);
        if alarm.is_some_and(|alarm| gap >= alarm) {
            return (self.alarm(), now + Duration::from_secs(1));
        }
        let ask_at = (self.since + ask).max(self.ask_at);
        let alarm_at = alarm.map(|alarm| self.since + alarm);
        if now < ask_at {
            return (Act::Nothing, alarm_at.map_or(ask_at, |alarm| alarm.min(ask_at)).min(now + LONGEST));
        }
        // Asked in vain, it is asked again when it has been as long once more.
        let wait = if expected.learnt { gap.max(SOONEST / 4) } else { gap.max(UNLEARNT) };
        self.ask_at = now + wait;
        let next = alarm_at.map_or(self.ask_at, |alarm| alarm.min(self.ask_at));
        (Act::Ask, next.min(now + LONGEST))
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

    fn gaps(rate: f64, gaps: f64) -> Duration {
        Duration::try_from_secs_f64(gaps / rate).unwrap_or(Duration::MAX)
    }

    /// After how long the vendor is asked.
    fn ask_after(&self, expected: &Expectation) -> Duration {
        let gaps = Self::gaps(expected.rate, self.config.gaps_to_ask);
        if expected.rate >= 1.0 { gaps.max(SOONEST) } else { gaps }
    }

    /// After how long it is an alarm without an answer; `None` for never.
    fn alarm_after(&self, expected: &Expectation) -> Option<Duration> {
        let gaps = Self::gaps(expected.rate, self.config.gaps_to_alarm);
        if self.banned() {
            // Refusals and then nothing: that needs no further witness.
            let soon = Self::gaps(expected.rate, self.config.gaps_to_ask + 0.5);
            return Some(if expected.rate >= 1.0 { soon.max(SOONEST * 2).min(self.config.alarm_within) } else { soon });
        }
        if expected.rate >= 1.0 {
            return Some(gaps.max(SOONEST * 2).min(self.config.alarm_within));
        }
        expected.learnt.then(|| gaps.max(expected.longest_gap * 2).max(self.config.alarm_within))
    }
}
