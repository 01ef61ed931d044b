//! Lines of the self-hosted service, however many: looked up, numbered and written together.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};
use switchboard_contract::storage::{Line, LineChange, LineKind, NewLine, Spread, Written};
use switchboard_contract::{ConversationId, Error, ErrorKind, Position, Result, Sequence, UserId};

use super::names::Conversation;
use super::{OP, marks};
use crate::store::sqlite::error::failed;
use crate::store::sqlite::read::{LineColumns, columns, line, lines};
use crate::store::sqlite::writer::errands::Errand;
use crate::store::sqlite::writer::memory::{Memory, STREAM_SHIFT};
use crate::store::sqlite::writer::sql::{self, List};

static LINES: List = List::new(
    "INSERT INTO gate_lines
         (place, gate, conversation, sequence, kind, id, author, client, at, mark, shared, payload, digest) VALUES ",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?)",
);
static INBOXES: List = List::new("INSERT INTO gate_inboxes (user, place) VALUES ", "(?,?)");
const KEY: &str = lines!("WHERE l.gate = ? AND l.author = ? AND l.client = ?");

/// Writes lines.
pub(crate) struct AppendLines {
    pub(crate) gate: i64,
    pub(crate) lines: Vec<NewLine>,
}

impl Errand for AppendLines {
    type Outcome = Vec<Written>;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<Vec<Written>> {
        let Self { gate, lines } = &*self;
        let known = keys(db, *gate, lines)?;
        let users = memory.gates.users(db, *gate, lines.iter().flat_map(users_of))?;
        let ids = lines.iter().filter_map(|line| line.conversation.as_ref());
        let conversations = memory.gates.conversations(db, *gate, ids)?;
        let tail = memory.gates.tail(db, *gate)?;
        let mut scribe = Scribe { gate: *gate, tail, known, users, conversations, ..Scribe::default() };
        let written = lines.iter().map(|line| scribe.number(line)).collect();
        scribe.write(db)?;
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
fn keys(db: &Connection, gate: i64, lines: &[NewLine]) -> Result<HashMap<(UserId, String), Line>> {
    let mut find = db.prepare_cached(KEY).map_err(failed(OP))?;
    let mut known = HashMap::new();
    for line in lines {
        let Some(client) = &line.client_id else { continue };
        let values = params![gate, line.by.as_str(), client];
        let found = find.query_row(values, |row| LineColumns::try_from(row)).optional().map_err(failed(OP))?;
        if let Some(found) = found {
            known.insert((line.by.clone(), client.clone()), self::line(found)?);
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

    fn write(&mut self, db: &Connection) -> Result<()> {
        self.write_lines(db)?;
        self.write_inboxes(db)?;
        for (conversation, user, position) in std::mem::take(&mut self.joined) {
            sql::execute(
                db,
                "INSERT INTO gate_members (conversation, user, since) SELECT ?1, ?2, ?3
                 WHERE NOT EXISTS (SELECT 1 FROM gate_members WHERE conversation = ?1 AND user = ?2)",
                params![conversation, user, position],
            )
            .map_err(failed(OP))?;
        }
        for placed in std::mem::take(&mut self.placed) {
            for change in &placed.line.changes {
                self.change(db, change, &placed)?;
            }
        }
        marks::raise(db, self.marks.drain())?;
        sql::execute(db, "UPDATE gates SET tail = ? WHERE id = ?", params![self.tail, self.gate])
            .map(drop)
            .map_err(failed(OP))
    }

    fn write_lines(&self, db: &Connection) -> Result<()> {
        LINES.run(db, OP, &self.placed, |values, Placed { line, position, conversation, sequence }| {
            values.push((self.gate << STREAM_SHIFT) | position);
            values.push(self.gate);
            values.push(conversation);
            values.push(sequence);
            values.push(line.kind.code());
            values.push(line.id.as_bytes());
            values.push(line.by.as_str());
            values.push(&line.client_id);
            values.push(line.at.0);
            values.push(&line.mark);
            values.push(line.spread == Spread::Members);
            values.push(&line.payload[..]);
            values.push((line.digest != 0).then_some(line.digest.cast_signed()));
            Ok(())
        })
    }

    fn write_inboxes(&self, db: &Connection) -> Result<()> {
        INBOXES.run(db, OP, &self.inboxes, |values, (user, place)| {
            values.push(user);
            values.push(place);
            Ok(())
        })
    }

    fn change(&mut self, db: &Connection, change: &LineChange, at: &Placed<'_>) -> Result<()> {
        let number = |name: &UserId| self.users.get(name).copied();
        match change {
            LineChange::Rewrite { target, payload, recalled } => {
                let sql = "UPDATE gate_lines SET payload = ?, recalled = max(recalled, ?) WHERE gate = ? AND id = ?";
                let values = params![&payload[..], recalled, self.gate, target.as_bytes()];
                if sql::execute(db, sql, values).map_err(failed(OP))? == 0 {
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
                sql::execute(
                    db,
                    "UPDATE gate_conversations SET title = ?, owner = ?, muted = ?, ended = ? WHERE id = ?",
                    params![name.as_str(), owner.as_str(), *muted, *ended, at.conversation],
                )
                .map_err(failed(OP))?;
            }
            LineChange::Member { user, role, muted_until } => {
                let (user, until) = (number(user), muted_until.map(|time| time.0));
                let sql = "UPDATE gate_members SET role = ?, muted_until = ?
                           WHERE conversation = ? AND user = ? AND until IS NULL";
                let values = params![role.code(), until, at.conversation, user];
                if sql::execute(db, sql, values).map_err(failed(OP))? == 0 {
                    let sql = "INSERT INTO gate_members (conversation, user, since, role, muted_until)
                               VALUES (?, ?, ?, ?, ?)";
                    let values = params![at.conversation, user, at.position, role.code(), until];
                    sql::execute(db, sql, values).map_err(failed(OP))?;
                }
            }
            LineChange::Leave { user } => {
                let sql = "UPDATE gate_members SET until = ? WHERE conversation = ? AND user = ? AND until IS NULL";
                let values = params![at.position, at.conversation, number(user)];
                sql::execute(db, sql, values).map_err(failed(OP))?;
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
