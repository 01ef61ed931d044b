//! Pages in the order of the vendor's clock.

use std::ops::Bound;

use async_trait::async_trait;
use switchboard_contract::storage::{
    ConversationSummary, History, HistoryFilter, HistoryKey, HistoryPage, HistoryQuery, PageDirection,
};
use switchboard_contract::{ConversationId, Result, Sequence, TenantId, Timestamp};

use super::MemoryStore;
use super::state::{Conversation, Row, Stream};

fn admits(filter: &HistoryFilter, row: &Row) -> bool {
    let sender = filter.sender.as_ref().is_none_or(|wanted| row.sender.as_deref() == Some(wanted.as_str()));
    let body = filter.bodies.is_empty() || row.body.is_some_and(|kind| filter.bodies.iter().any(|body| body == kind));
    sender && body
}

fn page(stream: &Stream, conversation: &Conversation, query: &HistoryQuery) -> HistoryPage {
    let bound = |time: Timestamp| HistoryKey {
        sent_at: time,
        sort_key: String::new(),
        message_id: switchboard_contract::MessageId::from_bytes([0; 16]),
    };
    // The smallest key of a moment stands before everything in it.
    let mut low = query.since.map_or(Bound::Unbounded, |since| Bound::Included(bound(since)));
    let mut high = query.until.map_or(Bound::Unbounded, |until| Bound::Excluded(bound(until)));
    if let Some(after) = &query.after {
        match query.direction {
            PageDirection::Newer if query.since.is_none_or(|since| after >= &bound(since)) => {
                low = Bound::Excluded(after.clone());
            }
            PageDirection::Older if query.until.is_none_or(|until| after <= &bound(until)) => {
                high = Bound::Excluded(after.clone());
            }
            _ => {}
        }
    }
    let inside = |key: &HistoryKey| {
        (match &low {
            Bound::Included(low) => key >= low,
            Bound::Excluded(low) => key > low,
            Bound::Unbounded => true,
        }) && (match &high {
            Bound::Included(high) => key <= high,
            Bound::Excluded(high) => key < high,
            Bound::Unbounded => true,
        })
    };
    let rows = conversation.history.iter().filter(|(key, _)| inside(key));
    let rows: Box<dyn Iterator<Item = _>> = match query.direction {
        PageDirection::Newer => Box::new(rows),
        PageDirection::Older => Box::new(rows.rev()),
    };
    let mut rows = rows
        .filter_map(|(key, at)| stream.rows.get(at).map(|row| (key, row)))
        .filter(|(_, row)| admits(&query.filter, row));
    let taken: Vec<_> = rows.by_ref().take(query.limit).collect();
    let more = rows.next().is_some();
    HistoryPage {
        entries: taken.iter().map(|(_, row)| row.entry.clone()).collect(),
        keys: taken.iter().map(|(key, _)| (*key).clone()).collect(),
        next: taken.last().filter(|_| more).map(|(key, _)| (*key).clone()),
    }
}

fn summary(id: &ConversationId, conversation: &Conversation) -> ConversationSummary {
    ConversationSummary {
        id: id.clone(),
        last_sequence: Sequence(conversation.last_sequence),
        last_at: conversation.last_at,
    }
}

#[async_trait]
impl History for MemoryStore {
    async fn page(&self, query: &HistoryQuery) -> Result<HistoryPage> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(&query.tenant) else { return Ok(HistoryPage::default()) };
        let conversation = stream.conversations.get(&query.conversation);
        Ok(conversation.map_or_else(HistoryPage::default, |conversation| page(stream, conversation, query)))
    }

    async fn conversations(
        &self,
        tenant: &TenantId,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant) else { return Ok(Vec::new()) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = stream.conversations.range::<ConversationId, _>((from, Bound::Unbounded));
        Ok(range.take(limit).map(|(id, conversation)| summary(id, conversation)).collect())
    }

    async fn conversation(&self, tenant: &TenantId, id: &ConversationId) -> Result<Option<ConversationSummary>> {
        let state = self.state()?;
        let found = state.streams.get(tenant).and_then(|stream| stream.conversations.get_key_value(id));
        Ok(found.map(|(id, conversation)| summary(id, conversation)))
    }
}
