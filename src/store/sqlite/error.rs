//! What SQLite's failures mean to a caller.

use switchboard_contract::{Error, ErrorKind};

/// SQLITE_FULL, and SQLITE_IOERR_SHMSIZE, which is how a full disk shows when the shared index cannot grow.
const FULL: [&str; 2] = ["13", "4874"];

/// Says which operation failed, and whether for want of room.
pub(super) fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| {
        let full =
            error.as_database_error().and_then(|error| error.code()).is_some_and(|code| FULL.contains(&code.as_ref()));
        let (kind, message) = match &error {
            sqlx::Error::PoolClosed => (ErrorKind::Closed, "the store is closed"),
            _ if full => (ErrorKind::StorageFull, "no room is left for the database"),
            _ => (ErrorKind::Storage, "the database failed"),
        };
        Error::new(kind, message).with_operation(operation).with_source(error)
    }
}

/// A stored value that no version of this program has written.
pub(super) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Storage, format!("the database holds an impossible {what}"))
}
