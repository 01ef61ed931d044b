//! The words that go into the machine and come out of it.

mod aside;
mod io;
mod run;
mod settings;

pub use aside::{ACKNOWLEDGED, Save, SetAside, Why};
pub use io::{Action, AsideFeed, Dispatch, Feed, Input, Wanted};
pub use run::DispatchRun;
pub use settings::Settings;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Position, Sequence, Shard};

/// What keeps order: events with one key are never out to two workers at a time. A 64-bit hash of the conversation,
/// keyed with a secret of the process so that nobody can make two conversations meet on purpose. Two that do meet
/// by chance keep their orders, and are set aside together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

/// One of the workers that share a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker(pub u32);

/// The number under which deliveries went out together, never used again for this subscriber. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease(pub u64);

/// A place in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The shard.
    pub shard: Shard,
    /// The position in it.
    pub position: Position,
}

/// What the machine must know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its place in its shard.
    pub position: Position,
    /// Its number in its conversation; 0 when it belongs to none. Then its key must be its own.
    pub sequence: Sequence,
    /// Its conversation's key.
    pub key: Key,
}

/// Names one delivery: an event, and the lease under which it went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The event.
    pub place: Place,
    /// The lease.
    pub lease: Lease,
}

/// How an event reached the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// It happened while the subscriber was online.
    Online,
    /// It waited for the subscriber.
    Offline,
    /// It had been passed before, and a replay was asked for.
    Historical,
}

impl DeliveryKind {
    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Historical => "historical",
        }
    }
}

/// Where a subscriber stands on its walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody is there to receive.
    Connecting,
    /// Backlog goes out.
    Offline,
    /// All backlog is out; its acknowledgement is awaited.
    Acknowledging,
    /// What happens is delivered as it happens.
    Online,
    /// The store does not answer: what is known goes out, nothing can be confirmed.
    Degraded,
}

impl State {
    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Offline => "offline",
            Self::Acknowledging => "acknowledging",
            Self::Online => "online",
            Self::Degraded => "degraded",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
