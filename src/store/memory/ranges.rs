//! The ledger of conversations.

use std::ops::Bound;

use async_trait::async_trait;
use switchboard_contract::storage::{ConversationLedger, CoverageState, CoveredRange, overlay};
use switchboard_contract::{App, ConversationId, Result, TenantId, Timestamp};

use super::MemoryStore;

#[async_trait]
impl ConversationLedger for MemoryStore {
    async fn put_range(
        &self,
        tenant: &TenantId,
        app: &App,
        conversation: &ConversationId,
        range: &CoveredRange,
    ) -> Result<()> {
        let mut state = self.state()?;
        let ledger = state.ranges.entry((tenant.clone(), app.clone())).or_default();
        let known = ledger.entry(conversation.clone()).or_default();
        *known = overlay(std::mem::take(known), range.clone());
        Ok(())
    }

    async fn ranges(
        &self,
        tenant: &TenantId,
        app: &App,
        conversation: &ConversationId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CoveredRange>> {
        let state = self.state()?;
        let ledger = state.ranges.get(&(tenant.clone(), app.clone()));
        let known = ledger.and_then(|ledger| ledger.get(conversation)).into_iter().flatten();
        Ok(known.filter(|range| range.since < until && since < range.until).cloned().collect())
    }

    async fn incomplete(
        &self,
        tenant: &TenantId,
        app: &App,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, CoveredRange)>> {
        let state = self.state()?;
        let Some(ledger) = state.ranges.get(&(tenant.clone(), app.clone())) else { return Ok(Vec::new()) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found: Vec<(ConversationId, CoveredRange)> = Vec::new();
        for (conversation, known) in ledger.range::<ConversationId, _>((from, Bound::Unbounded)) {
            if found.len() >= limit {
                break;
            }
            let open = known.iter().filter(|range| range.state != CoverageState::Complete);
            found.extend(open.map(|range| (conversation.clone(), range.clone())));
        }
        Ok(found)
    }
}
