//! Numbers of users and conversations of the self-hosted service: looked up once, and kept at hand.

use std::collections::HashMap;
use std::hash::Hash;

use rusqlite::{Connection, OptionalExtension as _, params};
use switchboard_contract::{ConversationId, Result, UserId};

use super::OP;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::recent::Recent;
use crate::store::sqlite::writer::sql;

const USER: &str = "SELECT id FROM gate_users WHERE gate = ? AND name = ?";
const CONVERSATION: &str = "
    SELECT c.id, c.title IS NOT NULL, max(c.last, coalesce((SELECT max(l.sequence) FROM gate_lines l
        WHERE l.conversation = c.id AND l.sequence IS NOT NULL), 0))
    FROM gate_conversations c WHERE c.gate = ? AND c.name = ?";

/// A conversation as the writer knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversation {
    pub(super) id: i64,
    pub(super) last: i64,
    pub(super) group: bool,
    /// Those who write to each other here are written down as taking part.
    pub(super) settled: bool,
}

/// What is remembered between transactions.
pub(in crate::store::sqlite::writer) struct GateNames {
    users: Recent<(i64, UserId), i64>,
    conversations: Recent<(i64, ConversationId), Conversation>,
    tails: Recent<i64, i64>,
}

impl GateNames {
    pub(in crate::store::sqlite::writer) fn new(limit: usize) -> Self {
        Self { users: Recent::new(limit), conversations: Recent::new(limit), tails: Recent::new(4096) }
    }

    /// After a rollback.
    pub(in crate::store::sqlite::writer) fn forget(&mut self) {
        self.users.clear();
        self.conversations.clear();
        self.tails.clear();
    }

    /// The last position of a gate.
    pub(super) fn tail(&mut self, db: &Connection, gate: i64) -> Result<i64> {
        if let Some(tail) = self.tails.get(&gate) {
            return Ok(tail);
        }
        sql::scalar(db, "SELECT tail FROM gates WHERE id = ?", params![gate]).map_err(failed(OP))
    }

    pub(super) fn keep_tail(&mut self, gate: i64, tail: i64) {
        self.tails.insert(gate, tail);
    }

    pub(super) fn keep(&mut self, gate: i64, name: &ConversationId, conversation: Conversation) {
        self.conversations.insert((gate, name.clone()), conversation);
    }

    /// The numbers of these users; who is new is written down.
    pub(super) fn users<'a>(
        &mut self,
        db: &Connection,
        gate: i64,
        wanted: impl Iterator<Item = &'a UserId>,
    ) -> Result<HashMap<UserId, i64>> {
        numbered(&mut self.users, gate, wanted, |name| user(db, gate, name))
    }

    /// These conversations; what is new is written down.
    pub(super) fn conversations<'a>(
        &mut self,
        db: &Connection,
        gate: i64,
        wanted: impl Iterator<Item = &'a ConversationId>,
    ) -> Result<HashMap<ConversationId, Conversation>> {
        numbered(&mut self.conversations, gate, wanted, |name| conversation(db, gate, name))
    }
}

/// What these names stand for: remembered, or found in the file, or made there, in the order in which they are met.
fn numbered<'a, K: Clone + Eq + Hash + 'a, V: Copy>(
    memory: &mut Recent<(i64, K), V>,
    gate: i64,
    wanted: impl Iterator<Item = &'a K>,
    find_or_make: impl Fn(&K) -> Result<V>,
) -> Result<HashMap<K, V>> {
    let mut found = HashMap::new();
    for name in wanted {
        if found.contains_key(name) {
            continue;
        }
        let key = (gate, name.clone());
        let value = match memory.get(&key) {
            Some(known) => known,
            None => {
                let value = find_or_make(name)?;
                memory.insert(key, value);
                value
            }
        };
        found.insert(name.clone(), value);
    }
    Ok(found)
}

fn user(db: &Connection, gate: i64, name: &UserId) -> Result<i64> {
    let values = params![gate, name.as_str()];
    if let Some(id) = sql::scalar(db, USER, values).optional().map_err(failed(OP))? {
        return Ok(id);
    }
    sql::scalar(db, "INSERT INTO gate_users (gate, name) VALUES (?, ?) RETURNING id", values).map_err(failed(OP))
}

fn conversation(db: &Connection, gate: i64, name: &ConversationId) -> Result<Conversation> {
    let values = params![gate, name.as_str()];
    if let Some((id, group, last)) = sql::one(db, CONVERSATION, values).optional().map_err(failed(OP))? {
        return Ok(Conversation { id, last, group, settled: false });
    }
    let sql = "INSERT INTO gate_conversations (gate, name) VALUES (?, ?) RETURNING id";
    let id = sql::scalar(db, sql, values).map_err(failed(OP))?;
    Ok(Conversation { id, last: 0, group: false, settled: false })
}
