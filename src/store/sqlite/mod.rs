//! A store in one SQLite file.
//!
//! One thread owns the only writing connection. Callers queue their writes; the thread takes everything that waits, writes
//! it in one transaction and answers each caller after the commit, so that the price of a sync to disk is shared by
//! whoever happens to wait for it. Readers have connections of their own and never wait for the writer.
//!
//! A file belongs to one process at a time. Trimming removes rows from journal and history alike, and with them what
//! dedupe knows: an event that comes again from a source reaching further back than the journal counts as new. Of a
//! tenant with an archive messages stay: with their content until they are archived, and without it after.

mod behind;
mod error;
pub(crate) mod head;
mod lock;
mod options;
mod read;
mod readers;
mod recent;
mod run;
mod schema;
mod sql;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use sqlx::{Connection as _, SqliteConnection};
use switchboard_contract::storage::{ArchiveLedger, ArchivedEntries, CommitListener, Store, Timelines, Transfer};
use switchboard_contract::{App, ConversationId, Error, ErrorKind, Result, Shard, TenantId};
use tokio::sync::{mpsc, oneshot};

use error::failed;
pub use options::{SqliteOptions, Synchronous};
use readers::Readers;
use recent::Recent;
pub use schema::MigrationStep;
use writer::{Command, Ended, Errand, Writer};

type Listeners = Arc<RwLock<Vec<Arc<dyn CommitListener>>>>;

/// A store in one SQLite file. Clones share it; when the last is gone, or after [`close`](Store::close), the file is
/// free again.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    readers: Readers,
    /// `None` once the store is closed.
    commands: RwLock<Option<mpsc::Sender<Command>>>,
    writer: Mutex<Option<Ended>>,
    listeners: Listeners,
    behind: behind::Shared,
    /// Numbers never change once they are written, so what is found may be remembered.
    streams: moka::sync::Cache<(TenantId, Shard), i64>,
    apps: moka::sync::Cache<i64, Arc<App>>,
    conversations: Mutex<Recent<i64, ConversationId>>,
    /// Who gives archived messages their content back.
    archived: OnceLock<Weak<dyn ArchivedEntries>>,
}

impl SqliteStore {
    /// Opens the file, makes it when it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// `Config` when the file has a newer schema than this program knows, or cannot be opened; `Conflict` when another
    /// process or another store has it open; `Storage` when the database fails.
    pub async fn open(options: SqliteOptions) -> Result<Self> {
        let lock = lock::acquire(&options).await?;
        let mut migrating = SqliteConnection::connect_with(&options.migrating())
            .await
            .map_err(|error| schema::unusable(&options.path, error))?;
        schema::migrate(&mut migrating, &options.path).await?;
        let readers =
            Readers::open(options.reader(), options.readers, options.busy_timeout).await.map_err(failed("open"))?;
        let (sender, commands) = mpsc::channel(options.queue.max(1));
        let listeners = Listeners::default();
        let behind = behind::Shared::default();
        let writer = Writer::start(lock, &options, Arc::clone(&listeners), Arc::clone(&behind), commands).await?;
        // After the writer came: the last to leave folds the write-ahead log into the file.
        migrating.close().await.map_err(failed("open"))?;
        Ok(Self(Arc::new(Inner {
            readers,
            commands: RwLock::new(Some(sender)),
            writer: Mutex::new(Some(writer)),
            listeners,
            behind,
            streams: moka::sync::Cache::new(4096),
            apps: moka::sync::Cache::new(1024),
            conversations: Mutex::new(Recent::new(32_768)),
            archived: OnceLock::new(),
        })))
    }

    /// What of the schema the file at `path` has and lacks. Reads only; a missing file lacks everything.
    ///
    /// # Errors
    /// `Config` when the file cannot be opened as a database.
    pub async fn migrate_status(path: impl AsRef<Path>) -> Result<Vec<MigrationStep>> {
        schema::status(path.as_ref()).await
    }

    fn sender(&self) -> Result<mpsc::Sender<Command>> {
        self.0.commands.read().clone().ok_or_else(closed)
    }

    /// Queues a command and waits for its answer.
    async fn command<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.sender()?.send(make(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Queues a small write and waits for its answer.
    async fn write<E: Errand>(&self, errand: E) -> Result<E::Outcome> {
        self.command(|reply| Command::errand(errand, reply)).await
    }

    /// The connections to read on.
    fn readers(&self) -> Result<&Readers> {
        if self.0.readers.is_closed() { Err(closed()) } else { Ok(&self.0.readers) }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("closed", &self.0.readers.is_closed()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM tenants ORDER BY name")
            .fetch_all(self.readers()?)
            .await
            .map_err(failed("tenants"))?;
        Ok(names.into_iter().map(TenantId::from).collect())
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>> {
        sqlx::query_scalar("SELECT value FROM settings WHERE name = ?")
            .bind(name)
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("setting"))
    }

    async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        // Settings never change: a start on a full disk must not fail for want of room to write what stands there.
        if let Some(stands) = self.setting(name).await? {
            return Ok(stands);
        }
        self.write(writer::SettingOrInsert { name: name.to_owned(), value: value.to_vec() }).await
    }

    async fn timelines(&self, tenant: &TenantId, app: &App) -> Result<Arc<dyn Timelines>> {
        let gate = self.write(writer::OpenGate(tenant.clone(), app.clone())).await?;
        Ok(Arc::new(read::SqliteTimelines { store: self.clone(), gate }))
    }

    fn archive_ledger(&self) -> Option<&dyn ArchiveLedger> {
        Some(self)
    }

    fn attach_archive(&self, entries: Weak<dyn ArchivedEntries>) {
        if self.0.archived.set(entries).is_err() {
            tracing::warn!("a store has one archive: the second is not asked");
        }
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        Some(self)
    }

    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1 FROM streams LIMIT 1")
            .fetch_optional(self.readers()?)
            .await
            .map(drop)
            .map_err(failed("ping"))
    }

    async fn close(&self) {
        // Readers first: who closes last folds the write-ahead log into the file, and a reader may not.
        self.0.readers.close().await;
        drop(self.0.commands.write().take());
        let writer = self.0.writer.lock().take();
        if let Some(writer) = writer
            && writer.await.is_err()
        {
            tracing::error!("the store's writer ended badly");
        }
    }
}
