//! Raw limits: the least any program must do for the same result, written without the product.

pub(super) mod append;
pub(super) mod commits;
pub(super) mod fanout;
pub(super) mod http;
pub(super) mod select;
pub(super) mod sockets;

use std::path::Path;

use rusqlite::Connection;
use switchboard_contract::Result;

use super::measure::failed;

/// Opens a database as the store opens its own: the same log, the same durability, the same memory for pages.
fn open(path: &Path) -> Result<Connection> {
    let fail = failed("a raw database cannot be opened");
    let db = Connection::open(path).map_err(&fail)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768;
         PRAGMA wal_autocheckpoint = 8192; PRAGMA temp_store = memory;",
    )
    .map_err(&fail)?;
    Ok(db)
}
