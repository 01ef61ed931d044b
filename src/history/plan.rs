//! Where the parts of a conversation's history come from. A pure function of what is asked, what is known, and what the
//! vendor admits: no I/O, no clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{CoverageState, CoveredRange};
use switchboard_contract::{ConversationKind, HistoryFileLimits, Quota, RoamingLimits, Timestamp};

use super::known::{Known, reason};
use super::{HistoryConfig, Tier};

const HOUR: Duration = Duration::from_secs(3600);

/// Where a part comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    /// Everything of it is in the journal.
    Store,
    /// The archive has it.
    Archive,
    /// The vendor's query of the conversation.
    Query,
    /// The vendor's hourly files.
    Files,
    /// Nowhere: what is here is all there is, or all there can be now.
    Nowhere,
}

impl PlanSource {
    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Archive => "archive",
            Self::Query => "query",
            Self::Files => "files",
            Self::Nowhere => "nowhere",
        }
    }

    /// Whether a tier may name it: the store is always asked, and nowhere is no place.
    pub(super) const fn may_be_chosen(self) -> bool {
        matches!(self, Self::Archive | Self::Query | Self::Files)
    }
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

/// Calls that may still be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CallsLeft {
    /// Queries, by tier in the order of their ages.
    pub queries: [u64; 3],
    /// Files.
    pub files: u64,
}

impl Default for CallsLeft {
    fn default() -> Self {
        Self { queries: [u64::MAX; 3], files: u64::MAX }
    }
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct PlanFacts<'a> {
    /// The present moment, frozen for the whole walk.
    pub now: Timestamp,
    /// The bounds of the tiers, and what each may use.
    pub config: &'a HistoryConfig,
    /// The kind of the conversations.
    pub kind: ConversationKind,
    /// How many conversations are asked for at once.
    pub conversations: u64,
    /// What the vendor admits in queries, if it has them.
    pub queries: Option<&'a RoamingLimits>,
    /// What it publishes in files, if it does.
    pub files: Option<&'a HistoryFileLimits>,
    /// What may be spent.
    pub left: CallsLeft,
    /// What is here.
    pub known: Known<'a>,
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
    let mut left = facts.left;
    for one in Tier::ALL {
        if tier.is_some_and(|wanted| wanted != one) {
            continue;
        }
        let (from, to) = facts.config.tiers.of(one, facts.now);
        // Without a beginning the vendor's own reach is one.
        let from = since.max(from).unwrap_or_else(|| facts.reach());
        let to = until.unwrap_or(facts.now).min(to.unwrap_or(facts.now)).min(facts.now);
        let mut draft = Draft { facts, tier: one, left: &mut left, steps: &mut steps };
        for part in facts.parts(from, to) {
            draft.add(&part);
        }
    }
    steps
}

/// A time about which one thing is known.
struct Part {
    since: Timestamp,
    until: Timestamp,
    is: Is,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Here,
    Archived,
    Missing,
    Lost(&'static str),
}

impl PlanFacts<'_> {
    /// The oldest moment anything reaches.
    fn reach(&self) -> Timestamp {
        let depth = self.queries.and_then(|limits| limits.depth).unwrap_or(365 * 24 * HOUR);
        let told = [
            self.known.hours.first().map(|hour| hour.hour),
            self.known.ranges.first().map(|range| range.since),
            self.known.archived.first().map(|span| span.since),
        ];
        told.into_iter().flatten().min().unwrap_or(self.now).min(self.now - depth)
    }

    /// What is known of a time, the newest part first.
    fn parts(&self, from: Timestamp, to: Timestamp) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for range in self.known.between(from, to) {
            let is = is(&range);
            match parts.last_mut() {
                Some(last) if last.is == is => last.until = range.until,
                _ => parts.push(Part { since: range.since, until: range.until, is }),
            }
        }
        parts.reverse();
        parts
    }

    fn query_calls(&self, limits: &RoamingLimits, since: Timestamp, until: Timestamp) -> u64 {
        let spans = match limits.max_span {
            Some(span) if !span.is_zero() => until.since(since).div_duration_f64(span).ceil() as u64,
            _ => 1,
        };
        spans.max(1) * self.conversations.max(1)
    }
}

fn is(range: &CoveredRange) -> Is {
    match (range.state, range.reason.as_str()) {
        (CoverageState::Complete, reason::ARCHIVED) => Is::Archived,
        (CoverageState::Complete, _) => Is::Here,
        (CoverageState::Suspect, _) => Is::Missing,
        (CoverageState::Unfillable, reason::BEYOND_QUERIES) => Is::Lost(reason::BEYOND_QUERIES),
        (CoverageState::Unfillable, reason::RETENTION) => Is::Lost(reason::RETENTION),
        (CoverageState::Unfillable, _) => Is::Lost("unfillable"),
    }
}

/// The parts of one tier, being written down.
struct Draft<'a, 'b> {
    facts: &'a PlanFacts<'a>,
    tier: Tier,
    left: &'b mut CallsLeft,
    steps: &'b mut Vec<PlanStep>,
}

impl Draft<'_, '_> {
    fn push(&mut self, since: Timestamp, until: Timestamp, source: PlanSource, reason: &'static str, calls: u64) {
        if since >= until {
            return;
        }
        let mut step = PlanStep { tier: self.tier, since, until, source, reason, calls };
        let left = match source {
            PlanSource::Query => Some(&mut self.left.queries[self.tier as usize]),
            PlanSource::Files => Some(&mut self.left.files),
            _ => None,
        };
        match left {
            Some(left) if calls <= *left => *left -= calls,
            // What does not fit into the budget waits for another time.
            Some(_) => step = PlanStep { source: PlanSource::Nowhere, reason: "no_budget", calls: 0, ..step },
            None => {}
        }
        self.steps.push(step);
    }

    fn may(&self, source: PlanSource) -> bool {
        self.facts.config.tier(self.tier).sources.contains(&source)
    }

    /// Adds a part, cut where one source ends and another has to do.
    fn add(&mut self, part: &Part) {
        let (since, until) = (part.since, part.until);
        match part.is {
            Is::Here => return self.push(since, until, PlanSource::Store, "complete", 0),
            Is::Archived if self.may(PlanSource::Archive) => {
                return self.push(since, until, PlanSource::Archive, reason::ARCHIVED, 0);
            }
            Is::Archived => return self.push(since, until, PlanSource::Nowhere, "source_not_chosen", 0),
            Is::Lost(why) => return self.push(since, until, PlanSource::Nowhere, why, 0),
            Is::Missing => {}
        }
        let (facts, now) = (self.facts, self.facts.now);
        let queries = facts.queries.filter(|limits| limits.targets.contains(&facts.kind));
        let Some(queries) = queries.filter(|_| self.may(PlanSource::Query)) else {
            return self.by_files(since, until, "no_queries");
        };
        let reach = queries.depth.map_or(since, |depth| now - depth).max(since).min(until);
        let calls = facts.query_calls(queries, reach, until);
        if let Some(files) = facts.files.filter(|files| self.may(PlanSource::Files) && reach >= now - files.kept) {
            let hours = until.since(reach).div_duration_f64(HOUR).ceil() as u64;
            // Thousands of conversations cost more calls than the hours they were held in.
            if time(hours, &files.quota) < time(calls, &queries.quota) {
                self.push(reach, until, PlanSource::Files, "many_conversations", hours);
                return self.by_files(since, reach, reason::BEYOND_QUERIES);
            }
        }
        self.push(reach, until, PlanSource::Query, "not_complete", calls);
        self.by_files(since, reach, reason::BEYOND_QUERIES);
    }

    fn by_files(&mut self, since: Timestamp, until: Timestamp, without: &'static str) {
        let Some(files) = self.facts.files.filter(|_| self.may(PlanSource::Files)) else {
            return self.push(since, until, PlanSource::Nowhere, without, 0);
        };
        let (oldest, newest) = (self.facts.now - files.kept, self.facts.now - files.earliest);
        let (from, to) = (since.max(oldest).min(until), until.min(newest).max(since));
        self.push(to.max(from), until, PlanSource::Nowhere, "not_published", 0);
        let hours = to.since(from).div_duration_f64(HOUR).ceil() as u64;
        self.push(from, to, PlanSource::Files, without, hours);
        self.push(since, from.min(until), PlanSource::Nowhere, without, 0);
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

    use switchboard_contract::storage::{HeldSpan, HourCoverage};

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
        config: &'a HistoryConfig,
        queries: Option<&'a RoamingLimits>,
        files: Option<&'a HistoryFileLimits>,
        hours: &'a [HourCoverage],
    ) -> PlanFacts<'a> {
        let known = Known { began: Timestamp(0), hours, served: &[], ranges: &[], archived: &[], trimmed: None };
        let (kind, left) = (ConversationKind::Direct, CallsLeft::default());
        PlanFacts { now: NOW, config, kind, conversations: 1, queries, files, left, known }
    }

    fn config() -> HistoryConfig {
        HistoryConfig::default()
    }

    fn sources(steps: &[PlanStep]) -> Vec<(Tier, PlanSource)> {
        steps.iter().map(|step| (step.tier, step.source)).collect()
    }

    #[test]
    fn one_conversation_is_queried_and_thousands_come_by_files() {
        let (queries, files, config) = (queries(Some(90 * DAY)), files(), config());
        let facts = facts(&config, Some(&queries), Some(&files), &[]);
        let since = Some(NOW - DAY);
        assert_eq!(sources(&plan(None, since, None, &facts)), [(Tier::Recent, PlanSource::Query)]);
        let many = PlanFacts { conversations: 100_000, ..facts };
        let steps = plan(None, since, None, &many);
        assert_eq!(sources(&steps), [(Tier::Recent, PlanSource::Files)]);
        assert_eq!(steps[0].calls, 24);
    }

    #[test]
    fn what_the_vendor_does_not_reach_costs_no_call() {
        let (queries, config) = (queries(Some(7 * DAY)), config());
        let steps = plan(None, Some(NOW - 60 * DAY), None, &facts(&config, Some(&queries), None, &[]));
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
        let (queries, config) = (queries(None), config());
        let first = Timestamp(NOW.0 / 3_600_000 * 3_600_000) - 10 * HOUR;
        let hours: Vec<_> = [0, 1, 2, 5].map(|number| complete(first + number * HOUR)).to_vec();
        let steps = plan(Some(Tier::Recent), Some(first), None, &facts(&config, Some(&queries), None, &hours));
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
        let (files, config) = (files(), config());
        let steps = plan(Some(Tier::Recent), None, None, &facts(&config, None, Some(&files), &[]));
        let found: Vec<_> = steps.iter().map(|step| (step.source, step.reason)).collect();
        assert_eq!(found[0], (PlanSource::Nowhere, "not_published"));
        assert_eq!(found[1], (PlanSource::Files, "no_queries"));
        assert_eq!(steps[1].until.since(steps[1].since), 3 * DAY - HOUR);
        assert_eq!(found.get(2), Some(&(PlanSource::Nowhere, "no_queries")));
    }

    #[test]
    fn a_conversations_own_ranges_and_the_archive_spare_the_vendor() {
        let (queries, config) = (queries(Some(400 * DAY)), config());
        let range = |since, until, state, reason: &str| CoveredRange {
            since: NOW - since * DAY,
            until: NOW - until * DAY,
            state,
            reason: reason.to_owned(),
            checked_at: NOW,
        };
        let ranges = [
            range(25, 12, CoverageState::Complete, reason::QUERY),
            range(12, 10, CoverageState::Unfillable, reason::BEYOND_QUERIES),
        ];
        let archived = [HeldSpan { since: NOW - 90 * DAY, until: NOW - 40 * DAY }];
        let facts = facts(&config, Some(&queries), None, &[]);
        let facts = PlanFacts { known: Known { ranges: &ranges, archived: &archived, ..facts.known }, ..facts };
        let steps = plan(None, Some(NOW - 60 * DAY), None, &facts);
        let found: Vec<_> =
            steps.iter().map(|step| (step.source, step.until.since(step.since).as_secs() / 86_400)).collect();
        use PlanSource::{Archive, Nowhere, Query, Store};
        assert_eq!(found, [(Query, 7), (Query, 3), (Nowhere, 2), (Store, 13), (Query, 5), (Query, 10), (Archive, 20)]);
        let left = CallsLeft { queries: [0, 1, 9], files: 0 };
        let steps = plan(None, Some(NOW - 60 * DAY), None, &PlanFacts { left, ..facts });
        let found: Vec<_> = steps.iter().map(|step| (step.source, step.reason)).collect();
        assert_eq!((found[0], found[1]), ((Nowhere, "no_budget"), (Query, "not_complete")));
        assert_eq!(
            (found[4], found[5]),
            ((Nowhere, "no_budget"), (Query, "not_complete")),
            "budgets are the tiers' own"
        );
    }

    #[test]
    fn a_source_that_is_not_chosen_is_not_asked() {
        let (queries, files, mut config) = (queries(Some(400 * DAY)), files(), config());
        config.recent.sources = vec![PlanSource::Files, PlanSource::Query];
        let since = Some(NOW - 2 * DAY);
        let until = Some(NOW - DAY);
        let steps = plan(None, since, until, &facts(&config, Some(&queries), Some(&files), &[]));
        assert_eq!(sources(&steps), [(Tier::Recent, PlanSource::Query)], "files are slower by far for one");
        config.recent.sources = vec![PlanSource::Files];
        let steps = plan(None, since, until, &facts(&config, Some(&queries), Some(&files), &[]));
        assert_eq!(sources(&steps), [(Tier::Recent, PlanSource::Files)]);
        config.recent.sources.clear();
        let steps = plan(None, since, until, &facts(&config, Some(&queries), Some(&files), &[]));
        assert_eq!(sources(&steps), [(Tier::Recent, PlanSource::Nowhere)]);
    }

    proptest! {
        #[test]
        fn i08_a_plan_has_no_seam(
            present in prop::collection::btree_set(0_u32..2000, 0..50),
            since in 0_u64..(80 * 86_400),
            depth in prop::option::of(1_u64..(100 * 86_400)),
            with_files in any::<bool>(),
            many in any::<bool>(),
            held in prop::option::of((1_u64..80, 1_u64..60)),
            budget in prop_oneof![Just(u64::MAX), 0_u64..40],
            tier in prop::sample::select(vec![None, Some(Tier::Recent), Some(Tier::Month), Some(Tier::Archive)]),
        ) {
            let (queries, files, config) = (queries(depth.map(Duration::from_secs)), files(), config());
            let base = Timestamp(NOW.0 / 3_600_000 * 3_600_000) - 2000 * HOUR;
            let hours: Vec<_> = present.iter().map(|number| complete(base + *number * HOUR)).collect();
            let archived = held.map(|(from, days)| {
                let since = NOW - Duration::from_secs(from * 86_400);
                HeldSpan { since, until: since + Duration::from_secs(days * 86_400) }
            });
            let archived: Vec<_> = archived.into_iter().collect();
            let base = facts(&config, Some(&queries), with_files.then_some(&files), &hours);
            let facts = PlanFacts {
                conversations: if many { 100_000 } else { 1 },
                left: CallsLeft { queries: [budget; 3], files: budget },
                known: Known { archived: &archived, ..base.known },
                ..base
            };
            let since = NOW - Duration::from_secs(since);
            let steps = plan(tier, Some(since), None, &facts);
            let (low, high) = tier.map_or((None, None), |tier| facts.config.tiers.of(tier, NOW));
            let (mut edge, bottom) = (high.unwrap_or(NOW), low.unwrap_or(since).max(since));
            if bottom < edge {
                for step in &steps {
                    prop_assert_eq!(step.until, edge, "{:?}", steps);
                    prop_assert!(step.since < step.until);
                    let (low, high) = facts.config.tiers.of(step.tier, NOW);
                    prop_assert!(low.is_none_or(|low| step.since >= low) && high.is_none_or(|high| step.until <= high));
                    edge = step.since;
                }
                prop_assert_eq!(edge, bottom);
                let spent = |source| steps.iter().filter(|step| step.source == source).map(|step| step.calls).sum::<u64>();
                prop_assert!(spent(PlanSource::Files) <= budget);
                for tier in Tier::ALL {
                    let of_tier = steps.iter().filter(|step| step.tier == tier && step.source == PlanSource::Query);
                    prop_assert!(of_tier.map(|step| step.calls).sum::<u64>() <= budget);
                }
            } else {
                prop_assert!(steps.is_empty(), "{:?}", steps);
            }
        }
    }
}
