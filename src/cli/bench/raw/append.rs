//! The journal's rows by the bare driver: the same tables and indexes, the same bytes, the same batches, and the same
//! answer to what is known already.
//!
//! Rows are taken from a store that the product wrote, and its schema with them, so that nothing here can drift away
//! from what it is compared with.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use switchboard_contract::Result;

use crate::cli::bench::engine::append::FILE;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::raw::open;

/// A table's columns and rows.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// Writes every row of `source`, `batch` journal rows in a transaction.
pub(in crate::cli::bench) fn run(source: &Path, dir: &Path, batch: usize) -> Result<Figure> {
    let fail = failed("raw rows cannot be written");
    let from = Connection::open(source.join(FILE)).map_err(&fail)?;
    let mut db = open(&dir.join("raw.db"))?;
    copy_schema(&from, &db)?;
    let conversations = read(&from, "conversations", "id")?;
    let (journal, raws) = (read(&from, "journal", "place")?, read(&from, "raws", "place")?);
    for name in ["tenants", "apps", "streams"] {
        let table = read(&from, name, "id")?;
        let insert = insert(name, &table.columns, 1, "");
        for row in &table.rows {
            db.execute(&insert, params_from_iter(row)).map_err(&fail)?;
        }
    }
    // What we had put into these by then, all in the order of their keys. Not every event has a raw body.
    let others = [
        ("raws", raws),
        ("threads", read(&from, "threads", "tenant, conversation, sequence")?),
        ("histories", read(&from, "histories", "tenant, conversation, sent_at, sort_key, message, place")?),
    ];
    let batches = journal.rows.len().div_ceil(batch).max(1);
    let conversation = column(&journal, "conversation");
    let mut known: HashSet<i64> = HashSet::new();
    let of_conversation: HashMap<i64, &Vec<Value>> =
        conversations.rows.iter().filter_map(|row| Some((integer(row.first()?)?, row))).collect();

    let (mut took, mut fresh) = (Duration::ZERO, 0);
    for (at, rows) in journal.rows.chunks(batch).enumerate() {
        let new: Vec<Vec<Value>> = rows
            .iter()
            .filter_map(|row| integer(&row[conversation]))
            .filter(|id| known.insert(*id))
            .filter_map(|id| of_conversation.get(&id).map(|row| (*row).clone()))
            .collect();
        let begun = Instant::now();
        let transaction = db.transaction().map_err(&fail)?;
        write(&transaction, "conversations", &conversations.columns, &new)?;
        fresh += appended(&transaction, &journal.columns, rows)?;
        for (name, table) in &others {
            let share = |at: usize| table.rows.len() * at / batches;
            write(&transaction, name, &table.columns, &table.rows[share(at)..share(at + 1)])?;
        }
        transaction.execute("UPDATE streams SET tail = tail + ?", [rows.len() as i64]).map_err(&fail)?;
        transaction.commit().map_err(&fail)?;
        took += begun.elapsed();
    }
    let faults = journal.rows.len() as u64 - fresh;
    Ok(Figure { faults, ..Figure::of(journal.rows.len() as u64, took) })
}

/// Rows of one statement. More gain nothing.
const LIST: usize = 64;

/// Writes journal rows and says how many were new. A row whose key is known does not come back and is looked up, which
/// is the answer the store owes as well.
fn appended(db: &Connection, columns: &[String], rows: &[Vec<Value>]) -> Result<u64> {
    let fail = failed("raw rows cannot be written");
    let places = column_named(columns, "place");
    let mut fresh = 0;
    for part in rows.chunks(LIST) {
        let text = insert("journal", columns, part.len(), " ON CONFLICT DO NOTHING RETURNING place");
        let mut statement = db.prepare_cached(&text).map_err(&fail)?;
        let returned: HashSet<i64> = statement
            .query_map(params_from_iter(part.iter().flatten()), |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(&fail)?;
        for row in part.iter().filter(|row| !integer(&row[places]).is_some_and(|place| returned.contains(&place))) {
            let key = [column_named(columns, "tenant"), column_named(columns, "app"), column_named(columns, "class")]
                .into_iter()
                .chain([column_named(columns, "key")])
                .map(|at| &row[at]);
            db.prepare_cached("SELECT place FROM journal WHERE tenant = ? AND app = ? AND class = ? AND key = ?")
                .and_then(|mut find| find.query_row(params_from_iter(key), |row| row.get::<_, i64>(0)))
                .map_err(&fail)?;
        }
        fresh += returned.len() as u64;
    }
    Ok(fresh)
}

fn write(db: &Connection, table: &str, columns: &[String], rows: &[Vec<Value>]) -> Result<()> {
    let fail = failed("raw rows cannot be written");
    for part in rows.chunks(LIST) {
        let mut statement = db.prepare_cached(&insert(table, columns, part.len(), "")).map_err(&fail)?;
        statement.execute(params_from_iter(part.iter().flatten())).map_err(&fail)?;
    }
    Ok(())
}

fn insert(table: &str, columns: &[String], rows: usize, tail: &str) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    format!("INSERT INTO {table} ({}) VALUES {}{tail}", columns.join(","), vec![row; rows].join(","))
}

fn copy_schema(from: &Connection, to: &Connection) -> Result<()> {
    let fail = failed("the schema cannot be copied");
    let mut statement = from
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
        .map_err(&fail)?;
    let texts: Vec<String> = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(&fail)?;
    texts.iter().try_for_each(|text| to.execute_batch(text).map_err(&fail))
}

fn read(db: &Connection, table: &str, order: &str) -> Result<Table> {
    let fail = failed("rows cannot be read");
    let mut statement = db.prepare(&format!("SELECT * FROM {table} ORDER BY {order}")).map_err(&fail)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let width = columns.len();
    let rows = statement
        .query_map([], |row| (0..width).map(|at| row.get(at)).collect())
        .and_then(Iterator::collect)
        .map_err(&fail)?;
    Ok(Table { columns, rows })
}

fn column(table: &Table, name: &str) -> usize {
    column_named(&table.columns, name)
}

fn column_named(columns: &[String], name: &str) -> usize {
    columns.iter().position(|column| column == name).unwrap_or(0)
}

const fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(value) => Some(*value),
        _ => None,
    }
}
