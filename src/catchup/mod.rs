//! Catching up after we were away: a provider's own restart walks the same way a subscriber does.
//!
//! At a start, and whenever something may have been missed, an app is `catching_up`: a repair window is recorded, the
//! vendor is asked for the conversations that were alive, within a bound of time, and what was missed is journalled
//! late. Then the app is `online`. What no query brings, the vendor's files do when they come; the window stays open
//! until every hour of it is decided. Triggers coalesce: one walk runs, at most one waits, and it covers them all.
//!
//! This module knows no vendor and no SQL.

mod again;
mod budget;
mod config;
mod conversation;
mod later;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use switchboard_contract::storage::{RepairWindow, Store};
use switchboard_contract::{
    App, Clock, ConversationId, Error, ErrorKind, Provider, ProviderId, Result, TenantId, Timestamp,
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use budget::Budget;
pub use config::CatchupConfig;
pub use conversation::{PullTerms, Pulled};

use crate::identity::Identity;
use crate::ingest::WeakIngest;
use crate::notices::Notices;
use crate::reconcile;
use crate::recovery::{AppHealth, RecoveryConfig};
pub(crate) use conversation::Puller;
use later::Later;
pub(crate) use walk::alive_conversations;
use walk::{Bell, Walker};

/// Where a provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    /// What was missed is being fetched.
    CatchingUp,
    /// Everything that can be fetched at once was, or its time was up.
    Online,
}

/// Catching up of all apps. Clones share it; the last one to go stops its tasks.
#[derive(Clone, Debug)]
pub struct Catchup(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: CatchupConfig,
    recovery: RecoveryConfig,
    store: Arc<dyn Store>,
    identity: Arc<Identity>,
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
    bell: Arc<Bell>,
    state: watch::Receiver<ProviderState>,
    puller: Puller,
    later: Arc<Later>,
}

impl Catchup {
    /// Without apps yet.
    ///
    /// # Errors
    /// `Config` for settings that make no sense.
    pub fn open(
        config: CatchupConfig,
        recovery: RecoveryConfig,
        store: Arc<dyn Store>,
        identity: Arc<Identity>,
        ingest: WeakIngest,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        recovery.check()?;
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (apps, tasks) = (Mutex::default(), TaskTracker::new());
        Ok(Self(Arc::new(Inner { config, recovery, store, identity, ingest, clock, apps, tasks, stop, _stop: guard })))
    }

    /// Starts the walk of this provider's app, and goes on with the queries that wait for a retry. Where `health` tells
    /// that the app can be reached again, they wait no longer.
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
        let began = reconcile::began(&inner.store, &inner.clock, &tenant, &app).await? - inner.config.clock_margin;
        let puller = Puller {
            tenant: tenant.clone(),
            alias: alias.clone(),
            provider: provider.clone(),
            store: inner.store.clone(),
            identity: inner.identity.clone(),
            ingest: inner.ingest.clone(),
            clock: inner.clock.clone(),
            terms: PullTerms::pages(inner.config.max_pages),
            margin: inner.config.clock_margin,
            began,
        };
        let later = Arc::new(Later::new(app.clone(), puller.clone(), inner.clock.clone(), inner.recovery.clone()));
        let (state, seen) = watch::channel(ProviderState::CatchingUp);
        let bell = Arc::new(Bell::default());
        let walker = Walker {
            notices: Notices::new(tenant.clone(), alias.clone(), app.clone(), inner.store.clone(), inner.clock.clone()),
            files: provider.history_files().is_some(),
            puller: puller.clone(),
            app: app.clone(),
            clock: inner.clock.clone(),
            config: inner.config.clone(),
            bell: bell.clone(),
            state,
            later: later.clone(),
            again: None,
            no_store_until: Timestamp(0),
        };
        let stop = inner.stop.clone();
        inner.tasks.spawn(async move { stop.run_until_cancelled(walker.run()).await });
        let (stop, again) = (inner.stop.clone(), Arc::clone(&later));
        inner.tasks.spawn(async move { stop.run_until_cancelled(again.run(health)).await });
        inner.apps.lock().insert(alias, Registered { tenant, app, bell, state: seen, puller, later });
        Ok(())
    }

    /// Reads a span of a conversation, both ends included, from the vendor into the journal, and writes into the ledger
    /// what is known of it then. What was said before Switchboard had the app is history and delivered to nobody who
    /// does not ask for it; what was missed since is delivered late.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have, or a conversation its vendor does not have; `Unsupported`
    /// for a vendor, account or kind of conversation without queries; whatever else the vendor or the store says.
    pub async fn pull(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        conversation: &ConversationId,
        (since, until): (Timestamp, Timestamp),
        terms: PullTerms,
    ) -> Result<Pulled> {
        let puller = Puller { terms, ..self.of(tenant, alias)?.puller };
        puller.pull(conversation, since, until).await
    }

    /// As [`pull`](Self::pull), but later: durable when this returns, over restarts, tried again when it fails, and a dead
    /// letter in the end. Of one conversation at most one such pull waits; it takes along whatever else is asked for.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `Storage`.
    pub async fn pull_later(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        conversation: &ConversationId,
        span: (Timestamp, Timestamp),
    ) -> Result<()> {
        self.of(tenant, alias)?.later.put(conversation, span, None).await
    }

    /// Asks for a walk from `since` on, because of `cause`: a stable lower-case word. Any number of calls leave at
    /// most one walk waiting behind the one that runs, and it covers them all.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have.
    pub fn catch_up(&self, tenant: &TenantId, alias: &ProviderId, since: Timestamp, cause: &'static str) -> Result<()> {
        self.of(tenant, alias)?.bell.ring(since, cause);
        Ok(())
    }

    /// Asks the vendor for what its most recent conversations have since `since`, at most `conversations` of them, and
    /// journals what is missing; how many messages that were. `None` where the vendor cannot be asked.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; what the vendor or the store says, when no conversation
    /// could be read.
    pub(crate) async fn evidence(
        &self,
        tenant: &TenantId,
        alias: &ProviderId,
        since: Timestamp,
        conversations: usize,
    ) -> Result<Option<u64>> {
        let inner = &self.0;
        let puller = self.of(tenant, alias)?.puller;
        if !inner.config.queries || puller.provider.roaming().is_none() {
            return Ok(None);
        }
        let oldest = since - inner.config.active_within;
        let wanted = alive_conversations(&*puller.store, tenant, oldest, conversations).await?;
        let (until, mut fresh, mut failure) = (inner.clock.now() + inner.config.clock_margin, 0, None);
        for conversation in wanted {
            match puller.pull(&conversation, since, until).await {
                Ok(pulled) => fresh += pulled.fresh,
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if fresh == 0 => Err(error),
            _ => Ok(Some(fresh)),
        }
    }

    /// What was sent before this time was said before Switchboard had the app.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have.
    pub fn began(&self, tenant: &TenantId, alias: &ProviderId) -> Result<Timestamp> {
        Ok(self.of(tenant, alias)?.puller.began)
    }

    /// Whether the vendor is asked for what was missed.
    pub(crate) fn asks(&self) -> bool {
        self.0.config.queries
    }

    /// How far the vendor's clock and ours may differ.
    pub fn clock_margin(&self) -> Duration {
        self.0.config.clock_margin
    }

    /// Follows where a provider stands; `None` for one that is not registered.
    pub fn watch(&self, alias: &ProviderId) -> Option<watch::Receiver<ProviderState>> {
        self.0.apps.lock().get(alias).map(|one| one.state.clone())
    }

    /// Where a provider stands; `None` for one that is not registered.
    pub fn state(&self, alias: &ProviderId) -> Option<ProviderState> {
        self.0.apps.lock().get(alias).map(|one| *one.state.borrow())
    }

    /// The repair windows of a provider's app, the newest first, at most `limit`.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have; `Storage`.
    pub async fn windows(&self, tenant: &TenantId, alias: &ProviderId, limit: usize) -> Result<Vec<RepairWindow>> {
        let app = self.of(tenant, alias)?.app;
        self.0.store.windows(tenant, &app, false, limit).await
    }

    /// Resolves once every app is online.
    pub async fn online(&self) {
        let states: Vec<_> = self.0.apps.lock().values().map(|one| one.state.clone()).collect();
        for mut state in states {
            // An error means that the task is gone.
            let _ = state.wait_for(|state| *state == ProviderState::Online).await;
        }
    }

    /// Stops every task. A walk that was under way begins anew at the next start.
    ///
    /// # Errors
    /// `Timeout` when a task did not end in time.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.stop.cancel();
        self.0.tasks.close();
        tokio::select! {
            () = self.0.tasks.wait() => Ok(()),
            () = self.0.clock.sleep(Duration::from_secs(10)) => {
                Err(Error::new(ErrorKind::Timeout, "catching up did not end in time"))
            }
        }
    }

    /// Reads conversations of a provider's app.
    ///
    /// # Errors
    /// `NotFound` for a provider this tenant does not have.
    pub(crate) fn puller(&self, tenant: &TenantId, alias: &ProviderId) -> Result<Puller> {
        Ok(self.of(tenant, alias)?.puller)
    }

    fn of(&self, tenant: &TenantId, alias: &ProviderId) -> Result<Registered> {
        let apps = self.0.apps.lock();
        let found = apps.get(alias).filter(|one| one.tenant == *tenant);
        found.cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no provider {alias}")))
    }
}
