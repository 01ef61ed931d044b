//! Raw limits: the least any program must do for the same result, written without the product.

pub(super) mod append;
pub(super) mod commits;
pub(super) mod fanout;
pub(super) mod fill;
pub(super) mod gate;
pub(super) mod hour;
pub(super) mod http;
pub(super) mod select;
pub(super) mod sockets;

use std::path::Path;

use rusqlite::Connection;
use switchboard_contract::Result;

use super::measure::failed;
use crate::store::sqlite::SqliteOptions;

/// Opens a database as the store opens its own: the same log, the same durability, the same memory for pages.
fn open(path: &Path) -> Result<Connection> {
    let fail = failed("a raw database cannot be opened");
    let ours = SqliteOptions::at(path);
    let db = Connection::open(path).map_err(&fail)?;
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{};
         PRAGMA wal_autocheckpoint = {}; PRAGMA temp_store = memory;",
        (ours.cache_bytes / 4 * 3) >> 10,
        ours.wal_bytes / 4096,
    ))
    .map_err(&fail)?;
    Ok(db)
}
