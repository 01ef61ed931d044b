//! Filling a store with rows as the engine writes them, without its care: no log, no sync, and the indexes built at the
//! end. Large stores are made in minutes that way. The vendor's own bytes are left out: nothing that is measured over a
//! large store reads them, and they would double its size.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};
use switchboard_contract::storage::Draft;
use switchboard_contract::{EventData, Position, Result, Sequence};

use crate::cli::bench::engine::append::FILE;
use crate::cli::bench::measure::{Figure, failed};
use crate::store::sqlite::head::Head;

/// What the first stream's places begin behind.
const FIRST_STREAM: i64 = 1 << 40;

const JOURNAL: &str = "
    INSERT INTO journal (place, tenant, conversation, sequence, app, class, key, digest, origin, sent_at, received_max,
    message, sort_key, sender, body, head, json)
    VALUES (?, 1, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Writes messages of one tenant and one app into the empty store of `dir`, whose schema is there already.
pub(in crate::cli::bench) fn run(dir: &Path, drafts: impl Iterator<Item = Draft>) -> Result<Figure> {
    let (fail, begun) = (failed("a store cannot be filled"), Instant::now());
    let db = Connection::open(dir.join(FILE)).map_err(&fail)?;
    db.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;",
    )
    .map_err(&fail)?;
    let indexes: Vec<(String, String)> = db
        .prepare(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'journal' AND sql IS NOT NULL",
        )
        .and_then(|mut found| found.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(&fail)?;
    db.execute_batch("BEGIN").map_err(&fail)?;
    for (name, _) in &indexes {
        db.execute_batch(&format!("DROP INDEX {name}")).map_err(&fail)?;
    }
    let rows = journal(&db, drafts)?;
    for (_, sql) in &indexes {
        db.execute_batch(sql).map_err(&fail)?;
    }
    db.execute_batch(
        "INSERT INTO threads (tenant, conversation, sequence, place)
             SELECT tenant, conversation, sequence, place FROM journal ORDER BY 1, 2, 3;
         INSERT INTO histories (tenant, conversation, sent_at, sort_key, message, place)
             SELECT tenant, conversation, sent_at, sort_key, message, place FROM journal ORDER BY 1, 2, 3, 4, 5, 6;
         COMMIT; PRAGMA journal_mode = WAL;",
    )
    .map_err(&fail)?;
    Ok(Figure::of(rows, begun.elapsed()))
}

fn journal(db: &Connection, drafts: impl Iterator<Item = Draft>) -> Result<u64> {
    let fail = failed("a store cannot be filled");
    let mut insert = db.prepare(JOURNAL).map_err(&fail)?;
    // The number of each conversation, and its last sequence.
    let mut heads: HashMap<String, (i64, u64)> = HashMap::new();
    let (mut rows, mut received_max, mut first) = (0_u64, 0, None);
    for draft in drafts {
        let event = &draft.event;
        let (EventData::Message(message), Some(conversation)) = (&event.data, &event.conversation) else { continue };
        rows += 1;
        received_max = event.received_at.0.max(received_max);
        let next = heads.len() as i64 + 1;
        let head = match heads.get_mut(conversation.as_str()) {
            Some(head) => head,
            None => heads.entry(conversation.as_str().to_owned()).or_insert((next, 0)),
        };
        head.1 += 1;
        let json = event.encode(Position(rows), Some(Sequence(head.1)))?;
        let row = Head {
            position: rows,
            sequence: head.1,
            conversation: head.0,
            app: 1,
            message: *message.id.as_bytes(),
            sent_at: event.sent_at.0,
            received_at: event.received_at.0,
            length: json.len() as u32,
            topic: event.data.topic(),
            late: event.late,
        };
        insert
            .execute(params![
                FIRST_STREAM + rows.cast_signed(),
                head.0,
                head.1.cast_signed(),
                draft.key.class.code(),
                draft.key.id.as_str(),
                draft.digest.cast_signed(),
                event.origin.code(),
                event.sent_at.0,
                received_max,
                message.id.as_bytes().as_slice(),
                draft.sort_key.as_str(),
                message.from.as_str(),
                message.body.as_ref().map(switchboard_contract::Body::kind),
                row.encode().as_slice(),
                json.as_ref(),
            ])
            .map_err(&fail)?;
        first.get_or_insert((event.tenant.clone(), event.app.clone()));
    }
    if let Some((tenant, Some(app))) = first {
        names(db, &heads)?;
        db.execute("INSERT INTO tenants (id, name) VALUES (1, ?)", [tenant.as_str()]).map_err(&fail)?;
        db.execute("INSERT INTO apps (id, kind, key) VALUES (1, ?, ?)", [app.kind.as_str(), app.key.as_str()])
            .map_err(&fail)?;
        db.execute(
            "INSERT INTO streams (id, tenant, shard, tail, trimmed, received_max, indexed) VALUES (1, 1, 0, ?1, 0, ?2, ?1)",
            params![rows.cast_signed(), received_max],
        )
        .map_err(&fail)?;
    }
    Ok(rows)
}

fn names(db: &Connection, heads: &HashMap<String, (i64, u64)>) -> Result<()> {
    let fail = failed("a store cannot be filled");
    let mut insert = db.prepare("INSERT INTO conversations (id, tenant, name) VALUES (?, 1, ?)").map_err(&fail)?;
    let mut ordered: Vec<_> = heads.iter().map(|(name, (id, _))| (*id, name)).collect();
    ordered.sort_unstable();
    ordered.into_iter().try_for_each(|(id, name)| insert.execute(params![id, name]).map(drop).map_err(&fail))
}
