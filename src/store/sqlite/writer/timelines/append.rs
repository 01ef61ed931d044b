//! Lines of the self-hosted service, however many: looked up, numbered and written in lists.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::{Row as _, SqliteConnection};
use switchboard_contract::storage::{Line, LineChange, LineKind, NewLine, Spread, Written};
use switchboard_contract::{ConversationId, Error, ErrorKind, Position, Result, Sequence, UserId};

use super::names::Conversation;
use super::{OP, marks};
use crate::store::sqlite::error::failed;
use crate::store::sqlite::read::{columns, line_of};
use crate::store::sqlite::sql::{Bulk, Values};
use crate::store::sqlite::writer::errands::Errand;
use crate::store::sqlite::writer::memory::{Memory, STREAM_SHIFT};

static LINES: Bulk = Bulk::new(
    "INSERT INTO gate_lines
         (place, gate, conversation, sequence, kind, id, author, client, at, mark, shared, payload, digest) VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "",
);
static INBOXES: Bulk = Bulk::new("INSERT INTO gate_inboxes (user, place) VALUES ", "(?, ?)", "");
static KEYS: Bulk = Bulk::new(
    "WITH k (author, client) AS (VALUES ",
    "(?, ?)",
    concat!(
        ") SELECT ",
        columns!(),
        " FROM k CROSS JOIN gate_lines l LEFT JOIN gate_conversations c ON c.id = l.conversation
         WHERE l.gate = ? AND l.author = k.author AND l.client = k.client"
    ),
);

/// Writes lines.
pub(crate) struct AppendLines {
    pub(crate) gate: i64,
    pub(crate) lines: Vec<NewLine>,
}

#[async_trait]
impl Errand for AppendLines {
    type Outcome = Vec<Written>;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<Vec<Written>> {
        let Self { gate, lines } = &*self;
        let known = keys(db, *gate, lines).await?;
        let users = memory.gates.users(db, *gate, lines.iter().flat_map(users_of)).await?;
        let ids = lines.iter().filter_map(|line| line.conversation.as_ref());
        let conversations = memory.gates.conversations(db, *gate, ids).await?;
        let tail = memory.gates.tail(db, *gate).await?;
        let mut scribe = Scribe { gate: *gate, tail, known, users, conversations, ..Scribe::default() };
        let written = lines.iter().map(|line| scribe.number(line)).collect();
        scribe.write(db).await?;
        for (name, conversation) in &scribe.conversations {
            memory.gates.keep(*gate, name, *conversation);
        }
        memory.gates.keep_tail(*gate, scribe.tail);
        Ok(written)
    }
}

/// Everybody whose number a line needs.
fn users_of(line: &NewLine) -> impl Iterator<Item = &UserId> {
    let spread = match &line.spread {
        Spread::Users(users) => &users[..],
        Spread::Nobody | Spread::Members => &[],
    };
    let changed = line.changes.iter().filter_map(|change| match change {
        LineChange::Marks(marks) => Some(&marks.user),
        LineChange::Member { user, .. } | LineChange::Leave { user } => Some(user),
        LineChange::Rewrite { .. } | LineChange::Group { .. } => None,
    });
    spread.iter().chain(changed)
}

/// The lines that have these lines' keys already.
async fn keys(db: &mut SqliteConnection, gate: i64, lines: &[NewLine]) -> Result<HashMap<(UserId, String), Line>> {
    let keyed: Vec<(&str, &str)> =
        lines.iter().filter_map(|line| Some((line.by.as_str(), line.client_id.as_deref()?))).collect();
    let mut known = HashMap::new();
    for part in keyed.chunks(1024) {
        let size = Bulk::padded(part.len());
        let mut values = Values::with_capacity(size * 2 + 1);
        for at in 0..size {
            let (author, client) = part[at.min(part.len() - 1)];
            values.push(author);
            values.push(client);
        }
        values.push(gate);
        let values = values.done().map_err(failed(OP))?;
        for row in sqlx::query_with(KEYS.text(size), values).fetch_all(&mut *db).await.map_err(failed(OP))? {
            let (author, client): (String, String) =
                (row.try_get(4).map_err(failed(OP))?, row.try_get(5).map_err(failed(OP))?);
            known.insert((UserId::from(author), client), line_of(&row)?);
        }
    }
    Ok(known)
}

/// A line with its place.
struct Placed<'a> {
    line: &'a NewLine,
    position: i64,
    conversation: Option<i64>,
    sequence: Option<i64>,
}

/// One call on its way into the tables.
#[derive(Default)]
struct Scribe<'a> {
    gate: i64,
    tail: i64,
    known: HashMap<(UserId, String), Line>,
    users: HashMap<UserId, i64>,
    conversations: HashMap<ConversationId, Conversation>,
    /// The numbers of an audience, by its address: many lines share one, and all outlive this.
    audiences: HashMap<usize, Vec<i64>>,
    placed: Vec<Placed<'a>>,
    inboxes: Vec<(i64, i64)>,
    /// Conversation, user, position: they take part from there, unless they do already.
    joined: Vec<(i64, i64, i64)>,
    marks: HashMap<(i64, i64), (i64, i64)>,
}

impl<'a> Scribe<'a> {
    fn number(&mut self, line: &'a NewLine) -> Written {
        let key = line.client_id.as_ref().map(|client| (line.by.clone(), client.clone()));
        if let Some(known) = key.as_ref().and_then(|key| self.known.get(key)) {
            return Written::Known(Box::new(known.clone()));
        }
        self.tail += 1;
        let (mut number, mut sequence) = (None, None);
        let becomes_group = line.changes.iter().any(|change| matches!(change, LineChange::Group { .. }));
        if let Some(conversation) = line.conversation.as_ref().and_then(|id| self.conversations.get_mut(id)) {
            conversation.group |= becomes_group;
            number = Some(conversation.id);
            if line.numbered {
                conversation.last += 1;
                sequence = Some(conversation.last);
            }
        }
        self.spread(line);
        self.placed.push(Placed { line, position: self.tail, conversation: number, sequence });
        let position = Position(self.tail.cast_unsigned());
        let sequence = sequence.map(|number| Sequence(number.cast_unsigned()));
        if let Some(key) = key {
            // A second line with this key in the same call finds the first.
            self.known.insert(key, line_at(line, position, sequence));
        }
        Written::Fresh { position, sequence }
    }

    /// A row for each user; two people who write to each other for the first time take part from then on.
    fn spread(&mut self, line: &NewLine) {
        let Spread::Users(audience) = &line.spread else { return };
        let Self { users, audiences, .. } = self;
        let numbers = audiences
            .entry(audience.as_ptr().addr())
            .or_insert_with(|| audience.iter().filter_map(|name| users.get(name).copied()).collect());
        let place = (self.gate << STREAM_SHIFT) | self.tail;
        self.inboxes.extend(numbers.iter().map(|user| (*user, place)));
        let Some(conversation) = line.conversation.as_ref().and_then(|id| self.conversations.get_mut(id)) else {
            return;
        };
        if !conversation.group && !conversation.settled {
            self.joined.extend(numbers.iter().map(|user| (conversation.id, *user, self.tail)));
            // Everybody a message is for; a mark is for its reader alone.
            conversation.settled = line.kind == LineKind::Message;
        }
    }

    async fn write(&mut self, db: &mut SqliteConnection) -> Result<()> {
        self.write_lines(db).await?;
        self.write_inboxes(db).await?;
        for (conversation, user, position) in std::mem::take(&mut self.joined) {
            sqlx::query(
                "INSERT INTO gate_members (conversation, user, since) SELECT ?1, ?2, ?3
                 WHERE NOT EXISTS (SELECT 1 FROM gate_members WHERE conversation = ?1 AND user = ?2)",
            )
            .bind(conversation)
            .bind(user)
            .bind(position)
            .execute(&mut *db)
            .await
            .map_err(failed(OP))?;
        }
        for placed in std::mem::take(&mut self.placed) {
            for change in &placed.line.changes {
                self.change(db, change, &placed).await?;
            }
        }
        let risen: Vec<_> = self.marks.drain().map(|((at, user), (out, read))| (at, user, out, read)).collect();
        marks::raise(db, &risen).await?;
        sqlx::query("UPDATE gates SET tail = ? WHERE id = ?")
            .bind(self.tail)
            .bind(self.gate)
            .execute(db)
            .await
            .map(drop)
            .map_err(failed(OP))
    }

    async fn write_lines(&self, db: &mut SqliteConnection) -> Result<()> {
        let mut rest = self.placed.as_slice();
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at(LINES.fit(rest.len()));
            rest = left;
            let mut values = Values::with_capacity(chunk.len() * 13);
            for Placed { line, position, conversation, sequence } in chunk {
                values.push((self.gate << STREAM_SHIFT) | position);
                values.push(self.gate);
                values.push(*conversation);
                values.push(*sequence);
                values.push(line.kind.code());
                values.push(line.id.as_bytes().as_slice());
                values.push(line.by.as_str());
                values.push(line.client_id.as_deref());
                values.push(line.at.0);
                values.push(line.mark.as_deref());
                values.push(line.spread == Spread::Members);
                values.push(line.payload.as_ref());
                values.push((line.digest != 0).then_some(line.digest.cast_signed()));
            }
            let values = values.done().map_err(failed(OP))?;
            sqlx::query_with(LINES.text(chunk.len()), values).execute(&mut *db).await.map_err(failed(OP))?;
        }
        Ok(())
    }

    async fn write_inboxes(&self, db: &mut SqliteConnection) -> Result<()> {
        let mut rest = self.inboxes.as_slice();
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
        Ok(())
    }

    async fn change(&mut self, db: &mut SqliteConnection, change: &LineChange, at: &Placed<'_>) -> Result<()> {
        let number = |name: &UserId| self.users.get(name).copied();
        match change {
            LineChange::Rewrite { target, payload, recalled } => {
                let sql = "UPDATE gate_lines SET payload = ?, recalled = max(recalled, ?) WHERE gate = ? AND id = ?";
                let (id, payload) = (target.as_bytes().as_slice(), payload.as_ref());
                let done = sqlx::query(sql).bind(payload).bind(*recalled).bind(self.gate).bind(id);
                if done.execute(db).await.map_err(failed(OP))?.rows_affected() == 0 {
                    return Err(Error::new(ErrorKind::NotFound, "no such message"));
                }
            }
            LineChange::Marks(marks) => {
                if let (Some(conversation), Some(user)) = (at.conversation, number(&marks.user)) {
                    let risen = self.marks.entry((conversation, user)).or_default();
                    risen.0 = risen.0.max(marks.delivered.0.cast_signed());
                    risen.1 = risen.1.max(marks.read.0.cast_signed());
                }
            }
            LineChange::Group { name, owner, muted, ended } => {
                sqlx::query("UPDATE gate_conversations SET title = ?, owner = ?, muted = ?, ended = ? WHERE id = ?")
                    .bind(name.as_str())
                    .bind(owner.as_str())
                    .bind(*muted)
                    .bind(*ended)
                    .bind(at.conversation)
                    .execute(db)
                    .await
                    .map_err(failed(OP))?;
            }
            LineChange::Member { user, role, muted_until } => {
                let (user, until) = (number(user), muted_until.map(|time| time.0));
                let sql = "UPDATE gate_members SET role = ?, muted_until = ?
                           WHERE conversation = ? AND user = ? AND until IS NULL";
                let known = sqlx::query(sql).bind(role.code()).bind(until).bind(at.conversation).bind(user);
                if known.execute(&mut *db).await.map_err(failed(OP))?.rows_affected() == 0 {
                    let sql = "INSERT INTO gate_members (conversation, user, since, role, muted_until)
                               VALUES (?, ?, ?, ?, ?)";
                    let new = sqlx::query(sql).bind(at.conversation).bind(user).bind(at.position).bind(role.code());
                    new.bind(until).execute(db).await.map_err(failed(OP))?;
                }
            }
            LineChange::Leave { user } => {
                let user = number(user);
                let sql = "UPDATE gate_members SET until = ? WHERE conversation = ? AND user = ? AND until IS NULL";
                let gone = sqlx::query(sql).bind(at.position).bind(at.conversation).bind(user);
                gone.execute(db).await.map_err(failed(OP))?;
            }
        }
        Ok(())
    }
}

fn line_at(line: &NewLine, position: Position, sequence: Option<Sequence>) -> Line {
    Line {
        position,
        sequence,
        conversation: line.conversation.clone(),
        kind: line.kind,
        id: line.id,
        by: line.by.clone(),
        client_id: line.client_id.clone(),
        digest: line.digest,
        at: line.at,
        mark: line.mark.clone(),
        recalled: false,
        payload: line.payload.clone(),
    }
}
