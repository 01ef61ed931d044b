//! Marks of readers and cursors of devices: things that rise and never sink.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use switchboard_contract::storage::{ConversationMarks, DeviceCursor};
use switchboard_contract::{ConversationId, Result};

use super::OP;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::writer::errands::Errand;
use crate::store::sqlite::writer::memory::Memory;

const MARKS: &str = "
    INSERT INTO gate_marks (conversation, user, delivered, read) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)";
const DEVICE: &str = "
    INSERT INTO gate_devices (user, device, low, seen_at) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET low = max(low, excluded.low), seen_at = max(seen_at, excluded.seen_at)";

/// Raises marks: of a conversation and a user, what is delivered and read.
pub(super) fn raise(db: &Connection, risen: impl IntoIterator<Item = ((i64, i64), (i64, i64))>) -> Result<()> {
    let mut write = db.prepare_cached(MARKS).map_err(failed(OP))?;
    for ((conversation, user), (delivered, read)) in risen {
        write.execute((conversation, user, delivered, read)).map_err(failed(OP))?;
    }
    Ok(())
}

/// Writes cursors of devices.
pub(crate) struct SaveDevices(pub(crate) i64, pub(crate) Vec<DeviceCursor>);

impl Errand for SaveDevices {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(gate, cursors) = &*self;
        let users = memory.gates.users(db, *gate, cursors.iter().map(|cursor| &cursor.user))?;
        let mut write = db.prepare_cached(DEVICE).map_err(failed(OP))?;
        for cursor in cursors {
            let user = users.get(&cursor.user);
            let values = params![user, cursor.device.as_str(), cursor.low.0.cast_signed(), cursor.seen_at.0];
            write.execute(values).map_err(failed(OP))?;
        }
        Ok(())
    }
}

/// Raises marks.
pub(crate) struct RaiseMarks(pub(crate) i64, pub(crate) Vec<(ConversationId, ConversationMarks)>);

impl Errand for RaiseMarks {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(gate, marks) = &*self;
        let users = memory.gates.users(db, *gate, marks.iter().map(|(_, marks)| &marks.user))?;
        let conversations = memory.gates.conversations(db, *gate, marks.iter().map(|(id, _)| id))?;
        let mut risen: HashMap<(i64, i64), (i64, i64)> = HashMap::new();
        for (id, marks) in marks {
            if let (Some(conversation), Some(user)) = (conversations.get(id), users.get(&marks.user)) {
                let mark = risen.entry((conversation.id, *user)).or_default();
                mark.0 = mark.0.max(marks.delivered.0.cast_signed());
                mark.1 = mark.1.max(marks.read.0.cast_signed());
            }
        }
        raise(db, risen)
    }
}
