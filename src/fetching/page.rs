//! What a page of history lacks, over all apps of a tenant, and fetching it while the caller waits.

use async_trait::async_trait;
use switchboard_contract::storage::{CoverageState, CoveredRange};
use switchboard_contract::{ConversationId, Error, ErrorKind, Result, TenantId, Timestamp};

use super::Fetching;
use super::app::Source;
use crate::history::{Fetcher, HistoryGap, Tier};

/// Without a beginning nobody looks back further than this.
const LOOK_BACK: std::time::Duration = std::time::Duration::from_secs(400 * 24 * 3600);

#[async_trait]
impl Fetcher for Fetching {
    async fn gaps(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        since: Option<Timestamp>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<HistoryGap>> {
        let mut gaps = Vec::new();
        for app in self.of_tenant(tenant) {
            let source = &app.source;
            // The newest part is what callbacks bring just now.
            let until = until.min(now - source.catchup.clock_margin() * 2);
            let since = since.unwrap_or_else(|| source.reach(now));
            if since < until && source.may_have(conversation).await? {
                gaps.extend(of_source(source, conversation, since, until, now).await?);
            }
        }
        gaps.sort_by_key(|gap| (gap.since, gap.until));
        Ok(gaps)
    }

    async fn fetch(&self, tenant: &TenantId, conversation: &ConversationId, gap: &HistoryGap) -> Result<bool> {
        let app = self.source(tenant, &gap.provider)?;
        let source = &app.source;
        let fetch = source.fetch(conversation, (gap.since, gap.until), gap.tier, false);
        tokio::select! {
            pulled = fetch => pulled.map(|pulled| pulled.whole),
            () = source.clock.sleep(source.config.tier(gap.tier).within) => {
                Err(Error::new(ErrorKind::Timeout, "the vendor's history did not come in time"))
            }
        }
    }
}

impl Source {
    /// The oldest moment that could be asked for.
    fn reach(&self, now: Timestamp) -> Timestamp {
        let depth = self.provider.roaming().and_then(|roaming| roaming.limits().depth);
        now - depth.map_or(LOOK_BACK, |depth| depth.min(LOOK_BACK))
    }

    /// Whether this app could have the conversation at all: a group of another vendor is not in it.
    pub(crate) async fn may_have(&self, conversation: &ConversationId) -> Result<bool> {
        let Some(group) = conversation.group_id() else { return Ok(true) };
        let room = conversation.kind() == switchboard_contract::ConversationKind::Room;
        let kind = if room {
            switchboard_contract::storage::BindingKind::Room
        } else {
            switchboard_contract::storage::BindingKind::Group
        };
        let wanted = [(kind, group.as_str().to_owned())];
        let bound = self.store.by_business(&self.tenant, self.app(), &wanted).await?;
        Ok(bound.iter().any(Option::is_some))
    }
}

async fn of_source(
    source: &Source,
    conversation: &ConversationId,
    since: Timestamp,
    until: Timestamp,
    now: Timestamp,
) -> Result<Vec<HistoryGap>> {
    let told = source.told(conversation, since, until).await?;
    let mut gaps = Vec::new();
    for range in told.known().between(since, until) {
        if range.state == CoverageState::Complete {
            continue;
        }
        for tier in Tier::ALL {
            let (low, high) = source.config.tiers.of(tier, now);
            let (since, until) =
                (range.since.max(low.unwrap_or(range.since)), high.map_or(range.until, |high| range.until.min(high)));
            if since < until {
                gaps.push(gap(source, conversation, tier, &CoveredRange { since, until, ..range.clone() }));
            }
        }
    }
    gaps.sort_by_key(|gap| gap.since);
    Ok(gaps)
}

fn gap(source: &Source, conversation: &ConversationId, tier: Tier, range: &CoveredRange) -> HistoryGap {
    let suspect = range.state == CoverageState::Suspect;
    let can = source.can_query(conversation, tier);
    let (state, reason) = match () {
        // Nothing is left that could bring it.
        () if suspect && !can && tier != Tier::Recent => (CoverageState::Unfillable, "no_queries"),
        () => (range.state, range.reason.as_str()),
    };
    HistoryGap {
        provider: source.alias.clone(),
        tier,
        since: range.since,
        until: range.until,
        state,
        reason: reason.to_owned(),
        // What is oldest is fetched by a job.
        fetchable: suspect && can && tier != Tier::Archive,
    }
}
