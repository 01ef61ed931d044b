//! Reading a span of one conversation from the vendor into the journal.

use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::storage::{
    Appended, CoverageState, CoveredRange, HeldSpan, HistoryFilter, HistoryQuery, PageDirection, PageMark, Store,
};
use switchboard_contract::{
    Clock, ConversationId, ConversationKind, Error, ErrorKind, EventData, Inbound, InboundData, Origin, Position,
    Provider, ProviderId, Result, Roaming, RoamingQuery, Shard, Target, TenantId, Timestamp, UserId,
};

use super::Budget;
use crate::history::reason;
use crate::identity::Identity;
use crate::ingest::WeakIngest;

/// What a reading may cost.
#[derive(Clone, Debug)]
pub struct PullTerms {
    /// Pages, at most.
    pub max_pages: u32,
    /// Messages in a page, lowered to what the vendor admits.
    pub page_size: u32,
    /// What the pages are paid from; `None` for no limit but the vendor's own.
    pub budget: Option<Arc<Budget>>,
}

impl PullTerms {
    /// At most so many pages, each as large as the vendor admits.
    pub const fn pages(max_pages: u32) -> Self {
        Self { max_pages, page_size: u32::MAX, budget: None }
    }

    /// Whether one more page may be read; takes it.
    fn take(&mut self) -> bool {
        if self.max_pages == 0 || self.budget.as_ref().is_some_and(|budget| !budget.take()) {
            return false;
        }
        self.max_pages -= 1;
        true
    }
}

/// Reads conversations of one provider's app.
#[derive(Clone, Debug)]
pub(crate) struct Puller {
    pub(super) tenant: TenantId,
    pub(super) alias: ProviderId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: Arc<Identity>,
    pub(super) ingest: WeakIngest,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) terms: PullTerms,
    /// How far the vendor's clock and ours may differ.
    pub(super) margin: Duration,
    /// What was sent before this is history: nobody missed it.
    pub(super) began: Timestamp,
}

/// What a reading brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pulled {
    /// Messages that were missing.
    pub fresh: u64,
    /// Messages of a time before Switchboard had the app.
    pub history: u64,
    /// The whole span was read.
    pub whole: bool,
    /// The vendor was asked so many times.
    pub calls: u32,
    /// What of the span was read to its end.
    #[serde(skip)]
    pub read: Option<HeldSpan>,
}

impl Puller {
    /// Reads what a conversation has from `since` to `until`, both included, and journals what is missing.
    ///
    /// # Errors
    /// `Unsupported` for a vendor, account or kind of conversation without queries; `NotFound` for a conversation that
    /// this vendor does not have; whatever else the vendor or the store says. What was read before stays.
    pub(super) async fn pull(
        &self,
        conversation: &ConversationId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Pulled> {
        let whole = self.query(conversation, since, until).await?;
        let roaming = self.roaming()?;
        let limits = roaming.limits();
        let asked_at = self.clock.now();
        let began = self.history_until().await?;
        let from = limits.depth.map_or(since, |depth| since.max(asked_at - depth));
        let mut reading =
            Reading { puller: self, roaming, terms: self.terms.clone(), began, pulled: Pulled::default() };
        let limit = whole.limit.min(self.terms.page_size).max(1);
        let query = RoamingQuery { since: from, limit, ..whole };
        let outcome = reading.spans(query, limits.max_span.unwrap_or(Duration::MAX)).await;
        let mut pulled = reading.pulled;
        pulled.whole = outcome.as_ref().is_ok_and(|whole| *whole && from == since);
        if from > since {
            let lost = from.min(until + Duration::from_millis(1));
            self.note(conversation, since, lost, (CoverageState::Unfillable, reason::BEYOND_QUERIES)).await?;
        }
        if let Some(HeldSpan { since, until }) = pulled.read {
            // What was said just now may not show yet.
            let until = until.min(asked_at - self.margin);
            self.note(conversation, since, until, (CoverageState::Complete, reason::QUERY)).await?;
        }
        outcome.map(|_| pulled)
    }

    /// Writes down what is known now of a time.
    async fn note(
        &self,
        conversation: &ConversationId,
        since: Timestamp,
        until: Timestamp,
        (state, reason): (CoverageState, &str),
    ) -> Result<()> {
        if since >= until {
            return Ok(());
        }
        let range = CoveredRange { since, until, state, reason: reason.to_owned(), checked_at: self.clock.now() };
        self.store.put_range(&self.tenant, self.provider.app(), conversation, &range).await
    }

    /// What was sent before is history, which nobody missed: it is of a time before Switchboard had the app, or
    /// retention may have removed it from here.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) async fn history_until(&self) -> Result<Timestamp> {
        Ok(self.began.max(self.kept_since().await?))
    }

    async fn kept_since(&self) -> Result<Timestamp> {
        let trimmed = self.store.trimmed(&self.tenant, Shard(0)).await?;
        if trimmed == Position::START {
            return Ok(Timestamp(i64::MIN));
        }
        let first = self.store.read(&self.tenant, Shard(0), trimmed, 1).await?.pop();
        Ok(first.map_or_else(|| self.clock.now(), |entry| entry.received_at) + self.margin)
    }

    /// When Switchboard first had the app.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    fn roaming(&self) -> Result<&dyn Roaming> {
        self.provider.roaming().ok_or_else(unsupported)
    }

    /// The first query of a span of a conversation, in the vendor's ids and with its largest page.
    ///
    /// # Errors
    /// As [`pull`](Self::pull).
    pub(crate) async fn query(
        &self,
        conversation: &ConversationId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<RoamingQuery> {
        let limits = self.roaming()?.limits();
        if !limits.targets.contains(&conversation.kind()) {
            return Err(unsupported());
        }
        let (viewer, target) = self.spell(conversation).await?;
        Ok(RoamingQuery { viewer, target, since, until, limit: limits.max_page, cursor: None })
    }

    /// Journals what of a page is missing; asking first is cheaper for a page of which much is known.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn journal(&self, items: Vec<Inbound>, began: Timestamp, pulled: &mut Pulled) -> Result<()> {
        let keys: Vec<_> = items.iter().map(|item| item.key.clone()).collect();
        let known = self.store.known(&self.tenant, self.provider.app(), &keys).await?;
        let missing = items.into_iter().zip(known).filter(|(_, known)| known.is_none()).map(|(item, _)| item);
        self.journal_missing(missing.collect(), began, pulled, &mut None).await.map(drop)
    }

    /// Journals a page of which most will be missing, and says how much of it was known. Where a job stands is written
    /// with a page that goes into the journal as one, and taken when it is.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn journal_missing(
        &self,
        items: Vec<Inbound>,
        began: Timestamp,
        pulled: &mut Pulled,
        page: &mut Option<PageMark>,
    ) -> Result<usize> {
        let whole = |inbound: &Inbound| {
            let missed = inbound.sent_at >= began;
            matches!(inbound.data, InboundData::Message(_)) && page.as_ref().is_some_and(|page| page.missed == missed)
        };
        let whole = items.iter().all(whole);
        let mut nothing = None;
        let page = if whole { page } else { &mut nothing };
        let (messages, others): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| matches!(item.data, InboundData::Message(_)));
        let mut known = 0;
        let ingest = self.ingest.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "the way in is closed"))?;
        for part in [messages, others] {
            let (old, missed): (Vec<_>, Vec<_>) = part.into_iter().partition(|item| item.sent_at < began);
            for (origin, items, count) in
                [(Origin::Query, missed, &mut pulled.fresh), (Origin::History, old, &mut pulled.history)]
            {
                if items.is_empty() {
                    continue;
                }
                let messages = matches!(items[0].data, InboundData::Message(_));
                let answers = ingest.submit_missing(&self.tenant, &self.alias, origin, items, page).await?;
                let fresh = answers.iter().filter(|appended| matches!(appended, Appended::Fresh { .. })).count();
                *count += if messages { fresh as u64 } else { 0 };
                known += answers.len() - fresh;
            }
        }
        Ok(known)
    }

    /// Through whose eyes to look, and at what, in the vendor's ids.
    async fn spell(&self, conversation: &ConversationId) -> Result<(switchboard_contract::VendorUserId, Target)> {
        let user = async |user: &UserId| self.identity.vendor_user(&self.tenant, &*self.provider, user).await;
        let unknown = || Error::new(ErrorKind::NotFound, "this vendor does not have the conversation");
        let group = async |room: bool| {
            let group = conversation.group_id().ok_or_else(unknown)?;
            let vendor = self.identity.vendor_group(&self.tenant, &*self.provider, &group, room).await?;
            vendor.ok_or_else(unknown)
        };
        let parts = conversation.parts();
        match (conversation.kind(), parts.as_slice()) {
            (ConversationKind::Direct, [one, other]) => {
                let viewer = user(&UserId::from(one.as_str())).await?;
                Ok((viewer, Target::Users(vec![user(&UserId::from(other.as_str())).await?])))
            }
            (ConversationKind::System, [from, to]) => {
                let viewer = user(&UserId::from(to.as_str())).await?;
                Ok((viewer, Target::System(vec![user(&UserId::from(from.as_str())).await?])))
            }
            (ConversationKind::Group, _) => {
                let viewer = user(&self.member(conversation).await?.ok_or_else(unknown)?).await?;
                let (group, channel) = (group(false).await?, conversation.channel());
                Ok((viewer, Target::Group { group, channel, audience: Vec::new() }))
            }
            (ConversationKind::Room, _) => {
                let viewer = user(&self.member(conversation).await?.ok_or_else(unknown)?).await?;
                Ok((viewer, Target::Room { room: group(true).await? }))
            }
            _ => Err(unknown()),
        }
    }

    /// Somebody who is in a group or room: its owner as we know it, else whoever spoke last.
    async fn member(&self, conversation: &ConversationId) -> Result<Option<UserId>> {
        let room = conversation.kind() == ConversationKind::Room;
        if let Some(group) = conversation.group_id()
            && let Some(known) = self.store.group(&self.tenant, &group, room).await?
        {
            return Ok(Some(known.owner));
        }
        let query = HistoryQuery {
            tenant: self.tenant.clone(),
            conversation: conversation.clone(),
            direction: PageDirection::Older,
            after: None,
            since: None,
            until: None,
            limit: 1,
            filter: HistoryFilter::default(),
        };
        let page = self.store.page(&query).await?;
        let Some(entry) = page.entries.first() else { return Ok(None) };
        Ok(match entry.event()?.data {
            EventData::Message(message) => Some(message.from),
            _ => None,
        })
    }
}

fn unsupported() -> Error {
    Error::unsupported("queries of this kind of conversation")
}

/// One reading under way.
struct Reading<'a> {
    puller: &'a Puller,
    roaming: &'a dyn Roaming,
    terms: PullTerms,
    /// What was sent before this is history.
    began: Timestamp,
    pulled: Pulled,
}

impl Reading<'_> {
    /// Reads everything that was asked for, as many queries as the vendor wants for it; `false` when the pages ran
    /// out before.
    async fn spans(&mut self, whole: RoamingQuery, span: Duration) -> Result<bool> {
        let mut from = whole.since;
        while from <= whole.until {
            let until = (from + span).min(whole.until);
            let query = RoamingQuery { since: from, until, ..whole.clone() };
            if !self.query(query).await? {
                return Ok(false);
            }
            from = until + Duration::from_millis(1);
            self.pulled.read = Some(HeldSpan { since: whole.since, until: from });
        }
        Ok(true)
    }

    /// Reads one query to its end; `false` when the pages ran out before.
    async fn query(&mut self, mut query: RoamingQuery) -> Result<bool> {
        loop {
            if !self.terms.take() {
                return Ok(false);
            }
            self.pulled.calls += 1;
            let page = self.roaming.page(&query).await?;
            self.puller.journal(page.items, self.began, &mut self.pulled).await?;
            match page.next {
                None => return Ok(true),
                // A cursor that does not move would never end.
                next if next == query.cursor => return Ok(false),
                next => query.cursor = next,
            }
        }
    }
}
