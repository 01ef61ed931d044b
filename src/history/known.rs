//! What is known of the times of one conversation, put together from everything that tells of it. Pure.

use std::time::Duration;

use switchboard_contract::Timestamp;
use switchboard_contract::storage::{CoverageState, CoveredRange, HeldSpan, HourCoverage, overlay};

const HOUR: Duration = Duration::from_secs(3600);

/// Stable words for why a time of a conversation is what it is.
pub mod reason {
    /// The file of the hour is final.
    pub const FILE: &str = "file";
    /// The vendor's query was read to its end.
    pub const QUERY: &str = "query";
    /// We were there, callbacks or the link were alive, and this vendor publishes nothing to compare with.
    pub const SERVED: &str = "served";
    /// The archive holds it.
    pub const ARCHIVED: &str = "archived";
    /// Retention removed it, and nothing holds it.
    pub const RETENTION: &str = "retention";
    /// Nobody has looked yet.
    pub const NOT_LOOKED_AT: &str = "not_looked_at";
    /// Switchboard did not have the app.
    pub const BEFORE_FIRST_START: &str = "before_first_start";
    /// The vendor's queries do not reach so far back.
    pub const BEYOND_QUERIES: &str = "beyond_queries";
}

/// What tells of one conversation's past at one app.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// When Switchboard first had the app.
    pub began: Timestamp,
    /// The app's hours, ascending.
    pub hours: &'a [HourCoverage],
    /// Times in which we were there, of an app whose vendor publishes no files.
    pub served: &'a [HeldSpan],
    /// The conversation's own ranges, ascending.
    pub ranges: &'a [CoveredRange],
    /// What the archive holds of it.
    pub archived: &'a [HeldSpan],
    /// Retention has removed what is older than this.
    pub trimmed: Option<Timestamp>,
}

impl Known<'_> {
    /// What is known from `from` to `to`: ascending, without a gap or overlap, cut to these times.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Vec<CoveredRange> {
        use CoverageState::{Complete, Suspect, Unfillable};
        if from >= to {
            return Vec::new();
        }
        let says = |since, until, state, reason: &str, checked_at| CoveredRange {
            since,
            until,
            state,
            reason: reason.to_owned(),
            checked_at,
        };
        let mut all = vec![says(from, to, Suspect, reason::NOT_LOOKED_AT, Timestamp(0))];
        let mut lay = |range: CoveredRange| {
            let (since, until) = (range.since.max(from), range.until.min(to));
            all = overlay(std::mem::take(&mut all), CoveredRange { since, until, ..range });
        };
        lay(says(from, self.began, Suspect, reason::BEFORE_FIRST_START, Timestamp(0)));
        for span in self.served {
            lay(says(span.since, span.until, Complete, reason::SERVED, Timestamp(0)));
        }
        for hours in self.runs_of_hours(from, to, |_| true) {
            lay(hours);
        }
        for range in self.ranges {
            lay(range.clone());
            if range.state != Complete {
                // A file that was read after the doubt arose has settled it.
                let settles = |hour: &HourCoverage| hour.state == Complete && hour.looked_at > range.checked_at;
                self.runs_of_hours(range.since, range.until, settles).into_iter().for_each(&mut lay);
            }
        }
        if let Some(trimmed) = self.trimmed {
            lay(says(from, trimmed, Unfillable, reason::RETENTION, Timestamp(0)));
        }
        for span in self.archived {
            lay(says(span.since, span.until, Complete, reason::ARCHIVED, Timestamp(0)));
        }
        all
    }

    /// The hours that say something of these times and are `wanted`, those that say the same and follow one another in
    /// one.
    fn runs_of_hours(
        &self,
        from: Timestamp,
        to: Timestamp,
        wanted: impl Fn(&HourCoverage) -> bool,
    ) -> Vec<CoveredRange> {
        let mut runs: Vec<CoveredRange> = Vec::new();
        let first = self.hours.partition_point(|hour| hour.hour + HOUR <= from);
        for hour in self.hours[first..].iter().take_while(|hour| hour.hour < to).filter(|hour| wanted(hour)) {
            let complete = hour.state == CoverageState::Complete;
            let next = CoveredRange {
                since: hour.hour.max(from),
                until: (hour.hour + HOUR).min(to),
                // What no file tells any more a query may still tell.
                state: if complete { CoverageState::Complete } else { CoverageState::Suspect },
                reason: if complete { reason::FILE.to_owned() } else { hour.reason.clone() },
                checked_at: hour.looked_at,
            };
            match runs.last_mut() {
                Some(last) if last.until == next.since && (last.state, &last.reason) == (next.state, &next.reason) => {
                    last.until = next.until;
                    last.checked_at = last.checked_at.min(next.checked_at);
                }
                _ => runs.push(next),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(number: i64, state: CoverageState, looked_at: i64) -> HourCoverage {
        HourCoverage {
            hour: at(number),
            state,
            reason: "expired".to_owned(),
            file: None,
            runs: Vec::new(),
            journalled: 0,
            repaired: 0,
            reading: None,
            looks: 1,
            looked_at: at(looked_at),
            next_look: None,
        }
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp(hour * 3_600_000)
    }

    fn range(since: i64, until: i64, state: CoverageState, reason: &str, checked: i64) -> CoveredRange {
        let (since, until, checked_at) = (at(since), at(until), at(checked));
        CoveredRange { since, until, state, reason: reason.to_owned(), checked_at }
    }

    #[test]
    fn everything_that_tells_of_a_time_is_put_together() {
        use CoverageState::{Complete, Suspect, Unfillable};
        let hours = [hour(20, Complete, 50), hour(21, Unfillable, 90), hour(22, Complete, 50), hour(23, Complete, 80)];
        let ranges = [
            range(8, 12, Complete, "query", 60),
            range(12, 13, Unfillable, "beyond_queries", 60),
            range(22, 24, Suspect, "receipt", 70),
        ];
        let archived = [HeldSpan { since: at(4), until: at(9) }];
        let known = Known {
            began: at(15),
            hours: &hours,
            served: &[],
            ranges: &ranges,
            archived: &archived,
            trimmed: Some(at(5)),
        };
        let found: Vec<_> = known.between(at(2), at(25)).into_iter().map(|range| (range.until, range.reason)).collect();
        let expected = [
            (4, "retention"),
            (9, "archived"),
            (12, "query"),
            (13, "beyond_queries"),
            (15, "before_first_start"),
            (20, "not_looked_at"),
            (21, "file"),
            (22, "expired"),
            (23, "receipt"),
            (24, "file"),
            (25, "not_looked_at"),
        ];
        assert_eq!(found, expected.map(|(until, reason)| (at(until), reason.to_owned())));
        assert_eq!(known.between(at(9), at(9)), []);
        let served = [HeldSpan { since: at(15), until: at(18) }];
        let found = Known { served: &served, ..known }.between(at(16), at(19));
        assert_eq!(found.iter().map(|range| range.state).collect::<Vec<_>>(), [Complete, Suspect]);
    }
}
