//! Subscriptions: who gets which event, in what order, and how far each has acknowledged.
//!
//! The journal is the truth and the store keeps everybody's progress; the hub holds what is needed to deliver. Events
//! that were just committed stand once in a shared tail in memory; a subscriber that keeps up walks along it with its
//! own cursor, one that fell behind reads pages of the store that others share. What goes out, in which order, and
//! what an acknowledgement means is decided by the machine in [`switchboard_contract::reception`]. A commit's hint
//! wakes those who wait; losing one costs time, never an event.
//!
//! The hub knows no vendor, no HTTP and no SQL. Memory is bounded: the tail and the page cache by
//! [`HubConfig`], each subscriber by its `max_in_flight`.
//!
//! ```
//! # use std::sync::Arc;
//! # use switchboard::{clock::SystemClock, hub::{Hub, HubConfig, WorkerOptions}, store::memory::MemoryStore};
//! # use switchboard_contract::{Notice, SubscriberName, TenantId, Topic, storage::SubscriberSpec};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> switchboard_contract::Result<()> {
//! let hub = Hub::open(HubConfig::default(), Arc::new(MemoryStore::new()), Arc::new(SystemClock)).await?;
//! let (tenant, name) = (TenantId::default(), SubscriberName::from("watcher"));
//! let spec = SubscriberSpec { topics: vec![Topic::ProviderHealth], ..SubscriberSpec::default() };
//! hub.put(&tenant, &name, spec).await?;
//! let notice = Notice {
//!     topic: Topic::ProviderHealth,
//!     kind: "provider_online".into(),
//!     provider: Some("main".into()),
//!     detail: Default::default(),
//! };
//! hub.announce(&tenant, notice).await?;
//! let mut watcher = hub.stream(&tenant, &name, WorkerOptions::default()).await?;
//! let delivery = watcher.next().await.expect("the hub is open");
//! assert_eq!(delivery.event()?.data.type_name(), "notice");
//! delivery.ack().await?;
//! hub.shutdown().await
//! # }
//! ```

mod batch;
mod chunk;
mod config;
mod core;
mod desk;
mod filter;
mod found;
mod id;
mod meters;
mod notices;
mod pages;
mod receive;
mod restore;
mod shared;
mod step;
mod subscribers;
mod subscription;
mod tail;
mod tasks;
#[cfg(test)]
mod tests;
mod types;

use std::fmt;
use std::sync::Arc;

use switchboard_contract::reception::Input;
use switchboard_contract::storage::Store;
use switchboard_contract::{App, Clock, Error, ErrorKind, Notice, Position, ProviderId, Result, TenantId};
use tokio::sync::mpsc;

pub use batch::{Batch, Delivery, delivery_json};
pub use config::HubConfig;
pub use id::DeliveryId;
pub use subscription::Subscription;
pub use switchboard_contract::reception::{DeliveryKind, State};
pub use types::{
    AckOutcome, AckRequest, MissingRange, NackRequest, PullPage, PullRequest, Recovery, SubscriberView,
    SubscriptionState, WorkerOptions,
};

use desk::within;
use shared::Shared;

/// Notices that wait to be journalled.
const NOTICES: usize = 1024;

/// The hub. Clones are handles of the same one.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Hub {
    /// Opens a hub over a store and starts its tasks on the present tokio runtime. Subscribers are read when somebody
    /// asks for them.
    ///
    /// # Errors
    /// `Storage` when the store does not answer.
    pub async fn open(config: HubConfig, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self> {
        store.ping().await?;
        let (notices, untold) = mpsc::channel(NOTICES);
        let shared = Arc::new(Shared::new(config, Arc::clone(&store), clock, notices));
        store.listen(Arc::clone(&shared.tails) as _);
        shared.tasks.spawn(tasks::herald(Arc::clone(&shared)));
        shared.tasks.spawn(tasks::committer(Arc::clone(&shared)));
        shared.tasks.spawn(tasks::keeper(Arc::clone(&shared)));
        shared.tasks.spawn(notices::run(Arc::clone(&shared), untold));
        Ok(Self { shared })
    }

    /// Says which app an alias of the configuration stands for, so that subscribers can filter by it. Subscribers
    /// in memory follow at once.
    pub fn register(&self, alias: ProviderId, app: App) {
        self.shared.apps.write().insert(alias, app);
        for core in self.shared.all_cores() {
            let mut inner = core.lock();
            inner.filter = filter::Filter::new(&inner.spec, &self.shared.apps.read());
        }
    }

    /// Journals an event of Switchboard's own and returns its place. It is delivered like any other.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`.
    pub async fn announce(&self, tenant: &TenantId, notice: Notice) -> Result<Position> {
        notices::announce(self.shared.store.as_ref(), self.shared.clock.as_ref(), tenant, notice).await
    }

    /// Stops: streams end, waiting pulls return, and what is acknowledged is stored before this returns.
    ///
    /// # Errors
    /// `Timeout` when the store took too long; what was acknowledged and is not stored will be delivered again.
    pub async fn shutdown(self) -> Result<()> {
        let shared = &self.shared;
        shared.stop.cancel();
        let mut last = Vec::new();
        for core in shared.all_cores() {
            let mut inner = core.lock();
            core.apply(shared, &mut inner, Input::Flush);
            let ticket = inner.ticket();
            last.push((core.saved.subscribe(), ticket));
        }
        let stored = within(shared, shared.config.stop_within, "storing the last acknowledgements", async {
            for (mut saved, ticket) in last {
                // The sender lives as long as the core, which the registry holds.
                let _ = saved.wait_for(|number| *number >= ticket).await;
            }
        });
        let stored = stored.await;
        shared.last_call.cancel();
        shared.tasks.close();
        within(shared, shared.config.stop_within, "stopping", shared.tasks.wait()).await?;
        shared.cores.lock().clear();
        stored
    }
}

fn unknown(what: &str, name: impl fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, format!("{what}: {name} does not exist"))
}
