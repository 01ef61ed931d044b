//! D9 and C9: what is old and acknowledged goes, what somebody still needs stays, and who missed something hears of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard::clock::ManualClock;
use switchboard::hub::{Hub, HubConfig, WorkerOptions};
use switchboard::retention::{Keep, Retention, RetentionConfig};
use switchboard::store::sqlite::{SqliteOptions, SqliteStore};
use switchboard_contract::storage::{Commit, Draft, Store, SubscriberSpec};
use switchboard_contract::{
    App, Body, Clock as _, ConversationId, Event, EventData, EventId, EventKey, KeyClass, Message, MessageId, Origin,
    Position, Shard, SubscriberName, TenantId, Timestamp, UserId,
};

const NOON: Timestamp = Timestamp(1_795_200_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

struct House {
    hub: Hub,
    store: Arc<dyn Store>,
    clock: ManualClock,
    folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap(), ManualClock::new(NOON)).await
    }

    async fn over(folder: tempfile::TempDir, clock: ManualClock) -> Self {
        let store = SqliteStore::open(SqliteOptions::at(folder.path().join("switchboard.db"))).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let hub = Hub::open(HubConfig::default(), store.clone(), Arc::new(clock.clone())).await.unwrap();
        Self { hub, store, clock, folder }
    }

    /// The next process over the same files.
    async fn again(self) -> Self {
        let Self { hub, store, clock, folder } = self;
        hub.shutdown().await.unwrap();
        store.close().await;
        Self::over(folder, clock).await
    }

    /// One message in each of three conversations.
    async fn say(&self, tenant: &str, text: &str) {
        let drafts = ["a", "b", "c"].map(|to| draft(tenant, to, text, self.clock.now())).to_vec();
        self.store.commit(Commit { drafts, ..Commit::default() }).await.unwrap();
    }

    async fn subscriber(&self, tenant: &str, name: &str, expires_after: Option<Duration>) -> SubscriberName {
        let spec = SubscriberSpec { expires_after, ..SubscriberSpec::default() };
        let name = SubscriberName::from(name);
        self.hub.put(&tenant.into(), &name, spec).await.unwrap();
        name
    }

    /// Takes and acknowledges so many events.
    async fn handle(&self, tenant: &str, name: &SubscriberName, count: usize) {
        let mut stream = self.hub.stream(&tenant.into(), name, WorkerOptions::default()).await.unwrap();
        for _ in 0..count {
            stream.next().await.unwrap().ack().await.unwrap();
        }
        stream.close();
    }

    fn retention(&self, config: RetentionConfig) -> Retention {
        let (store, clock) = (self.store.clone(), Arc::new(self.clock.clone()));
        Retention::open(config, WEEK, self.hub.clone(), store, clock).unwrap()
    }

    async fn trimmed(&self, tenant: &str) -> u64 {
        self.store.trimmed(&tenant.into(), Shard(0)).await.unwrap().0
    }

    async fn left(&self, tenant: &str) -> usize {
        self.store.read(&tenant.into(), Shard(0), Position::START, 1000).await.unwrap().len()
    }
}

fn draft(tenant: &str, to: &str, text: &str, now: Timestamp) -> Draft {
    let id = MessageId::generate();
    let data = EventData::Message(Message {
        id,
        vendor_id: None,
        from: UserId::from("alice"),
        audience: Vec::new(),
        body: Some(Body::text(text)),
        ext: serde_json::Map::new(),
        mentions: None,
        client_message_id: None,
        recalled: false,
    });
    Draft {
        key: EventKey::new(KeyClass::Message, id.to_string()),
        sort_key: id.to_string(),
        digest: 1,
        raw: None,
        event: Event {
            id: EventId::generate(),
            tenant: tenant.into(),
            app: Some(App::new("fake", "app")),
            conversation: Some(ConversationId::direct(&"alice".into(), &to.into())),
            sent_at: now,
            received_at: now,
            origin: Origin::Callback,
            late: false,
            data,
        },
    }
}

fn keep(duration: Duration) -> RetentionConfig {
    RetentionConfig { keep: Keep(Some(duration)), ..RetentionConfig::default() }
}

#[tokio::test]
async fn i02_only_what_is_due_and_acknowledged_by_everybody_goes() {
    let house = House::new().await;
    let tenant = "default";
    let quick = house.subscriber(tenant, "quick", None).await;
    let slow = house.subscriber(tenant, "slow", None).await;
    house.say(tenant, "old").await;
    house.clock.advance(DAY);
    house.say(tenant, "young").await;
    let retention = house.retention(keep(WEEK));
    house.handle(tenant, &quick, 6).await;
    house.clock.advance(6 * DAY);
    assert_eq!(retention.remove_due().await.unwrap(), [], "the old ones are a week old and no more");
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(retention.remove_due().await.unwrap(), [], "somebody has not acknowledged them");
    house.handle(tenant, &slow, 2).await;
    assert_eq!(retention.remove_due().await.unwrap(), [(TenantId::from(tenant), 2)]);
    house.handle(tenant, &slow, 4).await;
    assert_eq!(retention.remove_due().await.unwrap(), [(TenantId::from(tenant), 1)], "the young ones are not due");
    assert_eq!((house.trimmed(tenant).await, house.left(tenant).await), (3, 3));
    // What is gone is gone for everybody: a new subscriber begins behind it, and nobody has missed anything.
    let late = house.subscriber(tenant, "late", None).await;
    let stream = house.hub.stream(&tenant.into(), &late, WorkerOptions::default()).await.unwrap();
    assert!(stream.recovery().recovered);
}

#[tokio::test]
async fn i11_each_tenant_keeps_its_own_for_as_long_as_it_wants() {
    let house = House::new().await;
    for tenant in ["brief", "default", "archive"] {
        house.say(tenant, "hi").await;
    }
    let keep_for = BTreeMap::from([("brief".into(), Keep(Some(WEEK))), ("archive".into(), Keep(None))]);
    let retention = house.retention(RetentionConfig { keep_for, ..keep(30 * DAY) });
    house.clock.advance(8 * DAY);
    assert_eq!(retention.remove_due().await.unwrap(), [(TenantId::from("brief"), 3)]);
    house.clock.advance(23 * DAY);
    assert_eq!(retention.remove_due().await.unwrap(), [(TenantId::from("default"), 3)]);
    house.clock.advance(3650 * DAY);
    assert_eq!(retention.remove_due().await.unwrap(), []);
    assert_eq!(house.left("archive").await, 3);
}

/// C9: who was away for so long that it no longer counts is told which range is missing, also after a restart.
#[tokio::test]
async fn i02_a_subscriber_that_slept_through_retention_is_told_what_is_missing() {
    let mut house = House::new().await;
    let tenant = "default";
    let sleepy = house.subscriber(tenant, "sleepy", Some(2 * DAY)).await;
    house.say(tenant, "read").await;
    house.handle(tenant, &sleepy, 3).await;
    house.say(tenant, "missed").await;
    house.clock.advance(8 * DAY);
    house.say(tenant, "there").await;
    let retention = house.retention(keep(WEEK));
    assert_eq!(retention.remove_due().await.unwrap(), [(TenantId::from(tenant), 6)]);
    retention.shutdown().await.unwrap();
    drop(retention);
    house = house.again().await;
    let mut stream = house.hub.stream(&tenant.into(), &sleepy, WorkerOptions::default()).await.unwrap();
    let recovery = stream.recovery().clone();
    assert!(!recovery.recovered && recovery.expired);
    let missing: Vec<_> = recovery.missing.iter().map(|range| (range.first.0, range.last.0)).collect();
    assert_eq!(missing, [(4, 6)]);
    for _ in 0..3 {
        let delivery = stream.next().await.unwrap();
        let EventData::Message(message) = delivery.event().unwrap().data else { panic!("not a message") };
        assert_eq!(message.body, Some(Body::text("there")));
        delivery.ack().await.unwrap();
    }
}

/// The task does it by itself, and stops when it is told to.
#[tokio::test]
async fn what_is_due_goes_by_itself_until_it_is_stopped() {
    let house = House::new().await;
    house.say("default", "hi").await;
    let retention = house.retention(RetentionConfig { every: Duration::from_secs(60), ..keep(WEEK) });
    house.clock.advance(8 * DAY);
    while house.left("default").await > 0 {
        // The task may not have begun to wait when the clock was moved.
        house.clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    retention.shutdown().await.unwrap();
    house.say("default", "again").await;
    house.clock.advance(30 * DAY);
    tokio::task::yield_now().await;
    assert_eq!(house.left("default").await, 3, "it is stopped");
    let idle = house.retention(RetentionConfig::default());
    house.clock.advance(3650 * DAY);
    idle.shutdown().await.unwrap();
    assert_eq!(house.left("default").await, 3, "without a setting nothing goes");
}
