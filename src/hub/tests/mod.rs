//! The hub over a store in memory.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fanout;
mod order;
mod poison;
mod pulling;
mod runs;
mod setaside;
mod streams;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::reception::DeliveryKind;
use switchboard_contract::storage::{Commit, Draft, Journal, Store, SubscriberSpec};
use switchboard_contract::{
    App, Body, ConversationId, Event, EventData, EventId, EventKey, GroupId, KeyClass, Message, MessageId, Origin,
    Sequence, SubscriberName, TenantId, Timestamp, UserId,
};

use super::{Delivery, Hub, HubConfig, Subscription, WorkerOptions};
use crate::clock::{ManualClock, SystemClock};
use crate::store::memory::MemoryStore;

const NOON: Timestamp = Timestamp(1_795_200_000_000);

/// A hub, its store and its hand-moved clock.
struct House {
    hub: Hub,
    store: Arc<MemoryStore>,
    clock: ManualClock,
    tenant: TenantId,
}

impl House {
    async fn new() -> Self {
        let clock = ManualClock::new(NOON);
        Self::over(Arc::new(MemoryStore::new()), clock).await
    }

    async fn over(store: Arc<MemoryStore>, clock: ManualClock) -> Self {
        Self::with(HubConfig::default(), store, clock).await
    }

    async fn with(config: HubConfig, store: Arc<MemoryStore>, clock: ManualClock) -> Self {
        let hub = Hub::open(config, Arc::clone(&store) as Arc<dyn Store>, Arc::new(clock.clone()));
        Self { hub: hub.await.unwrap(), store, clock, tenant: TenantId::default() }
    }

    /// Another hub over the same store, as after a crash: what the first had in memory is forgotten.
    async fn after_crash(self) -> Self {
        self.clock.advance(Duration::from_secs(1));
        Self::over(Arc::clone(&self.store), self.clock.clone()).await
    }

    async fn subscriber(&self, name: &str, spec: SubscriberSpec) -> SubscriberName {
        let name = SubscriberName::from(name);
        self.hub.put(&self.tenant, &name, spec).await.unwrap();
        name
    }

    async fn stream(&self, name: &SubscriberName) -> Subscription {
        self.hub.stream(&self.tenant, name, WorkerOptions::default()).await.unwrap()
    }

    /// Journals messages, one for each conversation named.
    async fn say(&self, conversations: &[&str]) {
        say(self.store.as_ref(), &self.tenant, conversations).await;
    }
}

fn conversation(name: &str) -> ConversationId {
    ConversationId::group(&GroupId::from(name))
}

fn draft(tenant: &TenantId, name: &str) -> Draft {
    let id = MessageId::generate();
    let event = Event {
        id: EventId::generate(),
        tenant: tenant.clone(),
        app: Some(App::new("huanxin", "org#app")),
        conversation: Some(conversation(name)),
        sent_at: NOON,
        received_at: NOON,
        origin: Origin::Callback,
        late: false,
        data: EventData::Message(Message {
            id,
            vendor_id: None,
            from: UserId::from("alice"),
            audience: Vec::new(),
            body: Some(Body::text("hi")),
            ext: Default::default(),
            mentions: None,
            client_message_id: None,
            recalled: false,
        }),
    };
    Draft {
        event,
        key: EventKey::new(KeyClass::Message, id.to_string()),
        sort_key: String::new(),
        digest: 1,
        raw: None,
    }
}

async fn say(store: &dyn Journal, tenant: &TenantId, conversations: &[&str]) {
    let drafts = conversations.iter().map(|name| draft(tenant, name)).collect();
    store.commit(Commit { drafts, ..Commit::default() }).await.unwrap();
}

/// Fails a test that waits for something that does not come, instead of hanging.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it must happen soon")
}

/// Lets other tasks run until nothing is left to do for them.
async fn rest() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn place(delivery: &Delivery) -> (String, u64) {
    let entry = delivery.entry();
    let name = entry.conversation.as_ref().map(|id| id.parts().concat()).unwrap_or_default();
    (name, entry.sequence.unwrap_or(Sequence(0)).0)
}

async fn take(stream: &mut Subscription, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(soon(stream.next()).await.expect("the stream is open"));
    }
    taken
}

async fn ack_all(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        soon(delivery.ack()).await.unwrap();
    }
}

fn kinds(deliveries: &[Delivery]) -> Vec<DeliveryKind> {
    deliveries.iter().map(Delivery::kind).collect()
}

fn system_hub_config() -> (HubConfig, Arc<SystemClock>) {
    (HubConfig::default(), Arc::new(SystemClock))
}
