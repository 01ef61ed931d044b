//! The ledger of coverage.

use std::collections::BTreeSet;

use async_trait::async_trait;
use switchboard_contract::storage::{CoverageLedger, HourCoverage, PositionRun, SequenceHole, sequence_holes};
use switchboard_contract::{
    App, ConversationId, EventKey, KeyClass, Origin, Position, Result, Sequence, Shard, TenantId, Timestamp,
};

use super::MemoryStore;
use super::state::{Conversation, SHARD};

/// Runs of the numbers in `from..=to` that are not among `present`, which ascends.
fn absent(from: u64, to: u64, present: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut next = from;
    let mut found = Vec::new();
    for number in present.chain([to + 1]) {
        if number > next {
            found.push((next, number - 1));
        }
        next = number + 1;
    }
    found
}

#[async_trait]
impl CoverageLedger for MemoryStore {
    async fn put_hour(&self, tenant: &TenantId, app: &App, hour: &HourCoverage) -> Result<()> {
        self.state()?.hours.entry((tenant.clone(), app.clone())).or_default().insert(hour.hour, hour.clone());
        Ok(())
    }

    async fn hours(
        &self,
        tenant: &TenantId,
        app: &App,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<HourCoverage>> {
        let state = self.state()?;
        let Some(hours) = state.hours.get(&(tenant.clone(), app.clone())).filter(|_| from < until) else {
            return Ok(Vec::new());
        };
        Ok(hours.range(from..until).map(|(_, hour)| hour.clone()).collect())
    }

    async fn known(&self, tenant: &TenantId, app: &App, keys: &[EventKey]) -> Result<Vec<Option<Position>>> {
        let state = self.state()?;
        let known = state.streams.get(tenant).map(|stream| &stream.keys);
        let find = |key: &EventKey| known?.get(&(Some(app.clone()), key.clone())).copied().map(Position);
        Ok(keys.iter().map(find).collect())
    }

    async fn known_run(
        &self,
        tenant: &TenantId,
        app: &App,
        class: KeyClass,
        keys: &[&str],
    ) -> Result<Option<PositionRun>> {
        let wanted: Vec<_> = keys.iter().map(|key| EventKey::new(class, *key)).collect();
        let found = self.known(tenant, app, &wanted).await?;
        let places: BTreeSet<Position> = found.iter().flatten().copied().collect();
        if places.len() < keys.len() {
            return Ok(None);
        }
        Ok(places.first().zip(places.last()).map(|(first, last)| PositionRun { first: *first, last: *last }))
    }

    async fn messages_at(
        &self,
        tenant: &TenantId,
        app: &App,
        shard: Shard,
        runs: &[PositionRun],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<u64> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant).filter(|_| shard == SHARD) else { return Ok(0) };
        let rows = runs.iter().flat_map(|run| stream.rows.range(run.first.0..=run.last.0)).filter(|(_, row)| {
            let entry = &row.entry;
            entry.message_id.is_some() && entry.app.as_deref() == Some(app) && (since..until).contains(&entry.sent_at)
        });
        Ok(rows.count() as u64)
    }

    async fn filed_since(&self, tenant: &TenantId, app: &App, shard: Shard, after: Position) -> Result<u64> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant).filter(|_| shard == SHARD) else { return Ok(0) };
        let mut found = 0;
        for row in stream.rows.range(after.0 + 1..).map(|(_, row)| row) {
            let entry = &row.entry;
            let message = entry.message_id.is_some() && entry.app.as_deref() == Some(app);
            found += u64::from(message && entry.event()?.origin == Origin::File);
        }
        Ok(found)
    }

    async fn repaired_in_all(&self, tenant: &TenantId, app: &App) -> Result<u64> {
        let state = self.state()?;
        let hours = state.hours.get(&(tenant.clone(), app.clone()));
        Ok(hours.into_iter().flat_map(|hours| hours.values()).map(|hour| hour.repaired).sum())
    }

    async fn gone_places(
        &self,
        tenant: &TenantId,
        shard: Shard,
        among: PositionRun,
        limit: usize,
    ) -> Result<Vec<PositionRun>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant).filter(|_| shard == SHARD) else { return Ok(Vec::new()) };
        let (first, last) = (among.first.0.max(stream.trimmed + 1), among.last.0.min(stream.tail));
        if first > last {
            return Ok(Vec::new());
        }
        let gone = absent(first, last, stream.rows.range(first..=last).map(|(place, _)| *place));
        let run = |(first, last)| PositionRun { first: Position(first), last: Position(last) };
        Ok(gone.into_iter().map(run).take(limit).collect())
    }

    async fn gone_sequences(
        &self,
        tenant: &TenantId,
        shard: Shard,
        places: &[PositionRun],
        limit: usize,
    ) -> Result<Vec<SequenceHole>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant).filter(|_| shard == SHARD) else { return Ok(Vec::new()) };
        let gone = |place: u64| places.iter().any(|run| (run.first.0..=run.last.0).contains(&place));
        Ok(holes(stream.conversations.iter(), gone, limit))
    }

    async fn gone_from(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        limit: usize,
    ) -> Result<Vec<SequenceHole>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant) else { return Ok(Vec::new()) };
        let gone = |place: u64| place > stream.trimmed && !stream.rows.contains_key(&place);
        Ok(holes(stream.conversations.get_key_value(conversation).into_iter(), gone, limit))
    }
}

/// The numbers of conversations that stand at places of which something is said.
fn holes<'a>(
    conversations: impl Iterator<Item = (&'a ConversationId, &'a Conversation)>,
    gone: impl Fn(u64) -> bool,
    limit: usize,
) -> Vec<SequenceHole> {
    let numbers = conversations.flat_map(|(id, conversation)| {
        let gone = conversation.places.iter().filter(|(_, place)| gone(**place));
        gone.map(|(number, _)| (id.clone(), Sequence(*number))).collect::<Vec<_>>()
    });
    let mut holes = sequence_holes(numbers);
    holes.truncate(limit);
    holes
}
