//! Writing conversations that come from another database.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::{ImportMark, StoredEvent};
use switchboard_contract::{Error, ErrorKind, Event, Position, Result, TenantId};

use super::errands::Errand;
use super::memory::{Memory, STREAM_SHIFT};
use crate::store::sqlite::error::failed;
use crate::store::sqlite::head::Head;
use crate::store::sqlite::sql::signed;

/// Writes events as they are, behind the end of the stream.
pub(crate) struct Import {
    pub(crate) tenant: TenantId,
    pub(crate) events: Vec<StoredEvent>,
    pub(crate) mark: ImportMark,
}

fn refused(text: &str) -> Error {
    Error::new(ErrorKind::Conflict, text).with_operation("import")
}

/// A row of the journal that stands already is what makes an import impossible, not a fault of the database.
fn written(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(inner) if inner.is_unique_violation() => {
            refused("an event or a sequence stands in it twice").with_source(error)
        }
        _ => failed("import")(error),
    }
}

#[async_trait]
impl Errand for Import {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let fail = failed("import");
        let tenant = memory.tenant(db, &self.tenant).await?;
        let mut stream = memory.stream(db, tenant).await?;
        let known: Option<String> = sqlx::query_scalar("SELECT mark FROM imports WHERE tenant = ?")
            .bind(tenant)
            .fetch_optional(&mut *db)
            .await
            .map_err(&fail)?;
        let known: Option<ImportMark> = known.and_then(|mark| serde_json::from_str(&mark).ok());
        let trimmed: i64 = sqlx::query_scalar("SELECT trimmed FROM streams WHERE id = ?")
            .bind(stream.id)
            .fetch_one(&mut *db)
            .await
            .map_err(&fail)?;
        let ours = known.as_ref().is_some_and(|known| known.export == self.mark.export && !known.complete);
        if stream.tail != 0 && !(ours && trimmed == signed(stream.tail)) {
            return Err(refused("the store is not empty"));
        }
        for event in &self.events {
            stream.tail += 1;
            stream.received_max = stream.received_max.max(event.received_at.0);
            self::event(db, memory, tenant, (stream.id, stream.tail, stream.received_max), event).await?;
        }
        // Everything is in the indexes, and nothing of it is for subscribers.
        sqlx::query("UPDATE streams SET tail = ?1, trimmed = ?1, indexed = ?1, received_max = ?2 WHERE id = ?3")
            .bind(signed(stream.tail))
            .bind(stream.received_max)
            .bind(stream.id)
            .execute(&mut *db)
            .await
            .map_err(&fail)?;
        let mark = serde_json::to_string(&self.mark).unwrap_or_default();
        sqlx::query("INSERT OR REPLACE INTO imports (tenant, mark) VALUES (?, ?)")
            .bind(tenant)
            .bind(mark)
            .execute(db)
            .await
            .map_err(fail)?;
        // What was remembered speaks of a store without these.
        memory.streams.clear();
        memory.heads.clear();
        memory.newest.clear();
        Ok(())
    }
}

async fn conversation(db: &mut SqliteConnection, memory: &mut Memory, tenant: i64, event: &StoredEvent) -> Result<i64> {
    let fresh = memory.next_conversation;
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO conversations (id, tenant, name, last_sequence, last_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (tenant, name) DO UPDATE SET
             last_at = CASE WHEN excluded.last_sequence > last_sequence THEN excluded.last_at ELSE last_at END,
             last_sequence = max(last_sequence, excluded.last_sequence)
         RETURNING id",
    )
    .bind(fresh)
    .bind(tenant)
    .bind(event.conversation.as_str())
    .bind(signed(event.sequence.0))
    .bind(event.sent_at.0)
    .fetch_one(db)
    .await
    .map_err(failed("import"))?;
    if id == fresh {
        memory.next_conversation += 1;
    }
    Ok(id)
}

async fn event(
    db: &mut SqliteConnection,
    memory: &mut Memory,
    tenant: i64,
    (stream, position, received_max): (i64, u64, i64),
    event: &StoredEvent,
) -> Result<()> {
    let place = (stream << STREAM_SHIFT) | signed(position);
    let conversation = conversation(db, memory, tenant, event).await?;
    let app = match &event.app {
        Some(app) => memory.app(db, app).await?,
        None => 0,
    };
    let json = Event::at_position(&event.json, Position(position))?;
    let topic = Event::decode(&json)?.topic();
    let message = event.message_id.as_ref().map(|id| id.as_bytes().as_slice());
    let head = Head {
        position,
        sequence: event.sequence.0,
        conversation,
        app,
        message: event.message_id.map_or([0; 16], |id| *id.as_bytes()),
        sent_at: event.sent_at.0,
        received_at: event.received_at.0,
        length: u32::try_from(json.len()).map_err(|_| refused("an event is larger than a row takes"))?,
        topic,
        late: event.late,
    };
    sqlx::query(
        "INSERT INTO journal (place, tenant, conversation, sequence, app, class, key, digest, origin, sent_at,
         received_max, message, sort_key, sender, body, head, json) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    )
    .bind(place)
    .bind(tenant)
    .bind(conversation)
    .bind(signed(event.sequence.0))
    .bind(app)
    .bind(event.key.class.code())
    .bind(event.key.id.as_str())
    .bind(signed(event.digest))
    .bind(event.origin.code())
    .bind(event.sent_at.0)
    .bind(received_max)
    .bind(message)
    .bind(event.sort_key.as_str())
    .bind(event.sender.as_ref().map(|sender| sender.as_str()))
    .bind(event.body.as_deref())
    .bind(head.encode().as_slice())
    .bind(json.as_ref())
    .execute(&mut *db)
    .await
    .map_err(written)?;
    sqlx::query("INSERT INTO threads (tenant, conversation, sequence, place) VALUES (?, ?, ?, ?)")
        .bind(tenant)
        .bind(conversation)
        .bind(signed(event.sequence.0))
        .bind(place)
        .execute(&mut *db)
        .await
        .map_err(written)?;
    if let Some(message) = message {
        sqlx::query(
            "INSERT INTO histories (tenant, conversation, sent_at, sort_key, message, place) VALUES (?,?,?,?,?,?)",
        )
        .bind(tenant)
        .bind(conversation)
        .bind(event.sent_at.0)
        .bind(event.sort_key.as_str())
        .bind(message)
        .bind(place)
        .execute(&mut *db)
        .await
        .map_err(written)?;
    }
    if let Some(raw) = &event.raw {
        sqlx::query("INSERT INTO raws (place, raw) VALUES (?, ?)")
            .bind(place)
            .bind(raw.as_ref())
            .execute(db)
            .await
            .map_err(written)?;
    }
    Ok(())
}
