//! The watch for silence: callbacks that should come and do not.
//!
//! Silence looks healthy. Of each app whose vendor calls back it is learnt how much it calls at which hour of the week;
//! when much less comes than that, the vendor is asked whether something was said, and a silence that is a fault is an
//! alarm: a repair window is opened, what can be had is fetched at once, and the reconciler compares the hours. Refusals
//! of ours just before make a ban of it.
//!
//! This module knows no vendor and no SQL. It promises: where a callback a second or more is expected, an alarm comes
//! within 60 s of the last; below that within five expected gaps where the vendor can be asked, and never for a quiet
//! that was expected.

mod config;
mod detector;
mod model;
#[cfg(test)]
mod tests;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::Store;
use switchboard_contract::{Clock, Error, ErrorKind, Provider, ProviderId, Result, TenantId, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::SilenceConfig;

use crate::catchup::Catchup;
use crate::ingest::WeakIngest;
use crate::notices::Notices;
use watcher::Watcher;

/// The watch over all apps. Clones share it; the last one to go stops its tasks.
#[derive(Clone, Debug)]
pub struct Silence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: SilenceConfig,
    store: Arc<dyn Store>,
    ingest: WeakIngest,
    catchup: Catchup,
    clock: Arc<dyn Clock>,
    apps: Mutex<BTreeMap<ProviderId, watch::Receiver<Option<Timestamp>>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop: DropGuard,
}

impl Silence {
    /// Without apps yet.
    ///
    /// # Errors
    /// `Config` for settings that make no sense.
    pub fn open(
        config: SilenceConfig,
        store: Arc<dyn Store>,
        ingest: WeakIngest,
        catchup: Catchup,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (apps, tasks) = (Mutex::default(), TaskTracker::new());
        Ok(Self(Arc::new(Inner { config, store, ingest, catchup, clock, apps, tasks, stop, _stop: guard })))
    }

    /// Watches this provider's app from now on, if its vendor calls back over the network.
    pub fn register(&self, alias: ProviderId, tenant: TenantId, provider: &dyn Provider) {
        let inner = &self.0;
        if !inner.config.enabled || provider.callbacks().is_none() || provider.link().is_some() {
            return;
        }
        let app = provider.app().clone();
        let (silent, seen) = watch::channel(None);
        let (store, clock) = (inner.store.clone(), inner.clock.clone());
        let watcher = Watcher {
            notices: Notices::new(tenant.clone(), alias.clone(), app.clone(), store.clone(), clock.clone()),
            tenant,
            alias: alias.clone(),
            app,
            store,
            ingest: inner.ingest.clone(),
            catchup: inner.catchup.clone(),
            clock,
            config: inner.config.clone(),
            silent,
        };
        let stop = inner.stop.clone();
        inner.tasks.spawn(async move { stop.run_until_cancelled(watcher.run()).await });
        inner.apps.lock().insert(alias, seen);
    }

    /// Since when a provider's callbacks have not come though they should; `None` while they do.
    pub fn silent_since(&self, alias: &ProviderId) -> Option<Timestamp> {
        self.0.apps.lock().get(alias).and_then(|silent| *silent.borrow())
    }

    /// Stops every task.
    ///
    /// # Errors
    /// `Timeout` when a task did not end in time.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.stop.cancel();
        self.0.tasks.close();
        tokio::select! {
            () = self.0.tasks.wait() => Ok(()),
            () = self.0.clock.sleep(Duration::from_secs(10)) => {
                Err(Error::new(ErrorKind::Timeout, "the watch for silence did not end in time"))
            }
        }
    }
}
