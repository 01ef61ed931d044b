//! Backfill: the whole past of an app, a user or a conversation, fetched in the background, newest first.
//!
//! A job is durable. It knows its parts (files of hours the vendor still has, and conversations to be asked for) and,
//! of each, the cursor behind the last page that is journalled: stopped at any instant, it goes on there and fetches at
//! most one page twice. Of each app one job runs at a time; those that wait have their turns. Calls keep the vendor's
//! quota, which the adapter enforces, and leave a share of it to everybody else.
//!
//! What was said before Switchboard had the app is journalled as history: delivered to nobody who does not ask for it.
//! What was missed since is repair, and delivered late like any other.
//!
//! This module knows no vendor and no SQL.

mod config;
mod letters;
mod plan;
mod progress;
mod runner;
mod step;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::{BackfillJob, BackfillPart, BackfillScope, BackfillState, BackfillTally, Store};
use switchboard_contract::{
    App, BackfillId, Clock, Error, ErrorKind, Provider, ProviderId, Result, TenantId, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::BackfillConfig;
pub use progress::{BackfillView, Progress, Total};

use crate::catchup::Catchup;
use crate::notices::Notices;
use crate::reconcile::Reconciler;
use plan::Sources;
use runner::{Command, Runner};
use telling::Telling;

/// Calls that may wait for one app.
const CALLS: usize = 64;

/// What is asked of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillAct {
    /// Stop for now.
    Pause,
    /// Go on.
    Resume,
    /// End. What it brought stays.
    Cancel,
}

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillRequest {
    /// Whose past.
    pub scope: BackfillScope,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Up to this time; now by default.
    pub until: Option<Timestamp>,
    /// The newest so many messages of each conversation, and no more.
    pub max_messages: Option<u64>,
}

impl BackfillRequest {
    /// Everything the vendor has of this.
    pub fn of(scope: BackfillScope) -> Self {
        Self { scope, since: None, until: None, max_messages: None }
    }
}

/// Backfill of all apps. Clones share it; the last one to go stops its tasks.
#[derive(Clone, Debug)]
pub struct Backfill(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: BackfillConfig,
    store: Arc<dyn Store>,
    catchup: Catchup,
    reconciler: Reconciler,
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
    sources: Arc<Sources>,
    commands: mpsc::Sender<Command>,
    idle: watch::Receiver<bool>,
}

impl Backfill {
    /// Without apps yet.
    ///
    /// # Errors
    /// `Config` for settings that make no sense.
    pub fn open(
        config: BackfillConfig,
        store: Arc<dyn Store>,
        catchup: Catchup,
        reconciler: Reconciler,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (apps, tasks) = (Mutex::default(), TaskTracker::new());
        Ok(Self(Arc::new(Inner { config, store, catchup, reconciler, clock, apps, tasks, stop, _stop: guard })))
    }

    /// Goes on with the jobs of this provider's app. It must be registered for catching up and reconciliation before.
    ///
    /// # Errors
    /// `NotFound` when it is not.
    pub fn register(&self, alias: ProviderId, tenant: TenantId, provider: Arc<dyn Provider>) -> Result<()> {
        let inner = &self.0;
        let app = provider.app().clone();
        let sources = Arc::new(Sources {
            files: provider.history_files().map(|files| files.limits()),
            queries: provider.roaming().map(|roaming| roaming.limits()),
        });
        let (commands, asked) = mpsc::channel(CALLS);
        let (resting, idle) = watch::channel(false);
        let (store, clock) = (inner.store.clone(), inner.clock.clone());
        let notices = Notices::new(tenant.clone(), alias.clone(), app.clone(), store.clone(), clock.clone());
        let runner = Runner {
            puller: inner.catchup.puller(&tenant, &alias)?,
            reconciler: inner.reconciler.clone(),
            telling: Telling::new(alias.clone(), notices),
            tenant: tenant.clone(),
            alias: alias.clone(),
            sources: sources.clone(),
            config: inner.config.clone(),
            commands: asked,
            resting,
            jobs: Vec::new(),
            at: None,
            met: false,
            page_at: Timestamp(0),
            failures: 0,
            provider,
            store,
            clock,
        };
        let stop = inner.stop.clone();
        inner.tasks.spawn(async move { stop.run_until_cancelled(runner.run()).await });
        inner.apps.lock().insert(alias, Registered { tenant, app, sources, commands, idle });
        Ok(())
    }

    /// Accepts a job; it is durable when this returns.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `Unsupported` when its vendor has nothing to ask for this;
    /// `InvalidInput`; `Conflict` when too many jobs of the app are open; `Storage`.
    pub async fn start(&self, tenant: &TenantId, alias: &ProviderId, request: BackfillRequest) -> Result<BackfillView> {
        let found = self.of(tenant, alias)?;
        if !found.sources.serve(&request.scope) {
            return Err(Error::unsupported("fetching the past of this"));
        }
        let now = self.0.clock.now();
        let until = request.until.unwrap_or(now).min(now);
        if request.since.is_some_and(|since| since >= until) {
            return Err(Error::invalid("since", "must be before until"));
        }
        if request.max_messages == Some(0) {
            return Err(Error::invalid("max_messages", "must be at least 1"));
        }
        let job = BackfillJob {
            id: BackfillId::generate(),
            app: found.app.clone(),
            scope: request.scope,
            since: request.since,
            until,
            max_messages: request.max_messages,
            state: BackfillState::Queued,
            reason: None,
            created_at: now,
            updated_at: now,
            plans: 0,
            hours: BackfillTally::default(),
            conversations: BackfillTally::default(),
            pages: 0,
            messages: 0,
            inserted: 0,
            missed: 0,
            capped: 0,
            absent: 0,
            failed: 0,
        };
        let (reply, answer) = oneshot::channel();
        found.commands.send(Command::Start(Box::new(job), reply)).await.map_err(|_| stopped())?;
        let job = answer.await.map_err(|_| stopped())??;
        self.view(tenant, job).await
    }

    /// Pauses, resumes or ends a job. An act that changes nothing is none.
    ///
    /// # Errors
    /// `NotFound` for an unknown job, or one of a provider that is not configured; `Conflict` for one that is over;
    /// `Storage`.
    pub async fn act(&self, tenant: &TenantId, id: BackfillId, act: BackfillAct) -> Result<BackfillView> {
        let job = self.job(tenant, id).await?;
        let (_, found) = self.of_app(tenant, &job.app)?;
        let (reply, answer) = oneshot::channel();
        found.commands.send(Command::Act(id, act, reply)).await.map_err(|_| stopped())?;
        let job = answer.await.map_err(|_| stopped())??;
        self.view(tenant, job).await
    }

    /// One job.
    ///
    /// # Errors
    /// `NotFound`; `Storage`.
    pub async fn get(&self, tenant: &TenantId, id: BackfillId) -> Result<BackfillView> {
        let job = self.job(tenant, id).await?;
        self.view(tenant, job).await
    }

    /// Jobs of a tenant, the newest first, at most `limit`; with `open` only those with something left to do.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn list(&self, tenant: &TenantId, open: bool, limit: usize) -> Result<Vec<BackfillView>> {
        let mut views = Vec::new();
        for job in self.0.store.backfills(tenant, open, limit).await? {
            views.push(self.view(tenant, job).await?);
        }
        Ok(views)
    }

    /// Resolves once no job runs or waits for its turn. For tests, and for whoever waits for the past.
    pub async fn idle(&self) {
        let apps: Vec<_> = self.0.apps.lock().values().map(|one| one.idle.clone()).collect();
        for mut idle in apps {
            // An error means that the task is gone.
            let _ = idle.wait_for(|idle| *idle).await;
        }
    }

    /// Stops every task. A page that was under way is fetched again at the next start.
    ///
    /// # Errors
    /// `Timeout` when a task did not end in time.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.stop.cancel();
        self.0.tasks.close();
        tokio::select! {
            () = self.0.tasks.wait() => Ok(()),
            () = self.0.clock.sleep(Duration::from_secs(10)) => {
                Err(Error::new(ErrorKind::Timeout, "backfill did not end in time"))
            }
        }
    }

    async fn job(&self, tenant: &TenantId, id: BackfillId) -> Result<BackfillJob> {
        let job = self.0.store.backfill(tenant, id).await?;
        job.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such backfill"))
    }

    async fn view(&self, tenant: &TenantId, job: BackfillJob) -> Result<BackfillView> {
        let item = match job.state.is_open() {
            true => self.0.store.next_backfill_item(tenant, job.id).await?,
            false => None,
        };
        let provider = self.of_app(tenant, &job.app).map_or_else(|_| ProviderId::from(""), |(alias, _)| alias);
        let at = item.as_ref().map(|item| match &item.part {
            BackfillPart::Hour(hour) => hour.to_rfc3339(),
            BackfillPart::Conversation(id) => id.to_string(),
        });
        let progress = progress::progress(&job, item.as_ref());
        Ok(BackfillView { provider, job, at, progress })
    }

    fn of(&self, tenant: &TenantId, alias: &ProviderId) -> Result<Registered> {
        let apps = self.0.apps.lock();
        let found = apps.get(alias).filter(|one| one.tenant == *tenant);
        found.cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no provider {alias}")))
    }

    fn of_app(&self, tenant: &TenantId, app: &App) -> Result<(ProviderId, Registered)> {
        let apps = self.0.apps.lock();
        let found = apps.iter().find(|(_, one)| one.tenant == *tenant && one.app == *app);
        let found = found.map(|(alias, one)| (alias.clone(), one.clone()));
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "the job's provider is not configured"))
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "backfill is stopped")
}
