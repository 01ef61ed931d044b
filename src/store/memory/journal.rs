//! Commits and reads of the journal.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use switchboard_contract::storage::{
    Commit, CommitListener, Committed, ConversationBacklog, Entry, Journal, LegGuard, SequenceRange, Variant,
};
use switchboard_contract::{
    App, ConversationId, EventKey, MessageId, Position, Result, Sequence, Shard, TenantId, Timestamp,
};

use super::MemoryStore;
use super::state::{Fresh, Row, SHARD, State, Stream};

impl State {
    fn shard(&self, tenant: &TenantId, shard: Shard) -> Option<&Stream> {
        (shard == SHARD).then(|| self.streams.get(tenant)).flatten()
    }

    /// Tells the listeners. Called under the lock, so that they hear of commits in their order.
    pub(super) fn announce(&self, fresh: &Fresh) {
        let mut tenants: Vec<(&TenantId, Vec<Entry>)> = Vec::new();
        for (tenant, at) in fresh {
            let Some(row) = self.streams.get(tenant).and_then(|stream| stream.rows.get(at)) else { continue };
            match tenants.iter_mut().find(|(known, _)| *known == tenant) {
                Some((_, entries)) => entries.push(row.entry.clone()),
                None => tenants.push((tenant, vec![row.entry.clone()])),
            }
        }
        for (tenant, entries) in &tenants {
            for listener in &self.listeners {
                listener.committed(tenant, SHARD, entries);
            }
        }
    }
}

fn entries<'a>(rows: impl Iterator<Item = &'a Row>, limit: usize) -> Vec<Entry> {
    rows.take(limit).map(|row| row.entry.clone()).collect()
}

#[async_trait]
impl Journal for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Committed> {
        let mut state = self.state()?;
        if !commit.only_if.iter().all(|guard| state.stands(guard)) {
            return Err(LegGuard::broken());
        }
        let (mut committed, mut fresh) = (Committed::default(), Fresh::new());
        for change in &commit.changes {
            committed.changes.push(state.change(change, &mut fresh)?);
        }
        state.setbacks.change(commit.setbacks.iter());
        for draft in &commit.drafts {
            committed.drafts.push(state.append(draft, commit.only_missing, &mut fresh)?);
        }
        commit.early.into_iter().for_each(|receipt| state.note(receipt));
        if let Some(mark) = commit.consumed {
            let offset = state.consumed.entry(mark.inbox).or_default();
            *offset = mark.offset.max(*offset);
        }
        if let Some(mut page) = commit.page {
            page.count(&committed.drafts);
            state.put_backfill(&page.tenant, &page.job, Some(&page.item));
        }
        state.announce(&fresh);
        Ok(committed)
    }

    async fn read(&self, tenant: &TenantId, shard: Shard, after: Position, limit: usize) -> Result<Vec<Entry>> {
        let state = self.state()?;
        let Some(stream) = state.shard(tenant, shard) else { return Ok(Vec::new()) };
        Ok(entries(stream.rows.range(after.0.saturating_add(1)..).map(|(_, row)| row), limit))
    }

    async fn read_conversation(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        range: SequenceRange,
        limit: usize,
        newest: bool,
    ) -> Result<Vec<Entry>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant) else { return Ok(Vec::new()) };
        let Some(conversation) = stream.conversations.get(conversation) else { return Ok(Vec::new()) };
        if range.first > range.last {
            return Ok(Vec::new());
        }
        let places = conversation.places.range(range.first.0..=range.last.0).map(|(_, at)| at);
        let rows = |at: &u64| stream.rows.get(at);
        if newest {
            let mut page = entries(places.rev().filter_map(rows), limit);
            page.reverse();
            Ok(page)
        } else {
            Ok(entries(places.filter_map(rows), limit))
        }
    }

    async fn backlog(
        &self,
        tenant: &TenantId,
        shard: Shard,
        after: Position,
        until: Position,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConversationBacklog>> {
        let state = self.state()?;
        let Some(stream) = state.shard(tenant, shard) else { return Ok(Vec::new()) };
        if after >= until {
            return Ok(Vec::new());
        }
        let mut found: HashMap<&ConversationId, (Sequence, Sequence, Position)> = HashMap::new();
        for row in stream.rows.range(after.0 + 1..=until.0).map(|(_, row)| &row.entry) {
            if let (Some(id), Some(sequence)) = (&row.conversation, row.sequence) {
                let range = found.entry(id).or_insert((sequence, sequence, row.position));
                (range.1, range.2) = (sequence, row.position);
            }
        }
        let mut found: Vec<_> = found
            .into_iter()
            .map(|(id, (first, last, last_position))| ConversationBacklog {
                conversation: id.clone(),
                range: SequenceRange { first, last },
                last_position,
            })
            .collect();
        found.sort_by_key(|backlog| std::cmp::Reverse(backlog.last_position));
        Ok(found.into_iter().skip(skip).take(limit).collect())
    }

    async fn tail(&self, tenant: &TenantId, shard: Shard) -> Result<Position> {
        Ok(Position(self.state()?.shard(tenant, shard).map_or(0, |stream| stream.tail)))
    }

    async fn trimmed(&self, tenant: &TenantId, shard: Shard) -> Result<Position> {
        Ok(Position(self.state()?.shard(tenant, shard).map_or(0, |stream| stream.trimmed)))
    }

    async fn trim(&self, tenant: &TenantId, shard: Shard, until: Position) -> Result<u64> {
        let mut state = self.state()?;
        if shard != SHARD {
            return Ok(0);
        }
        Ok(state.streams.get_mut(tenant).map_or(0, |stream| stream.trim(until.0)))
    }

    async fn position_before(&self, tenant: &TenantId, shard: Shard, time: Timestamp) -> Result<Position> {
        let state = self.state()?;
        let Some(stream) = state.shard(tenant, shard) else { return Ok(Position::START) };
        let first = stream.rows.iter().find(|(_, row)| row.entry.received_at >= time);
        Ok(Position(first.map_or(stream.tail, |(at, _)| at - 1)))
    }

    async fn find(&self, tenant: &TenantId, app: &App, key: &EventKey) -> Result<Option<Entry>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant) else { return Ok(None) };
        let at = stream.keys.get(&(Some(app.clone()), key.clone()));
        Ok(at.and_then(|at| stream.rows.get(at)).map(|row| row.entry.clone()))
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Entry>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant) else { return Ok(None) };
        Ok(stream.messages.get(&id).and_then(|at| stream.rows.get(at)).map(|row| row.entry.clone()))
    }

    async fn raw(&self, tenant: &TenantId, shard: Shard, position: Position) -> Result<Option<Bytes>> {
        let state = self.state()?;
        let row = state.shard(tenant, shard).and_then(|stream| stream.rows.get(&position.0));
        Ok(row.and_then(|row| row.raw.clone()))
    }

    async fn variants(&self, tenant: &TenantId, shard: Shard, position: Position) -> Result<Vec<Variant>> {
        let state = self.state()?;
        let row = state.shard(tenant, shard).and_then(|stream| stream.rows.get(&position.0));
        Ok(row.map(|row| row.variants.clone()).unwrap_or_default())
    }

    async fn consumed(&self, inbox: &str) -> Result<u64> {
        Ok(self.state()?.consumed.get(inbox).copied().unwrap_or(0))
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.0.lock().listeners.push(listener);
    }
}
