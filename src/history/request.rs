//! One page of history, asked for step by step.

use std::sync::Arc;

use switchboard_contract::storage::{Entry, HistoryFilter, HistoryQuery, PageDirection};
use switchboard_contract::{Clock, ConversationId, Error, Result, TenantId, Timestamp, UserId};

use super::pages::Pages;
use super::{HistoryCursor, Tier, TierBounds};

/// Pages longer than this are refused; the caller pages instead.
const MAX_LIMIT: usize = 1000;

/// What to read of one conversation. Begin with the newest page, and hand each page's cursor to the next request.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    pages: Pages,
    clock: Arc<dyn Clock>,
    tenant: TenantId,
    conversation: ConversationId,
    bounds: TierBounds,
    tier: Option<Tier>,
    direction: PageDirection,
    cursor: Option<HistoryCursor>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: usize,
    filter: HistoryFilter,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySlice {
    /// Messages in the order of the direction: newest first towards the past.
    pub entries: Vec<Entry>,
    /// Where to go on; `None` at the end.
    pub next: Option<HistoryCursor>,
}

impl HistoryRequest {
    pub(crate) fn new(
        pages: Pages,
        clock: Arc<dyn Clock>,
        tenant: TenantId,
        conversation: ConversationId,
        bounds: TierBounds,
    ) -> Self {
        Self {
            pages,
            clock,
            tenant,
            conversation,
            bounds,
            tier: None,
            direction: PageDirection::Older,
            cursor: None,
            since: None,
            until: None,
            limit: 50,
            filter: HistoryFilter::default(),
        }
    }

    /// Only messages of this age.
    #[must_use]
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// Towards the past (the default) or towards the present.
    #[must_use]
    pub fn direction(mut self, direction: PageDirection) -> Self {
        self.direction = direction;
        self
    }

    /// Goes on where a page ended; tier and direction come with the cursor.
    #[must_use]
    pub fn cursor(mut self, cursor: HistoryCursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Only messages sent at or after this time.
    #[must_use]
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Only messages sent before this time.
    #[must_use]
    pub fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    /// Messages in one page, 1 to 1000; 50 by default.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Only messages of this sender.
    #[must_use]
    pub fn sender(mut self, sender: UserId) -> Self {
        self.filter.sender = Some(sender);
        self
    }

    /// Only messages with these kinds of body, such as `text`; empty for all.
    #[must_use]
    pub fn bodies(mut self, bodies: Vec<String>) -> Self {
        self.filter.bodies = bodies;
        self
    }

    /// Reads the page. Each message of the range comes exactly once over a whole walk, whatever is appended meanwhile.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another conversation; `NotFound` for a conversation in
    /// which nothing ever happened; `Storage`.
    pub async fn page(self) -> Result<HistorySlice> {
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            return Err(Error::invalid("limit", format!("must be 1 to {MAX_LIMIT}")));
        }
        if let Some(cursor) = &self.cursor
            && cursor.conversation != self.conversation
        {
            return Err(Error::invalid("cursor", "belongs to another conversation"));
        }
        let (now, tier, direction) = match &self.cursor {
            Some(cursor) => (cursor.now, cursor.tier, cursor.direction),
            None => (self.clock.now(), self.tier, self.direction),
        };
        let (tier_since, tier_until) = tier.map_or((None, None), |tier| self.bounds.of(tier, now));
        let page = self
            .pages
            .page(&HistoryQuery {
                tenant: self.tenant.clone(),
                conversation: self.conversation.clone(),
                direction,
                after: self.cursor.map(|cursor| cursor.key),
                since: self.since.max(tier_since),
                until: match (self.until, tier_until) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                },
                limit: self.limit,
                filter: self.filter,
            })
            .await?;
        let store = self.pages.store();
        if page.entries.is_empty() && store.conversation(&self.tenant, &self.conversation).await?.is_none() {
            return Err(Error::new(switchboard_contract::ErrorKind::NotFound, "no such conversation"));
        }
        let conversation = self.conversation;
        Ok(HistorySlice {
            entries: page.entries,
            next: page.next.map(|key| HistoryCursor { conversation, now, tier, direction, key }),
        })
    }
}
