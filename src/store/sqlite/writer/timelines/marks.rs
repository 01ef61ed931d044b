//! Marks of readers and cursors of devices: things that rise and never sink, written in lists.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::{ConversationMarks, DeviceCursor};
use switchboard_contract::{ConversationId, Result};

use super::OP;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{Bulk, Values};
use crate::store::sqlite::writer::errands::Errand;
use crate::store::sqlite::writer::memory::Memory;

static MARKS: Bulk = Bulk::new(
    "INSERT INTO gate_marks (conversation, user, delivered, read) VALUES ",
    "(?, ?, ?, ?)",
    " ON CONFLICT DO UPDATE SET delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)",
);
static DEVICES: Bulk = Bulk::new(
    "INSERT INTO gate_devices (user, device, low, seen_at) VALUES ",
    "(?, ?, ?, ?)",
    " ON CONFLICT DO UPDATE SET low = max(low, excluded.low), seen_at = max(seen_at, excluded.seen_at)",
);

/// Raises marks: conversation, user, delivered, read.
pub(super) async fn raise(db: &mut SqliteConnection, mut risen: &[(i64, i64, i64, i64)]) -> Result<()> {
    while !risen.is_empty() {
        let (chunk, left) = risen.split_at(MARKS.fit(risen.len()));
        risen = left;
        let mut values = Values::with_capacity(chunk.len() * 4);
        for (conversation, user, delivered, read) in chunk {
            [conversation, user, delivered, read].into_iter().for_each(|value| values.push(*value));
        }
        let values = values.done().map_err(failed(OP))?;
        sqlx::query_with(MARKS.text(chunk.len()), values).execute(&mut *db).await.map_err(failed(OP))?;
    }
    Ok(())
}

/// Writes cursors of devices.
pub(crate) struct SaveDevices(pub(crate) i64, pub(crate) Vec<DeviceCursor>);

#[async_trait]
impl Errand for SaveDevices {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(gate, cursors) = &*self;
        let users = memory.gates.users(db, *gate, cursors.iter().map(|cursor| &cursor.user)).await?;
        let mut rest = cursors.as_slice();
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at(DEVICES.fit(rest.len()));
            rest = left;
            let mut values = Values::with_capacity(chunk.len() * 4);
            for cursor in chunk {
                values.push(users.get(&cursor.user).copied());
                values.push(cursor.device.as_str());
                values.push(cursor.low.0.cast_signed());
                values.push(cursor.seen_at.0);
            }
            let values = values.done().map_err(failed(OP))?;
            sqlx::query_with(DEVICES.text(chunk.len()), values).execute(&mut *db).await.map_err(failed(OP))?;
        }
        Ok(())
    }
}

/// Raises marks.
pub(crate) struct RaiseMarks(pub(crate) i64, pub(crate) Vec<(ConversationId, ConversationMarks)>);

#[async_trait]
impl Errand for RaiseMarks {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(gate, marks) = &*self;
        let users = memory.gates.users(db, *gate, marks.iter().map(|(_, marks)| &marks.user)).await?;
        let conversations = memory.gates.conversations(db, *gate, marks.iter().map(|(id, _)| id)).await?;
        let mut risen: HashMap<(i64, i64), (i64, i64)> = HashMap::new();
        for (id, marks) in marks {
            if let (Some(conversation), Some(user)) = (conversations.get(id), users.get(&marks.user)) {
                let mark = risen.entry((conversation.id, *user)).or_default();
                mark.0 = mark.0.max(marks.delivered.0.cast_signed());
                mark.1 = mark.1.max(marks.read.0.cast_signed());
            }
        }
        let risen: Vec<_> = risen.into_iter().map(|((at, user), (out, read))| (at, user, out, read)).collect();
        raise(db, &risen).await
    }
}
