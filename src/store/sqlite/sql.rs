//! Statements with a list of values in them. Value by value the driver that reads is several times slower than with
//! lists, and a statement it has seen before costs it nothing to prepare: so lists come in powers of two only.

use std::sync::{Arc, OnceLock};

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Encode, SqlSafeStr as _, SqlStr, Sqlite, Type};

/// Lists have at most 2^10 values, or rows of values.
const SIZES: usize = 11;

/// A statement with a list in it.
pub(super) struct Bulk {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    texts: [OnceLock<Arc<str>>; SIZES],
}

impl Bulk {
    /// `head`, then any number of `row` separated by commas, then `tail`.
    pub(super) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, texts: [const { OnceLock::new() }; SIZES] }
    }

    /// How long a list must be to hold `wanted` values at once, when it may repeat the last: a power of two.
    pub(super) fn padded(wanted: usize) -> usize {
        wanted.next_power_of_two().min(1 << (SIZES - 1))
    }

    /// The statement with `rows` rows, a power of two.
    pub(super) fn text(&self, rows: usize) -> SqlStr {
        let text = self.texts[rows.ilog2() as usize].get_or_init(|| {
            let mut text = String::with_capacity(self.head.len() + rows * (self.row.len() + 1) + self.tail.len());
            text.push_str(self.head);
            for at in 0..rows {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(self.row);
            }
            text.push_str(self.tail);
            text.into()
        });
        AssertSqlSafe(Arc::clone(text)).into_sql_str()
    }
}

/// The values of a statement.
#[derive(Default)]
pub(super) struct Values {
    values: SqliteArguments,
    fault: Option<BoxDynError>,
}

impl Values {
    pub(super) fn with_capacity(values: usize) -> Self {
        let mut this = Self::default();
        this.values.reserve(values, 0);
        this
    }

    pub(super) fn push<'a, T: Encode<'a, Sqlite> + Type<Sqlite>>(&mut self, value: T) {
        if let Err(fault) = self.values.add(value) {
            self.fault.get_or_insert(fault);
        }
    }

    pub(super) fn done(self) -> sqlx::Result<SqliteArguments> {
        match self.fault {
            Some(fault) => Err(sqlx::Error::Encode(fault)),
            None => Ok(self.values),
        }
    }
}

/// SQLite's integers are signed; digests use all 64 bits, everything else fits.
pub(super) const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// The inverse of [`signed`].
pub(super) const fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}
