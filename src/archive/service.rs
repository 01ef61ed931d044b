//! The archive behind one handle.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use switchboard_contract::storage::{ArchiveLedger, ArchivedEntries, Store};
use switchboard_contract::{Clock, Error, ErrorKind, Position, Result, Shard, TenantId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::manifest::{self, ArchiveFile, Manifest};
use super::objects::{self, Objects};
use super::progress::{RunReport, RunState, RunView};
use super::read::{self, OpenFile};
use super::{ArchiveConfig, VerifyReport};
use crate::hub::Hub;

const SHARD: Shard = Shard(0);

/// The archive of an installation. Clones share it.
#[derive(Clone)]
pub struct Archiver(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) objects: Objects,
    pub(super) config: ArchiveConfig,
    pub(super) owner: String,
    /// Who knows what subscribers still need.
    hub: OnceLock<Hub>,
    lists: RwLock<HashMap<TenantId, Arc<Manifest>>>,
    indexes: moka::sync::Cache<Path, OpenFile>,
    /// One run at a time: it holds files in memory.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) runs: Mutex<HashMap<TenantId, RunView>>,
    pub(super) stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Archiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archiver").field("location", &self.0.config.location).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("location", &self.config.location).finish_non_exhaustive()
    }
}

/// What an archive holds, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveStatus {
    /// Where it is.
    pub location: String,
    /// Messages older than this move, in seconds.
    pub older_than_seconds: u64,
    /// Messages older than this leave it for good, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_after_seconds: Option<u64>,
    /// Rises with each change of its list of files.
    pub generation: u64,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages in them.
    pub messages: u64,
    /// The first day with messages, as YYYY-MM-DD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_day: Option<String>,
    /// The last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_day: Option<String>,
    /// Messages old enough to move, and acknowledged.
    pub due: u64,
    /// Recalls that are not in the files yet. They are applied whenever a message is read.
    pub changes: u64,
    /// The last run.
    pub run: RunView,
}

impl Archiver {
    /// Opens the archive that the settings name, and makes the store read through it.
    ///
    /// # Errors
    /// `Config` for a location that cannot be opened or a store that can have no archive; `Storage`.
    pub async fn open(config: ArchiveConfig, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self> {
        let location = config.location.clone().unwrap_or_default();
        let objects = objects::open(&location, &config)?;
        Self::over(config, objects, store, clock).await
    }

    /// As [`open`](Self::open), over an object storage of the caller's.
    ///
    /// # Errors
    /// As there.
    pub async fn open_over(
        config: ArchiveConfig,
        objects: Arc<dyn ObjectStore>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        Self::over(config, Objects { store: objects, prefix: Path::default() }, store, clock).await
    }

    async fn over(
        config: ArchiveConfig,
        objects: Objects,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        if store.archive_ledger().is_none() {
            return Err(Error::new(ErrorKind::Config, "archive.location: this store can have no archive"));
        }
        let fresh: [u8; 16] = rand::random();
        let owner = hex::encode(store.setting_or_insert("archive/owner", &fresh).await?);
        let indexes = moka::sync::Cache::builder()
            .max_capacity(config.index_cache_bytes)
            .weigher(|_, file: &OpenFile| u32::try_from(file.index.memory_size()).unwrap_or(u32::MAX))
            .build();
        let inner = Arc::new(Inner {
            store,
            clock,
            objects,
            config,
            owner,
            hub: OnceLock::new(),
            lists: RwLock::default(),
            indexes,
            turn: tokio::sync::Mutex::default(),
            runs: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: Mutex::default(),
        });
        let entries: Arc<dyn ArchivedEntries> = inner.clone();
        inner.store.attach_archive(Arc::downgrade(&entries));
        Ok(Self(inner))
    }

    /// Begins to run by itself, for these tenants, as the settings say. Until then nothing is archived.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn start(&self, hub: Hub, tenants: Vec<TenantId>) -> Result<()> {
        for tenant in &tenants {
            self.0.ledger()?.open_archive(tenant).await?;
        }
        let _ = self.0.hub.set(hub);
        if !self.0.config.every.is_zero() {
            let this = Arc::downgrade(&self.0);
            let stop = self.0.stop.clone();
            let task = tokio::spawn(stop.run_until_cancelled_owned(regularly(this, tenants)));
            self.0.tasks.lock().push(tokio::spawn(async move {
                if let Err(error) = task.await {
                    tracing::error!(%error, "the archive's timer ended badly");
                }
            }));
        }
        Ok(())
    }

    /// Moves what is old enough, and no subscriber needs any more, into the archive. Returns when it is done.
    ///
    /// # Errors
    /// `Conflict` while another run of this tenant is under way; `InvalidInput` for an age under a day; `Storage`, then
    /// what was settled before is archived and the rest is where it was.
    pub async fn run(&self, tenant: &TenantId, older_than: Option<Duration>) -> Result<RunReport> {
        let age = self.0.admit(tenant, older_than)?;
        self.0.admitted(tenant, age).await
    }

    /// Begins a run and returns at once; [`status`](Self::status) tells how it goes.
    ///
    /// # Errors
    /// As [`run`](Self::run), for what is known at once.
    pub fn begin(&self, tenant: &TenantId, older_than: Option<Duration>) -> Result<RunView> {
        let age = self.0.admit(tenant, older_than)?;
        let (inner, tenant) = (Arc::clone(&self.0), tenant.clone());
        let view = self.0.view(&tenant);
        let task = tokio::spawn(async move {
            // The view tells the outcome.
            let _ = inner.admitted(&tenant, age).await;
        });
        let mut tasks = self.0.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
        Ok(view)
    }

    /// What the archive of a tenant holds, and what waits for it.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn status(&self, tenant: &TenantId) -> Result<ArchiveStatus> {
        let inner = &self.0;
        let list = inner.list(tenant).await?;
        let older_than = inner.config.older_than(tenant);
        let (before, until) = (inner.clock.now() - older_than, inner.acknowledged(tenant).await?);
        let run = inner.view(tenant);
        let due = if run.state == RunState::Running {
            run.messages_total.saturating_sub(run.messages_done)
        } else {
            inner.ledger()?.due_days(tenant, before, until).await?.iter().map(|day| day.messages).sum()
        };
        Ok(ArchiveStatus {
            location: inner.config.location.clone().unwrap_or_default(),
            older_than_seconds: older_than.as_secs(),
            delete_after_seconds: inner.config.delete_after(tenant).map(|after| after.as_secs()),
            generation: list.generation,
            files: list.files.len() as u64,
            bytes: list.files.iter().map(|file| file.bytes).sum(),
            messages: list.files.iter().map(|file| file.rows).sum(),
            first_day: list.files.first().map(|file| file.day.to_string()),
            last_day: list.files.last().map(|file| file.day.to_string()),
            due,
            changes: inner.ledger()?.archive_changes(tenant, None).await?.len() as u64,
            run,
        })
    }

    /// The files of a tenant.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn files(&self, tenant: &TenantId) -> Result<Vec<ArchiveFile>> {
        Ok(self.0.list(tenant).await?.files.clone())
    }

    /// Reads every file and compares it with what was written.
    ///
    /// # Errors
    /// `Storage` when the list cannot be read; what is wrong with a file stands in the report.
    pub async fn verify(&self, tenant: &TenantId) -> Result<VerifyReport> {
        self.0.verify(tenant).await
    }

    /// Ends what is under way; a run that is cut short has settled what it says.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        let tasks = std::mem::take(&mut *self.0.tasks.lock());
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a run of the archive ended badly");
            }
        }
    }

    /// As a source of history.
    pub fn source(&self) -> Arc<dyn switchboard_contract::storage::Archive> {
        Arc::clone(&self.0) as _
    }
}

/// Runs for each tenant, once after the start and then as often as the settings say.
async fn regularly(this: Weak<Inner>, tenants: Vec<TenantId>) {
    loop {
        let wait = {
            let Some(inner) = this.upgrade() else { return };
            for tenant in &tenants {
                let Ok(age) = inner.admit(tenant, None) else { continue };
                if let Err(error) = inner.admitted(tenant, age).await {
                    tracing::warn!(%tenant, %error, "the archive did not run");
                }
            }
            inner.clock.sleep(inner.config.every)
        };
        wait.await;
    }
}

impl Inner {
    pub(super) fn ledger(&self) -> Result<&dyn ArchiveLedger> {
        self.store.archive_ledger().ok_or_else(|| Error::unsupported("an archive beside this store"))
    }

    /// The last position that every subscriber has acknowledged.
    pub(super) async fn acknowledged(&self, tenant: &TenantId) -> Result<Position> {
        let held = match self.hub.get() {
            Some(hub) => hub.held_from(tenant, SHARD).await?,
            None => Some(Position::START),
        };
        match held {
            Some(held) => Ok(held),
            None => self.store.tail(tenant, SHARD).await,
        }
    }

    fn admit(&self, tenant: &TenantId, older_than: Option<Duration>) -> Result<Duration> {
        let age = older_than.unwrap_or_else(|| self.config.older_than(tenant));
        if age < Duration::from_secs(24 * 60 * 60) {
            return Err(Error::invalid("older_than", "must be at least 1 day"));
        }
        if self.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the archive is closed"));
        }
        let mut runs = self.runs.lock();
        let run = runs.entry(tenant.clone()).or_default();
        if run.state == RunState::Running {
            return Err(Error::new(ErrorKind::Conflict, "a run of the archive is under way"));
        }
        *run = RunView { state: RunState::Running, started_at: Some(self.clock.now()), ..RunView::default() };
        Ok(age)
    }

    async fn admitted(&self, tenant: &TenantId, age: Duration) -> Result<RunReport> {
        let outcome = {
            let _turn = self.turn.lock().await;
            self.run(tenant, age).await
        };
        let mut runs = self.runs.lock();
        let run = runs.entry(tenant.clone()).or_default();
        run.ended_at = Some(self.clock.now());
        match &outcome {
            Ok(report) => {
                run.state = RunState::Done;
                run.report = report.clone();
            }
            Err(error) => {
                run.state = RunState::Failed;
                run.fault = Some(error.message().to_owned());
                metrics::counter!("switchboard_archive_failed_total", "kind" => error.kind().as_str()).increment(1);
                tracing::error!(%tenant, %error, cause = ?std::error::Error::source(error), "a run of the archive failed");
            }
        }
        outcome
    }

    pub(super) fn view(&self, tenant: &TenantId) -> RunView {
        self.runs.lock().get(tenant).cloned().unwrap_or_default()
    }

    pub(super) fn tell(&self, tenant: &TenantId, change: impl FnOnce(&mut RunView)) {
        change(self.runs.lock().entry(tenant.clone()).or_default());
    }

    /// The list of a tenant's files, from memory once it was read.
    pub(super) async fn list(&self, tenant: &TenantId) -> Result<Arc<Manifest>> {
        if let Some(list) = self.lists.read().get(tenant) {
            return Ok(Arc::clone(list));
        }
        let listed = manifest::load(&self.objects, tenant, &self.owner).await?;
        let known = self.ledger()?.archive_generation(tenant).await?;
        older(&listed.manifest, known)?;
        let list = Arc::new(listed.manifest);
        // A run may have published a newer one meanwhile.
        Ok(Arc::clone(self.lists.write().entry(tenant.clone()).or_insert(list)))
    }

    /// From now on readers see these files.
    pub(super) fn publish(&self, manifest: Manifest) -> Arc<Manifest> {
        let list = Arc::new(manifest);
        self.lists.write().insert(list.tenant.clone(), Arc::clone(&list));
        list
    }

    pub(super) fn path(&self, tenant: &TenantId, name: &str) -> Path {
        name.split('/').fold(manifest::folder(&self.objects, tenant), |path, part| path.join(part))
    }

    /// A file with its index, from memory when it was read lately.
    pub(super) async fn open_file(&self, tenant: &TenantId, file: &ArchiveFile) -> Result<OpenFile> {
        let path = self.path(tenant, &file.name);
        if let Some(open) = self.indexes.get(&path) {
            return Ok(open);
        }
        let open = read::open(&self.objects, path.clone(), file).await?;
        self.indexes.insert(path, open.clone());
        Ok(open)
    }
}

/// Refuses a list from before what the database has settled: messages would be missing.
pub(super) fn older(manifest: &Manifest, settled: u64) -> Result<()> {
    if manifest.generation >= settled {
        return Ok(());
    }
    let text = format!(
        "the archive's manifest has generation {} and the store has settled {settled}: archive.location is another \
         place, or files were lost",
        manifest.generation
    );
    Err(Error::new(ErrorKind::Storage, text).with_operation("archive_manifest"))
}
