//! What SQLite's failures mean to a caller.

use switchboard_contract::{Error, ErrorKind, Retry};

/// SQLITE_FULL; its siblings are told apart in the upper bits, which do not matter here.
const FULL: i32 = 13;
/// SQLITE_BUSY and SQLITE_LOCKED: somebody else holds the database, and did so longer than the busy timeout.
const BUSY: [i32; 2] = [5, 6];
/// SQLITE_IOERR_SHMSIZE: how a full disk shows when the index of the write-ahead log cannot grow.
const NO_ROOM_FOR_INDEX: i32 = 4874;

/// A failure of one of the two drivers: sqlx reads, and rusqlite writes.
pub(super) trait Fault: std::error::Error + Send + Sync + 'static {
    /// SQLite's extended result code; 0 when it was not SQLite that failed.
    fn code(&self) -> i32;

    /// Whether the store is closed.
    fn is_closed(&self) -> bool {
        false
    }

    /// Whether no reader came free in time.
    fn is_crowded(&self) -> bool {
        false
    }
}

impl Fault for sqlx::Error {
    fn code(&self) -> i32 {
        self.as_database_error().and_then(|error| error.code()?.parse().ok()).unwrap_or(0)
    }

    fn is_closed(&self) -> bool {
        matches!(self, Self::PoolClosed)
    }

    fn is_crowded(&self) -> bool {
        matches!(self, Self::PoolTimedOut)
    }
}

impl Fault for rusqlite::Error {
    fn code(&self) -> i32 {
        self.sqlite_error().map_or(0, |error| error.extended_code)
    }
}

/// Says which operation failed, whether for want of room, and whether it may be tried again.
pub(super) fn failed<F: Fault>(operation: &'static str) -> impl Fn(F) -> Error {
    move |error| {
        let code = error.code();
        let again = Retry::Safe { after: None };
        let (kind, message, retry) = match code {
            _ if error.is_closed() => (ErrorKind::Closed, "the store is closed", Retry::Never),
            _ if error.is_crowded() => (ErrorKind::Storage, "every reader of the database is in use", again),
            _ if code & 0xff == FULL || code == NO_ROOM_FOR_INDEX => {
                (ErrorKind::StorageFull, "no room is left for the database", again)
            }
            _ if BUSY.contains(&(code & 0xff)) => (ErrorKind::Storage, "the database is held by somebody else", again),
            _ => (ErrorKind::Storage, "the database failed", Retry::Never),
        };
        Error::new(kind, message).with_retry(retry).with_operation(operation).with_source(error)
    }
}

/// A stored value that no version of this program has written.
pub(super) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Storage, format!("the database holds an impossible {what}"))
}
