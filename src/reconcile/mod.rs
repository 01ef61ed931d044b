//! Reconciliation: every hour of every app is compared with the file the vendor publishes of it.
//!
//! Vendors drop callbacks for good. The one bulk copy of what was said is a file of each hour, published late, sometimes
//! growing, and deleted after days. For each app one task fetches each hour's file when it can be there, again while it
//! may still grow, and last when it is final; journals what the journal lacks, marked late; and keeps the ledger of
//! coverage, which says of each hour whether it is complete, suspect, or beyond repair. File calls keep the vendor's
//! quota, which the adapter enforces.
//!
//! This module knows no vendor and no SQL. It promises: a file of any size needs bounded memory; reading a file twice
//! inserts nothing the second time; an hour is `complete` only by a final file, or when nothing was published and
//! nothing is known; a failure of one app delays no other.

mod compare;
mod config;
mod look;
mod reading;
mod report;
mod runs;
mod schedule;
mod setback;
mod telling;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::{CoverageState, HourCoverage, PositionRun, Store};
use switchboard_contract::{
    App, Clock, Error, ErrorKind, Position, Provider, ProviderId, Result, Shard, TenantId, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::ReconcileConfig;
pub use report::{AppCoverage, CoverageReport, Hole, HoleKind, KindHole};
pub use worker::{HourReport, ReconcileReport};

use crate::ingest::WeakIngest;
use crate::recovery::AppHealth;
use look::Subject;
use report::Facts;
use schedule::Rules;
pub(crate) use schedule::{HOUR, hour_of};
use telling::Telling;
use worker::{Doing, Request, Wanted, Worker, stopped};

/// Calls that may wait for one app.
const CALLS: usize = 64;
/// Holes of conversations and of places named in one report.
const NAMED: usize = 1000;

/// Reconciliation of all apps. Clones share it; the last one to go stops its tasks.
#[derive(Clone, Debug)]
pub struct Reconciler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ReconcileConfig,
    store: Arc<dyn Store>,
    ingest: WeakIngest,
    clock: Arc<dyn Clock>,
    apps: Mutex<BTreeMap<ProviderId, Registered>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop: DropGuard,
}

#[derive(Clone, Debug)]
struct Registered {
    tenant: TenantId,
    app: App,
    provider: Arc<dyn Provider>,
    since: Timestamp,
    /// `None` for a vendor without files.
    task: Option<(mpsc::Sender<Request>, watch::Receiver<Doing>)>,
}

/// When Switchboard first had this app, by its own clock: now, if it never had it before.
///
/// # Errors
/// `Storage`.
pub(crate) async fn began(
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    tenant: &TenantId,
    app: &App,
) -> Result<Timestamp> {
    let name = format!("coverage-since/{tenant}/{}/{}", app.kind, app.key);
    let stored = store.setting_or_insert(&name, &clock.now().0.to_be_bytes()).await?;
    let bytes = stored.try_into().map_err(|_| Error::new(ErrorKind::Storage, "a stored time is damaged"))?;
    Ok(Timestamp(i64::from_be_bytes(bytes)))
}

impl Reconciler {
    /// A reconciler without apps yet.
    ///
    /// # Errors
    /// `Config` for settings that make no sense.
    pub fn open(
        config: ReconcileConfig,
        store: Arc<dyn Store>,
        ingest: WeakIngest,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let tasks = TaskTracker::new();
        Ok(Self(Arc::new(Inner { config, store, ingest, clock, apps: Mutex::default(), tasks, stop, _stop: guard })))
    }

    /// Reconciles this provider's app from now on. What was sent before the first registration ever of an app is
    /// history and left alone. Where `health` tells that the app can be reached again, files that could not be had wait
    /// no longer.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn register(
        &self,
        alias: ProviderId,
        tenant: TenantId,
        provider: Arc<dyn Provider>,
        health: Option<watch::Receiver<AppHealth>>,
    ) -> Result<()> {
        let inner = &self.0;
        let app = provider.app().clone();
        // The vendor's clock may be behind ours.
        let began = began(&inner.store, &inner.clock, &tenant, &app).await? - inner.config.clock_margin;
        let since = schedule::hour_of(began);
        let task = provider.history_files().map(|files| files.limits()).map(|limits| {
            let (calls, requests) = mpsc::channel(CALLS);
            let (doing, done) = watch::channel(Doing::Busy);
            let rules = Rules::new(&limits, &inner.config);
            let subject = Subject {
                telling: Telling::new(
                    tenant.clone(),
                    alias.clone(),
                    app.clone(),
                    inner.store.clone(),
                    inner.clock.clone(),
                ),
                tenant: tenant.clone(),
                alias: alias.clone(),
                provider: provider.clone(),
                store: inner.store.clone(),
                ingest: inner.ingest.clone(),
                clock: inner.clock.clone(),
                config: inner.config.clone(),
                began,
            };
            let worker =
                Worker { subject, rules, since, requests, doing, known: BTreeMap::new(), cut_off: None, health };
            let stop = inner.stop.clone();
            inner.tasks.spawn(async move { stop.run_until_cancelled(worker.run()).await });
            (calls, done)
        });
        inner.apps.lock().insert(alias, Registered { tenant, app, provider, since, task });
        Ok(())
    }

    /// Reconciles the hours from `from` to `until` now, as far as their files can be there. Hours that are complete
    /// and still whole in the journal are left out, unless `again`. Equal calls that wait are served together.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `Unsupported` for a vendor without files; `InvalidInput`
    /// for a range without end; `Storage`.
    pub async fn reconcile(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        from: Timestamp,
        until: Timestamp,
        again: bool,
    ) -> Result<ReconcileReport> {
        let (calls, _) = self.of(tenant, alias)?.task.ok_or_else(|| Error::unsupported("history files"))?;
        let (reply, answer) = oneshot::channel();
        let request = Request { wanted: Wanted { from, until, again }, file: None, reply };
        calls.send(request).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Compares a file that somebody has downloaded with the journal, as if it had been fetched: of any hour, also of one
    /// whose file the vendor has deleted. Reading it twice inserts nothing the second time.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `Unsupported` for a vendor without files; `Decode` for a
    /// damaged file; `InvalidInput` for an hour that is none, or that is not over; `Storage`.
    pub async fn read_file(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        hour: Timestamp,
        file: std::fs::File,
    ) -> Result<ReconcileReport> {
        let found = self.of(tenant, alias)?;
        let unsupported = || Error::unsupported("history files");
        let (calls, _) = found.task.ok_or_else(unsupported)?;
        if hour + HOUR > self.0.clock.now() {
            return Err(Error::invalid("hour", "must be an hour that is over"));
        }
        let file = found.provider.history_files().ok_or_else(unsupported)?.open(hour, file).await?;
        let (reply, answer) = oneshot::channel();
        let wanted = Wanted { from: hour, until: hour + HOUR, again: true };
        calls.send(Request { wanted, file: Some(file), reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// The hour that a file of this name holds, as the provider's vendor names files.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `InvalidInput` for another name.
    pub fn hour_of_file(&self, tenant: &TenantId, alias: &ProviderId, name: &str) -> Result<Timestamp> {
        let found = self.of(tenant, alias)?;
        let hour = found.provider.history_files().and_then(|files| files.hour_of(name));
        hour.ok_or_else(|| Error::invalid("hour", "is missing, and the file's name does not tell it"))
    }

    /// Coverage of the tenant's apps (or of one) from `from` to `until`. With `verify` the journal is asked whether
    /// what was there still is, which looks at the rows of the hours asked for and of what was received in that time.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `InvalidInput` for more than 400 days; `Storage`.
    pub async fn coverage(
        &self,
        tenant: &TenantId,
        alias: Option<&ProviderId>,
        from: Timestamp,
        until: Timestamp,
        verify: bool,
    ) -> Result<CoverageReport> {
        let from = schedule::hour_of(from);
        let until = until.min(self.0.clock.now());
        if until.since(from) > 400 * 24 * HOUR {
            return Err(Error::invalid("from", "must not be more than 400 days before until"));
        }
        let mut apps = Vec::new();
        for (alias, registered) in self.chosen(tenant, alias)? {
            let records = self.0.store.hours(tenant, &registered.app, from, until).await?;
            let gone = if verify { self.gone(tenant, &registered.app, &records).await? } else { BTreeMap::new() };
            let (app, since) = (registered.app.key.as_str().to_owned(), registered.since);
            let windows = self.0.store.windows(tenant, &registered.app, false, NAMED).await?;
            apps.push(report::fold(Facts { provider: alias, app, since, records, gone, windows }, from, until));
        }
        let (conversations, places) = match verify {
            true => {
                let among = self.received(tenant, from, until).await?;
                let places = self.0.store.gone_places(tenant, Shard(0), among, NAMED).await?;
                (self.0.store.gone_sequences(tenant, Shard(0), &places, NAMED).await?, places)
            }
            false => (Vec::new(), Vec::new()),
        };
        Ok(CoverageReport { from, until, apps, conversations, places })
    }

    /// The places of what was received in a time.
    async fn received(&self, tenant: &TenantId, from: Timestamp, until: Timestamp) -> Result<PositionRun> {
        let (store, shard) = (&self.0.store, Shard(0));
        let first = store.position_before(tenant, shard, from - self.0.config.clock_margin).await?;
        let now = until >= self.0.clock.now();
        let last =
            if now { store.tail(tenant, shard).await? } else { store.position_before(tenant, shard, until).await? };
        Ok(PositionRun { first: Position(first.0 + 1), last })
    }

    /// Rows gone from complete hours. What retention removed is none of them.
    async fn gone(&self, tenant: &TenantId, app: &App, records: &[HourCoverage]) -> Result<BTreeMap<Timestamp, u64>> {
        let trimmed = self.0.store.trimmed(tenant, Shard(0)).await?;
        let mut gone = BTreeMap::new();
        for record in records {
            if record.state == CoverageState::Complete && record.runs.iter().all(|run| run.first > trimmed) {
                let (from, until) = (record.hour, record.hour + HOUR);
                let there = self.0.store.messages_at(tenant, app, Shard(0), &record.runs, from, until).await?;
                if there < record.journalled {
                    gone.insert(record.hour, record.journalled - there);
                }
            }
        }
        Ok(gone)
    }

    /// The tenant's providers whose vendor publishes files.
    pub fn with_files(&self, tenant: &TenantId) -> Vec<ProviderId> {
        let apps = self.0.apps.lock();
        apps.iter()
            .filter(|(_, one)| one.tenant == *tenant && one.task.is_some())
            .map(|(alias, _)| alias.clone())
            .collect()
    }

    /// Resolves once no app has anything due now. For tests that own the clock, and for whoever waits for repair.
    pub async fn settled(&self) {
        let apps: Vec<_> = self.0.apps.lock().values().filter_map(|one| one.task.clone()).collect();
        for (_, mut doing) in apps {
            let clock = self.0.clock.clone();
            // An error means that the task is gone, and with it everything due.
            let _ = doing.wait_for(|doing| matches!(doing, Doing::Resting(until) if *until > clock.now())).await;
        }
    }

    /// Stops every task. What a look had not finished it does again at the next start.
    ///
    /// # Errors
    /// `Timeout` when a task did not end in time.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.stop.cancel();
        self.0.tasks.close();
        tokio::select! {
            () = self.0.tasks.wait() => Ok(()),
            () = self.0.clock.sleep(Duration::from_secs(10)) => {
                Err(Error::new(ErrorKind::Timeout, "reconciliation did not end in time"))
            }
        }
    }

    fn of(&self, tenant: &TenantId, alias: &ProviderId) -> Result<Registered> {
        let apps = self.0.apps.lock();
        let found = apps.get(alias).filter(|one| one.tenant == *tenant);
        found.cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no provider {alias}")))
    }

    fn chosen(&self, tenant: &TenantId, alias: Option<&ProviderId>) -> Result<Vec<(ProviderId, Registered)>> {
        if let Some(alias) = alias {
            return Ok(vec![(alias.clone(), self.of(tenant, alias)?)]);
        }
        let apps = self.0.apps.lock();
        let own = apps.iter().filter(|(_, one)| one.tenant == *tenant);
        Ok(own.map(|(alias, one)| (alias.clone(), one.clone())).collect())
    }
}
