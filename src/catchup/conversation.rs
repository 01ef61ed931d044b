//! Reading a span of one conversation from the vendor into the journal.

use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::storage::{Appended, HistoryFilter, HistoryQuery, PageDirection, Store};
use switchboard_contract::{
    ConversationId, ConversationKind, Error, ErrorKind, EventData, Inbound, InboundData, Origin, Provider, ProviderId,
    Result, Roaming, RoamingQuery, Target, TenantId, Timestamp, UserId,
};

use crate::identity::Identity;
use crate::ingest::WeakIngest;

/// Reads conversations of one provider's app.
#[derive(Clone, Debug)]
pub(crate) struct Puller {
    pub(super) tenant: TenantId,
    pub(super) alias: ProviderId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: Arc<Identity>,
    pub(super) ingest: WeakIngest,
    pub(super) max_pages: u32,
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
        let unsupported = || Error::unsupported("queries of this kind of conversation");
        let roaming = self.provider.roaming().ok_or_else(unsupported)?;
        let limits = roaming.limits();
        if !limits.targets.contains(&conversation.kind()) {
            return Err(unsupported());
        }
        let (viewer, target) = self.spell(conversation).await?;
        let mut pulled = Pulled { whole: true, ..Pulled::default() };
        let mut pages = self.max_pages;
        let span = limits.max_span.unwrap_or(Duration::MAX);
        let mut from = match limits.depth {
            Some(depth) if since < until - depth => {
                pulled.whole = false;
                until - depth
            }
            _ => since,
        };
        while from <= until {
            let to = (from + span).min(until);
            let query = RoamingQuery {
                viewer: viewer.clone(),
                target: target.clone(),
                since: from,
                until: to,
                limit: limits.max_page,
                cursor: None,
            };
            if !self.span(roaming, query, &mut pages, &mut pulled).await? {
                pulled.whole = false;
                break;
            }
            from = to + Duration::from_millis(1);
        }
        Ok(pulled)
    }

    /// Reads one query to its end; `false` when the pages ran out before.
    async fn span(
        &self,
        roaming: &dyn Roaming,
        mut query: RoamingQuery,
        pages: &mut u32,
        pulled: &mut Pulled,
    ) -> Result<bool> {
        loop {
            if *pages == 0 {
                return Ok(false);
            }
            *pages -= 1;
            let page = roaming.page(&query).await?;
            self.journal(page.items, pulled).await?;
            match page.next {
                None => return Ok(true),
                // A cursor that does not move would never end.
                next if next == query.cursor => return Ok(false),
                next => query.cursor = next,
            }
        }
    }

    /// When Switchboard first had the app.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
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
        let unsupported = || Error::unsupported("queries of this kind of conversation");
        let limits = self.provider.roaming().ok_or_else(unsupported)?.limits();
        if !limits.targets.contains(&conversation.kind()) {
            return Err(unsupported());
        }
        let (viewer, target) = self.spell(conversation).await?;
        Ok(RoamingQuery { viewer, target, since, until, limit: limits.max_page, cursor: None })
    }

    /// Journals what of a page is missing.
    pub(crate) async fn journal(&self, items: Vec<Inbound>, pulled: &mut Pulled) -> Result<()> {
        let keys: Vec<_> = items.iter().map(|item| item.key.clone()).collect();
        let known = self.store.known(&self.tenant, self.provider.app(), &keys).await?;
        let missing = items.into_iter().zip(known).filter(|(_, known)| known.is_none()).map(|(item, _)| item);
        let (messages, others): (Vec<_>, Vec<_>) =
            missing.partition(|item| matches!(item.data, InboundData::Message(_)));
        let ingest = self.ingest.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "the way in is closed"))?;
        for part in [messages, others] {
            let (old, missed): (Vec<_>, Vec<_>) = part.into_iter().partition(|item| item.sent_at < self.began);
            for (origin, items, count) in
                [(Origin::Query, missed, &mut pulled.fresh), (Origin::History, old, &mut pulled.history)]
            {
                if items.is_empty() {
                    continue;
                }
                let messages = matches!(items[0].data, InboundData::Message(_));
                let answers = ingest.submit(&self.tenant, &self.alias, origin, items).await?;
                let fresh = answers.iter().filter(|appended| matches!(appended, Appended::Fresh { .. })).count();
                *count += if messages { fresh as u64 } else { 0 };
            }
        }
        Ok(())
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
