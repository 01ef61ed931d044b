//! A store in memory: for tests, and for trying things out. What it holds is gone with the process.
//!
//! Its semantics are those of the trait documents, as the SQLite store's are; it is simple rather than fast, and it
//! is not bounded. Everything stands behind one lock that is never held across an await.

mod backfill;
mod coverage;
mod history;
mod journal;
mod outbox;
mod ranges;
mod setbacks;
mod state;
mod subscribers;
mod tables;
mod timelines;
mod windows;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use switchboard_contract::storage::{Store, Timelines};
use switchboard_contract::{App, Error, ErrorKind, Result, TenantId};

use state::State;

/// A store in memory. Clones share their content.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.0.lock();
        if state.closed { Err(Error::new(ErrorKind::Closed, "the store is closed")) } else { Ok(state) }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn tenants(&self) -> Result<Vec<TenantId>> {
        let state = self.state()?;
        let streams = state.streams.keys();
        let subscribers = state.subscribers.keys().map(|(tenant, _)| tenant);
        let sends = state.legs.by_send.keys().map(|(tenant, _)| tenant);
        let apps = state.alive.keys().chain(state.bindings.keys()).map(|(tenant, _)| tenant);
        let all: BTreeSet<&TenantId> = streams.chain(subscribers).chain(sends).chain(apps).collect();
        Ok(all.into_iter().cloned().collect())
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.state()?.settings.get(name).cloned())
    }

    async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>> {
        Ok(self.state()?.settings.entry(name.to_owned()).or_insert_with(|| value.to_vec()).clone())
    }

    async fn timelines(&self, tenant: &TenantId, app: &App) -> Result<Arc<dyn Timelines>> {
        let log = self.state()?.timelines.entry((tenant.clone(), app.clone())).or_default().clone();
        Ok(Arc::new(timelines::MemoryTimelines { store: self.clone(), log }))
    }

    async fn ping(&self) -> Result<()> {
        self.state().map(drop)
    }

    async fn close(&self) {
        self.0.lock().closed = true;
    }
}
