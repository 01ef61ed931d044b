//! Subscribers and their cursors.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row as _, SqliteConnection};
use switchboard_contract::storage::{
    CursorState, ParkedConversation, ShardCursor, SubscriberSpec, SubscriberUpdate, Subscribers,
};
use switchboard_contract::{Position, Result, Sequence, Shard, SubscriberName, TenantId, Timestamp};

use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::unsigned;
use crate::store::sqlite::writer::{PutSubscriber, RemoveSubscriber, RewindSubscriber, UpdateSubscribers};

type Found = HashMap<i64, (SubscriberName, CursorState)>;

/// Subscribers of one tenant, by number, both ends included.
#[derive(Clone, Copy)]
struct Range {
    tenant: i64,
    first: i64,
    last: i64,
}

fn cursor(row: &SqliteRow) -> Result<ShardCursor> {
    let fail = failed("subscribers");
    let acked: Vec<(u64, u64)> = serde_json::from_str(row.try_get(3).map_err(&fail)?).map_err(|_| damaged("cursor"))?;
    Ok(ShardCursor {
        shard: Shard(row.try_get(1).map_err(&fail)?),
        low: Position(unsigned(row.try_get(2).map_err(&fail)?)),
        acked: acked.into_iter().map(|(first, last)| (Position(first), Position(last))).collect(),
    })
}

fn parked(row: &SqliteRow) -> Result<ParkedConversation> {
    let fail = failed("subscribers");
    let conversation: &str = row.try_get(1).map_err(&fail)?;
    Ok(ParkedConversation {
        conversation: conversation.parse().map_err(|_| damaged("conversation"))?,
        shard: Shard(row.try_get(2).map_err(&fail)?),
        from: Sequence(unsigned(row.try_get(3).map_err(&fail)?)),
        position: Position(unsigned(row.try_get(4).map_err(&fail)?)),
        attempts: row.try_get(5).map_err(&fail)?,
        reason: row.try_get(6).map_err(&fail)?,
        since: Timestamp(row.try_get(7).map_err(&fail)?),
    })
}

fn attempts(row: &SqliteRow) -> Result<(Shard, Position, u32)> {
    let fail = failed("subscribers");
    let position = Position(unsigned(row.try_get(2).map_err(&fail)?));
    Ok((Shard(row.try_get(1).map_err(&fail)?), position, row.try_get(3).map_err(&fail)?))
}

/// Reads rows that belong to subscribers and hands each to the one it belongs to.
async fn each(
    db: &mut SqliteConnection,
    found: &mut Found,
    of: Range,
    sql: &'static str,
    add: fn(&mut CursorState, &SqliteRow) -> Result<()>,
) -> Result<()> {
    let fail = failed("subscribers");
    let rows = sqlx::query(sql).bind(of.tenant).bind(of.first).bind(of.last).fetch_all(db).await.map_err(&fail)?;
    for row in rows {
        if let Some((_, state)) = found.get_mut(&row.try_get(0).map_err(&fail)?) {
            add(state, &row)?;
        }
    }
    Ok(())
}

async fn heads(db: &mut SqliteConnection, tenant: i64, name: Option<&SubscriberName>) -> Result<Found> {
    let fail = failed("subscribers");
    let rows: Vec<(i64, String, String, i64, bool)> = sqlx::query_as(
        "SELECT id, name, spec, seen_at, expired FROM subscribers WHERE tenant = ?1 AND (?2 IS NULL OR name = ?2)",
    )
    .bind(tenant)
    .bind(name.map(SubscriberName::as_str))
    .fetch_all(db)
    .await
    .map_err(&fail)?;
    let mut found = Found::with_capacity(rows.len());
    for (id, name, spec, seen_at, expired) in rows {
        let state = CursorState {
            spec: serde_json::from_str(&spec).map_err(|_| damaged("subscriber"))?,
            cursors: Vec::new(),
            parked: Vec::new(),
            attempts: Vec::new(),
            seen_at: Timestamp(seen_at),
            expired,
        };
        found.insert(id, (name.into(), state));
    }
    Ok(found)
}

impl SqliteStore {
    /// Subscribers of a tenant with all they have: one, or with no name every one. All of it is of one moment.
    async fn load(&self, tenant: &TenantId, name: Option<&SubscriberName>) -> Result<Found> {
        let Some(tenant) = self.tenant_number(tenant).await? else { return Ok(Found::new()) };
        let mut reader = self.readers()?.acquire().await.map_err(failed("subscribers"))?;
        let mut snapshot = reader.begin().await.map_err(failed("subscribers"))?;
        let mut found = heads(&mut snapshot, tenant, name).await?;
        let (Some(first), Some(last)) = (found.keys().min().copied(), found.keys().max().copied()) else {
            return Ok(found);
        };
        let of = Range { tenant, first, last };
        const CURSORS: &str = "SELECT subscriber, shard, low, acked FROM cursors
             WHERE tenant = ? AND subscriber >= ? AND subscriber <= ? ORDER BY subscriber, shard";
        each(&mut snapshot, &mut found, of, CURSORS, |state, row| {
            state.cursors.push(cursor(row)?);
            Ok(())
        })
        .await?;
        const PARKED: &str =
            "SELECT subscriber, conversation, shard, sequence, position, attempts, reason, since FROM parked
             WHERE tenant = ? AND subscriber >= ? AND subscriber <= ? ORDER BY subscriber, conversation";
        each(&mut snapshot, &mut found, of, PARKED, |state, row| {
            state.parked.push(parked(row)?);
            Ok(())
        })
        .await?;
        const ATTEMPTS: &str = "SELECT subscriber, shard, position, attempts FROM attempts
             WHERE tenant = ? AND subscriber >= ? AND subscriber <= ? ORDER BY subscriber, shard, position";
        each(&mut snapshot, &mut found, of, ATTEMPTS, |state, row| {
            state.attempts.push(attempts(row)?);
            Ok(())
        })
        .await?;
        Ok(found)
    }
}

#[async_trait]
impl Subscribers for SqliteStore {
    async fn put_subscriber(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        spec: &SubscriberSpec,
        start: &[ShardCursor],
        now: Timestamp,
    ) -> Result<bool> {
        let (tenant, name, spec, start) = (tenant.clone(), name.clone(), spec.clone(), start.to_vec());
        self.write(PutSubscriber { tenant, name, spec, start, now }).await
    }

    async fn subscriber(&self, tenant: &TenantId, name: &SubscriberName) -> Result<Option<CursorState>> {
        Ok(self.load(tenant, Some(name)).await?.into_values().next().map(|(_, state)| state))
    }

    async fn subscribers(&self, tenant: &TenantId) -> Result<Vec<(SubscriberName, CursorState)>> {
        let mut all: Vec<_> = self.load(tenant, None).await?.into_values().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    async fn rewind_subscriber(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        cursors: &[ShardCursor],
        now: Timestamp,
    ) -> Result<bool> {
        let (tenant, name, cursors) = (tenant.clone(), name.clone(), cursors.to_vec());
        self.write(RewindSubscriber { tenant, name, cursors, now }).await
    }

    async fn remove_subscriber(&self, tenant: &TenantId, name: &SubscriberName) -> Result<bool> {
        self.write(RemoveSubscriber(tenant.clone(), name.clone())).await
    }

    async fn update_subscribers(&self, updates: Vec<SubscriberUpdate>) -> Result<()> {
        self.write(UpdateSubscribers(updates)).await
    }
}
