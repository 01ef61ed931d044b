//! Writing conversations that come from another database.

use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
use rusqlite::{Connection, OptionalExtension as _, params};
use switchboard_contract::storage::{ImportMark, StoredEvent};
use switchboard_contract::{Error, ErrorKind, Event, Position, Result, TenantId};

use super::errands::Errand;
use super::memory::{Memory, STREAM_SHIFT};
use super::sql;
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
fn written(error: rusqlite::Error) -> Error {
    match error.sqlite_error() {
        Some(inner) if [SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY].contains(&inner.extended_code) => {
            refused("an event or a sequence stands in it twice").with_source(error)
        }
        _ => failed("import")(error),
    }
}

impl Errand for Import {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let fail = failed("import");
        let tenant = memory.tenant(db, &self.tenant)?;
        let mut stream = memory.stream(db, tenant)?;
        let known: Option<String> =
            sql::scalar(db, "SELECT mark FROM imports WHERE tenant = ?", params![tenant]).optional().map_err(&fail)?;
        let known: Option<ImportMark> = known.and_then(|mark| serde_json::from_str(&mark).ok());
        let trimmed: i64 =
            sql::scalar(db, "SELECT trimmed FROM streams WHERE id = ?", params![stream.id]).map_err(&fail)?;
        let ours = known.as_ref().is_some_and(|known| known.export == self.mark.export && !known.complete);
        if stream.tail != 0 && !(ours && trimmed == signed(stream.tail)) {
            return Err(refused("the store is not empty"));
        }
        for event in &self.events {
            stream.tail += 1;
            stream.received_max = stream.received_max.max(event.received_at.0);
            self::event(db, memory, tenant, (stream.id, stream.tail, stream.received_max), event)?;
        }
        // Everything is in the indexes, and nothing of it is for subscribers.
        sql::execute(
            db,
            "UPDATE streams SET tail = ?1, trimmed = ?1, indexed = ?1, received_max = ?2 WHERE id = ?3",
            params![signed(stream.tail), stream.received_max, stream.id],
        )
        .map_err(&fail)?;
        let mark = serde_json::to_string(&self.mark).unwrap_or_default();
        sql::execute(db, "INSERT OR REPLACE INTO imports (tenant, mark) VALUES (?, ?)", params![tenant, mark])
            .map_err(fail)?;
        // What was remembered speaks of a store without these.
        memory.streams.clear();
        memory.heads.clear();
        memory.newest.clear();
        Ok(())
    }
}

fn conversation(db: &Connection, memory: &mut Memory, tenant: i64, event: &StoredEvent) -> Result<i64> {
    let fresh = memory.next_conversation;
    let id: i64 = sql::scalar(
        db,
        "INSERT INTO conversations (id, tenant, name, last_sequence, last_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (tenant, name) DO UPDATE SET
             last_at = CASE WHEN excluded.last_sequence > last_sequence THEN excluded.last_at ELSE last_at END,
             last_sequence = max(last_sequence, excluded.last_sequence)
         RETURNING id",
        params![fresh, tenant, event.conversation.as_str(), signed(event.sequence.0), event.sent_at.0],
    )
    .map_err(failed("import"))?;
    if id == fresh {
        memory.next_conversation += 1;
    }
    Ok(id)
}

fn event(
    db: &Connection,
    memory: &mut Memory,
    tenant: i64,
    (stream, position, received_max): (i64, u64, i64),
    event: &StoredEvent,
) -> Result<()> {
    let place = (stream << STREAM_SHIFT) | signed(position);
    let conversation = conversation(db, memory, tenant, event)?;
    let app = match &event.app {
        Some(app) => memory.app(db, app)?,
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
    sql::execute(
        db,
        "INSERT INTO journal (place, tenant, conversation, sequence, app, class, key, digest, origin, sent_at,
         received_max, message, sort_key, sender, body, head, json) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        params![
            place,
            tenant,
            conversation,
            signed(event.sequence.0),
            app,
            event.key.class.code(),
            event.key.id.as_str(),
            signed(event.digest),
            event.origin.code(),
            event.sent_at.0,
            received_max,
            message,
            event.sort_key.as_str(),
            event.sender.as_ref().map(|sender| sender.as_str()),
            event.body.as_deref(),
            head.encode().as_slice(),
            json.as_ref()
        ],
    )
    .map_err(written)?;
    sql::execute(
        db,
        "INSERT INTO threads (tenant, conversation, sequence, place) VALUES (?, ?, ?, ?)",
        params![tenant, conversation, signed(event.sequence.0), place],
    )
    .map_err(written)?;
    if let Some(message) = message {
        sql::execute(
            db,
            "INSERT INTO histories (tenant, conversation, sent_at, sort_key, message, place) VALUES (?,?,?,?,?,?)",
            params![tenant, conversation, event.sent_at.0, event.sort_key.as_str(), message, place],
        )
        .map_err(written)?;
    }
    if let Some(raw) = &event.raw {
        sql::execute(db, "INSERT INTO raws (place, raw) VALUES (?, ?)", params![place, raw.as_ref()])
            .map_err(written)?;
    }
    Ok(())
}
