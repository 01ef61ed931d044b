//! How the writer talks to SQLite: its statements are prepared once and kept by the connection.

use std::sync::OnceLock;

use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Connection, Params, Row, ToSql};
use switchboard_contract::Result;

use crate::store::sqlite::error::failed;

/// Runs a statement, and says how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    db.prepare_cached(sql)?.execute(params)
}

/// The first value of the only row.
pub(super) fn scalar<T: FromSql>(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<T> {
    db.prepare_cached(sql)?.query_row(params, |row| row.get(0))
}

/// The values of the only row.
pub(super) fn one<T>(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<T>
where
    T: for<'row> TryFrom<&'row Row<'row>, Error = rusqlite::Error>,
{
    db.prepare_cached(sql)?.query_row(params, |row| T::try_from(row))
}

/// The values of every row.
pub(super) fn rows<T>(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<T>>
where
    T: for<'row> TryFrom<&'row Row<'row>, Error = rusqlite::Error>,
{
    db.prepare_cached(sql)?.query_map(params, |row| T::try_from(row))?.collect()
}

/// Rows of one statement, at most. More gain nothing.
const ROWS: usize = 64;

/// A statement over a list of rows. Rows that come in the order of their keys are cheaper together: the cursor stays
/// where the last one went. A statement that was seen before costs nothing to prepare, so lists come in powers of two.
pub(super) struct List {
    head: &'static str,
    row: &'static str,
    texts: [OnceLock<String>; ROWS.ilog2() as usize + 1],
}

impl List {
    /// `head`, then any number of `row` separated by commas.
    pub(super) const fn new(head: &'static str, row: &'static str) -> Self {
        Self { head, row, texts: [const { OnceLock::new() }; ROWS.ilog2() as usize + 1] }
    }

    fn text(&self, rows: usize) -> &str {
        self.texts[rows.ilog2() as usize].get_or_init(|| format!("{}{}", self.head, vec![self.row; rows].join(",")))
    }

    /// Runs it over all rows; `bind` gives the values of each.
    pub(super) fn run<T>(
        &self,
        db: &Connection,
        operation: &'static str,
        rows: &[T],
        mut bind: impl FnMut(&mut Values<'_>, &T) -> Result<()>,
    ) -> Result<()> {
        let fail = failed(operation);
        let mut rest = rows;
        while !rest.is_empty() {
            let (part, left) = rest.split_at(1 << rest.len().min(ROWS).ilog2());
            rest = left;
            let statement = db.prepare_cached(self.text(part.len())).map_err(&fail)?;
            let mut values = Values { statement, bound: 0, fault: None };
            part.iter().try_for_each(|row| bind(&mut values, row))?;
            values.fault.map_or_else(|| values.statement.raw_execute(), Err).map_err(&fail)?;
        }
        Ok(())
    }
}

/// The values of a statement, in their order.
pub(super) struct Values<'db> {
    statement: CachedStatement<'db>,
    bound: usize,
    fault: Option<rusqlite::Error>,
}

impl Values<'_> {
    pub(super) fn push(&mut self, value: impl ToSql) {
        self.bound += 1;
        if let Err(fault) = self.statement.raw_bind_parameter(self.bound, value) {
            self.fault.get_or_insert(fault);
        }
    }
}
