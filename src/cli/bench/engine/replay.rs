//! A new subscriber that reads everything there is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use switchboard_contract::storage::{Store, SubscriberSpec};
use switchboard_contract::{EventId, Result, Shard, SubscriberName, TenantId};

use super::acking::acknowledge;
use crate::cli::bench::engine::append::options;
use crate::cli::bench::measure::Figure;
use crate::clock::SystemClock;
use crate::hub::{Hub, HubConfig, WorkerOptions};
use crate::store::sqlite::SqliteStore;

/// Events of a page: a subscriber that has much to catch up on asks for more than the default.
pub(in crate::cli::bench) const PAGE: u32 = 1024;

/// From the opening of the stream to the durable acknowledgement of the last event.
pub(in crate::cli::bench) async fn run(dir: &Path) -> Result<Figure> {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options(dir)).await?);
    let tenant = TenantId::default();
    let tail = store.tail(&tenant, Shard(0)).await?.0;
    let hub = Hub::open(HubConfig::default(), store.clone(), Arc::new(SystemClock)).await?;
    let name = SubscriberName::from(format!("replay-{}", EventId::generate()));
    let spec = SubscriberSpec { page_size: PAGE, max_in_flight: 4 * PAGE, ..SubscriberSpec::default() };
    hub.put(&tenant, &name, spec).await?;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let subscription = hub.stream(&tenant, &name, WorkerOptions { batch: PAGE as usize }).await?;
    acknowledge(subscription, Arc::clone(&acknowledged), tail).await?;
    let (count, took) = (acknowledged.load(Ordering::Relaxed), begun.elapsed());
    hub.remove(&tenant, &name).await?;
    hub.shutdown().await?;
    store.close().await;
    Ok(Figure { faults: tail.abs_diff(count), ..Figure::of(count, took) })
}
