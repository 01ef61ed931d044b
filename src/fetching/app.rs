//! One app's past: what is known of it, and fetching what is missing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::{
    Archive, CoverageState, CoveredRange, HeldSpan, HourCoverage, RepairWindow, Store,
};
use switchboard_contract::{
    App, Clock, ConversationId, HistoryFileLimits, Position, Provider, ProviderId, Result, RoamingLimits, Shard,
    TenantId, Timestamp,
};

use super::gate::Gate;
use crate::catchup::{Budget, Catchup, PullTerms, Pulled};
use crate::history::{CallsLeft, HistoryConfig, Known, PlanFacts, Tier};

/// Windows looked at for what was not served.
const WINDOWS: usize = 1000;

/// Everything that tells of one conversation's past at one app.
#[derive(Debug)]
pub(crate) struct Told {
    began: Timestamp,
    hours: Vec<HourCoverage>,
    served: Vec<HeldSpan>,
    ranges: Vec<CoveredRange>,
    archived: Vec<HeldSpan>,
    trimmed: Option<Timestamp>,
}

impl Told {
    pub(crate) fn known(&self) -> Known<'_> {
        Known {
            began: self.began,
            hours: &self.hours,
            served: &self.served,
            ranges: &self.ranges,
            archived: &self.archived,
            trimmed: self.trimmed,
        }
    }
}

/// One app whose past can be fetched.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) tenant: TenantId,
    pub(super) alias: ProviderId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Arc<dyn Store>,
    pub(super) archive: Option<Arc<dyn Archive>>,
    pub(super) catchup: Catchup,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: Arc<HistoryConfig>,
    pub(super) began: Timestamp,
    budgets: [Arc<Budget>; 3],
    gate: Gate,
    /// One fetch of a conversation at a time: whoever waits finds in the ledger what the one before brought.
    turns: Mutex<HashMap<ConversationId, Arc<tokio::sync::Mutex<()>>>>,
}

/// What a source is made of.
pub(super) struct Parts {
    pub(super) tenant: TenantId,
    pub(super) alias: ProviderId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Arc<dyn Store>,
    pub(super) archive: Option<Arc<dyn Archive>>,
    pub(super) catchup: Catchup,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: Arc<HistoryConfig>,
    pub(super) began: Timestamp,
}

impl Source {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { tenant, alias, provider, store, archive, catchup, clock, config, began } = parts;
        let budget = |tier| Arc::new(Budget::new(config.tier(tier).calls_per_hour, clock.clone()));
        let (budgets, gate, turns) = (Tier::ALL.map(budget), Gate::new(&config), Mutex::default());
        Self { tenant, alias, provider, store, archive, catchup, clock, config, began, budgets, gate, turns }
    }

    pub(crate) fn alias(&self) -> &ProviderId {
        &self.alias
    }

    /// What was sent before this time was said before Switchboard had the app.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    pub(crate) fn app(&self) -> &App {
        self.provider.app()
    }

    pub(crate) fn limits(&self) -> (Option<RoamingLimits>, Option<HistoryFileLimits>) {
        let roaming = self.provider.roaming().map(|roaming| roaming.limits());
        (roaming, self.provider.history_files().map(|files| files.limits()))
    }

    /// Whether the vendor's queries may be asked for this conversation in this tier.
    pub(super) fn can_query(&self, conversation: &ConversationId, tier: Tier) -> bool {
        let limits = self.provider.roaming().map(|roaming| roaming.limits());
        limits.is_some_and(|limits| limits.targets.contains(&conversation.kind()))
            && self.config.tier(tier).sources.contains(&crate::history::PlanSource::Query)
    }

    /// Where the newest tier begins now.
    pub(super) fn recent_since(&self) -> Timestamp {
        self.clock.now() - self.config.tiers.recent
    }

    pub(crate) fn left(&self) -> CallsLeft {
        let [recent, month, archive] = &self.budgets;
        CallsLeft { queries: [recent.left(), month.left(), archive.left()], files: u64::MAX }
    }

    /// What a plan for conversations of this kind depends on.
    pub(crate) fn facts<'a>(
        &'a self,
        conversation: &ConversationId,
        now: Timestamp,
        limits: &'a (Option<RoamingLimits>, Option<HistoryFileLimits>),
        told: &'a Told,
    ) -> PlanFacts<'a> {
        PlanFacts {
            now,
            config: &self.config,
            kind: conversation.kind(),
            conversations: 1,
            queries: limits.0.as_ref(),
            files: limits.1.as_ref(),
            left: self.left(),
            known: told.known(),
        }
    }

    /// Everything that tells of a conversation from `since` to `until`.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) async fn told(&self, conversation: &ConversationId, since: Timestamp, until: Timestamp) -> Result<Told> {
        let (store, tenant, app) = (&self.store, &self.tenant, self.app());
        let hour = Duration::from_secs(3600);
        let ranges = store.ranges(tenant, app, conversation, since, until).await?;
        // Hours are many; where the conversation's own ranges say everything nobody has to read them.
        let settled = settles(&ranges, since, until);
        let files = self.provider.history_files().is_some() && !settled;
        let archived = match &self.archive {
            Some(archive) => archive.held(tenant, Some(conversation)).await?,
            None => Vec::new(),
        };
        Ok(Told {
            began: self.began,
            // An hour more, since the span may begin within one.
            hours: if files { store.hours(tenant, app, since - hour, until).await? } else { Vec::new() },
            served: if files || settled { Vec::new() } else { self.served(until).await? },
            ranges,
            archived,
            trimmed: self.trimmed().await?,
        })
    }

    /// The times in which we were there, of a vendor that publishes nothing to compare with.
    async fn served(&self, until: Timestamp) -> Result<Vec<HeldSpan>> {
        let windows = self.store.windows(&self.tenant, self.app(), false, WINDOWS).await?;
        Ok(between(&windows, self.began, until))
    }

    /// What is older than this retention has removed.
    async fn trimmed(&self) -> Result<Option<Timestamp>> {
        let trimmed = self.store.trimmed(&self.tenant, Shard(0)).await?;
        if trimmed == Position::START {
            return Ok(None);
        }
        let first = self.store.read(&self.tenant, Shard(0), trimmed, 1).await?.pop();
        Ok(first.map(|entry| entry.received_at))
    }

    /// Reads a time of a conversation, its end excluded, from the vendor into the journal: one fetch of a conversation
    /// at a time, and only what the ledger does not call complete when its turn comes. `again` asks also for that.
    ///
    /// # Errors
    /// As [`Catchup::pull`].
    pub(crate) async fn fetch(
        &self,
        conversation: &ConversationId,
        (since, until): (Timestamp, Timestamp),
        tier: Tier,
        again: bool,
    ) -> Result<Pulled> {
        let turn = self.turns.lock().entry(conversation.clone()).or_default().clone();
        let held = turn.lock().await;
        let outcome = self.fetch_now(conversation, (since, until), tier, again).await;
        drop(held);
        let mut turns = self.turns.lock();
        // The map and we: nobody else waits.
        if Arc::strong_count(&turn) == 2 {
            turns.remove(conversation);
        }
        outcome
    }

    async fn fetch_now(
        &self,
        conversation: &ConversationId,
        (since, until): (Timestamp, Timestamp),
        tier: Tier,
        again: bool,
    ) -> Result<Pulled> {
        let missing = if again {
            vec![(since, until)]
        } else {
            missing(&self.told(conversation, since, until).await?.known().between(since, until))
        };
        let mut all = Pulled { whole: true, ..Pulled::default() };
        for (since, until) in missing {
            let _pass = self.gate.pass(tier).await;
            let tier_config = self.config.tier(tier);
            let terms = PullTerms {
                max_pages: self.config.max_pages,
                page_size: tier_config.page_size,
                budget: Some(self.budgets[tier as usize].clone()),
            };
            // Queries include their end.
            let span = (since, Timestamp(until.0 - 1));
            let one = self.catchup.pull(&self.tenant, &self.alias, conversation, span, terms).await?;
            all.fresh += one.fresh;
            all.history += one.history;
            all.calls += one.calls;
            all.whole &= one.whole;
        }
        Ok(all)
    }
}

/// Whether ranges leave no doubt about any moment from `since` to `until`.
fn settles(ranges: &[CoveredRange], since: Timestamp, until: Timestamp) -> bool {
    let mut at = since;
    for range in ranges.iter().filter(|range| range.state != CoverageState::Suspect) {
        if range.since > at {
            break;
        }
        at = at.max(range.until);
    }
    at >= until
}

/// The times that are suspect, joined.
fn missing(ranges: &[CoveredRange]) -> Vec<(Timestamp, Timestamp)> {
    let mut spans: Vec<(Timestamp, Timestamp)> = Vec::new();
    for range in ranges.iter().filter(|range| range.state == CoverageState::Suspect) {
        match spans.last_mut() {
            Some(last) if last.1 == range.since => last.1 = range.until,
            _ => spans.push((range.since, range.until)),
        }
    }
    spans
}

/// What from `from` to `until` lies outside the windows that are not filled.
fn between(windows: &[RepairWindow], from: Timestamp, until: Timestamp) -> Vec<HeldSpan> {
    let mut open: Vec<_> =
        windows.iter().filter(|window| !window.complete).map(|window| (window.since, window.until)).collect();
    open.sort_unstable();
    let mut spans = Vec::new();
    let mut at = from;
    for (since, end) in open {
        if at < since.min(until) {
            spans.push(HeldSpan { since: at, until: since.min(until) });
        }
        at = at.max(end);
    }
    if at < until {
        spans.push(HeldSpan { since: at, until });
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_served_lies_outside_the_windows() {
        let window = |since: i64, until: i64, complete: bool| RepairWindow {
            id: 1,
            since: Timestamp(since),
            until: Timestamp(until),
            cause: String::new(),
            sent_again: 0,
            queried: 0,
            repaired: 0,
            closed_at: None,
            complete,
        };
        let windows = [window(50, 60, false), window(20, 30, false), window(25, 40, false), window(70, 80, true)];
        let found: Vec<_> = between(&windows, Timestamp(10), Timestamp(90))
            .into_iter()
            .map(|span| (span.since.0, span.until.0))
            .collect();
        assert_eq!(found, [(10, 20), (40, 50), (60, 90)]);
        assert_eq!(between(&windows, Timestamp(55), Timestamp(58)), []);
    }
}
