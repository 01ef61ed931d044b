//! What the tests of the way in have in common.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchboard::clock::ManualClock;
use switchboard::identity::{Identity, Provisioner};
use switchboard::ingest::inbox::InboxConfig;
use switchboard::ingest::{CallbackAnswer, EchoBook, Ingest, IngestConfig, NoEchoes};
use switchboard_contract::storage::{Directory as _, Entry, GroupRecord, Journal as _, Quarantine as _, Quarantined};
use switchboard_contract::*;

use crate::disk::Disk;
use crate::provider::{Fake, NOW, Wire, callback};
use crate::store::Moody;

pub(crate) const ALIAS: &str = "main";

/// One running way in with everything around it.
pub(crate) struct Stage {
    pub(crate) ingest: Ingest,
    pub(crate) disk: Disk,
    pub(crate) store: Moody,
    pub(crate) identity: Arc<Identity>,
    pub(crate) provisioner: Arc<Provisioner>,
    pub(crate) clock: ManualClock,
    pub(crate) fake: Arc<Fake>,
    pub(crate) tenant: TenantId,
}

pub(crate) fn config() -> IngestConfig {
    IngestConfig {
        inbox: InboxConfig {
            segment_bytes: 256 << 10,
            capacity_bytes: 1 << 20,
            max_pending_bytes: 256 << 10,
            ..InboxConfig::default()
        },
        max_body_bytes: 64 << 10,
        ..IngestConfig::default()
    }
}

impl Stage {
    pub(crate) async fn new(fake: Arc<Fake>) -> Self {
        Self::on(Disk::default(), Moody::default(), fake, config(), Arc::new(NoEchoes)).await.unwrap()
    }

    pub(crate) async fn on(
        disk: Disk,
        store: Moody,
        fake: Arc<Fake>,
        config: IngestConfig,
        echoes: Arc<dyn EchoBook>,
    ) -> Result<Self> {
        Self::at(ManualClock::new(NOW), disk, store, fake, config, echoes).await
    }

    /// A stage whose clock goes on where another's ended.
    pub(crate) async fn at(
        clock: ManualClock,
        disk: Disk,
        store: Moody,
        fake: Arc<Fake>,
        config: IngestConfig,
        echoes: Arc<dyn EchoBook>,
    ) -> Result<Self> {
        let stage = Self::unregistered(clock, disk, store, fake, config, echoes).await?;
        stage.ingest.register(ALIAS.into(), stage.tenant.clone(), stage.fake.clone());
        Ok(stage)
    }

    pub(crate) async fn register_as(alias: &str, disk: Disk, store: Moody, fake: Arc<Fake>) -> Self {
        let clock = ManualClock::new(NOW);
        let stage = Self::unregistered(clock, disk, store, fake, config(), Arc::new(NoEchoes)).await.unwrap();
        stage.ingest.register(alias.into(), stage.tenant.clone(), stage.fake.clone());
        stage
    }

    async fn unregistered(
        clock: ManualClock,
        disk: Disk,
        store: Moody,
        fake: Arc<Fake>,
        config: IngestConfig,
        echoes: Arc<dyn EchoBook>,
    ) -> Result<Self> {
        let identity = Arc::new(Identity::new(Arc::new(store.clone())));
        let provisioner = Arc::new(Provisioner::new(identity.clone(), Arc::new(store.clone())));
        let ingest = Ingest::open_on(
            Arc::new(disk.clone()),
            config,
            Arc::new(store.clone()),
            identity.clone(),
            provisioner.clone(),
            echoes,
            Arc::new(clock.clone()),
        )
        .await?;
        let tenant = TenantId::default();
        Ok(Self { ingest, disk, store, identity, provisioner, clock, fake, tenant })
    }

    pub(crate) async fn receive(&self, raw: RawCallback) -> CallbackAnswer {
        self.ingest.receive(&ALIAS.into(), raw).await
    }

    /// Delivers one callback, which must be accepted.
    pub(crate) async fn post(&self, items: &[Wire]) {
        let answer = self.receive(callback(items)).await;
        assert_eq!((answer.status, &answer.body), (200, &Bytes::from_static(b"{}")));
    }

    /// Waits until everything is journalled, moving the clock whenever somebody waits for it.
    pub(crate) async fn idle(&self) {
        let idle = self.ingest.idle();
        tokio::pin!(idle);
        while tokio::time::timeout(Duration::from_millis(2), &mut idle).await.is_err() {
            // Small steps: no deadline passes that the work itself would have met.
            self.clock.advance(Duration::from_millis(20));
        }
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        self.store.read(&self.tenant, Shard(0), Position::START, usize::MAX).await.unwrap()
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        self.entries().await.iter().map(|entry| entry.event().unwrap()).collect()
    }

    /// Conversation, sequence and text of every message, in the order of the journal.
    pub(crate) async fn messages(&self) -> Vec<(String, u64, String)> {
        self.entries().await.iter().filter_map(told).collect()
    }

    /// The kinds of our own notices.
    pub(crate) async fn notices(&self) -> Vec<String> {
        let notice = |event: Event| match event.data {
            EventData::Notice(notice) => Some(notice.kind),
            _ => None,
        };
        self.events().await.into_iter().filter_map(notice).collect()
    }

    pub(crate) async fn quarantine(&self) -> Vec<Quarantined> {
        self.store.set_aside(&self.tenant, 0, 1000).await.unwrap()
    }

    pub(crate) async fn define_group(&self, id: &str, members: &[&str]) {
        let members = members.iter().map(|member| UserId::from(*member)).collect();
        let record = GroupRecord { id: id.into(), room: false, name: id.into(), owner: "owner".into(), members };
        self.store.put_group(&self.tenant, &record).await.unwrap();
    }
}

fn told(entry: &Entry) -> Option<(String, u64, String)> {
    let event = entry.event().unwrap();
    let EventData::Message(Message { body: Some(Body::Text(text)), .. }) = event.data else { return None };
    Some((event.conversation.unwrap().as_str().to_owned(), entry.sequence.unwrap().0, text.text))
}

/// Polls until it holds; the test's own deadline is the runner's.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
