//! The ledger of coverage.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{
    CoverageLedger, CoverageState, FileFact, HourCoverage, PositionRun, SequenceHole, sequence_holes,
};
use switchboard_contract::{
    App, ConversationId, EventKey, KeyClass, Origin, Position, Result, Sequence, Shard, TenantId, Timestamp,
};

use super::neighbours::Neighbours;
use super::{bounded, place};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::{Bulk, Values, unsigned};
use crate::store::sqlite::writer::{PutHour, position_of};

static KNOWN: Bulk =
    Bulk::new("SELECT key, place FROM journal WHERE tenant = ? AND app = ? AND class = ? AND key IN (", "?", ")");

static KNOWN_RUN: Bulk = Bulk::new(
    "SELECT count(*), min(place), max(place) FROM journal WHERE tenant = ? AND app = ? AND class = ? AND key IN (",
    "?",
    ")",
);

fn hour_of(row: &SqliteRow) -> Result<HourCoverage> {
    let fail = failed("hours");
    let bytes: Option<i64> = row.try_get(3).map_err(&fail)?;
    let digest: Option<Vec<u8>> = row.try_get(4).map_err(&fail)?;
    let lines: Option<i64> = row.try_get(5).map_err(&fail)?;
    let file = match (bytes, digest, lines) {
        (Some(bytes), Some(digest), Some(lines)) => Some(FileFact {
            bytes: unsigned(bytes),
            digest: digest.try_into().map_err(|_| damaged("digest"))?,
            lines: unsigned(lines),
        }),
        _ => None,
    };
    let runs: &str = row.try_get(6).map_err(&fail)?;
    Ok(HourCoverage {
        hour: Timestamp(row.try_get(0).map_err(&fail)?),
        state: CoverageState::from_code(row.try_get(1).map_err(&fail)?).ok_or_else(|| damaged("coverage"))?,
        reason: row.try_get(2).map_err(&fail)?,
        file,
        runs: serde_json::from_str(runs).map_err(|_| damaged("list of positions"))?,
        journalled: unsigned(row.try_get(7).map_err(&fail)?),
        repaired: unsigned(row.try_get(8).map_err(&fail)?),
        looks: row.try_get(9).map_err(&fail)?,
        looked_at: Timestamp(row.try_get(10).map_err(&fail)?),
        next_look: row.try_get::<Option<i64>, _>(11).map_err(&fail)?.map(Timestamp),
        reading: row.try_get::<Option<i64>, _>(12).map_err(&fail)?.map(|at| Position(unsigned(at))),
    })
}

#[async_trait]
impl CoverageLedger for SqliteStore {
    async fn put_hour(&self, tenant: &TenantId, app: &App, hour: &HourCoverage) -> Result<()> {
        self.write(PutHour(tenant.clone(), app.clone(), hour.clone())).await
    }

    async fn hours(
        &self,
        tenant: &TenantId,
        app: &App,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<HourCoverage>> {
        let rows = sqlx::query(
            "SELECT hour, state, reason, file_bytes, file_digest, file_lines, runs, journalled, repaired, looks,
                    looked_at, next_look, reading
             FROM hours WHERE tenant = (SELECT id FROM tenants WHERE name = ?)
             AND app = (SELECT id FROM apps WHERE kind = ? AND key = ?) AND hour >= ? AND hour < ? ORDER BY hour",
        )
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .bind(from.0)
        .bind(until.0)
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("hours"))?;
        rows.iter().map(hour_of).collect()
    }

    async fn known(&self, tenant: &TenantId, app: &App, keys: &[EventKey]) -> Result<Vec<Option<Position>>> {
        let mut found = vec![None; keys.len()];
        let numbers = self.tenant_number(tenant).await?.zip(self.app_number(app).await?);
        let Some((tenant, app)) = numbers else { return Ok(found) };
        let mut classes: HashMap<u8, HashMap<&str, Vec<usize>>> = HashMap::new();
        for (at, key) in keys.iter().enumerate() {
            classes.entry(key.class.code()).or_default().entry(&key.id).or_default().push(at);
        }
        let mut reader = self.readers()?.acquire().await.map_err(failed("known"))?;
        for (class, wanted) in classes {
            let ids: Vec<&str> = wanted.keys().copied().collect();
            for part in ids.chunks(1024) {
                let size = Bulk::padded(part.len());
                let mut values = Values::with_capacity(size + 3);
                [tenant, app, i64::from(class)].into_iter().for_each(|number| values.push(number));
                (0..size).for_each(|at| values.push(part[at.min(part.len() - 1)]));
                let rows = values.done().map(|values| sqlx::query_with(KNOWN.text(size), values));
                let rows = rows.map_err(failed("known"))?.fetch_all(&mut *reader).await.map_err(failed("known"))?;
                for row in rows {
                    let (key, place): (&str, i64) =
                        (row.try_get(0).map_err(failed("known"))?, row.try_get(1).map_err(failed("known"))?);
                    for at in wanted.get(key).into_iter().flatten() {
                        found[*at] = Some(position_of(place));
                    }
                }
            }
        }
        Ok(found)
    }

    async fn known_run(
        &self,
        tenant: &TenantId,
        app: &App,
        class: KeyClass,
        keys: &[&str],
    ) -> Result<Option<PositionRun>> {
        let fail = failed("known_run");
        let numbers = self.tenant_number(tenant).await?.zip(self.app_number(app).await?);
        let Some((tenant, app)) = numbers else { return Ok(None) };
        let mut reader = self.readers()?.acquire().await.map_err(&fail)?;
        let neighbours = Neighbours { tenant, app, class };
        if let Some(run) = neighbours.known_run(&mut reader, keys).await.map_err(&fail)? {
            return Ok(Some(run));
        }
        let mut run: Option<PositionRun> = None;
        for part in keys.chunks(1024) {
            let size = Bulk::padded(part.len());
            let mut values = Values::with_capacity(size + 3);
            [tenant, app, i64::from(class.code())].into_iter().for_each(|number| values.push(number));
            (0..size).for_each(|at| values.push(part[at.min(part.len() - 1)]));
            let values = values.done().map_err(&fail)?;
            // One row for a thousand keys: through the driver a row costs more than finding it.
            let (count, first, last): (i64, Option<i64>, Option<i64>) =
                sqlx::query_as_with(KNOWN_RUN.text(size), values).fetch_one(&mut *reader).await.map_err(&fail)?;
            let (Some(first), Some(last), true) = (first, last, unsigned(count) == part.len() as u64) else {
                return Ok(None);
            };
            let (first, last) = (position_of(first), position_of(last));
            run = Some(match run {
                Some(run) => PositionRun { first: run.first.min(first), last: run.last.max(last) },
                None => PositionRun { first, last },
            });
        }
        Ok(run)
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
        let numbers = self.stream(tenant, shard).await?.zip(self.app_number(app).await?);
        let Some((stream, app)) = numbers else { return Ok(0) };
        let mut reader = self.readers()?.acquire().await.map_err(failed("messages_at"))?;
        let mut count = 0;
        for run in runs {
            let here: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM journal
                 WHERE place BETWEEN ? AND ? AND app = ? AND message IS NOT NULL AND sent_at >= ? AND sent_at < ?",
            )
            .bind(place(stream, run.first.0))
            .bind(place(stream, run.last.0))
            .bind(app)
            .bind(since.0)
            .bind(until.0)
            .fetch_one(&mut *reader)
            .await
            .map_err(failed("messages_at"))?;
            count += unsigned(here);
        }
        Ok(count)
    }

    async fn filed_since(&self, tenant: &TenantId, app: &App, shard: Shard, after: Position) -> Result<u64> {
        let numbers = self.stream(tenant, shard).await?.zip(self.app_number(app).await?);
        let Some((stream, app)) = numbers else { return Ok(0) };
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM journal
             WHERE place > ? AND place < ? AND app = ? AND origin = ? AND message IS NOT NULL",
        )
        .bind(place(stream, after.0))
        .bind(place(stream + 1, 0))
        .bind(app)
        .bind(Origin::File.code())
        .fetch_one(self.readers()?)
        .await
        .map_err(failed("filed_since"))?;
        Ok(unsigned(count))
    }

    async fn repaired_in_all(&self, tenant: &TenantId, app: &App) -> Result<u64> {
        let sum: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(repaired), 0) FROM hours WHERE tenant = (SELECT id FROM tenants WHERE name = ?)
             AND app = (SELECT id FROM apps WHERE kind = ? AND key = ?)",
        )
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .fetch_one(self.readers()?)
        .await
        .map_err(failed("repaired_in_all"))?;
        Ok(unsigned(sum))
    }

    async fn gone_places(
        &self,
        tenant: &TenantId,
        shard: Shard,
        among: PositionRun,
        limit: usize,
    ) -> Result<Vec<PositionRun>> {
        let Some(stream) = self.stream(tenant, shard).await? else { return Ok(Vec::new()) };
        // First where the stream ends, then what there is: rows behind that end are younger than the question.
        let (trimmed, tail): (i64, i64) = sqlx::query_as("SELECT trimmed, tail FROM streams WHERE id = ?")
            .bind(stream)
            .fetch_one(self.readers()?)
            .await
            .map_err(failed("gone_places"))?;
        let (before, end) = (among.first.0.saturating_sub(1).max(unsigned(trimmed)), among.last.0.min(unsigned(tail)));
        if before >= end {
            return Ok(Vec::new());
        }
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "WITH present (place) AS (
                 SELECT place FROM journal WHERE place > ?1 AND place <= ?2 UNION ALL SELECT ?2 + 1),
             pairs (place, before) AS (SELECT place, lag(place, 1, ?1) OVER (ORDER BY place) FROM present)
             SELECT before + 1, place - 1 FROM pairs WHERE place > before + 1 ORDER BY place LIMIT ?3 + 0",
        )
        .bind(place(stream, before))
        .bind(place(stream, end))
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("gone_places"))?;
        let run = |(first, last)| PositionRun { first: position_of(first), last: position_of(last) };
        Ok(rows.into_iter().map(run).collect())
    }

    async fn gone_sequences(
        &self,
        tenant: &TenantId,
        shard: Shard,
        places: &[PositionRun],
        limit: usize,
    ) -> Result<Vec<SequenceHole>> {
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(Vec::new()) };
        let numbers = self.tenant_number(tenant).await?.zip(self.stream(tenant, shard).await?);
        let Some((tenant, stream)) = numbers else { return Ok(Vec::new()) };
        let runs: Vec<[i64; 2]> =
            places.iter().map(|run| [place(stream, run.first.0), place(stream, run.last.0)]).collect();
        let waiting = self.0.behind.read().at(tenant, &runs);
        let json = serde_json::to_string(&runs).map_err(|_| damaged("list of places"))?;
        // The index is passed in its own order; only what is found is put in order of names.
        let mut found: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT t.conversation, t.sequence FROM threads t
             WHERE t.tenant = ?1 AND t.place BETWEEN ?2 AND ?3 AND EXISTS (
                 SELECT 1 FROM json_each(?4) r WHERE t.place BETWEEN r.value ->> 0 AND r.value ->> 1)
             ORDER BY t.conversation, t.sequence LIMIT ?5 + 0",
        )
        .bind(tenant)
        .bind(place(stream, first.first.0))
        .bind(place(stream, last.last.0))
        .bind(json)
        .bind(bounded(limit.saturating_mul(GONE_EACH)))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("gone_sequences"))?;
        found.extend(waiting);
        self.holes(found, limit).await
    }

    async fn gone_from(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        limit: usize,
    ) -> Result<Vec<SequenceHole>> {
        let Some(thread) = self.thread(tenant, conversation).await? else { return Ok(Vec::new()) };
        let waiting: Vec<(i64, i64)> =
            self.0.behind.read().all(thread).map(|(sequence, stand)| (sequence, stand.place)).collect();
        // What was removed before the index knew of it left no row there: then the number alone is missing.
        let mut found: Vec<i64> = sqlx::query_scalar(
            "WITH known (sequence, place, before) AS (
                 SELECT t.sequence, t.place, lag(t.sequence) OVER (ORDER BY t.sequence)
                 FROM threads t WHERE t.tenant = ?1 AND t.conversation = ?2),
             jumps (number, sequence) AS (
                 SELECT before + 1, sequence FROM known WHERE sequence > before + 1
                 UNION ALL SELECT number + 1, sequence FROM jumps WHERE number + 1 < sequence)
             SELECT number FROM (
                 SELECT k.sequence AS number FROM known k JOIN streams s ON s.id = k.place >> 40
                 WHERE (k.place & ((1 << 40) - 1)) > s.trimmed
                       AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.place = k.place)
                 UNION ALL SELECT number FROM jumps)
             ORDER BY number LIMIT ?3 + 0",
        )
        .bind(thread.0)
        .bind(thread.1)
        .bind(bounded(limit.saturating_mul(GONE_EACH)))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("gone_from"))?;
        let places: Vec<i64> = waiting.iter().map(|(_, place)| *place).collect();
        let there: HashSet<i64> = self.present(&places).await?;
        found.extend(waiting.iter().filter(|(_, place)| !there.contains(place)).map(|(sequence, _)| *sequence));
        let indexed: Option<i64> =
            sqlx::query_scalar("SELECT max(sequence) FROM threads WHERE tenant = ?1 AND conversation = ?2")
                .bind(thread.0)
                .bind(thread.1)
                .fetch_one(self.readers()?)
                .await
                .map_err(failed("gone_from"))?;
        let numbers = indexed.into_iter().chain(waiting.iter().map(|(sequence, _)| *sequence));
        found.extend(jumps(numbers).take(limit.saturating_mul(GONE_EACH)));
        let numbers = found.into_iter().map(|number| (thread.1, number)).collect();
        self.holes(numbers, limit).await
    }
}

/// The numbers left out among these, which rise but for those an index has taken over already.
fn jumps(numbers: impl Iterator<Item = i64> + Clone) -> impl Iterator<Item = i64> {
    numbers.clone().zip(numbers.skip(1)).flat_map(|(before, next)| before.saturating_add(1)..next)
}

/// Numbers read for each hole that may be named.
const GONE_EACH: usize = 1000;

static PRESENT: Bulk = Bulk::new("SELECT place FROM journal WHERE place IN (", "?", ")");

impl SqliteStore {
    /// Which of these places the journal has.
    async fn present(&self, places: &[i64]) -> Result<HashSet<i64>> {
        let mut there = HashSet::new();
        for part in places.chunks(1024) {
            let size = Bulk::padded(part.len());
            let mut values = Values::with_capacity(size);
            (0..size).for_each(|at| values.push(part[at.min(part.len() - 1)]));
            let values = values.done().map_err(failed("present"))?;
            let found: Vec<i64> = sqlx::query_scalar_with(PRESENT.text(size), values)
                .fetch_all(self.readers()?)
                .await
                .map_err(failed("present"))?;
            there.extend(found);
        }
        Ok(there)
    }

    /// Holes out of numbers of conversations, in the order of the conversations' names.
    async fn holes(&self, mut numbers: Vec<(i64, i64)>, limit: usize) -> Result<Vec<SequenceHole>> {
        numbers.sort_unstable();
        numbers.dedup();
        let mut ids: Vec<i64> = numbers.iter().map(|(conversation, _)| *conversation).collect();
        ids.dedup();
        let mut names: HashMap<i64, ConversationId> = HashMap::new();
        for id in ids {
            let name: String = sqlx::query_scalar("SELECT name FROM conversations WHERE id = ?")
                .bind(id)
                .fetch_one(self.readers()?)
                .await
                .map_err(failed("gone_sequences"))?;
            names.insert(id, name.parse().map_err(|_| damaged("conversation"))?);
        }
        let mut found: Vec<(ConversationId, Sequence)> = numbers
            .into_iter()
            .filter_map(|(id, number)| Some((names.get(&id)?.clone(), Sequence(unsigned(number)))))
            .collect();
        found.sort_unstable();
        let mut holes = sequence_holes(found);
        holes.truncate(limit);
        Ok(holes)
    }
}
