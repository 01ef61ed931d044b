//! Subscribers and their cursors.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::{ShardCursor, SubscriberSpec, SubscriberUpdate};
use switchboard_contract::{Error, ErrorKind, Result, SubscriberName, TenantId, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;

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
        for cursor in &self.start {
            move_cursor(db, (tenant, id), cursor).await?;
        }
        Ok(true)
    }
}

/// Writes a cursor unless the one stored is further.
async fn move_cursor(db: &mut SqliteConnection, (tenant, id): (i64, i64), cursor: &ShardCursor) -> Result<()> {
    let acked: Vec<(u64, u64)> = cursor.acked.iter().map(|(first, last)| (first.0, last.0)).collect();
    sqlx::query(
        "INSERT INTO cursors (tenant, subscriber, shard, low, acked) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET low = excluded.low, acked = excluded.acked WHERE excluded.low >= cursors.low",
    )
    .bind(tenant)
    .bind(id)
    .bind(cursor.shard.0)
    .bind(cursor.low.0.cast_signed())
    .bind(encoded(&acked)?)
    .execute(db)
    .await
    .map(drop)
    .map_err(failed("update_subscribers"))
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
        for cursor in &self.cursors {
            move_cursor(db, (tenant, id), cursor).await?;
        }
        Ok(true)
    }
}

/// Changes of any number of subscribers.
pub(crate) struct UpdateSubscribers(pub(crate) Vec<SubscriberUpdate>);

#[async_trait]
impl Errand for UpdateSubscribers {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        for update in &self.0 {
            let tenant = memory.tenant(db, &update.tenant).await?;
            let id: Option<i64> = sqlx::query_scalar("SELECT id FROM subscribers WHERE tenant = ? AND name = ?")
                .bind(tenant)
                .bind(update.name.as_str())
                .fetch_optional(&mut *db)
                .await
                .map_err(failed("update_subscribers"))?;
            // One removed in the meantime has nothing left to update.
            if let Some(id) = id {
                seen(db, id, update).await?;
                for cursor in &update.cursors {
                    move_cursor(db, (tenant, id), cursor).await?;
                }
                park(db, (tenant, id), update).await?;
                count_attempts(db, (tenant, id), update).await?;
            }
        }
        Ok(())
    }
}

/// Whoever returns later than agreed is marked until it moves a cursor again.
async fn seen(db: &mut SqliteConnection, id: i64, update: &SubscriberUpdate) -> Result<()> {
    if update.seen_at.is_none() && update.cursors.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE subscribers SET
             expired = CASE
                 WHEN ?2 - seen_at > json_extract(spec, '$.expires_after') THEN 1
                 WHEN ?3 THEN 0
                 ELSE expired END,
             seen_at = max(seen_at, coalesce(?2, seen_at))
         WHERE id = ?1",
    )
    .bind(id)
    .bind(update.seen_at.map(|at| at.0))
    .bind(!update.cursors.is_empty())
    .execute(db)
    .await
    .map(drop)
    .map_err(failed("update_subscribers"))
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
