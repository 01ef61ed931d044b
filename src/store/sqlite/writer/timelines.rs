//! Writing the log and the timelines of the self-hosted service.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::{Account, ConversationMarks, DeviceCursor, LineChange, NewLine, Spread, Written};
use switchboard_contract::{App, ConversationId, Error, ErrorKind, Position, Result, Sequence, TenantId, UserId};

use super::errands::Errand;
use super::memory::{Memory, STREAM_SHIFT};
use crate::store::sqlite::error::failed;
use crate::store::sqlite::read::{line_of, lines};
use crate::store::sqlite::sql::{Bulk, Values};

const OP: &str = "timelines";
const KNOWN: &str = lines!("WHERE l.gate = ? AND l.author = ? AND l.client = ?");
static INBOXES: Bulk = Bulk::new("INSERT INTO gate_inboxes (user, place) VALUES ", "(?, ?)", "");

/// Finds or makes a gate.
pub(crate) struct OpenGate(pub(crate) TenantId, pub(crate) App);

#[async_trait]
impl Errand for OpenGate {
    type Outcome = i64;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<i64> {
        let tenant = memory.tenant(db, &self.0).await?;
        let app = memory.app(db, &self.1).await?;
        sqlx::query_scalar(
            "INSERT INTO gates (tenant, app) VALUES (?, ?) ON CONFLICT DO UPDATE SET tenant = excluded.tenant
             RETURNING id",
        )
        .bind(tenant)
        .bind(app)
        .fetch_one(db)
        .await
        .map_err(failed(OP))
    }
}

/// The number of a user, who is written down when new.
async fn user(db: &mut SqliteConnection, gate: i64, name: &UserId) -> Result<i64> {
    let known: Option<i64> = sqlx::query_scalar("SELECT id FROM gate_users WHERE gate = ? AND name = ?")
        .bind(gate)
        .bind(name.as_str())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed(OP))?;
    if let Some(id) = known {
        return Ok(id);
    }
    sqlx::query_scalar("INSERT INTO gate_users (gate, name) VALUES (?, ?) RETURNING id")
        .bind(gate)
        .bind(name.as_str())
        .fetch_one(db)
        .await
        .map_err(failed(OP))
}

/// Writes lines.
pub(crate) struct AppendLines {
    pub(crate) gate: i64,
    pub(crate) lines: Vec<NewLine>,
}

/// What is known of the numbers while one call is written.
struct Scribe<'a> {
    db: &'a mut SqliteConnection,
    gate: i64,
    tail: i64,
    users: HashMap<UserId, i64>,
    /// Number, last sequence, and whether it is a group.
    conversations: HashMap<ConversationId, (i64, i64, bool)>,
    inboxes: Vec<(i64, i64)>,
}

#[async_trait]
impl Errand for AppendLines {
    type Outcome = Vec<Written>;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut Memory) -> Result<Vec<Written>> {
        let tail: i64 = sqlx::query_scalar("SELECT tail FROM gates WHERE id = ?")
            .bind(self.gate)
            .fetch_one(&mut *db)
            .await
            .map_err(failed(OP))?;
        let mut scribe = Scribe {
            db,
            gate: self.gate,
            tail,
            users: HashMap::new(),
            conversations: HashMap::new(),
            inboxes: Vec::new(),
        };
        let mut written = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            written.push(scribe.write(line).await?);
        }
        scribe.finish().await?;
        Ok(written)
    }
}

impl Scribe<'_> {
    async fn write(&mut self, line: &NewLine) -> Result<Written> {
        if let Some(client) = &line.client_id {
            let row = sqlx::query(KNOWN)
                .bind(self.gate)
                .bind(line.by.as_str())
                .bind(client.as_str())
                .fetch_optional(&mut *self.db)
                .await
                .map_err(failed(OP))?;
            if let Some(row) = row {
                return Ok(Written::Known(Box::new(line_of(&row)?)));
            }
        }
        self.tail += 1;
        let place = (self.gate << STREAM_SHIFT) | self.tail;
        let mut number = None;
        let mut sequence = None;
        if let Some(id) = &line.conversation {
            let (conversation, last, group) = self.conversation(id).await?;
            number = Some(conversation);
            if line.numbered {
                sequence = Some(last + 1);
                self.conversations.insert(id.clone(), (conversation, last + 1, group));
            }
        }
        let shared = line.spread == Spread::Members;
        if let Spread::Users(users) = &line.spread {
            self.spread(line, place, number, users).await?;
        }
        sqlx::query(
            "INSERT INTO gate_lines (place, gate, conversation, sequence, kind, id, author, client, at, mark, shared, payload)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(place)
        .bind(self.gate)
        .bind(number)
        .bind(sequence)
        .bind(line.kind.code())
        .bind(line.id.as_bytes().as_slice())
        .bind(line.by.as_str())
        .bind(line.client_id.as_deref())
        .bind(line.at.0)
        .bind(line.mark.as_deref())
        .bind(shared)
        .bind(line.payload.as_ref())
        .execute(&mut *self.db)
        .await
        .map_err(failed(OP))?;
        for change in &line.changes {
            self.change(change, number).await?;
        }
        let sequence = sequence.map(|number| Sequence(number.cast_unsigned()));
        Ok(Written::Fresh { position: Position(self.tail.cast_unsigned()), sequence })
    }

    /// A row for each user; two people who write to each other for the first time take part from then on.
    async fn spread(&mut self, line: &NewLine, place: i64, number: Option<i64>, users: &[UserId]) -> Result<()> {
        let group = line.conversation.as_ref().and_then(|id| self.conversations.get(id)).is_some_and(|found| found.2);
        for name in users {
            let id = self.user(name).await?;
            self.inboxes.push((id, place));
            if let Some(number) = number.filter(|_| !group) {
                sqlx::query(
                    "INSERT INTO gate_members (conversation, user, since) SELECT ?1, ?2, ?3
                     WHERE NOT EXISTS (SELECT 1 FROM gate_members WHERE conversation = ?1 AND user = ?2)",
                )
                .bind(number)
                .bind(id)
                .bind(self.tail)
                .execute(&mut *self.db)
                .await
                .map_err(failed(OP))?;
            }
        }
        Ok(())
    }

    async fn user(&mut self, name: &UserId) -> Result<i64> {
        if let Some(id) = self.users.get(name) {
            return Ok(*id);
        }
        let id = user(self.db, self.gate, name).await?;
        self.users.insert(name.clone(), id);
        Ok(id)
    }

    async fn conversation(&mut self, name: &ConversationId) -> Result<(i64, i64, bool)> {
        if let Some(found) = self.conversations.get(name) {
            return Ok(*found);
        }
        let sql = "SELECT id, last, title IS NOT NULL FROM gate_conversations WHERE gate = ? AND name = ?";
        let known: Option<(i64, i64, bool)> = sqlx::query_as(sql)
            .bind(self.gate)
            .bind(name.as_str())
            .fetch_optional(&mut *self.db)
            .await
            .map_err(failed(OP))?;
        let found = match known {
            Some(found) => found,
            None => {
                let id = sqlx::query_scalar("INSERT INTO gate_conversations (gate, name) VALUES (?, ?) RETURNING id")
                    .bind(self.gate)
                    .bind(name.as_str())
                    .fetch_one(&mut *self.db)
                    .await
                    .map_err(failed(OP))?;
                (id, 0, false)
            }
        };
        self.conversations.insert(name.clone(), found);
        Ok(found)
    }

    async fn change(&mut self, change: &LineChange, conversation: Option<i64>) -> Result<()> {
        match change {
            LineChange::Rewrite { target, payload, recalled } => {
                let done = sqlx::query(
                    "UPDATE gate_lines SET payload = ?, recalled = max(recalled, ?) WHERE gate = ? AND id = ?",
                )
                .bind(payload.as_ref())
                .bind(*recalled)
                .bind(self.gate)
                .bind(target.as_bytes().as_slice())
                .execute(&mut *self.db)
                .await
                .map_err(failed(OP))?;
                if done.rows_affected() == 0 {
                    return Err(Error::new(ErrorKind::NotFound, "no such message"));
                }
            }
            LineChange::Marks(marks) => {
                let user = self.user(&marks.user).await?;
                if let Some(conversation) = conversation {
                    raise(self.db, conversation, user, marks).await?;
                }
            }
            LineChange::Group { name, owner, muted, ended } => {
                sqlx::query("UPDATE gate_conversations SET title = ?, owner = ?, muted = ?, ended = ? WHERE id = ?")
                    .bind(name.as_str())
                    .bind(owner.as_str())
                    .bind(*muted)
                    .bind(*ended)
                    .bind(conversation)
                    .execute(&mut *self.db)
                    .await
                    .map_err(failed(OP))?;
                if let Some(known) = self.conversations.values_mut().find(|known| Some(known.0) == conversation) {
                    known.2 = true;
                }
            }
            LineChange::Member { user, role, muted_until } => {
                let user = self.user(user).await?;
                let until = muted_until.map(|time| time.0);
                let sql = "UPDATE gate_members SET role = ?, muted_until = ?
                           WHERE conversation = ? AND user = ? AND until IS NULL";
                let known = sqlx::query(sql)
                    .bind(role.code())
                    .bind(until)
                    .bind(conversation)
                    .bind(user)
                    .execute(&mut *self.db)
                    .await
                    .map_err(failed(OP))?;
                if known.rows_affected() == 0 {
                    let sql = "INSERT INTO gate_members (conversation, user, since, role, muted_until)
                               VALUES (?, ?, ?, ?, ?)";
                    sqlx::query(sql)
                        .bind(conversation)
                        .bind(user)
                        .bind(self.tail)
                        .bind(role.code())
                        .bind(until)
                        .execute(&mut *self.db)
                        .await
                        .map_err(failed(OP))?;
                }
            }
            LineChange::Leave { user } => {
                let user = self.user(user).await?;
                let sql = "UPDATE gate_members SET until = ? WHERE conversation = ? AND user = ? AND until IS NULL";
                sqlx::query(sql)
                    .bind(self.tail)
                    .bind(conversation)
                    .bind(user)
                    .execute(&mut *self.db)
                    .await
                    .map_err(failed(OP))?;
            }
        }
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        let Self { db, gate, tail, conversations, inboxes, .. } = self;
        let mut rest = inboxes.as_slice();
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at(INBOXES.fit(rest.len()));
            rest = left;
            let mut values = Values::with_capacity(chunk.len() * 2);
            for (user, place) in chunk {
                values.push(*user);
                values.push(*place);
            }
            let values = values.done().map_err(failed(OP))?;
            sqlx::query_with(INBOXES.text(chunk.len()), values).execute(&mut *db).await.map_err(failed(OP))?;
        }
        for (id, last, _) in conversations.values() {
            sqlx::query("UPDATE gate_conversations SET last = ? WHERE id = ?")
                .bind(last)
                .bind(id)
                .execute(&mut *db)
                .await
                .map_err(failed(OP))?;
        }
        sqlx::query("UPDATE gates SET tail = ? WHERE id = ?")
            .bind(tail)
            .bind(gate)
            .execute(db)
            .await
            .map(drop)
            .map_err(failed(OP))
    }
}

async fn raise(db: &mut SqliteConnection, conversation: i64, user: i64, marks: &ConversationMarks) -> Result<()> {
    sqlx::query(
        "INSERT INTO gate_marks (conversation, user, delivered, read) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET delivered = max(delivered, excluded.delivered), read = max(read, excluded.read)",
    )
    .bind(conversation)
    .bind(user)
    .bind(marks.delivered.0.cast_signed())
    .bind(marks.read.0.cast_signed())
    .execute(db)
    .await
    .map(drop)
    .map_err(failed(OP))
}

/// Writes an account.
pub(crate) struct PutAccount(pub(crate) i64, pub(crate) Account);

#[async_trait]
impl Errand for PutAccount {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut Memory) -> Result<()> {
        let Self(gate, account) = self;
        let profile = serde_json::to_string(&account.profile)
            .map_err(|error| Error::new(ErrorKind::Internal, "a profile could not be encoded").with_source(error))?;
        sqlx::query(
            "INSERT INTO gate_users (gate, name, profile, banned_until) VALUES (?, ?, ?, ?)
             ON CONFLICT (gate, name) DO UPDATE SET profile = excluded.profile, banned_until = excluded.banned_until",
        )
        .bind(*gate)
        .bind(account.user.as_str())
        .bind(profile)
        .bind(account.banned_until.map(|time| time.0))
        .execute(db)
        .await
        .map(drop)
        .map_err(failed(OP))
    }
}

/// Writes cursors of devices.
pub(crate) struct SaveDevices(pub(crate) i64, pub(crate) Vec<DeviceCursor>);

#[async_trait]
impl Errand for SaveDevices {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut Memory) -> Result<()> {
        for cursor in &self.1 {
            let user = user(db, self.0, &cursor.user).await?;
            sqlx::query(
                "INSERT INTO gate_devices (user, device, low, seen_at) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO UPDATE SET low = max(low, excluded.low), seen_at = max(seen_at, excluded.seen_at)",
            )
            .bind(user)
            .bind(cursor.device.as_str())
            .bind(cursor.low.0.cast_signed())
            .bind(cursor.seen_at.0)
            .execute(&mut *db)
            .await
            .map_err(failed(OP))?;
        }
        Ok(())
    }
}

/// Raises marks.
pub(crate) struct RaiseMarks(pub(crate) i64, pub(crate) Vec<(ConversationId, ConversationMarks)>);

#[async_trait]
impl Errand for RaiseMarks {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut Memory) -> Result<()> {
        for (name, marks) in &self.1 {
            let conversation: Option<i64> =
                sqlx::query_scalar("SELECT id FROM gate_conversations WHERE gate = ? AND name = ?")
                    .bind(self.0)
                    .bind(name.as_str())
                    .fetch_optional(&mut *db)
                    .await
                    .map_err(failed(OP))?;
            let Some(conversation) = conversation else { continue };
            let user = user(db, self.0, &marks.user).await?;
            raise(db, conversation, user, marks).await?;
        }
        Ok(())
    }
}
