//! Everything around sending: a clock, a store, vendors.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::{CommitListener, Entry, Journal, Store};
use switchboard_contract::*;

use super::vendor::Vendor;
use crate::identity::{Identity, Provisioner};
use crate::sending::{AppMode, Outgoing, Sending, SendingConfig};
use crate::store::memory::MemoryStore;

/// The runtime's own (paused) clock as ours.
#[derive(Debug)]
pub(super) struct Paused {
    base: Timestamp,
    began: tokio::time::Instant,
    sleeps: AtomicU64,
}

/// 2026-11-20T18:50:00Z: ten minutes before an hour ends.
pub(super) const START: Timestamp = Timestamp(1_795_200_600_000);

impl Paused {
    pub(super) fn from(base: Timestamp) -> Arc<Self> {
        Arc::new(Self { base, began: tokio::time::Instant::now(), sleeps: AtomicU64::new(0) })
    }

    /// How often anybody began to wait.
    pub(super) fn sleeps(&self) -> u64 {
        self.sleeps.load(Ordering::Relaxed)
    }
}

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        self.base + self.began.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Checks every step of every leg as it is journalled.
#[derive(Debug, Default)]
pub(super) struct Steps(Mutex<HashMap<MessageId, SendState>>);

impl CommitListener for Steps {
    fn committed(&self, _: &TenantId, _: Shard, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| entry.topic == Topic::SendStatus) {
            let EventData::SendStatus(status) = entry.event().unwrap().data else { continue };
            let mut known = self.0.lock();
            match known.insert(status.message_id, status.state) {
                None => assert_eq!(status.state, SendState::Queued),
                Some(before) => assert!(before.may_become(status.state), "{before} -> {}", status.state),
            }
        }
    }
}

pub(super) fn config() -> SendingConfig {
    SendingConfig { seed: Some(7), ..SendingConfig::default() }
}

pub(super) fn tenant() -> TenantId {
    TenantId::default()
}

/// One life of the process.
pub(super) struct World {
    pub clock: Arc<Paused>,
    pub store: MemoryStore,
    pub sending: Sending,
}

impl World {
    pub(super) async fn open(clock: Arc<Paused>, store: MemoryStore, config: SendingConfig) -> Self {
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let identity = Arc::new(Identity::new(Arc::clone(&shared)));
        let provisioner = Arc::new(Provisioner::new(Arc::clone(&identity), Arc::clone(&shared)));
        let ticking: Arc<dyn Clock> = clock.clone();
        let sending = Sending::open(config, shared, provisioner, identity, ticking, Vec::new()).await.unwrap();
        Self { clock, store, sending }
    }

    /// A first life with one vendor that sends.
    pub(super) async fn with(manner: super::vendor::Manner, config: SendingConfig) -> (Self, Arc<Vendor>) {
        let clock = Paused::from(START);
        let store = MemoryStore::new();
        store.listen(Arc::new(Steps::default()));
        let world = Self::open(clock, store, config).await;
        let vendor = Vendor::new("app", manner, world.clock.clone());
        world.serve(&vendor, AppMode::Active);
        (world, vendor)
    }

    pub(super) fn serve(&self, vendor: &Arc<Vendor>, mode: AppMode) {
        vendor.connect(tenant(), self.sending.echo_book(), Arc::new(self.store.clone()));
        let provider: Arc<dyn Provider> = vendor.clone();
        self.sending.register(ProviderId::from(vendor.app().key.as_str()), tenant(), provider, mode);
    }

    pub(super) async fn send(&self, vendor: &Vendor, outgoing: Outgoing) -> crate::sending::SendReceipt {
        self.sending.send(&tenant(), vendor.app(), outgoing).await.unwrap()
    }

    pub(super) async fn state(&self, message: MessageId) -> (SendState, Option<String>) {
        let view = self.sending.status(&tenant(), message).await.unwrap().unwrap();
        let leg = view.messages.into_iter().find(|leg| leg.message_id == message).unwrap();
        (leg.state, leg.reason)
    }

    pub(super) async fn attempts(&self, message: MessageId) -> u32 {
        let view = self.sending.status(&tenant(), message).await.unwrap().unwrap();
        view.messages.into_iter().find(|leg| leg.message_id == message).unwrap().attempts
    }

    /// Every journalled event, in order.
    pub(super) async fn journal(&self) -> Vec<Event> {
        let entries = self.store.read(&tenant(), Shard(0), Position::START, usize::MAX).await.unwrap();
        entries.iter().map(|entry| entry.event().unwrap()).collect()
    }

    /// How often each message stands in the journal.
    pub(super) async fn journalled(&self) -> BTreeMap<MessageId, usize> {
        let mut counts = BTreeMap::new();
        for event in self.journal().await {
            if let EventData::Message(message) = event.data {
                *counts.entry(message.id).or_default() += 1;
            }
        }
        counts
    }
}

/// A small generator, so that a seed tells the whole story of a test.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
