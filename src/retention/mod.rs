//! Retention: what is older than a tenant wants to keep, and acknowledged by everybody, goes.
//!
//! One task, now and then, for all tenants in turn, a small number of rows in each transaction. It removes nothing that
//! a subscriber has still to acknowledge, however old; only one that has expired no longer counts, and hears of the gap
//! when it comes back. By default nothing is ever removed.

mod config;

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use switchboard_contract::storage::Store;
use switchboard_contract::{Clock, Error, ErrorKind, Result, TenantId};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use config::{Keep, RetentionConfig};

use crate::hub::Hub;

/// The longest a stop waits for the transaction in progress.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The task of retention. Clones share it; the last one to go stops it.
#[derive(Clone, Debug)]
pub struct Retention(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keeper: Keeper,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop: DropGuard,
}

#[derive(Clone, Debug)]
struct Keeper {
    config: RetentionConfig,
    hub: Hub,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Retention {
    /// Starts the task, if anything can ever be due. `recent` is how far back the past is fetched by itself.
    ///
    /// # Errors
    /// `Config` for settings that make no sense.
    pub fn open(
        config: RetentionConfig,
        recent: Duration,
        hub: Hub,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check(recent)?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let removes = config.removes();
        let keeper = Keeper { config, hub, store, clock };
        if removes {
            let (task, stopped) = (keeper.clone(), stop.clone());
            tasks.spawn(async move { stopped.run_until_cancelled(task.run()).await });
        }
        tasks.close();
        let guard = stop.clone().drop_guard();
        Ok(Self(Arc::new(Inner { keeper, tasks, stop, _stop: guard })))
    }

    /// Removes what is due now. Returns how many events of each tenant went, without those who lost none.
    ///
    /// # Errors
    /// `Storage`; then a part may be gone.
    pub async fn remove_due(&self) -> Result<Vec<(TenantId, u64)>> {
        self.0.keeper.remove_due().await
    }

    /// Stops the task. What it had not removed it removes after the next start.
    ///
    /// # Errors
    /// `Timeout` when it did not end in time.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.stop.cancel();
        tokio::select! {
            () = self.0.tasks.wait() => Ok(()),
            () = self.0.keeper.clock.sleep(STOP_WITHIN) => {
                Err(Error::new(ErrorKind::Timeout, "retention did not end in time"))
            }
        }
    }
}

impl Keeper {
    async fn run(self) {
        loop {
            self.clock.sleep(self.config.every).await;
            let outcome = match self.remove_due().await {
                Ok(_) => "done",
                Err(error) => {
                    tracing::error!(op = "retain", %error, "what is due could not be removed; it is tried again");
                    "failed"
                }
            };
            counter!("switchboard_retention_runs_total", "outcome" => outcome).increment(1);
        }
    }

    async fn remove_due(&self) -> Result<Vec<(TenantId, u64)>> {
        let now = self.clock.now();
        let mut gone = Vec::new();
        let mut failed = None;
        for tenant in self.store.tenants().await? {
            let Some(keep) = self.config.keep_of(&tenant) else { continue };
            match self.hub.retain(&tenant, now - keep).await {
                Ok(0) => {}
                Ok(removed) => {
                    counter!("switchboard_retention_removed_total").increment(removed);
                    tracing::info!(op = "retain", %tenant, removed, older_than = ?keep, "old events were removed");
                    gone.push((tenant, removed));
                }
                // The others' rows are removed all the same.
                Err(error) => {
                    tracing::warn!(op = "retain", %tenant, %error, "a tenant's old events could not be removed");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                gauge!("switchboard_retention_last_success_seconds").set(now.0 as f64 / 1000.0);
                Ok(gone)
            }
        }
    }
}
