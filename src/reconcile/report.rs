//! Coverage as a report: how much of a time is here, and where the holes are.

use std::collections::BTreeMap;

use serde::Serialize;
use switchboard_contract::storage::{CoverageState, HourCoverage, PositionRun, RepairWindow, SequenceHole};
use switchboard_contract::{ProviderId, Timestamp};

use super::schedule::HOUR;

/// Where a hole stands among the hours asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoleKind {
    /// Before the first hour that counts: Switchboard was not there. Not filled by itself.
    Head,
    /// Between hours that are complete.
    Middle,
    /// At the end: not due yet, or not final.
    Tail,
}

/// Hours that follow one another and are not complete for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// When the first begins, milliseconds since the epoch.
    pub from: Timestamp,
    /// When the last ends.
    pub until: Timestamp,
    /// Where it stands.
    pub kind: HoleKind,
    /// `suspect` or `unfillable`.
    pub state: CoverageState,
    /// Why: a stable lower-case word.
    pub reason: String,
    /// Messages known to be missing: rows that were there and are gone. 0 when nobody knows.
    pub missing: u64,
}

/// Kinds of events that no vendor keeps a bulk copy of.
const WITHOUT_COPY: [&str; 3] = ["receipts", "presence", "groups"];

/// A time in which events of kinds may be missing that nothing can bring back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindHole {
    /// From this time on, milliseconds since the epoch.
    pub from: Timestamp,
    /// Up to this time.
    pub until: Timestamp,
    /// `unfillable`.
    pub state: CoverageState,
    /// Why: `no_bulk_copy`.
    pub reason: &'static str,
    /// The topics concerned.
    pub kinds: [&'static str; 3],
}

/// Coverage of one app.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AppCoverage {
    /// Its alias.
    pub provider: ProviderId,
    /// The vendor's key of the app.
    pub app: String,
    /// The first hour that counts: when Switchboard first had this app.
    pub since: Timestamp,
    /// Hours asked for that are over.
    pub hours: u64,
    /// Those of them that are complete.
    pub complete: u64,
    /// The same in percent; 100 when there was none.
    pub percent: f64,
    /// Messages that only repair brought.
    pub repaired: u64,
    /// What is not complete, ascending.
    pub holes: Vec<Hole>,
    /// What was missed while we were away and no vendor keeps, ascending. It is no part of the percentage.
    pub kinds: Vec<KindHole>,
}

/// Coverage of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoverageReport {
    /// From this time on, milliseconds since the epoch.
    pub from: Timestamp,
    /// Up to this time.
    pub until: Timestamp,
    /// By alias.
    pub apps: Vec<AppCoverage>,
    /// Numbers of conversations whose event was removed from the journal by hand.
    pub conversations: Vec<SequenceHole>,
    /// Places of the journal whose event was removed by hand.
    pub places: Vec<PositionRun>,
}

/// The hours of one app, as the ledger and the journal have them.
pub(super) struct Facts {
    pub(super) provider: ProviderId,
    pub(super) app: String,
    pub(super) since: Timestamp,
    pub(super) records: Vec<HourCoverage>,
    /// Rows gone from hours that were read.
    pub(super) gone: BTreeMap<Timestamp, u64>,
    /// Times in which something may have been missed.
    pub(super) windows: Vec<RepairWindow>,
}

/// The parts of the windows that lie in a time, joined.
fn kinds(windows: &[RepairWindow], from: Timestamp, until: Timestamp) -> Vec<KindHole> {
    let mut spans: Vec<_> = windows.iter().map(|window| (window.since.max(from), window.until.min(until))).collect();
    spans.retain(|(since, until)| since < until);
    spans.sort_unstable();
    let mut holes: Vec<KindHole> = Vec::new();
    for (from, until) in spans {
        match holes.last_mut() {
            Some(last) if from <= last.until => last.until = last.until.max(until),
            _ => holes.push(KindHole {
                from,
                until,
                state: CoverageState::Unfillable,
                reason: "no_bulk_copy",
                kinds: WITHOUT_COPY,
            }),
        }
    }
    holes
}

/// One hour in short.
struct Short {
    state: CoverageState,
    reason: String,
    missing: u64,
}

/// Folds the hours from `from` (a whole hour) to `until` into a report. An hour counts once it is over.
pub(super) fn fold(facts: Facts, from: Timestamp, until: Timestamp) -> AppCoverage {
    let by_hour: BTreeMap<Timestamp, &HourCoverage> = facts.records.iter().map(|hour| (hour.hour, hour)).collect();
    let last_complete =
        by_hour.values().filter(|hour| hour.state == CoverageState::Complete).map(|hour| hour.hour).max();
    let (mut holes, mut hours, mut complete) = (Vec::<Hole>::new(), 0, 0);
    let mut hour = from;
    while hour + HOUR <= until {
        let short = shorten(&facts, by_hour.get(&hour).copied(), hour);
        hours += 1;
        if short.state == CoverageState::Complete {
            complete += 1;
        } else {
            let kind = match () {
                () if hour < facts.since => HoleKind::Head,
                () if last_complete.is_some_and(|last| hour <= last) => HoleKind::Middle,
                () if short.state == CoverageState::Unfillable => HoleKind::Middle,
                () => HoleKind::Tail,
            };
            add(&mut holes, hour, kind, short);
        }
        hour = hour + HOUR;
    }
    let percent = if hours == 0 { 100.0 } else { complete as f64 * 100.0 / hours as f64 };
    let repaired = facts.records.iter().map(|hour| hour.repaired).sum();
    let kinds = kinds(&facts.windows, from, until);
    AppCoverage {
        provider: facts.provider,
        app: facts.app,
        since: facts.since,
        hours,
        complete,
        percent,
        repaired,
        holes,
        kinds,
    }
}

fn shorten(facts: &Facts, record: Option<&HourCoverage>, hour: Timestamp) -> Short {
    let missing = facts.gone.get(&hour).copied().unwrap_or(0);
    let short = |state, reason: &str| Short { state, reason: reason.to_owned(), missing };
    match record {
        Some(record) if missing > 0 && record.state == CoverageState::Complete => {
            short(CoverageState::Suspect, super::schedule::reason::ROWS_GONE)
        }
        Some(record) => short(record.state, &record.reason),
        None if hour < facts.since => short(CoverageState::Unfillable, "before_first_start"),
        None => short(CoverageState::Suspect, "not_looked_at"),
    }
}

fn add(holes: &mut Vec<Hole>, hour: Timestamp, kind: HoleKind, short: Short) {
    if let Some(last) = holes.last_mut()
        && last.until == hour
        && (last.kind, last.state) == (kind, short.state)
        && last.reason == short.reason
    {
        last.until = hour + HOUR;
        last.missing += short.missing;
        return;
    }
    let Short { state, reason, missing } = short;
    holes.push(Hole { from: hour, until: hour + HOUR, kind, state, reason, missing });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(hour: i64, state: CoverageState, reason: &str) -> HourCoverage {
        HourCoverage {
            hour: at(hour),
            state,
            reason: reason.to_owned(),
            file: None,
            runs: Vec::new(),
            journalled: 0,
            repaired: 2,
            reading: None,
            looks: 1,
            looked_at: at(hour + 2),
            next_look: None,
        }
    }

    fn window(since: i64, until: i64) -> RepairWindow {
        RepairWindow {
            id: 1,
            since: at(since),
            until: at(until),
            cause: "restart".to_owned(),
            sent_again: 0,
            queried: 0,
            repaired: 0,
            closed_at: None,
            complete: true,
        }
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp(hour * 3_600_000)
    }

    #[test]
    fn holes_at_head_middle_and_tail_are_told_apart_and_joined() {
        use CoverageState::{Complete, Suspect, Unfillable};
        let facts = Facts {
            provider: ProviderId::from("main"),
            app: "app".to_owned(),
            since: at(102),
            records: vec![
                record(102, Complete, "final_file"),
                record(103, Unfillable, "expired"),
                record(104, Unfillable, "expired"),
                record(105, Complete, "final_file"),
                record(106, Complete, "final_file"),
                record(107, Suspect, "may_grow"),
            ],
            gone: BTreeMap::from([(at(105), 3)]),
            windows: [(90, 101), (103, 104), (104, 106), (120, 121)]
                .map(|(since, until)| window(since, until))
                .to_vec(),
        };
        let report = fold(facts, at(100), at(109) + std::time::Duration::from_secs(60));
        assert_eq!((report.hours, report.complete, report.repaired), (9, 2, 12));
        let holes: Vec<_> = report
            .holes
            .iter()
            .map(|hole| ((hole.until.0 - hole.from.0) / 3_600_000, hole.kind, hole.state, hole.missing))
            .collect();
        assert_eq!(
            holes,
            [
                (2, HoleKind::Head, Unfillable, 0),
                (2, HoleKind::Middle, Unfillable, 0),
                (1, HoleKind::Middle, Suspect, 3),
                (1, HoleKind::Tail, Suspect, 0),
                (1, HoleKind::Tail, Suspect, 0),
            ]
        );
        assert!((report.percent - 22.222).abs() < 0.001);
        let kinds: Vec<_> = report.kinds.iter().map(|hole| (hole.from, hole.until)).collect();
        assert_eq!(kinds, [(at(100), at(101)), (at(103), at(106))], "joined, and cut to what was asked for");
    }
}
