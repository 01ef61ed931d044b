//! What callers give and get.

use std::time::Duration;

use serde::Serialize;
use switchboard_contract::reception::State;
use switchboard_contract::storage::SubscriberSpec;
use switchboard_contract::{Position, Shard, SubscriberName, Timestamp};

use super::batch::Delivery;
use super::id::DeliveryId;

/// A part of a shard's history that retention removed before it could be delivered, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MissingRange {
    /// The shard.
    pub shard: Shard,
    /// The first position missing.
    pub first: Position,
    /// The last position missing.
    pub last: Position,
}

/// Whether everything since the last acknowledgement is still there to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// It is, and the subscriber had not expired.
    pub recovered: bool,
    /// What is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingRange>,
    /// The subscriber was away longer than its `expires_after`; it no longer held retention.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
}

/// Where a subscriber stands, and how much lies before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionState {
    /// The state of its walk.
    pub state: State,
    /// Positions between what it is done with and the end of the journal.
    pub lag: u64,
    /// Deliveries out and not acknowledged.
    pub in_flight: u64,
    /// Conversations set aside.
    pub parked: u64,
    /// Gaps found since the last worker was told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingRange>,
}

impl Default for SubscriptionState {
    fn default() -> Self {
        Self { state: State::Connecting, lag: 0, in_flight: 0, parked: 0, missing: Vec::new() }
    }
}

/// A subscriber as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct SubscriberView {
    /// Its name.
    pub name: SubscriberName,
    /// What it asked for.
    pub spec: SubscriberSpec,
    /// The state of its walk; `connecting` while nobody is there.
    pub state: State,
    /// Positions between what it is done with and the end of the journal.
    pub lag: u64,
    /// Deliveries out and not acknowledged.
    pub in_flight: u64,
    /// Workers there now.
    pub workers: u64,
    /// Conversations set aside.
    pub parked: u64,
    /// The stored low-water mark of each shard.
    pub cursors: Vec<(Shard, Position)>,
    /// When somebody was last there.
    pub seen_at: Timestamp,
    /// It was away longer than its `expires_after`.
    pub expired: bool,
}

/// How one worker of a subscriber receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The most deliveries fetched at a time; those of a batch share one acknowledgement deadline. 64 by default.
    pub batch: usize,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { batch: 64 }
    }
}

/// One pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The cursor of the page this worker got last: acknowledges what is still open of it. Without it, or with an
    /// older one, a page that is still open comes again.
    pub cursor: Option<String>,
    /// At most so many deliveries.
    pub limit: usize,
    /// How long to wait for the first of them, bounded by the configuration.
    pub wait: Duration,
    /// Which worker pulls; two that pull at the same time need two names.
    pub worker: Option<String>,
}

impl Default for PullRequest {
    fn default() -> Self {
        Self { cursor: None, limit: 100, wait: Duration::ZERO, worker: None }
    }
}

/// A pulled page.
#[derive(Clone, Debug)]
pub struct PullPage {
    /// In order. An empty page means that nothing happened in time, not that there is an end.
    pub deliveries: Vec<Delivery>,
    /// To be presented with the next pull.
    pub cursor: String,
    /// Whether everything since the last acknowledgement is there.
    pub recovered: Recovery,
}

/// What is handled.
#[derive(Clone, Debug)]
pub enum AckRequest {
    /// These deliveries.
    Ids(Vec<DeliveryId>),
    /// Everything its worker has of this delivery's conversation, up to it.
    Through(DeliveryId),
    /// What is open of a pulled page, or of a batch of a stream.
    Cursor {
        /// The page's cursor, or the batch's.
        cursor: String,
        /// The name of the worker that pulled it, to be checked.
        worker: Option<String>,
    },
}

/// What could not be handled.
#[derive(Clone, Debug)]
pub struct NackRequest {
    /// These deliveries.
    pub ids: Vec<DeliveryId>,
    /// Try again after so long; by default ever more slowly.
    pub after: Option<Duration>,
    /// Why: kept with a conversation that is parked for it. Lower-case letters, digits and underscores, at most 64.
    pub reason: Option<String>,
}

/// What an acknowledgement or refusal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AckOutcome {
    /// Took effect.
    pub done: usize,
    /// Named no open delivery: late, repeated, or never valid.
    pub stale: usize,
}
