//! Where the parts of a conversation's history come from. A pure function of what is asked, what is known, and what the
//! vendor admits: no I/O, no clock.

use std::time::Duration;

use serde::Serialize;
use switchboard_contract::storage::{CoverageState, HourCoverage};
use switchboard_contract::{ConversationKind, HistoryFileLimits, Quota, RoamingLimits, Timestamp};

use super::{Tier, TierBounds};

const HOUR: Duration = Duration::from_secs(3600);

/// Where a part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    /// Everything of it is in the journal.
    Store,
    /// The vendor's query of the conversation.
    Query,
    /// The vendor's hourly files.
    Files,
    /// Nowhere: what the journal has is all there is.
    Nowhere,
}

/// One part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanStep {
    /// Its age.
    pub tier: Tier,
    /// From this time on, milliseconds since the epoch.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// Where it comes from.
    pub source: PlanSource,
    /// Why: a stable lower-case word.
    pub reason: &'static str,
    /// Calls of the vendor it takes, at least.
    pub calls: u64,
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct PlanFacts<'a> {
    /// The present moment, frozen for the whole walk.
    pub now: Timestamp,
    /// The bounds of the tiers.
    pub bounds: TierBounds,
    /// The kind of the conversations.
    pub kind: ConversationKind,
    /// How many conversations are asked for at once.
    pub conversations: u64,
    /// What the vendor admits in queries, if it has them.
    pub queries: Option<&'a RoamingLimits>,
    /// What it publishes in files, if it does.
    pub files: Option<&'a HistoryFileLimits>,
    /// What is known of the app's hours, ascending.
    pub hours: &'a [HourCoverage],
}

/// Plans how to have everything from `since` to `until`, newest first. Parts meet without a gap and do not overlap;
/// together they are what was asked for, cut at `now` and, with `tier`, to its bounds.
pub fn plan(
    tier: Option<Tier>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    facts: &PlanFacts<'_>,
) -> Vec<PlanStep> {
    let mut steps: Vec<PlanStep> = Vec::new();
    for one in [Tier::Recent, Tier::Month, Tier::Archive] {
        if tier.is_some_and(|wanted| wanted != one) {
            continue;
        }
        let (from, to) = facts.bounds.of(one, facts.now);
        // Without a beginning the vendor's own reach is one.
        let from = since.max(from).unwrap_or_else(|| facts.reach());
        let to = until.unwrap_or(facts.now).min(to.unwrap_or(facts.now)).min(facts.now);
        for (since, until, whole) in facts.parts(from, to) {
            facts.add(&mut steps, one, since, until, whole);
        }
    }
    steps
}

impl PlanFacts<'_> {
    /// The oldest moment anything reaches.
    fn reach(&self) -> Timestamp {
        let depth = self.queries.and_then(|limits| limits.depth).unwrap_or(365 * 24 * HOUR);
        let oldest = self.hours.first().map_or(self.now, |hour| hour.hour);
        oldest.min(self.now - depth)
    }

    /// Cuts a span where complete hours begin and end, the newest part first.
    fn parts(&self, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp, bool)> {
        let mut parts: Vec<(Timestamp, Timestamp, bool)> = Vec::new();
        let mut at = from;
        let mut add = |since: Timestamp, until: Timestamp, whole: bool| {
            if since >= until {
                return;
            }
            match parts.last_mut() {
                Some(last) if last.2 == whole => last.1 = until,
                _ => parts.push((since, until, whole)),
            }
        };
        let complete = |hour: &&HourCoverage| hour.state == CoverageState::Complete;
        for hour in self.hours.iter().filter(complete) {
            let (begin, end) = (hour.hour.max(from), (hour.hour + HOUR).min(to));
            if begin < end {
                add(at, begin, false);
                add(begin, end, true);
                at = at.max(end);
            }
        }
        add(at, to, false);
        parts.reverse();
        parts
    }

    /// Adds a part, cut where one source ends and another has to do.
    fn add(&self, steps: &mut Vec<PlanStep>, tier: Tier, since: Timestamp, until: Timestamp, whole: bool) {
        let mut push = |since: Timestamp, until: Timestamp, source, reason, calls| {
            if since < until {
                steps.push(PlanStep { tier, since, until, source, reason, calls });
            }
        };
        if whole {
            return push(since, until, PlanSource::Store, "complete", 0);
        }
        let Some(queries) = self.queries.filter(|limits| limits.targets.contains(&self.kind)) else {
            return self.by_files(tier, since, until, "no_queries", &mut push);
        };
        let reach = queries.depth.map_or(since, |depth| self.now - depth).max(since).min(until);
        let calls = self.query_calls(queries, reach, until);
        // Thousands of conversations cost more calls than the hours they were held in.
        let files = self.files.filter(|files| tier == Tier::Recent && reach >= self.now - files.kept);
        if let Some(files) = files {
            let hours = until.since(reach).div_duration_f64(HOUR).ceil() as u64;
            if time(hours, &files.quota) < time(calls, &queries.quota) {
                push(reach, until, PlanSource::Files, "many_conversations", hours);
                return self.by_files(tier, since, reach, "beyond_queries", &mut push);
            }
        }
        push(reach, until, PlanSource::Query, "not_complete", calls);
        self.by_files(tier, since, reach, "beyond_queries", &mut push);
    }

    fn by_files(
        &self,
        tier: Tier,
        since: Timestamp,
        until: Timestamp,
        without: &'static str,
        push: &mut impl FnMut(Timestamp, Timestamp, PlanSource, &'static str, u64),
    ) {
        let Some(files) = self.files.filter(|_| tier == Tier::Recent) else {
            return push(since, until, PlanSource::Nowhere, without, 0);
        };
        let (oldest, newest) = (self.now - files.kept, self.now - files.earliest);
        let (from, to) = (since.max(oldest).min(until), until.min(newest).max(since));
        push(to.max(from), until, PlanSource::Nowhere, "not_published", 0);
        let hours = to.since(from).div_duration_f64(HOUR).ceil() as u64;
        push(from, to, PlanSource::Files, without, hours);
        push(since, from.min(until), PlanSource::Nowhere, without, 0);
    }

    fn query_calls(&self, limits: &RoamingLimits, since: Timestamp, until: Timestamp) -> u64 {
        let spans = match limits.max_span {
            Some(span) if !span.is_zero() => until.since(since).div_duration_f64(span).ceil() as u64,
            _ => 1,
        };
        spans.max(1) * self.conversations.max(1)
    }
}

/// Seconds that so many calls take under a quota.
fn time(calls: u64, quota: &Quota) -> f64 {
    let rate = quota.calls.map_or(f64::INFINITY, |each| f64::from(each) / quota.per.as_secs_f64());
    calls as f64 / rate
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Timestamp = Timestamp(1_795_201_234_567);

    fn queries(depth: Option<Duration>) -> RoamingLimits {
        RoamingLimits {
            max_page: 50,
            depth,
            max_span: None,
            own_sends_after: None,
            targets: vec![ConversationKind::Direct],
            quota: Quota { calls: Some(100), units: None, per: Duration::from_secs(1) },
        }
    }

    fn files() -> HistoryFileLimits {
        HistoryFileLimits {
            earliest: HOUR,
            final_after: 30 * HOUR,
            kept: 3 * DAY,
            own_sends: true,
            quota: Quota { calls: Some(10), units: None, per: Duration::from_secs(60) },
        }
    }

    fn complete(hour: Timestamp) -> HourCoverage {
        HourCoverage {
            hour,
            state: CoverageState::Complete,
            reason: "final_file".to_owned(),
            file: None,
            runs: Vec::new(),
            journalled: 0,
            repaired: 0,
            reading: None,
            looks: 1,
            looked_at: hour,
            next_look: None,
        }
    }

    fn facts<'a>(
        queries: Option<&'a RoamingLimits>,
        files: Option<&'a HistoryFileLimits>,
        hours: &'a [HourCoverage],
    ) -> PlanFacts<'a> {
        let (bounds, kind) = (TierBounds::default(), ConversationKind::Direct);
        PlanFacts { now: NOW, bounds, kind, conversations: 1, queries, files, hours }
    }

    fn sources(steps: &[PlanStep]) -> Vec<(Tier, PlanSource)> {
        steps.iter().map(|step| (step.tier, step.source)).collect()
    }

    #[test]
    fn one_conversation_is_queried_and_thousands_come_by_files() {
        let (queries, files) = (queries(Some(90 * DAY)), files());
        let facts = facts(Some(&queries), Some(&files), &[]);
        let since = Some(NOW - DAY);
        assert_eq!(sources(&plan(None, since, None, &facts)), [(Tier::Recent, PlanSource::Query)]);
        let many = PlanFacts { conversations: 100_000, ..facts };
        let steps = plan(None, since, None, &many);
        assert_eq!(sources(&steps), [(Tier::Recent, PlanSource::Files)]);
        assert_eq!(steps[0].calls, 24);
    }

    #[test]
    fn what_the_vendor_does_not_reach_costs_no_call() {
        let queries = queries(Some(7 * DAY));
        let steps = plan(None, Some(NOW - 60 * DAY), None, &facts(Some(&queries), None, &[]));
        let calls: Vec<_> = steps.iter().map(|step| (step.tier, step.source, step.calls)).collect();
        assert_eq!(
            calls,
            [
                (Tier::Recent, PlanSource::Query, 1),
                (Tier::Month, PlanSource::Nowhere, 0),
                (Tier::Archive, PlanSource::Nowhere, 0)
            ]
        );
    }

    #[test]
    fn complete_hours_come_from_the_store() {
        let queries = queries(None);
        let first = Timestamp(NOW.0 / 3_600_000 * 3_600_000) - 10 * HOUR;
        let hours: Vec<_> = [0, 1, 2, 5].map(|number| complete(first + number * HOUR)).to_vec();
        let steps = plan(Some(Tier::Recent), Some(first), None, &facts(Some(&queries), None, &hours));
        let found: Vec<_> = steps.iter().map(|step| (step.source, step.until.since(step.since))).collect();
        let rest = NOW.since(first + 6 * HOUR);
        assert_eq!(
            found,
            [
                (PlanSource::Query, rest),
                (PlanSource::Store, HOUR),
                (PlanSource::Query, 2 * HOUR),
                (PlanSource::Store, 3 * HOUR)
            ]
        );
    }

    #[test]
    fn without_queries_files_bring_what_they_still_hold() {
        let files = files();
        let steps = plan(Some(Tier::Recent), None, None, &facts(None, Some(&files), &[]));
        let found: Vec<_> = steps.iter().map(|step| (step.source, step.reason)).collect();
        assert_eq!(found[0], (PlanSource::Nowhere, "not_published"));
        assert_eq!(found[1], (PlanSource::Files, "no_queries"));
        assert_eq!(steps[1].until.since(steps[1].since), 3 * DAY - HOUR);
        assert_eq!(found.get(2), Some(&(PlanSource::Nowhere, "no_queries")));
    }

    proptest! {
        #[test]
        fn i08_a_plan_has_no_seam(
            present in prop::collection::btree_set(0_u32..2000, 0..50),
            since in 0_u64..(80 * 86_400),
            depth in prop::option::of(1_u64..(100 * 86_400)),
            with_files in any::<bool>(),
            many in any::<bool>(),
            tier in prop::sample::select(vec![None, Some(Tier::Recent), Some(Tier::Month), Some(Tier::Archive)]),
        ) {
            let (queries, files) = (queries(depth.map(Duration::from_secs)), files());
            let base = Timestamp(NOW.0 / 3_600_000 * 3_600_000) - 2000 * HOUR;
            let hours: Vec<_> = present.iter().map(|number| complete(base + *number * HOUR)).collect();
            let facts = PlanFacts {
                conversations: if many { 100_000 } else { 1 },
                ..facts(Some(&queries), with_files.then_some(&files), &hours)
            };
            let since = NOW - Duration::from_secs(since);
            let steps = plan(tier, Some(since), None, &facts);
            let (low, high) = tier.map_or((None, None), |tier| facts.bounds.of(tier, NOW));
            let (mut edge, bottom) = (high.unwrap_or(NOW), low.unwrap_or(since).max(since));
            if bottom < edge {
                for step in &steps {
                    prop_assert_eq!(step.until, edge, "{:?}", steps);
                    prop_assert!(step.since < step.until);
                    let (low, high) = facts.bounds.of(step.tier, NOW);
                    prop_assert!(low.is_none_or(|low| step.since >= low) && high.is_none_or(|high| step.until <= high));
                    edge = step.since;
                }
                prop_assert_eq!(edge, bottom);
            } else {
                prop_assert!(steps.is_empty(), "{:?}", steps);
            }
        }
    }
}
