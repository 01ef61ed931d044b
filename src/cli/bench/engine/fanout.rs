//! Many subscribers of the hub on one thread, in one process.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchboard_contract::storage::{Commit, StartAt, Store, SubscriberSpec};
use switchboard_contract::{Result, SubscriberName, TenantId};
use tokio::task::LocalSet;

use crate::cli::bench::callbacks::CONVERSATIONS;
use crate::cli::bench::events::Events;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::raw::fanout::BURST;
use crate::clock::SystemClock;
use crate::hub::{Hub, HubConfig, Subscription, WorkerOptions};
use crate::store::memory::MemoryStore;

/// Journals bursts in memory, each when the one before has been delivered to and acknowledged by everybody.
pub(in crate::cli::bench) fn run(subscribers: usize, run_ms: u64) -> Result<Figure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("a runtime cannot be made"))?;
    runtime.block_on(LocalSet::new().run_until(measure(subscribers, run_ms)))
}

async fn measure(subscribers: usize, run_ms: u64) -> Result<Figure> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let hub = Hub::open(HubConfig::default(), store.clone(), Arc::new(SystemClock)).await?;
    let (tenant, delivered) = (TenantId::default(), Rc::new(Cell::new(0_u64)));
    for number in 0..subscribers {
        let name = SubscriberName::from(format!("s{number}"));
        let spec = SubscriberSpec { start: StartAt::Now, ..SubscriberSpec::default() };
        hub.put(&tenant, &name, spec).await?;
        let subscription = hub.stream(&tenant, &name, WorkerOptions::default()).await?;
        tokio::task::spawn_local(take(subscription, Rc::clone(&delivered)));
    }
    let mut events = Events::new(0, CONVERSATIONS);
    // The first burst shows that everybody is there, and is not measured.
    publish(&store, events.commit(BURST), &delivered, subscribers, 1).await?;
    let (limit, before) = (Duration::from_millis(run_ms), delivered.get());
    let (mut took, mut bursts) = (Duration::ZERO, 1);
    while took < limit {
        bursts += 1;
        // Making events is not the hub's work; journalling them is.
        let commit = events.commit(BURST);
        let begun = Instant::now();
        publish(&store, commit, &delivered, subscribers, bursts).await?;
        took += begun.elapsed();
    }
    let figure = Figure::of(delivered.get() - before, took);
    hub.shutdown().await?;
    Ok(figure)
}

async fn publish(
    store: &Arc<dyn Store>,
    commit: Commit,
    delivered: &Cell<u64>,
    subscribers: usize,
    bursts: u64,
) -> Result<()> {
    store.commit(commit).await?;
    while delivered.get() < bursts * (BURST * subscribers) as u64 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn take(mut subscription: Subscription, delivered: Rc<Cell<u64>>) {
    while let Some(page) = subscription.next_page().await {
        for entry in page.entries() {
            std::hint::black_box(entry.json.clone());
        }
        // The saving of acknowledgements goes on behind, and is shared.
        delivered.set(delivered.get() + page.ack_soon().done as u64);
    }
}
