//! When an hour's file is looked at, and what a look means for its hour. No I/O, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use switchboard_contract::storage::{CoverageState, HourCoverage};
use switchboard_contract::{HistoryFileLimits, Timestamp};

use super::ReconcileConfig;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Files that go within this long come before younger ones.
const URGENT: Duration = Duration::from_secs(6 * 3600);

/// Stable words for why an hour is as it is.
pub(super) mod reason {
    /// The final file was read.
    pub(crate) const FINAL: &str = "final_file";
    /// No file, none to come, and no message known.
    pub(crate) const NOTHING: &str = "nothing_published";
    /// The file was read and may still grow.
    pub(crate) const MAY_GROW: &str = "may_grow";
    /// There is no file yet.
    pub(crate) const NOT_PUBLISHED: &str = "not_published";
    /// There were messages, and there is no file.
    pub(crate) const MISSING: &str = "missing_file";
    /// The file breaks off or cannot be unpacked.
    pub(crate) const DAMAGED: &str = "damaged_file";
    /// The vendor did not answer, or refused.
    pub(crate) const UNREACHABLE: &str = "unreachable";
    /// The file was being read when we were stopped.
    pub(crate) const CUT_OFF: &str = "cut_off";
    /// The account has no history files.
    pub(crate) const NO_FILES: &str = "no_files";
    /// The vendor deleted the file before anybody looked.
    pub(crate) const EXPIRED: &str = "expired";
    /// Rows that were there are gone from the journal.
    pub(crate) const ROWS_GONE: &str = "rows_gone";
}

/// The beginning of the hour that holds a moment.
pub(crate) fn hour_of(at: Timestamp) -> Timestamp {
    let length = HOUR.as_millis() as i64;
    Timestamp(at.0.div_euclid(length) * length)
}

/// The times of one app's files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    earliest: Duration,
    settled: Duration,
    confirmed: Duration,
    kept: Duration,
    look_again: Duration,
    look_longest: Duration,
}

impl Rules {
    pub(super) fn new(limits: &HistoryFileLimits, config: &ReconcileConfig) -> Self {
        // Asked for only once it is gone, a file could never be seen in its final form.
        let latest = limits.kept.saturating_sub(HOUR);
        Self {
            earliest: limits.earliest,
            settled: (limits.final_after + config.clock_margin).min(latest),
            confirmed: config.confirm_after.min(latest),
            kept: limits.kept,
            look_again: config.look_again,
            look_longest: config.look_longest,
        }
    }

    /// When an hour's file can be there.
    pub(super) fn first_look(&self, hour: Timestamp) -> Timestamp {
        hour + HOUR + self.earliest
    }

    /// When it does not change any more.
    pub(super) fn final_at(&self, hour: Timestamp) -> Timestamp {
        hour + HOUR + self.settled
    }

    /// When the vendor has deleted it.
    pub(super) fn gone_at(&self, hour: Timestamp) -> Timestamp {
        hour + HOUR + self.kept
    }

    /// The oldest hour whose file can still be there.
    pub(super) fn oldest(&self, now: Timestamp) -> Timestamp {
        hour_of(now - self.kept - HOUR) + HOUR
    }

    fn wait(&self, looks: u32) -> Duration {
        self.look_again.saturating_mul(1 << looks.saturating_sub(1).min(20)).min(self.look_longest)
    }

    /// When to look once more at what is taken as final, if that time is still to come.
    fn confirmation(&self, hour: Timestamp, now: Timestamp) -> Option<Timestamp> {
        Some(hour + HOUR + self.confirmed).filter(|at| *at > now)
    }

    /// The next look at a file that is not final: the last of them comes when it is.
    fn before_final(&self, hour: Timestamp, now: Timestamp, looks: u32) -> Timestamp {
        (now + self.wait(looks)).min(self.final_at(hour))
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The file was read to its end, now or before; `same`: it is the file of the look before.
    Read {
        /// See there.
        same: bool,
    },
    /// There is no file; `expected`: the journal has messages of the hour, or there was a file before.
    Absent {
        /// See there.
        expected: bool,
    },
    /// The file cannot be read to its end.
    Damaged,
    /// The vendor or the store failed.
    Failed,
    /// The account has no files.
    Unsupported,
}

/// What is known of an hour after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: CoverageState,
    pub(super) reason: &'static str,
    pub(super) next_look: Option<Timestamp>,
}

/// Judges an hour by a look that began at `now` and was the `looks`-th.
pub(super) fn judge(rules: &Rules, hour: Timestamp, now: Timestamp, looks: u32, finding: Finding) -> Verdict {
    use CoverageState::{Complete, Suspect, Unfillable};
    let verdict = |state, reason, next_look| Verdict { state, reason, next_look };
    let settled = now >= rules.final_at(hour);
    let soon = Some(rules.before_final(hour, now, looks));
    let again = |reason| match now >= rules.gone_at(hour) {
        true => verdict(Unfillable, reason, None),
        false => verdict(Suspect, reason, Some((now + rules.wait(looks)).min(rules.gone_at(hour)))),
    };
    match finding {
        // Whatever the vendor says of its files, one that has just changed is not taken as final.
        Finding::Read { same: true } if settled => verdict(Complete, reason::FINAL, rules.confirmation(hour, now)),
        Finding::Read { .. } if settled => verdict(Suspect, reason::MAY_GROW, Some(now + rules.look_again)),
        Finding::Read { .. } => verdict(Suspect, reason::MAY_GROW, soon),
        Finding::Absent { expected: false } if settled => {
            verdict(Complete, reason::NOTHING, rules.confirmation(hour, now))
        }
        Finding::Absent { expected: false } => verdict(Suspect, reason::NOT_PUBLISHED, soon),
        Finding::Absent { expected: true } => again(reason::MISSING),
        Finding::Damaged => again(reason::DAMAGED),
        Finding::Failed => again(reason::UNREACHABLE),
        // The account may get them any day; asking once in a while costs nothing.
        Finding::Unsupported => verdict(Unfillable, reason::NO_FILES, again("").next_look.map(|_| now + 24 * HOUR)),
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Look at this hour's file.
    Look(Timestamp),
    /// Give this hour up: its file is gone.
    GiveUp(Timestamp),
    /// Nothing until then.
    Wait(Timestamp),
}

/// Chooses among the hours from `since` on: what is about to go first, then the newest.
pub(super) fn next(rules: &Rules, since: Timestamp, known: &BTreeMap<Timestamp, HourCoverage>, now: Timestamp) -> Step {
    let mut due: Option<Timestamp> = None;
    let mut wait = rules.first_look(hour_of(now));
    let mut hour = since.max(hour_of(rules.oldest(now) - 48 * HOUR));
    while hour <= now {
        let record = known.get(&hour);
        let open = record.is_none_or(|record| record.state == CoverageState::Suspect);
        if open && now >= rules.gone_at(hour) {
            return Step::GiveUp(hour);
        }
        let at = match record {
            Some(record) => record.next_look,
            None => Some(rules.first_look(hour)),
        };
        match at {
            Some(at) if at > now => wait = wait.min(at),
            Some(_) if now < rules.gone_at(hour) => {
                let urgent = |hour: Timestamp| rules.gone_at(hour).since(now) < URGENT;
                // Ascending, so that the first urgent one stays and otherwise the last one wins.
                due = due.filter(|chosen| urgent(*chosen)).or(Some(hour));
            }
            _ => {}
        }
        hour = hour + HOUR;
    }
    due.map_or(Step::Wait(wait), Step::Look)
}

#[cfg(test)]
mod tests {
    use switchboard_contract::Quota;

    use super::*;

    const T0: Timestamp = Timestamp(1_795_201_200_000);

    fn rules() -> Rules {
        let limits = HistoryFileLimits {
            earliest: HOUR,
            final_after: 30 * HOUR,
            kept: 72 * HOUR,
            own_sends: true,
            quota: Quota { calls: Some(10), units: None, per: Duration::from_secs(60) },
        };
        Rules::new(&limits, &ReconcileConfig::default())
    }

    fn record(hour: Timestamp, verdict: Verdict, looks: u32, at: Timestamp) -> HourCoverage {
        HourCoverage {
            hour,
            state: verdict.state,
            reason: verdict.reason.to_owned(),
            file: None,
            runs: Vec::new(),
            journalled: 0,
            repaired: 0,
            reading: None,
            looks,
            looked_at: at,
            next_look: verdict.next_look,
        }
    }

    /// Lives through `hours` hours, answering every look with `find`; the looks and the end state of hour 0.
    fn live(hours: u32, mut find: impl FnMut(Timestamp, Timestamp) -> Finding) -> (Vec<Duration>, HourCoverage) {
        let rules = rules();
        let (mut now, mut known, mut looks) = (T0, BTreeMap::new(), Vec::new());
        let end = T0 + hours * HOUR;
        while now < end {
            match next(&rules, T0, &known, now) {
                Step::Wait(until) => {
                    assert!(until > now, "it would spin");
                    now = until;
                }
                Step::GiveUp(hour) => {
                    let gone = Verdict { state: CoverageState::Unfillable, reason: reason::EXPIRED, next_look: None };
                    known.insert(hour, record(hour, gone, 0, now));
                }
                Step::Look(hour) => {
                    let count = known.get(&hour).map_or(0, |known: &HourCoverage| known.looks) + 1;
                    if hour == T0 {
                        looks.push(now.since(T0 + HOUR));
                    }
                    let verdict = judge(&rules, hour, now, count, find(hour, now));
                    known.insert(hour, record(hour, verdict, count, now));
                    // A look takes a moment; a file call's share of the vendor's quota.
                    now = now + Duration::from_secs(6);
                }
            }
        }
        (looks, known.remove(&T0).expect("hour 0 was looked at"))
    }

    #[test]
    fn a_file_is_looked_at_when_it_can_be_there_and_last_when_it_is_final() {
        let (looks, hour) = live(60, |_, _| Finding::Read { same: true });
        assert_eq!(hour.state, CoverageState::Complete);
        assert_eq!(looks.first(), Some(&HOUR));
        let last = looks.last().copied().unwrap_or_default();
        let settled = 30 * HOUR + Duration::from_secs(600);
        assert!(last >= settled && last < settled + HOUR, "{last:?}");
        assert!(looks.len() <= 12, "{} downloads of one file", looks.len());
    }

    #[test]
    fn an_empty_hour_is_complete_once_no_file_can_come() {
        let (_, hour) = live(60, |_, _| Finding::Absent { expected: false });
        assert_eq!((hour.state, hour.reason.as_str()), (CoverageState::Complete, reason::NOTHING));
    }

    #[test]
    fn a_missing_file_is_sought_until_it_is_gone_and_then_no_more() {
        for (finding, word) in [
            (Finding::Absent { expected: true }, reason::MISSING),
            (Finding::Damaged, reason::DAMAGED),
            (Finding::Failed, reason::UNREACHABLE),
        ] {
            let (looks, hour) = live(120, |_, _| finding);
            assert_eq!(hour.state, CoverageState::Unfillable, "{word}");
            assert!(looks.len() <= 20, "an unfillable hour is not hammered: {} looks", looks.len());
            assert!(looks.last().is_some_and(|last| *last > 60 * HOUR), "{word}: given up too early");
            assert_eq!(hour.next_look, None);
        }
    }

    #[test]
    fn a_file_23_hours_late_is_found() {
        let (_, hour) = live(60, |hour, now| match now.since(hour + HOUR) > 23 * HOUR {
            true => Finding::Read { same: true },
            false => Finding::Absent { expected: true },
        });
        assert_eq!((hour.state, hour.reason.as_str()), (CoverageState::Complete, reason::FINAL));
    }

    #[test]
    fn a_file_that_changes_after_its_time_is_looked_at_until_it_stands_still() {
        let mut seen = 0;
        let (looks, hour) = live(80, |at, now| {
            let changing = now < rules().final_at(at) + 2 * HOUR;
            seen += u32::from(at == T0 && now >= rules().final_at(at));
            Finding::Read { same: !changing }
        });
        assert_eq!((hour.state, hour.reason.as_str()), (CoverageState::Complete, reason::FINAL));
        assert!(looks.last().is_some_and(|last| *last >= 32 * HOUR), "{looks:?}");
        assert!((8..=12).contains(&seen), "every quarter of an hour: {seen}");
    }

    #[test]
    fn an_early_final_file_is_confirmed_a_day_later() {
        let limits = HistoryFileLimits {
            earliest: HOUR,
            final_after: 2 * HOUR,
            kept: 72 * HOUR,
            own_sends: true,
            quota: Quota { calls: None, units: None, per: HOUR },
        };
        let rules = Rules::new(&limits, &ReconcileConfig::default());
        let now = rules.final_at(T0);
        for finding in [Finding::Read { same: true }, Finding::Absent { expected: false }] {
            let verdict = judge(&rules, T0, now, 4, finding);
            assert_eq!((verdict.state, verdict.next_look), (CoverageState::Complete, Some(T0 + 27 * HOUR)));
            let later = judge(&rules, T0, T0 + 27 * HOUR, 5, finding);
            assert_eq!((later.state, later.next_look), (CoverageState::Complete, None));
        }
    }

    #[test]
    fn what_is_about_to_go_comes_before_what_is_new() {
        let rules = rules();
        let old = T0;
        let now = rules.gone_at(old) - HOUR;
        assert_eq!(next(&rules, T0, &BTreeMap::new(), now), Step::Look(old));
        assert_eq!(next(&rules, T0 + 10 * HOUR, &BTreeMap::new(), now), Step::Look(hour_of(now) - 2 * HOUR));
        assert_eq!(next(&rules, T0, &BTreeMap::new(), now + 2 * HOUR), Step::GiveUp(old));
    }
}
