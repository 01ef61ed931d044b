//! How a file is opened.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::OpenFlags;
use serde::{Deserialize, Serialize};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// When it is on the disk: survives a loss of power.
    #[default]
    Full,
    /// When it is with the operating system: survives a crash of the process only. For benches and tests.
    Normal,
}

/// How a file is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// Memory for pages, shared out among all connections: three quarters to the
    /// writer, the rest to the readers. 64 MiB; an append costs least while the ends of the conversations that are
    /// spoken in fit, about 8 KiB each.
    pub cache_bytes: u64,
    /// Connections to read on: 4.
    pub readers: u32,
    /// Rows that one transaction takes at most, unless a single call brings more: 1024.
    pub max_batch: usize,
    /// Calls that may wait for the writer; further ones wait to be queued: 1024.
    pub queue: usize,
    /// Conversations whose last number is kept at hand: 100,000, about 150 bytes each.
    pub conversations: usize,
    /// Events whose place in their conversation is kept at hand before it is written to the file, many of a
    /// conversation at once: 100,000, up to 200 bytes each. Fewer make appending dearer as the journal grows.
    pub index_behind: usize,
    /// When a commit counts as durable.
    pub synchronous: Synchronous,
    /// The write-ahead log is folded into the file when it has grown to about this size. 32 MiB.
    pub wal_bytes: u64,
    /// The file takes no more than this; beyond it writes fail with `StorageFull`. No limit by default.
    pub max_bytes: Option<u64>,
    /// How long to wait for a lock of the database, or for a free reader: 5 s.
    #[serde(with = "humantime_serde")]
    pub busy_timeout: Duration,
    /// How long opening waits for a process that is just leaving the file: 2 s.
    #[serde(with = "humantime_serde")]
    pub lock_timeout: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::from("switchboard.db"),
            cache_bytes: 64 << 20,
            readers: 4,
            max_batch: 1024,
            queue: 1024,
            conversations: 100_000,
            index_behind: 100_000,
            synchronous: Synchronous::Full,
            wal_bytes: 32 << 20,
            max_bytes: None,
            busy_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
        }
    }
}

/// Bytes of a page; SQLite's own default.
const PAGE: u64 = 4096;

/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 256;

impl SqliteOptions {
    /// The defaults for this file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// The connection that writes.
    pub(super) fn open(&self) -> rusqlite::Result<rusqlite::Connection> {
        let db = rusqlite::Connection::open_with_flags(&self.path, OpenFlags::default() - OpenFlags::SQLITE_OPEN_URI)?;
        db.busy_timeout(self.busy_timeout)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        for (name, value) in self.pragmas() {
            db.execute_batch(&format!("PRAGMA {name} = {value}"))?;
        }
        Ok(db)
    }

    /// The connection that brings the schema up to date.
    pub(super) fn migrating(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new().filename(&self.path).create_if_missing(true);
        let options = options.busy_timeout(self.busy_timeout).disable_statement_logging();
        self.pragmas().into_iter().fold(options, |options, (name, value)| options.pragma(name, value))
    }

    /// What a connection that changes the file is told.
    fn pragmas(&self) -> Vec<(&'static str, String)> {
        let synchronous = match self.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        };
        let mut pragmas = vec![
            ("journal_mode", "WAL".to_owned()),
            ("synchronous", synchronous.to_owned()),
            ("foreign_keys", "ON".to_owned()),
            ("cache_size", cache_size(self.cache_bytes / 4 * 3)),
            ("temp_store", "memory".to_owned()),
            ("wal_autocheckpoint", (self.wal_bytes / PAGE).max(1).to_string()),
            ("journal_size_limit", self.wal_bytes.saturating_mul(2).to_string()),
        ];
        pragmas.extend(self.max_bytes.map(|bytes| ("max_page_count", (bytes / PAGE).max(1).to_string())));
        pragmas
    }

    /// The connections that read.
    pub(super) fn reader(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(STATEMENTS)
            .read_only(true)
            .row_buffer_size(512)
            .pragma("query_only", "1")
            .pragma("cache_size", cache_size(self.cache_bytes / 4 / u64::from(self.readers.max(1))))
            .pragma("temp_store", "memory")
            .disable_statement_logging()
    }
}

fn cache_size(bytes: u64) -> String {
    // A negative size is in KiB.
    format!("-{}", (bytes >> 10).max(64))
}
