//! Numbers of users and conversations of the self-hosted service: looked up in lists, and kept at hand.

use std::collections::{HashMap, HashSet};

use sqlx::{Row as _, SqliteConnection};
use switchboard_contract::{ConversationId, Result, UserId};

use super::OP;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::recent::Recent;
use crate::store::sqlite::sql::{Bulk, Values};

static USERS: Bulk = Bulk::new("SELECT name, id FROM gate_users WHERE gate = ? AND name IN (", "?", ")");
static CONVERSATIONS: Bulk = Bulk::new(
    "SELECT c.name, c.id, c.title IS NOT NULL, max(c.last, coalesce((SELECT max(l.sequence) FROM gate_lines l
         WHERE l.conversation = c.id AND l.sequence IS NOT NULL), 0))
     FROM gate_conversations c WHERE c.gate = ? AND c.name IN (",
    "?",
    ")",
);

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
    pub(super) async fn tail(&mut self, db: &mut SqliteConnection, gate: i64) -> Result<i64> {
        if let Some(tail) = self.tails.get(&gate) {
            return Ok(tail);
        }
        sqlx::query_scalar("SELECT tail FROM gates WHERE id = ?").bind(gate).fetch_one(db).await.map_err(failed(OP))
    }

    pub(super) fn keep_tail(&mut self, gate: i64, tail: i64) {
        self.tails.insert(gate, tail);
    }

    pub(super) fn keep(&mut self, gate: i64, name: &ConversationId, conversation: Conversation) {
        self.conversations.insert((gate, name.clone()), conversation);
    }

    /// The numbers of these users; who is new is written down.
    pub(super) async fn users<'a>(
        &mut self,
        db: &mut SqliteConnection,
        gate: i64,
        wanted: impl Iterator<Item = &'a UserId>,
    ) -> Result<HashMap<UserId, i64>> {
        let (mut found, mut seen, mut missing) = (HashMap::new(), HashSet::new(), Vec::new());
        for name in wanted.filter(|name| seen.insert(*name)) {
            match self.users.get(&(gate, name.clone())) {
                Some(id) => drop(found.insert(name.clone(), id)),
                // Numbers are given in the order in which names are met.
                None => missing.push(name),
            }
        }
        for part in missing.chunks(1024) {
            let names: Vec<&str> = part.iter().map(|name| name.as_str()).collect();
            for row in look_up(db, &USERS, gate, &names).await? {
                let (name, id): (String, i64) =
                    (row.try_get(0).map_err(failed(OP))?, row.try_get(1).map_err(failed(OP))?);
                found.insert(UserId::from(name), id);
            }
        }
        for name in missing {
            let id = match found.get(name) {
                Some(id) => *id,
                None => new_user(db, gate, name).await?,
            };
            found.insert(name.clone(), id);
            self.users.insert((gate, name.clone()), id);
        }
        Ok(found)
    }

    /// These conversations; what is new is written down.
    pub(super) async fn conversations<'a>(
        &mut self,
        db: &mut SqliteConnection,
        gate: i64,
        wanted: impl Iterator<Item = &'a ConversationId>,
    ) -> Result<HashMap<ConversationId, Conversation>> {
        let (mut found, mut seen, mut missing) = (HashMap::new(), HashSet::new(), Vec::new());
        for name in wanted.filter(|name| seen.insert(*name)) {
            match self.conversations.get(&(gate, name.clone())) {
                Some(known) => drop(found.insert(name.clone(), known)),
                None => missing.push(name),
            }
        }
        let mut stored: HashMap<String, Conversation> = HashMap::new();
        for part in missing.chunks(1024) {
            let names: Vec<&str> = part.iter().map(|name| name.as_str()).collect();
            for row in look_up(db, &CONVERSATIONS, gate, &names).await? {
                let read = || -> sqlx::Result<(String, Conversation)> {
                    let (id, group, last) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                    Ok((row.try_get(0)?, Conversation { id, last, group, settled: false }))
                };
                let (name, conversation) = read().map_err(failed(OP))?;
                stored.insert(name, conversation);
            }
        }
        for name in missing {
            let conversation = match stored.get(name.as_str()) {
                Some(known) => *known,
                None => new_conversation(db, gate, name).await?,
            };
            found.insert(name.clone(), conversation);
            self.keep(gate, name, conversation);
        }
        Ok(found)
    }
}

async fn look_up(
    db: &mut SqliteConnection,
    bulk: &'static Bulk,
    gate: i64,
    names: &[&str],
) -> Result<Vec<sqlx::sqlite::SqliteRow>> {
    let size = Bulk::padded(names.len());
    let mut values = Values::with_capacity(1 + size);
    values.push(gate);
    (0..size).for_each(|at| values.push(names[at.min(names.len() - 1)]));
    let values = values.done().map_err(failed(OP))?;
    sqlx::query_with(bulk.text(size), values).fetch_all(db).await.map_err(failed(OP))
}

async fn new_user(db: &mut SqliteConnection, gate: i64, name: &UserId) -> Result<i64> {
    sqlx::query_scalar("INSERT INTO gate_users (gate, name) VALUES (?, ?) RETURNING id")
        .bind(gate)
        .bind(name.as_str())
        .fetch_one(db)
        .await
        .map_err(failed(OP))
}

async fn new_conversation(db: &mut SqliteConnection, gate: i64, name: &ConversationId) -> Result<Conversation> {
    let id = sqlx::query_scalar("INSERT INTO gate_conversations (gate, name) VALUES (?, ?) RETURNING id")
        .bind(gate)
        .bind(name.as_str())
        .fetch_one(db)
        .await
        .map_err(failed(OP))?;
    Ok(Conversation { id, last: 0, group: false, settled: false })
}
