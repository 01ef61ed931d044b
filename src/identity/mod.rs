//! Business ids and vendor ids: the map between them, and making users and groups at a vendor on first use.
//!
//! Owns every decision of which vendor id stands for which business id. Nothing else may turn one into the other.
//! A rule of spelling answers almost always; the table of [`Bindings`](switchboard_contract::storage::Bindings)
//! answers where no spelling exists, where the vendor chooses ids, and where a map was imported. Whatever the table
//! holds, two business ids never share a vendor id, nor two vendor ids a business id.

mod groups;
mod map;
mod provision;
mod transfer;
mod users;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use switchboard_contract::storage::Store;
use switchboard_contract::{App, TenantId};

pub use provision::{Prepared, Provisioner};
pub use transfer::Imported;

pub use groups::SeenGroup;

use map::AppMap;

/// The identity map of every app, with bounded caches in front of the table.
///
/// Another process that binds ids of the same app is noticed only for ids not cached here.
pub struct Identity {
    store: Arc<dyn Store>,
    apps: RwLock<HashMap<(TenantId, App), Arc<AppMap>>>,
}

impl Identity {
    /// A map over the table in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, apps: RwLock::default() }
    }

    fn app(&self, tenant: &TenantId, app: &App) -> Arc<AppMap> {
        // A key of two owned parts cannot be looked up by reference; cloning it is four counters.
        let key = (tenant.clone(), app.clone());
        if let Some(known) = self.apps.read().get(&key) {
            return known.clone();
        }
        self.apps.write().entry(key).or_default().clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("apps", &self.apps.read().len()).finish_non_exhaustive()
    }
}
