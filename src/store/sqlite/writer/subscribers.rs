//! Subscribers and their cursors.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::{ShardCursor, SubscriberSpec, SubscriberUpdate};
use switchboard_contract::{Error, ErrorKind, Result, SubscriberName, TenantId, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{Bulk, Values};

fn encoded<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "a subscriber could not be encoded").with_source(error))
}

/// Creates a subscriber, or changes what one asked for.
pub(crate) struct PutSubscriber {
    pub(crate) tenant: TenantId,
    pub(crate) name: SubscriberName,
    pub(crate) spec: SubscriberSpec,
    pub(crate) start: Vec<ShardCursor>,
    pub(crate) now: Timestamp,
}

#[async_trait]
impl Errand for PutSubscriber {
    type Outcome = bool;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.tenant).await?;
        let spec = encoded(&self.spec)?;
        let changed = sqlx::query("UPDATE subscribers SET spec = ? WHERE tenant = ? AND name = ?")
            .bind(spec.as_str())
            .bind(tenant)
            .bind(self.name.as_str())
            .execute(&mut *db)
            .await
            .map_err(failed("put_subscriber"))?;
        if changed.rows_affected() > 0 {
            return Ok(false);
        }
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO subscribers (tenant, name, spec, seen_at) VALUES (?, ?, ?, ?) RETURNING id",
        )
        .bind(tenant)
        .bind(self.name.as_str())
        .bind(spec)
        .bind(self.now.0)
        .fetch_one(&mut *db)
        .await
        .map_err(failed("put_subscriber"))?;
        each(db, &CURSORS, &self.start, |values, cursor| push_cursor(values, (tenant, id), cursor)).await?;
        Ok(true)
    }
}

/// The values of a cursor, which is written unless the one stored is further.
fn push_cursor(values: &mut Values, (tenant, id): (i64, i64), cursor: &ShardCursor) -> Result<()> {
    let acked: Vec<(u64, u64)> = cursor.acked.iter().map(|(first, last)| (first.0, last.0)).collect();
    values.push(tenant);
    values.push(id);
    values.push(cursor.shard.0);
    values.push(cursor.low.0.cast_signed());
    values.push(encoded(&acked)?);
    Ok(())
}

/// Removes a subscriber with everything it has.
pub(crate) struct RemoveSubscriber(pub(crate) TenantId, pub(crate) SubscriberName);

#[async_trait]
impl Errand for RemoveSubscriber {
    type Outcome = bool;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.0).await?;
        let id: Option<i64> = sqlx::query_scalar("DELETE FROM subscribers WHERE tenant = ? AND name = ? RETURNING id")
            .bind(tenant)
            .bind(self.1.as_str())
            .fetch_optional(&mut *db)
            .await
            .map_err(failed("remove_subscriber"))?;
        memory.subscribers.remove(&(tenant, self.1.clone()));
        let Some(id) = id else { return Ok(false) };
        clear(db, (tenant, id)).await?;
        Ok(true)
    }
}

/// Forgets how far a subscriber is, and what was set aside or had failed.
async fn clear(db: &mut SqliteConnection, (tenant, id): (i64, i64)) -> Result<()> {
    for sql in [
        "DELETE FROM cursors WHERE tenant = ? AND subscriber = ?",
        "DELETE FROM parked WHERE tenant = ? AND subscriber = ?",
        "DELETE FROM attempts WHERE tenant = ? AND subscriber = ?",
    ] {
        sqlx::query(sql).bind(tenant).bind(id).execute(&mut *db).await.map_err(failed("clear_subscriber"))?;
    }
    Ok(())
}

/// Starts a subscriber over from other cursors.
pub(crate) struct RewindSubscriber {
    pub(crate) tenant: TenantId,
    pub(crate) name: SubscriberName,
    pub(crate) cursors: Vec<ShardCursor>,
    pub(crate) now: Timestamp,
}

#[async_trait]
impl Errand for RewindSubscriber {
    type Outcome = bool;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.tenant).await?;
        let id: Option<i64> = sqlx::query_scalar(
            "UPDATE subscribers SET seen_at = ?, expired = 0 WHERE tenant = ? AND name = ? RETURNING id",
        )
        .bind(self.now.0)
        .bind(tenant)
        .bind(self.name.as_str())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed("rewind_subscriber"))?;
        let Some(id) = id else { return Ok(false) };
        clear(db, (tenant, id)).await?;
        each(db, &CURSORS, &self.cursors, |values, cursor| push_cursor(values, (tenant, id), cursor)).await?;
        Ok(true)
    }
}

/// Changes of any number of subscribers.
pub(crate) struct UpdateSubscribers(pub(crate) Vec<SubscriberUpdate>);

#[async_trait]
impl Errand for UpdateSubscribers {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let mut rest = self.0.as_slice();
        while let Some(first) = rest.first() {
            // One list holds updates of one tenant, and none of a subscriber twice.
            let mut names = HashSet::new();
            let mut size = 0;
            while let Some(next) = rest.get(size)
                && size < LIST
                && next.tenant == first.tenant
                && names.insert(&next.name)
            {
                size += 1;
            }
            let (part, left) = rest.split_at(size);
            rest = left;
            let tenant = memory.tenant(db, &first.tenant).await?;
            let ids = ids(db, memory, tenant, part).await?;
            update(db, tenant, &ids, part).await?;
        }
        Ok(())
    }
}

/// Updates of one statement, at most.
const LIST: usize = 512;

static IDS: Bulk = Bulk::new("SELECT name, id FROM subscribers WHERE tenant = ? AND name IN (", "?", ")");
// Whoever returns later than agreed is marked until it moves a cursor again.
static SEEN: Bulk = Bulk::new(
    "WITH v (id, seen_at, moved) AS (VALUES ",
    "(?,?,?)",
    ") UPDATE subscribers SET
         expired = CASE
             WHEN v.seen_at - subscribers.seen_at > json_extract(spec, '$.expires_after') THEN 1
             WHEN v.moved THEN 0
             ELSE expired END,
         seen_at = max(subscribers.seen_at, coalesce(v.seen_at, subscribers.seen_at))
     FROM v WHERE subscribers.id = v.id AND (v.seen_at IS NOT NULL OR subscribers.expired)",
);
static CURSORS: Bulk = Bulk::new(
    "INSERT INTO cursors (tenant, subscriber, shard, low, acked) VALUES ",
    "(?,?,?,?,?)",
    " ON CONFLICT DO UPDATE SET low = excluded.low, acked = excluded.acked WHERE excluded.low >= cursors.low",
);

/// Updates subscribers of one tenant, each of them once.
async fn update(
    db: &mut SqliteConnection,
    tenant: i64,
    ids: &[Option<i64>],
    updates: &[SubscriberUpdate],
) -> Result<()> {
    // One removed in the meantime has nothing left to update.
    let updates: Vec<(i64, &SubscriberUpdate)> =
        ids.iter().zip(updates).filter_map(|(id, update)| Some(((*id)?, update))).collect();
    let told = |update: &SubscriberUpdate| update.seen_at.is_some() || !update.cursors.is_empty();
    let seen: Vec<_> = updates.iter().filter(|(_, update)| told(update)).collect();
    each(db, &SEEN, &seen, |values, (id, update)| {
        values.push(*id);
        values.push(update.seen_at.map(|at| at.0));
        values.push(!update.cursors.is_empty());
        Ok(())
    })
    .await?;
    let cursors: Vec<(i64, &ShardCursor)> =
        updates.iter().flat_map(|(id, update)| update.cursors.iter().map(|cursor| (*id, cursor))).collect();
    each(db, &CURSORS, &cursors, |values, (id, cursor)| push_cursor(values, (tenant, *id), cursor)).await?;
    for (id, update) in updates {
        park(db, (tenant, id), update).await?;
        count_attempts(db, (tenant, id), update).await?;
    }
    Ok(())
}

/// The numbers of subscribers; the same ones store their progress again and again.
async fn ids(
    db: &mut SqliteConnection,
    memory: &mut Memory,
    tenant: i64,
    updates: &[SubscriberUpdate],
) -> Result<Vec<Option<i64>>> {
    let fail = failed("update_subscribers");
    let mut known: Vec<Option<i64>> =
        updates.iter().map(|update| memory.subscribers.get(&(tenant, update.name.clone()))).collect();
    let missing: Vec<usize> = (0..updates.len()).filter(|at| known[*at].is_none()).collect();
    let Some(last) = missing.last() else { return Ok(known) };
    let size = Bulk::padded(missing.len());
    let mut values = Values::with_capacity(size + 1);
    values.push(tenant);
    (0..size).for_each(|at| values.push(updates[*missing.get(at).unwrap_or(last)].name.as_str()));
    let values = values.done().map_err(&fail)?;
    let found: Vec<(String, i64)> = sqlx::query_as_with(IDS.text(size), values).fetch_all(db).await.map_err(&fail)?;
    let found: HashMap<String, i64> = found.into_iter().collect();
    for at in missing {
        let name = &updates[at].name;
        known[at] = found.get(name.as_str()).copied();
        if let Some(id) = known[at] {
            memory.subscribers.insert((tenant, name.clone()), id);
        }
    }
    Ok(known)
}

/// Runs a statement over all rows, in lists.
async fn each<T: Sync>(
    db: &mut SqliteConnection,
    bulk: &'static Bulk,
    rows: &[T],
    push: impl Fn(&mut Values, &T) -> Result<()> + Send,
) -> Result<()> {
    let mut rest = rows;
    while !rest.is_empty() {
        let (part, left) = rest.split_at(bulk.fit(rest.len()));
        rest = left;
        let mut values = Values::default();
        part.iter().try_for_each(|row| push(&mut values, row))?;
        let values = values.done().map_err(failed("update_subscribers"))?;
        sqlx::query_with(bulk.text(part.len()), values)
            .execute(&mut *db)
            .await
            .map_err(failed("update_subscribers"))?;
    }
    Ok(())
}

async fn park(db: &mut SqliteConnection, (tenant, id): (i64, i64), update: &SubscriberUpdate) -> Result<()> {
    for conversation in &update.unpark {
        sqlx::query("DELETE FROM parked WHERE tenant = ? AND subscriber = ? AND conversation = ?")
            .bind(tenant)
            .bind(id)
            .bind(conversation.as_str())
            .execute(&mut *db)
            .await
            .map_err(failed("update_subscribers"))?;
    }
    for parked in &update.park {
        sqlx::query(
            "INSERT OR REPLACE INTO parked
             (tenant, subscriber, conversation, shard, sequence, position, attempts, reason, since)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant)
        .bind(id)
        .bind(parked.conversation.as_str())
        .bind(parked.shard.0)
        .bind(parked.from.0.cast_signed())
        .bind(parked.position.0.cast_signed())
        .bind(parked.attempts)
        .bind(parked.reason.as_str())
        .bind(parked.since.0)
        .execute(&mut *db)
        .await
        .map_err(failed("update_subscribers"))?;
    }
    Ok(())
}

async fn count_attempts(db: &mut SqliteConnection, (tenant, id): (i64, i64), update: &SubscriberUpdate) -> Result<()> {
    for (shard, position, attempts) in &update.attempts {
        let query = if *attempts == 0 {
            sqlx::query("DELETE FROM attempts WHERE tenant = ? AND subscriber = ? AND shard = ? AND position = ?")
        } else {
            sqlx::query(
                "INSERT OR REPLACE INTO attempts (tenant, subscriber, shard, position, attempts) VALUES (?, ?, ?, ?, ?)",
            )
        };
        let query = query.bind(tenant).bind(id).bind(shard.0).bind(position.0.cast_signed());
        let query = if *attempts == 0 { query } else { query.bind(*attempts) };
        query.execute(&mut *db).await.map_err(failed("update_subscribers"))?;
    }
    Ok(())
}
