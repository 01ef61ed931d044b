//! Subscribers of the hub: what they asked for, and how far each has acknowledged.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::conversation::ConversationId;
use crate::error::Result;
use crate::event::Topic;
use crate::ids::{Position, ProviderId, Sequence, Shard, SubscriberName, TenantId};
use crate::time::Timestamp;

/// How backlog and live events meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reception {
    /// Backlog first; live only once the acknowledgement has reached the tail.
    #[default]
    AckOnline,
    /// Backlog and live together; order within a conversation is kept by sequence.
    Concurrent,
}

/// In which order backlog comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backlog {
    /// As it was journalled.
    #[default]
    OldestFirst,
    /// The latest page of each conversation first, then further back.
    NewestFirst,
}

/// Where a new subscriber begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// With the first event kept.
    #[default]
    Beginning,
    /// With the next event.
    Now,
    /// With the first event received at or after this time.
    Time(Timestamp),
    /// With the first event after this position (of every shard).
    Position(Position),
}

/// What happens to a conversation whose event fails again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoisonPolicy {
    /// The conversation stops and its event is tried again for ever, ever more slowly.
    Block,
    /// The conversation is set aside until somebody redrives it.
    #[default]
    Park,
    /// The event is set aside; the conversation goes on behind it.
    Skip,
}

/// What to leave out. Empty lists leave nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscriberFilter {
    /// Only these conversations.
    pub conversations: Vec<ConversationId>,
    /// Only events of these providers (by alias).
    pub providers: Vec<ProviderId>,
}

/// What a subscriber asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscriberSpec {
    /// Topics; messages by default.
    pub topics: Vec<Topic>,
    /// What to leave out.
    pub filter: SubscriberFilter,
    /// How backlog and live events meet.
    pub reception: Reception,
    /// In which order backlog comes.
    pub backlog: Backlog,
    /// Where it begins when it is new.
    pub start: StartAt,
    /// Deliveries that may be out without an acknowledgement, over all its workers.
    pub max_in_flight: u32,
    /// Events in one page of backlog.
    pub page_size: u32,
    /// How long a delivery may stay out before it comes again. Milliseconds in JSON.
    #[serde(with = "millis")]
    pub ack_deadline: Duration,
    /// Deliveries of one event before the poison policy applies: the first try and the retries.
    pub max_attempts: u32,
    /// What happens then.
    pub poison: PoisonPolicy,
    /// Without a connection or pull for this long it expires and no longer holds retention. Milliseconds in JSON.
    #[serde(with = "optional_millis")]
    pub expires_after: Option<Duration>,
}

impl Default for SubscriberSpec {
    fn default() -> Self {
        Self {
            topics: vec![Topic::Messages],
            filter: SubscriberFilter::default(),
            reception: Reception::default(),
            backlog: Backlog::default(),
            start: StartAt::default(),
            max_in_flight: 1024,
            page_size: 256,
            ack_deadline: Duration::from_secs(30),
            max_attempts: 4,
            poison: PoisonPolicy::default(),
            expires_after: None,
        }
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

mod optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::millis::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|value| value.map(Duration::from_millis))
    }
}

/// How far a subscriber has acknowledged in one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCursor {
    /// Which.
    pub shard: Shard,
    /// Everything up to here is acknowledged, filtered out, parked or skipped.
    pub low: Position,
    /// Acknowledged above `low`: ascending, disjoint ranges, both ends included. Bounded by `max_in_flight`.
    pub acked: Vec<(Position, Position)>,
}

/// A conversation that waits for somebody, or for the next slow try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedConversation {
    /// Which.
    pub conversation: ConversationId,
    /// Its shard.
    pub shard: Shard,
    /// The first event not acknowledged.
    pub from: Sequence,
    /// The position of that event.
    pub position: Position,
    /// Deliveries made of it.
    pub attempts: u32,
    /// A stable lower-case word.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// All a subscriber needs to go on after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorState {
    /// What it asked for.
    pub spec: SubscriberSpec,
    /// How far it is; shards it has not touched are missing.
    pub cursors: Vec<ShardCursor>,
    /// What is set aside.
    pub parked: Vec<ParkedConversation>,
    /// Deliveries already made of events that failed, by shard and position.
    pub attempts: Vec<(Shard, Position, u32)>,
    /// When it last connected or pulled.
    pub seen_at: Timestamp,
    /// It was away longer than `expires_after`.
    pub expired: bool,
}

/// A change to one subscriber.
#[derive(Clone, Debug)]
pub struct SubscriberUpdate {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub name: SubscriberName,
    /// The new cursors of the shards that moved.
    pub cursors: Vec<ShardCursor>,
    /// Conversations set aside (or changed).
    pub park: Vec<ParkedConversation>,
    /// Conversations taken back.
    pub unpark: Vec<ConversationId>,
    /// Deliveries made of events that failed; 0 forgets.
    pub attempts: Vec<(Shard, Position, u32)>,
    /// It was here at this time.
    pub seen_at: Option<Timestamp>,
}

/// The durable side of subscriptions.
#[async_trait]
pub trait Subscribers: Send + Sync {
    /// Creates a subscriber with its cursors at `start`, or changes what an existing one asked for and leaves its
    /// cursors alone. Returns whether it is new.
    ///
    /// # Errors
    /// `Storage`.
    async fn put_subscriber(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        spec: &SubscriberSpec,
        start: &[ShardCursor],
        now: Timestamp,
    ) -> Result<bool>;

    /// Everything about one subscriber.
    ///
    /// # Errors
    /// `Storage`.
    async fn subscriber(&self, tenant: &TenantId, name: &SubscriberName) -> Result<Option<CursorState>>;

    /// All subscribers of a tenant.
    ///
    /// # Errors
    /// `Storage`.
    async fn subscribers(&self, tenant: &TenantId) -> Result<Vec<(SubscriberName, CursorState)>>;

    /// Puts the cursors of a subscriber to these, also backwards, and forgets what was set aside and what had failed;
    /// what it asked for stays, and it counts as seen at `now`. All or nothing. Returns whether there was one.
    ///
    /// # Errors
    /// `Storage`.
    async fn rewind_subscriber(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        cursors: &[ShardCursor],
        now: Timestamp,
    ) -> Result<bool>;

    /// Removes one with everything it has. Returns whether there was one.
    ///
    /// # Errors
    /// `Storage`.
    async fn remove_subscriber(&self, tenant: &TenantId, name: &SubscriberName) -> Result<bool>;

    /// Writes changes of any number of subscribers in one transaction. A cursor never moves back: the higher `low`
    /// is kept.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`; then nothing was written.
    async fn update_subscribers(&self, updates: Vec<SubscriberUpdate>) -> Result<()>;
}
