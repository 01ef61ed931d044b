//! Fetching what nobody brought: by itself when something may be missing, and for whoever pages through the past.
//!
//! For each app there are fetchers, each for one topic: `recent` (the newest tier of the conversations that are alive),
//! `conversation` (one conversation's time, after a hint), and `groups`. A [`Trigger`] says what happened, and
//! [`fetchers`] which of them answer. However many triggers come, of each subject one fetch runs and at most one waits;
//! one that waited too long is dropped. Beside these passive ones a page of history fetches actively, and waits.
//!
//! This module knows no vendor and no SQL. It promises: calls stay within the tiers' budgets and concurrency; a
//! conversation is fetched once at a time, and what the ledger calls complete is not fetched again; whatever fails here
//! delays nobody else and stays suspect in the ledger.

mod app;
mod gate;
mod groups;
mod hints;
mod page;
mod recent;
mod runner;
mod slots;
mod tasks;
mod telling;
mod verify;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::{Mutex, RwLock};
use switchboard_contract::storage::{Archive, Store};
use switchboard_contract::{Clock, Error, ErrorKind, Provider, ProviderId, Result, TenantId};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::catchup::Catchup;
use crate::history::HistoryConfig;
use crate::identity::Identity;
use crate::ingest::{Sighting, Witness};
use crate::notices::Notices;
use app::{Parts, Source};
pub(crate) use tasks::App;
use telling::Telling;

/// Sightings of one app that may wait; a hint is a hint, and further ones are counted and let go.
const SIGHTINGS: usize = 4096;

/// Something happened after which something may have to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The provider came online.
    LoggedIn,
    /// A subscriber walks for the first time.
    FirstWalk,
    /// Something was missed.
    Gap,
    /// The vendor says that a group changed.
    GroupChanged,
    /// Something named what nobody has seen.
    Hint,
}

/// A topic that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The newest tier of the conversations that are alive.
    Recent,
    /// A time of one conversation.
    Conversation,
    /// Groups and their members.
    Groups,
}

/// Which fetchers answer a trigger, each of them once.
pub const fn fetchers(trigger: Trigger) -> &'static [Fetch] {
    match trigger {
        Trigger::LoggedIn => &[Fetch::Recent, Fetch::Groups],
        Trigger::FirstWalk | Trigger::Gap => &[Fetch::Recent],
        Trigger::GroupChanged => &[Fetch::Groups],
        Trigger::Hint => &[Fetch::Conversation],
    }
}

/// Fetching of all apps. Clones share it; the last one to go stops its tasks.
#[derive(Clone, Debug)]
pub struct Fetching(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<HistoryConfig>,
    store: Arc<dyn Store>,
    archive: Option<Arc<dyn Archive>>,
    identity: Arc<Identity>,
    catchup: Catchup,
    clock: Arc<dyn Clock>,
    apps: Mutex<BTreeMap<ProviderId, Arc<App>>>,
    mailbox: Arc<Mailbox>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop: DropGuard,
}

/// What the way in saw, on its way to the app it belongs to.
#[derive(Debug, Default)]
struct Mailbox(RwLock<HashMap<ProviderId, mpsc::Sender<Sighting>>>);

impl Witness for Mailbox {
    fn saw(&self, sightings: Vec<Sighting>) {
        let apps = self.0.read();
        for sighting in sightings {
            let Some(app) = apps.get(&sighting.alias) else { continue };
            if let Err(mpsc::error::TrySendError::Full(sighting)) = app.try_send(sighting) {
                let provider = sighting.alias.as_str().to_owned();
                counter!("switchboard_history_hints_dropped_total", "provider" => provider).increment(1);
            }
        }
    }
}

impl Fetching {
    /// Without apps yet.
    ///
    /// # Errors
    /// `Config` for settings that make no sense.
    pub fn open(
        config: HistoryConfig,
        store: Arc<dyn Store>,
        archive: Option<Arc<dyn Archive>>,
        identity: Arc<Identity>,
        catchup: Catchup,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.check()?;
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Ok(Self(Arc::new(Inner {
            config: Arc::new(config),
            store,
            archive,
            identity,
            catchup,
            clock,
            apps: Mutex::default(),
            mailbox: Arc::default(),
            tasks: TaskTracker::new(),
            stop,
            _stop: guard,
        })))
    }

    /// Fetches for this provider's app from now on. It must be registered for catching up.
    ///
    /// # Errors
    /// `NotFound` when it is not.
    pub fn register(&self, alias: ProviderId, tenant: TenantId, provider: Arc<dyn Provider>) -> Result<()> {
        let inner = &self.0;
        let began = inner.catchup.began(&tenant, &alias)?;
        let (store, clock) = (inner.store.clone(), inner.clock.clone());
        let app = provider.app().clone();
        let notices = Notices::new(tenant.clone(), alias.clone(), app, store.clone(), clock.clone());
        let telling = Telling { notices, provider: alias.as_str().to_owned() };
        let source = Source::new(Parts {
            tenant,
            alias: alias.clone(),
            provider,
            store,
            archive: inner.archive.clone(),
            catchup: inner.catchup.clone(),
            clock,
            config: inner.config.clone(),
            began,
        });
        let app = Arc::new(App::new(source, inner.identity.clone(), telling));
        let (sender, sightings) = mpsc::channel(SIGHTINGS);
        inner.mailbox.0.write().insert(alias.clone(), sender);
        let (stop, worker) = (inner.stop.clone(), app.clone());
        inner.tasks.spawn(async move { stop.run_until_cancelled(worker.run(sightings)).await });
        inner.apps.lock().insert(alias, app);
        Ok(())
    }

    /// Who is to be told of what the way in sees.
    pub fn witness(&self) -> Arc<dyn Witness> {
        self.0.mailbox.clone()
    }

    /// A subscriber of this tenant is new: `recent` is filled for it. Returns at once.
    pub fn first_walk(&self, tenant: &TenantId) {
        self.of_tenant(tenant).iter().for_each(|app| app.fill(Trigger::FirstWalk, app.source.recent_since()));
    }

    pub(crate) fn source(&self, tenant: &TenantId, alias: &ProviderId) -> Result<Arc<App>> {
        let apps = self.0.apps.lock();
        let found = apps.get(alias).filter(|app| app.source.tenant == *tenant).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no provider {alias}")))
    }

    pub(crate) fn of_tenant(&self, tenant: &TenantId) -> Vec<Arc<App>> {
        self.0.apps.lock().values().filter(|app| app.source.tenant == *tenant).cloned().collect()
    }

    /// Stops every task. What a fetch had not finished stays suspect.
    ///
    /// # Errors
    /// `Timeout` when a task did not end in time.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.stop.cancel();
        self.0.tasks.close();
        tokio::select! {
            () = self.0.tasks.wait() => Ok(()),
            () = self.0.clock.sleep(Duration::from_secs(10)) => {
                Err(Error::new(ErrorKind::Timeout, "fetching did not end in time"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trigger_has_its_fetchers_once() {
        assert_eq!(fetchers(Trigger::LoggedIn), [Fetch::Recent, Fetch::Groups]);
        assert_eq!(fetchers(Trigger::GroupChanged), [Fetch::Groups]);
        assert_eq!(fetchers(Trigger::Hint), [Fetch::Conversation]);
    }
}
