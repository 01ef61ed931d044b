//! The ledger of coverage.

use std::collections::BTreeSet;

use async_trait::async_trait;
use switchboard_contract::storage::{CoverageLedger, HourCoverage, PositionRun, SequenceHole};
use switchboard_contract::{App, EventKey, KeyClass, Origin, Position, Result, Sequence, Shard, TenantId, Timestamp};

use super::MemoryStore;
use super::state::SHARD;

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

    async fn gone_places(&self, tenant: &TenantId, shard: Shard, limit: usize) -> Result<Vec<PositionRun>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant).filter(|_| shard == SHARD) else { return Ok(Vec::new()) };
        let gone = absent(stream.trimmed + 1, stream.tail, stream.rows.keys().copied());
        let run = |(first, last)| PositionRun { first: Position(first), last: Position(last) };
        Ok(gone.into_iter().map(run).take(limit).collect())
    }

    async fn gone_sequences(&self, tenant: &TenantId, limit: usize) -> Result<Vec<SequenceHole>> {
        let state = self.state()?;
        let Some(stream) = state.streams.get(tenant) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (id, conversation) in &stream.conversations {
            let numbers = || conversation.places.keys().copied();
            let (Some(first), Some(last)) = (numbers().next(), numbers().next_back()) else { continue };
            // What retention removed is no hole; here it is not told from what somebody removed at the beginning.
            let gone = absent(if stream.trimmed > 0 { first } else { 1 }, last, numbers());
            found.extend(gone.into_iter().map(|(first, last)| SequenceHole {
                conversation: id.clone(),
                first: Sequence(first),
                last: Sequence(last),
            }));
        }
        found.truncate(limit);
        Ok(found)
    }
}
