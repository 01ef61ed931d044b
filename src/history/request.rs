//! One page of history, asked for step by step.

use std::sync::Arc;

use switchboard_contract::storage::{Entry, HistoryFilter, HistoryPage, HistoryQuery, PageDirection};
use switchboard_contract::{Clock, ConversationId, Error, Result, TenantId, Timestamp, UserId};

use super::gaps::{Fetcher, cut, near_part, told_of};
use super::pages::Pages;
use super::{HistoryConfig, HistoryCursor, HistoryGap, Tier};

/// Pages longer than this are refused; the caller pages instead.
const MAX_LIMIT: usize = 1000;

/// What to read of one conversation. Begin with the newest page, and hand each page's cursor to the next request.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    pages: Pages,
    clock: Arc<dyn Clock>,
    tenant: TenantId,
    conversation: ConversationId,
    config: Arc<HistoryConfig>,
    fetcher: Option<Arc<dyn Fetcher>>,
    fetch: Option<bool>,
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
    /// What this page's times lack, where the page was to fetch: what could not be had, or not in time.
    pub gaps: Vec<HistoryGap>,
}

impl HistoryRequest {
    pub(crate) fn new(
        pages: Pages,
        clock: Arc<dyn Clock>,
        tenant: TenantId,
        conversation: ConversationId,
        config: Arc<HistoryConfig>,
        fetcher: Option<Arc<dyn Fetcher>>,
    ) -> Self {
        Self {
            pages,
            clock,
            tenant,
            conversation,
            config,
            fetcher,
            fetch: None,
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

    /// Goes on where a page ended; what else was asked for comes with the cursor.
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

    /// Whether the page fetches what the store lacks of its times from the vendor first, and waits for it. True by default
    /// for [`Tier::Month`], false otherwise. What is in the tier `archive` is fetched by jobs alone.
    #[must_use]
    pub fn fetch(mut self, fetch: bool) -> Self {
        self.fetch = Some(fetch);
        self
    }

    /// Reads the page. Each message of the range comes exactly once over a whole walk, whatever is appended meanwhile.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another conversation; `NotFound` for a conversation in
    /// which nothing ever happened; `Storage`. A vendor that fails is a gap of the page, and no error.
    pub async fn page(self) -> Result<HistorySlice> {
        if !(1..=MAX_LIMIT).contains(&self.limit) {
            return Err(Error::invalid("limit", format!("must be 1 to {MAX_LIMIT}")));
        }
        if let Some(cursor) = &self.cursor
            && cursor.conversation != self.conversation
        {
            return Err(Error::invalid("cursor", "belongs to another conversation"));
        }
        let walk = self.walk();
        let (tier_since, tier_until) = walk.tier.map_or((None, None), |tier| self.config.tiers.of(tier, walk.now));
        let query = HistoryQuery {
            tenant: self.tenant.clone(),
            conversation: self.conversation.clone(),
            direction: walk.direction,
            after: self.cursor.as_ref().map(|cursor| cursor.key.clone()),
            since: walk.since.max(tier_since),
            until: match (walk.until, tier_until) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            limit: self.limit,
            filter: walk.filter.clone(),
        };
        let fetcher = self.fetcher.as_ref().filter(|_| self.fetch.unwrap_or(walk.tier == Some(Tier::Month)));
        let (page, gaps) = match fetcher {
            Some(fetcher) => self.fetched(&**fetcher, &query, walk.now).await?,
            None => (self.pages.page(&query).await?, Vec::new()),
        };
        if page.entries.is_empty()
            && self.pages.store().conversation(&query.tenant, &query.conversation).await?.is_none()
            && !self.pages.archived(&query).await?
        {
            return Err(Error::new(switchboard_contract::ErrorKind::NotFound, "no such conversation"));
        }
        let conversation = query.conversation;
        let next = page.next.map(|key| HistoryCursor {
            conversation,
            now: walk.now,
            tier: walk.tier,
            direction: walk.direction,
            since: walk.since,
            until: walk.until,
            sender: walk.filter.sender,
            bodies: walk.filter.bodies,
            key,
        });
        Ok(HistorySlice { entries: page.entries, next, gaps })
    }

    /// What the walk asks for: what its cursor says, where it has one.
    fn walk(&self) -> Walk {
        match &self.cursor {
            Some(cursor) => Walk {
                now: cursor.now,
                tier: cursor.tier,
                direction: cursor.direction,
                since: cursor.since,
                until: cursor.until,
                filter: HistoryFilter { sender: cursor.sender.clone(), bodies: cursor.bodies.clone() },
            },
            None => Walk {
                now: self.clock.now(),
                tier: self.tier,
                direction: self.direction,
                since: self.since,
                until: self.until,
                filter: self.filter.clone(),
            },
        }
    }

    /// The page once everything of its times is fetched that can be. What the time does not suffice for comes with a
    /// later page: then this one ends where it begins. What cannot be had is told, and the walk goes on behind it.
    async fn fetched(
        &self,
        fetcher: &dyn Fetcher,
        query: &HistoryQuery,
        now: Timestamp,
    ) -> Result<(HistoryPage, Vec<HistoryGap>)> {
        let began = self.clock.now();
        let mut stride = self.config.stride;
        let mut refused: Vec<HistoryGap> = Vec::new();
        loop {
            let page = self.pages.page(query).await?;
            let (since, until) = told_of(query, &page, now);
            let gaps = fetcher.gaps(&query.tenant, &query.conversation, since, until, now).await?;
            let asked = |gap: &&HistoryGap| {
                let same = |old: &HistoryGap| old.provider == gap.provider && old.tier == gap.tier;
                gap.fetchable && !refused.iter().any(same)
            };
            let next = match query.direction {
                PageDirection::Older => gaps.iter().filter(asked).max_by_key(|gap| gap.until),
                PageDirection::Newer => gaps.iter().find(asked),
            };
            let Some(gap) = next else { return Ok((page, gaps)) };
            if self.clock.now().since(began) >= self.config.tier(gap.tier).within {
                let page = cut(page, gap, query.direction);
                let (since, until) = told_of(query, &page, now);
                let inside = |gap: &HistoryGap| since.is_none_or(|since| gap.until > since) && gap.since < until;
                return Ok((page, gaps.into_iter().filter(inside).collect()));
            }
            let part = near_part(gap, query.direction, stride);
            match fetcher.fetch(&query.tenant, &query.conversation, &part).await {
                Ok(true) => stride = stride.saturating_mul(2),
                Ok(false) => refused.push(part),
                Err(error) => {
                    tracing::warn!(
                        provider = %gap.provider, conversation = %query.conversation, %error, op = "history",
                        "a page could not be fetched; its gap is told"
                    );
                    refused.push(part);
                }
            }
        }
    }
}

/// What a walk asks for.
struct Walk {
    now: Timestamp,
    tier: Option<Tier>,
    direction: PageDirection,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filter: HistoryFilter,
}
