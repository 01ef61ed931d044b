//! Subscribers and their cursors.

use rusqlite::{Connection, OptionalExtension as _, params};
use switchboard_contract::storage::{ShardCursor, SubscriberSpec, SubscriberUpdate};
use switchboard_contract::{Error, ErrorKind, Result, SubscriberName, TenantId, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
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

impl Errand for PutSubscriber {
    type Outcome = bool;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.tenant)?;
        let spec = encoded(&self.spec)?;
        let changed = sql::execute(
            db,
            "UPDATE subscribers SET spec = ? WHERE tenant = ? AND name = ?",
            params![spec.as_str(), tenant, self.name.as_str()],
        )
        .map_err(failed("put_subscriber"))?;
        if changed > 0 {
            return Ok(false);
        }
        let id: i64 = sql::scalar(
            db,
            "INSERT INTO subscribers (tenant, name, spec, seen_at) VALUES (?, ?, ?, ?) RETURNING id",
            params![tenant, self.name.as_str(), spec, self.now.0],
        )
        .map_err(failed("put_subscriber"))?;
        move_cursors(db, (tenant, id), &self.start)?;
        Ok(true)
    }
}

/// Writes cursors, unless those stored are further.
fn move_cursors(db: &Connection, (tenant, id): (i64, i64), cursors: &[ShardCursor]) -> Result<()> {
    let fail = failed("update_subscribers");
    let mut write = db
        .prepare_cached(
            "INSERT INTO cursors (tenant, subscriber, shard, low, acked) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET low = excluded.low, acked = excluded.acked WHERE excluded.low >= cursors.low",
        )
        .map_err(&fail)?;
    for cursor in cursors {
        let acked: Vec<(u64, u64)> = cursor.acked.iter().map(|(first, last)| (first.0, last.0)).collect();
        let values = params![tenant, id, cursor.shard.0, cursor.low.0.cast_signed(), encoded(&acked)?];
        write.execute(values).map_err(&fail)?;
    }
    Ok(())
}

/// Removes a subscriber with everything it has.
pub(crate) struct RemoveSubscriber(pub(crate) TenantId, pub(crate) SubscriberName);

impl Errand for RemoveSubscriber {
    type Outcome = bool;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.0)?;
        let id: Option<i64> = sql::scalar(
            db,
            "DELETE FROM subscribers WHERE tenant = ? AND name = ? RETURNING id",
            params![tenant, self.1.as_str()],
        )
        .optional()
        .map_err(failed("remove_subscriber"))?;
        memory.subscribers.remove(&(tenant, self.1.clone()));
        let Some(id) = id else { return Ok(false) };
        clear(db, (tenant, id))?;
        Ok(true)
    }
}

/// Forgets how far a subscriber is, and what was set aside or had failed.
fn clear(db: &Connection, (tenant, id): (i64, i64)) -> Result<()> {
    for sql in [
        "DELETE FROM cursors WHERE tenant = ? AND subscriber = ?",
        "DELETE FROM parked WHERE tenant = ? AND subscriber = ?",
        "DELETE FROM attempts WHERE tenant = ? AND subscriber = ?",
    ] {
        sql::execute(db, sql, params![tenant, id]).map_err(failed("clear_subscriber"))?;
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

impl Errand for RewindSubscriber {
    type Outcome = bool;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.tenant)?;
        let id: Option<i64> = sql::scalar(
            db,
            "UPDATE subscribers SET seen_at = ?, expired = 0 WHERE tenant = ? AND name = ? RETURNING id",
            params![self.now.0, tenant, self.name.as_str()],
        )
        .optional()
        .map_err(failed("rewind_subscriber"))?;
        let Some(id) = id else { return Ok(false) };
        clear(db, (tenant, id))?;
        move_cursors(db, (tenant, id), &self.cursors)?;
        Ok(true)
    }
}

/// Changes of any number of subscribers.
pub(crate) struct UpdateSubscribers(pub(crate) Vec<SubscriberUpdate>);

impl Errand for UpdateSubscribers {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        for update in &self.0 {
            let tenant = memory.tenant(db, &update.tenant)?;
            // One removed in the meantime has nothing left to update.
            if let Some(id) = id_of(db, memory, tenant, &update.name)? {
                self::update(db, (tenant, id), update)?;
            }
        }
        Ok(())
    }
}

/// Whoever returns later than agreed is marked until it moves a cursor again.
const SEEN: &str = "
    UPDATE subscribers SET
        expired = CASE
            WHEN ?2 - seen_at > json_extract(spec, '$.expires_after') THEN 1
            WHEN ?3 THEN 0
            ELSE expired END,
        seen_at = max(seen_at, coalesce(?2, seen_at))
    WHERE id = ?1 AND (?2 IS NOT NULL OR expired)";

fn update(db: &Connection, (tenant, id): (i64, i64), update: &SubscriberUpdate) -> Result<()> {
    let (seen_at, moved) = (update.seen_at.map(|at| at.0), !update.cursors.is_empty());
    if seen_at.is_some() || moved {
        sql::execute(db, SEEN, params![id, seen_at, moved]).map_err(failed("update_subscribers"))?;
    }
    move_cursors(db, (tenant, id), &update.cursors)?;
    park(db, (tenant, id), update)?;
    count_attempts(db, (tenant, id), update)
}

/// The number of a subscriber; the same ones store their progress again and again.
fn id_of(db: &Connection, memory: &mut Memory, tenant: i64, name: &SubscriberName) -> Result<Option<i64>> {
    let key = (tenant, name.clone());
    if let Some(id) = memory.subscribers.get(&key) {
        return Ok(Some(id));
    }
    let values = params![tenant, name.as_str()];
    let found = sql::scalar(db, "SELECT id FROM subscribers WHERE tenant = ? AND name = ?", values).optional();
    let found = found.map_err(failed("update_subscribers"))?;
    if let Some(id) = found {
        memory.subscribers.insert(key, id);
    }
    Ok(found)
}

fn park(db: &Connection, (tenant, id): (i64, i64), update: &SubscriberUpdate) -> Result<()> {
    for conversation in &update.unpark {
        sql::execute(
            db,
            "DELETE FROM parked WHERE tenant = ? AND subscriber = ? AND conversation = ?",
            params![tenant, id, conversation.as_str()],
        )
        .map_err(failed("update_subscribers"))?;
    }
    for parked in &update.park {
        sql::execute(
            db,
            "INSERT OR REPLACE INTO parked
             (tenant, subscriber, conversation, shard, sequence, position, attempts, reason, since)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                tenant,
                id,
                parked.conversation.as_str(),
                parked.shard.0,
                parked.from.0.cast_signed(),
                parked.position.0.cast_signed(),
                parked.attempts,
                parked.reason.as_str(),
                parked.since.0
            ],
        )
        .map_err(failed("update_subscribers"))?;
    }
    Ok(())
}

fn count_attempts(db: &Connection, (tenant, id): (i64, i64), update: &SubscriberUpdate) -> Result<()> {
    for (shard, position, attempts) in &update.attempts {
        let at = params![tenant, id, shard.0, position.0.cast_signed(), attempts];
        let sql = if *attempts == 0 {
            "DELETE FROM attempts WHERE tenant = ?1 AND subscriber = ?2 AND shard = ?3 AND position = ?4"
        } else {
            "INSERT OR REPLACE INTO attempts (tenant, subscriber, shard, position, attempts) VALUES (?, ?, ?, ?, ?)"
        };
        let at = if *attempts == 0 { &at[..4] } else { at };
        sql::execute(db, sql, at).map_err(failed("update_subscribers"))?;
    }
    Ok(())
}
