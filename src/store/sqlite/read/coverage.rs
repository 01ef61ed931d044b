//! The ledger of coverage.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{CoverageLedger, CoverageState, FileFact, HourCoverage, PositionRun, SequenceHole};
use switchboard_contract::{App, EventKey, KeyClass, Origin, Position, Result, Sequence, Shard, TenantId, Timestamp};

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

    async fn gone_places(&self, tenant: &TenantId, shard: Shard, limit: usize) -> Result<Vec<PositionRun>> {
        let Some(stream) = self.stream(tenant, shard).await? else { return Ok(Vec::new()) };
        // First where the stream ends, then what there is: rows behind that end are younger than the question.
        let (trimmed, tail): (i64, i64) = sqlx::query_as("SELECT trimmed, tail FROM streams WHERE id = ?")
            .bind(stream)
            .fetch_one(self.readers()?)
            .await
            .map_err(failed("gone_places"))?;
        let (before, end) = (place(stream, unsigned(trimmed)), place(stream, unsigned(tail)));
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "WITH present (place) AS (
                 SELECT place FROM journal WHERE place > ?1 AND place <= ?2 UNION ALL SELECT ?2 + 1),
             pairs (place, before) AS (SELECT place, lag(place, 1, ?1) OVER (ORDER BY place) FROM present)
             SELECT before + 1, place - 1 FROM pairs WHERE place > before + 1 ORDER BY place LIMIT ?3",
        )
        .bind(before)
        .bind(end)
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("gone_places"))?;
        let run = |(first, last)| PositionRun { first: position_of(first), last: position_of(last) };
        Ok(rows.into_iter().map(run).collect())
    }

    async fn gone_sequences(&self, tenant: &TenantId, limit: usize) -> Result<Vec<SequenceHole>> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "WITH pairs (conversation, sequence, before) AS (
                 SELECT j.conversation, j.sequence, lag(j.sequence, 1, c.last_sequence)
                        OVER (PARTITION BY j.conversation ORDER BY j.sequence)
                 FROM journal j JOIN conversations c ON c.id = j.conversation
                 WHERE j.tenant = (SELECT id FROM tenants WHERE name = ?) AND j.conversation IS NOT NULL
                 AND j.sequence > c.last_sequence)
             SELECT c.name, p.before + 1, p.sequence - 1 FROM pairs p JOIN conversations c ON c.id = p.conversation
             WHERE p.sequence > p.before + 1 ORDER BY c.name, p.sequence LIMIT ?",
        )
        .bind(tenant.as_str())
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("gone_sequences"))?;
        rows.into_iter()
            .map(|(conversation, first, last)| {
                let conversation = conversation.parse().map_err(|_| damaged("conversation"))?;
                Ok(SequenceHole { conversation, first: Sequence(unsigned(first)), last: Sequence(unsigned(last)) })
            })
            .collect()
    }
}
