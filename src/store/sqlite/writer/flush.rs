//! Writing what was planned, in lists.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use rusqlite::{Connection, OptionalExtension as _, params};
use switchboard_contract::storage::{Entry, QuarantineReason, Quarantined};
use switchboard_contract::{App, Body, Error, ErrorKind, Event, RawCallback, Result};

use super::News;
use super::facts::Facts;
use super::memory::{Memory, SHARD};
use super::outbox;
use super::plan::{Plan, Row};
use super::setbacks;
use super::sql::{self, List};
use super::tables::keep_aside;
use crate::store::content;
use crate::store::sqlite::behind::{Named, Stand};
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::head::Head;
use crate::store::sqlite::sql::signed;

const OP: &str = "append";

static CONVERSATIONS: List = List::new("INSERT INTO conversations (id, tenant, name) VALUES ", "(?,?,?)");
static JOURNAL: List = List::new(
    "INSERT INTO journal (place, tenant, conversation, sequence, app, class, key, digest, origin, sent_at, received_max,
     message, sort_key, sender, body, head, json) VALUES ",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
);
static RAWS: List = List::new("INSERT INTO raws (place, raw) VALUES ", "(?,?)");

/// Writes everything, and says what is new in which stream. The memory is brought up to date, which a rollback undoes.
pub(super) fn flush(db: &Connection, memory: &mut Memory, facts: Facts<'_>, plan: Plan<'_>) -> Result<Vec<News>> {
    conversations(db, &facts)?;
    let entries = journal(db, &facts, &plan.rows)?;
    raws(db, &facts, &plan.rows)?;
    for place in &plan.buried {
        bury(db, *place)?;
    }
    variants(db, &facts, &plan)?;
    awaited(db, memory, &facts)?;
    outbox::write(db, &plan)?;
    index(memory, &facts, &plan.rows);
    memory.index.write(db)?;
    setbacks::write(db, memory, &plan.setbacks)?;
    ends(db, &facts, &plan)?;
    let mut news: Vec<News> = facts
        .streams
        .iter()
        .map(|tail| News { tenant: tail.name.clone(), shard: SHARD, entries: Vec::new() })
        .collect();
    for (row, entry) in plan.rows.iter().zip(entries) {
        news[facts.items[row.item].stream].entries.push(entry);
    }
    news.retain(|news| !news.entries.is_empty());
    greatest(memory, &facts, &plan.rows);
    remember(memory, facts);
    Ok(news)
}

fn conversations(db: &Connection, facts: &Facts<'_>) -> Result<()> {
    let fresh: Vec<_> = facts.heads.iter().filter(|state| state.fresh).collect();
    CONVERSATIONS.run(db, OP, &fresh, |values, state| {
        values.push(state.head.map(|head| head.id));
        values.push(state.tenant);
        values.push(state.name.as_str());
        Ok(())
    })
}

fn length(json: &[u8]) -> Result<u32> {
    u32::try_from(json.len()).map_err(|_| Error::new(ErrorKind::TooLarge, "an event is larger than a row takes"))
}

fn journal(db: &Connection, facts: &Facts<'_>, rows: &[Row<'_>]) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(rows.len());
    let mut apps: HashMap<i64, Arc<App>> = HashMap::new();
    JOURNAL.run(db, OP, rows, |values, row| {
        let item = &facts.items[row.item];
        let event: &Event = &row.event;
        let message = content::message(event);
        let json = event.encode(row.position, row.sequence)?;
        let conversation = item.head.and_then(|head| facts.heads[head].head).map(|head| head.id);
        let head = Head {
            position: row.position.0,
            sequence: row.sequence.map_or(0, |sequence| sequence.0),
            conversation: conversation.unwrap_or(0),
            app: item.app,
            message: message.map_or([0; 16], |message| *message.id.as_bytes()),
            sent_at: event.sent_at.0,
            received_at: event.received_at.0,
            length: length(&json)?,
            topic: event.topic(),
            late: event.late,
        };
        values.push(row.place);
        values.push(item.tenant);
        values.push(conversation);
        values.push(row.sequence.map(|sequence| signed(sequence.0)));
        values.push(item.app);
        values.push(item.draft.key.class.code());
        values.push(item.draft.key.id.as_str());
        values.push(signed(item.draft.digest));
        values.push(event.origin.code());
        values.push(event.sent_at.0);
        values.push(row.received_max);
        values.push(message.map(|message| message.id.as_bytes().as_slice()));
        values.push(item.draft.sort_key.as_str());
        values.push(message.map(|message| message.from.as_str()));
        values.push(message.and_then(|message| message.body.as_ref()).map(Body::kind));
        values.push(head.encode());
        values.push(&json[..]);
        entries.push(Entry {
            shard: SHARD,
            position: row.position,
            sequence: row.sequence,
            topic: event.topic(),
            conversation: event.conversation.clone(),
            app: event.app.as_ref().map(|app| {
                let shared = apps.entry(item.app).or_insert_with(|| Arc::new(app.clone()));
                Arc::clone(shared)
            }),
            message_id: message.map(|message| message.id),
            sent_at: event.sent_at,
            received_at: event.received_at,
            late: event.late,
            json,
        });
        Ok(())
    })?;
    Ok(entries)
}

/// Notes where the rows stand, for the indexes by conversation.
fn index(memory: &mut Memory, facts: &Facts<'_>, rows: &[Row<'_>]) {
    for row in rows {
        let item = &facts.items[row.item];
        let head = item.head.and_then(|head| facts.heads[head].head);
        let (Some(head), Some(sequence)) = (head, row.sequence) else { continue };
        let message = content::message(&row.event)
            .map(|message| Named { sort_key: item.draft.sort_key.as_str().into(), message: *message.id.as_bytes() });
        let stand = Stand { place: row.place, sent_at: row.event.sent_at.0, message };
        memory.index.add((item.tenant, head.id, signed(sequence.0)), stand);
    }
}

fn raws(db: &Connection, facts: &Facts<'_>, rows: &[Row<'_>]) -> Result<()> {
    let raw_of = |row: &Row<'_>| Some((row.place, facts.items[row.item].draft.raw.as_ref()?));
    let kept: Vec<_> = rows.iter().filter(|row| !row.buried).filter_map(raw_of).collect();
    RAWS.run(db, OP, &kept, |values, (place, raw)| {
        values.push(place);
        values.push(&raw[..]);
        Ok(())
    })
}

/// Turns a row journalled before into its tombstone: neither body nor vendor bytes stay.
fn bury(db: &Connection, place: i64) -> Result<()> {
    let fail = failed("recall");
    let row: Option<(Vec<u8>, Vec<u8>)> =
        sql::one(db, "SELECT head, json FROM journal WHERE place = ? AND body IS NOT NULL", params![place])
            .optional()
            .map_err(&fail)?;
    // Of an archived message the content stands elsewhere.
    let Some((head, json)) = row else { return super::archive::bury_archived(db, place) };
    let mut head = Head::decode(&head).ok_or_else(|| damaged("head"))?;
    let mut event = Event::decode(&json)?;
    content::bury(&mut event);
    let sequence = (head.sequence > 0).then_some(switchboard_contract::Sequence(head.sequence));
    let json = event.encode(super::plan::position_of(place), sequence)?;
    head.length = length(&json)?;
    sql::execute(
        db,
        "UPDATE journal SET body = NULL, head = ?, json = ? WHERE place = ?",
        params![head.encode(), &json[..], place],
    )
    .map_err(&fail)?;
    for sql in ["DELETE FROM raws WHERE place = ?", "UPDATE variants SET raw = NULL WHERE place = ?"] {
        sql::execute(db, sql, params![place]).map_err(&fail)?;
    }
    Ok(())
}

/// Records other contents once each; contradicting callbacks go to the quarantine as well.
fn variants(db: &Connection, facts: &Facts<'_>, plan: &Plan<'_>) -> Result<()> {
    for variant in &plan.variants {
        let item = &facts.items[variant.item];
        let (draft, event) = (item.draft, &item.draft.event);
        let written = sql::execute(
            db,
            "INSERT OR IGNORE INTO variants (place, digest, origin, received_at, raw)
             SELECT place, ?2, ?3, ?4, CASE WHEN message IS NULL OR body IS NOT NULL THEN ?5 END
             FROM journal WHERE place = ?1",
            params![
                variant.place,
                signed(draft.digest),
                event.origin.code(),
                event.received_at.0,
                draft.raw.as_deref()
            ],
        )
        .map_err(failed("variant"))?;
        let news = written == 1;
        if let (true, true, Some(app)) = (news, variant.conflict, &event.app) {
            let raw = RawCallback {
                path: String::new(),
                query: String::new(),
                headers: Vec::new(),
                body: draft.raw.clone().unwrap_or_default(),
                received_at: event.received_at,
            };
            let (tenant, app, reason) = (event.tenant.clone(), app.clone(), QuarantineReason::Conflict);
            let kept = Quarantined { id: 0, tenant, app, reason, raw };
            keep_aside(db, (item.tenant, item.app), &kept, content::CONFLICTS_KEPT)?;
        }
    }
    Ok(())
}

fn awaited(db: &Connection, memory: &mut Memory, facts: &Facts<'_>) -> Result<()> {
    for awaited in &facts.awaited {
        let fail = failed("recall");
        match awaited.id {
            Some(id) if awaited.gone => {
                sql::execute(db, "DELETE FROM awaited WHERE id = ?", params![id]).map_err(fail)?;
            }
            None if !awaited.gone => {
                memory.awaits_more = true;
                let message = awaited.message.as_ref().map(|id| id.as_bytes().as_slice());
                sql::execute(
                    db,
                    "INSERT INTO awaited (tenant, app, vendor, message) VALUES (?, ?, ?, ?)",
                    params![awaited.tenant, awaited.app, awaited.vendor, message],
                )
                .map_err(fail)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The ends of the streams, and how far inboxes are consumed.
fn ends(db: &Connection, facts: &Facts<'_>, plan: &Plan<'_>) -> Result<()> {
    for tail in facts.streams.iter().filter(|tail| tail.moved) {
        sql::execute(
            db,
            "UPDATE streams SET tail = ?, received_max = ? WHERE id = ?",
            params![signed(tail.end.tail), tail.end.received_max, tail.end.id],
        )
        .map_err(failed(OP))?;
    }
    for (inbox, offset) in &plan.consumed {
        sql::execute(
            db,
            "INSERT INTO inboxes (inbox, consumed) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET consumed = max(consumed, excluded.consumed)",
            params![inbox, signed(*offset)],
        )
        .map_err(failed(OP))?;
    }
    Ok(())
}

/// Notes the greatest keys journalled. What comes together nearly always is of one group, and in order.
fn greatest(memory: &mut Memory, facts: &Facts<'_>, rows: &[Row<'_>]) {
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let group_of = |row: &Row<'_>| {
            let item = &facts.items[row.item];
            (item.tenant, item.app, item.draft.key.class.code())
        };
        let group = group_of(first);
        let (part, left) = rest.split_at(rest.iter().take_while(|row| group_of(row) == group).count());
        rest = left;
        let key = part.iter().map(|row| facts.items[row.item].draft.key.id.as_str()).max().unwrap_or_default();
        if memory.newest.get(&group).is_some_and(|known| known.as_str() < key) {
            memory.newest.insert(group, key.to_owned());
        }
    }
}

fn remember(memory: &mut Memory, facts: Facts<'_>) {
    memory.next_conversation = facts.next_conversation;
    memory.next_send = facts.next_send;
    memory.next_leg = facts.next_leg;
    for tail in facts.streams {
        memory.streams.insert(tail.tenant, tail.end);
    }
    for state in facts.heads {
        if let Some(head) = state.head {
            memory.heads.insert((state.tenant, state.name.clone()), head);
        }
    }
}
