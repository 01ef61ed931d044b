//! Writing what was planned, in lists.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteArguments;
use switchboard_contract::storage::{Entry, QuarantineReason, Quarantined};
use switchboard_contract::{Body, Error, ErrorKind, Event, RawCallback, Result};

use super::News;
use super::facts::Facts;
use super::memory::{Memory, SHARD};
use super::outbox;
use super::plan::{Plan, Row};
use super::setbacks;
use super::tables::keep_aside;
use crate::store::content;
use crate::store::sqlite::behind::{Named, Stand};
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::head::Head;
use crate::store::sqlite::sql::{Bulk, Values, signed};

/// Rows per statement: enough that a statement costs nothing, few enough that the next are encoded meanwhile.
const ROWS: usize = 256;

static CONVERSATIONS: Bulk = Bulk::new("INSERT INTO conversations (id, tenant, name) VALUES ", "(?,?,?)", "");
static JOURNAL: Bulk = Bulk::new(
    "INSERT INTO journal (place, tenant, conversation, sequence, app, class, key, digest, origin, sent_at, received_max,
     message, sort_key, sender, body, head, json) VALUES ",
    "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    "",
);
static RAWS: Bulk = Bulk::new("INSERT INTO raws (place, raw) VALUES ", "(?,?)", "");

/// Writes everything, and says what is new in which stream. The memory is brought up to date, which a rollback undoes.
pub(super) async fn flush(
    db: &mut SqliteConnection,
    memory: &mut Memory,
    facts: Facts<'_>,
    plan: Plan<'_>,
) -> Result<Vec<News>> {
    conversations(db, &facts).await?;
    let entries = journal(db, &facts, &plan.rows).await?;
    raws(db, &facts, &plan.rows).await?;
    for place in &plan.buried {
        bury(db, *place).await?;
    }
    variants(db, &facts, &plan).await?;
    awaited(db, memory, &facts).await?;
    outbox::write(db, &plan).await?;
    index(memory, &facts, &plan.rows);
    memory.index.write(db).await?;
    setbacks::write(db, memory, &plan.setbacks).await?;
    ends(db, &facts, &plan).await?;
    let mut news: Vec<News> = facts
        .streams
        .iter()
        .map(|tail| News { tenant: tail.name.clone(), shard: SHARD, entries: Vec::new() })
        .collect();
    for (row, entry) in plan.rows.iter().zip(entries) {
        news[facts.items[row.item].stream].entries.push(entry);
    }
    news.retain(|news| !news.entries.is_empty());
    remember(memory, facts);
    Ok(news)
}

async fn conversations(db: &mut SqliteConnection, facts: &Facts<'_>) -> Result<()> {
    let fresh: Vec<_> = facts.heads.iter().filter(|state| state.fresh).collect();
    let mut rest = fresh.as_slice();
    while !rest.is_empty() {
        let (part, left) = rest.split_at(CONVERSATIONS.fit(rest.len()));
        rest = left;
        let mut values = Values::with_capacity(part.len() * 3);
        for state in part {
            values.push(state.head.map(|head| head.id));
            values.push(state.tenant);
            values.push(state.name.as_str());
        }
        run(db, &CONVERSATIONS, part.len(), values).await?;
    }
    Ok(())
}

pub(super) async fn run(db: &mut SqliteConnection, bulk: &'static Bulk, rows: usize, values: Values) -> Result<()> {
    let values = values.done().map_err(failed("append"))?;
    sqlx::query_with(bulk.text(rows), values).execute(db).await.map(drop).map_err(failed("append"))
}

/// Journals the rows. The database works in a thread of its own: while it writes one list the next is encoded.
async fn journal(db: &mut SqliteConnection, facts: &Facts<'_>, rows: &[Row<'_>]) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(rows.len());
    let mut rest = rows;
    let mut ready = None;
    loop {
        let size = JOURNAL.fit(rest.len().min(ROWS)).min(rest.len());
        let (part, left) = rest.split_at(size);
        rest = left;
        let encode = async {
            if part.is_empty() {
                Ok(None)
            } else {
                encoded(facts, part, &mut entries).map(|values| Some((part.len(), values)))
            }
        };
        let write = async {
            match ready {
                Some((rows, values)) => sqlx::query_with(JOURNAL.text(rows), values)
                    .execute(&mut *db)
                    .await
                    .map(|_| true)
                    .map_err(failed("append")),
                None => Ok(false),
            }
        };
        let (written, next) = futures::join!(write, encode);
        written?;
        ready = next?;
        if ready.is_none() {
            return Ok(entries);
        }
    }
}

fn length(json: &[u8]) -> Result<u32> {
    u32::try_from(json.len()).map_err(|_| Error::new(ErrorKind::TooLarge, "an event is larger than a row takes"))
}

fn encoded(facts: &Facts<'_>, rows: &[Row<'_>], entries: &mut Vec<Entry>) -> Result<SqliteArguments> {
    let mut values = Values::with_capacity(rows.len() * 17);
    for row in rows {
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
        values.push(head.encode().as_slice());
        values.push(json.as_ref());
        entries.push(Entry {
            shard: SHARD,
            position: row.position,
            sequence: row.sequence,
            topic: event.topic(),
            conversation: event.conversation.clone(),
            app: event.app.clone().map(Arc::new),
            message_id: message.map(|message| message.id),
            sent_at: event.sent_at,
            received_at: event.received_at,
            late: event.late,
            json,
        });
    }
    values.done().map_err(failed("append"))
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

async fn raws(db: &mut SqliteConnection, facts: &Facts<'_>, rows: &[Row<'_>]) -> Result<()> {
    let kept: Vec<_> = rows
        .iter()
        .filter(|row| !row.buried)
        .filter_map(|row| facts.items[row.item].draft.raw.as_ref().map(|raw| (row.place, raw)))
        .collect();
    let mut rest = kept.as_slice();
    while !rest.is_empty() {
        let (part, left) = rest.split_at(RAWS.fit(rest.len()));
        rest = left;
        let mut values = Values::with_capacity(part.len() * 2);
        for (place, raw) in part {
            values.push(*place);
            values.push(raw.as_ref());
        }
        run(db, &RAWS, part.len(), values).await?;
    }
    Ok(())
}

/// Turns a row journalled before into its tombstone: neither body nor vendor bytes stay.
async fn bury(db: &mut SqliteConnection, place: i64) -> Result<()> {
    let fail = failed("recall");
    let row: Option<(Vec<u8>, Vec<u8>)> =
        sqlx::query_as("SELECT head, json FROM journal WHERE place = ? AND body IS NOT NULL")
            .bind(place)
            .fetch_optional(&mut *db)
            .await
            .map_err(&fail)?;
    // Of an archived message the content stands elsewhere.
    let Some((head, json)) = row else { return super::archive::bury_archived(db, place).await };
    let mut head = Head::decode(&head).ok_or_else(|| damaged("head"))?;
    let mut event = Event::decode(&json)?;
    content::bury(&mut event);
    let sequence = (head.sequence > 0).then_some(switchboard_contract::Sequence(head.sequence));
    let json = event.encode(super::plan::position_of(place), sequence)?;
    head.length = length(&json)?;
    sqlx::query("UPDATE journal SET body = NULL, head = ?, json = ? WHERE place = ?")
        .bind(head.encode().as_slice())
        .bind(json.as_ref())
        .bind(place)
        .execute(&mut *db)
        .await
        .map_err(&fail)?;
    for sql in ["DELETE FROM raws WHERE place = ?", "UPDATE variants SET raw = NULL WHERE place = ?"] {
        sqlx::query(sql).bind(place).execute(&mut *db).await.map_err(&fail)?;
    }
    Ok(())
}

/// Records other contents once each; contradicting callbacks go to the quarantine as well.
async fn variants(db: &mut SqliteConnection, facts: &Facts<'_>, plan: &Plan<'_>) -> Result<()> {
    for variant in &plan.variants {
        let item = &facts.items[variant.item];
        let (draft, event) = (item.draft, &item.draft.event);
        let written = sqlx::query(
            "INSERT OR IGNORE INTO variants (place, digest, origin, received_at, raw)
             SELECT place, ?2, ?3, ?4, CASE WHEN message IS NULL OR body IS NOT NULL THEN ?5 END
             FROM journal WHERE place = ?1",
        )
        .bind(variant.place)
        .bind(signed(draft.digest))
        .bind(event.origin.code())
        .bind(event.received_at.0)
        .bind(draft.raw.as_deref())
        .execute(&mut *db)
        .await
        .map_err(failed("variant"))?;
        let news = written.rows_affected() == 1;
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
            keep_aside(db, (item.tenant, item.app), &kept, content::CONFLICTS_KEPT).await?;
        }
    }
    Ok(())
}

async fn awaited(db: &mut SqliteConnection, memory: &mut Memory, facts: &Facts<'_>) -> Result<()> {
    for awaited in &facts.awaited {
        let query = match awaited.id {
            Some(id) if awaited.gone => sqlx::query("DELETE FROM awaited WHERE id = ?").bind(id),
            None if !awaited.gone => {
                memory.awaits_more = true;
                sqlx::query("INSERT INTO awaited (tenant, app, vendor, message) VALUES (?, ?, ?, ?)")
                    .bind(awaited.tenant)
                    .bind(awaited.app)
                    .bind(awaited.vendor.as_deref())
                    .bind(awaited.message.as_ref().map(|id| id.as_bytes().as_slice()))
            }
            _ => continue,
        };
        query.execute(&mut *db).await.map_err(failed("recall"))?;
    }
    Ok(())
}

/// The ends of the streams, and how far inboxes are consumed.
async fn ends(db: &mut SqliteConnection, facts: &Facts<'_>, plan: &Plan<'_>) -> Result<()> {
    for tail in facts.streams.iter().filter(|tail| tail.moved) {
        sqlx::query("UPDATE streams SET tail = ?, received_max = ? WHERE id = ?")
            .bind(signed(tail.end.tail))
            .bind(tail.end.received_max)
            .bind(tail.end.id)
            .execute(&mut *db)
            .await
            .map_err(failed("append"))?;
    }
    for (inbox, offset) in &plan.consumed {
        sqlx::query(
            "INSERT INTO inboxes (inbox, consumed) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET consumed = max(consumed, excluded.consumed)",
        )
        .bind(*inbox)
        .bind(signed(*offset))
        .execute(&mut *db)
        .await
        .map_err(failed("append"))?;
    }
    Ok(())
}

fn remember(memory: &mut Memory, facts: Facts<'_>) {
    memory.next_conversation = facts.next_conversation;
    memory.next_send = facts.next_send;
    memory.next_leg = facts.next_leg;
    let mut newest: HashMap<(i64, i64, u8), &str> = HashMap::new();
    for ((tenant, app, class, key), at) in &facts.keys {
        if facts.known[*at].is_some_and(|known| known.row.is_some()) {
            let newest = newest.entry((*tenant, *app, *class)).or_default();
            *newest = (*newest).max(*key);
        }
    }
    for (group, key) in newest {
        if memory.newest.get(&group).is_some_and(|known| known.as_str() < key) {
            memory.newest.insert(group, key.to_owned());
        }
    }
    for tail in facts.streams {
        memory.streams.insert(tail.tenant, tail.end);
    }
    for state in facts.heads {
        if let Some(head) = state.head {
            memory.heads.insert((state.tenant, state.name.clone()), head);
        }
    }
}
