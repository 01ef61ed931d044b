//! What a vendor keeps, by query and by hourly file.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::hour::HourFile;
use super::messaging::Target;
use super::quota::{Quota, optional_seconds, seconds};
use crate::conversation::ConversationKind;
use crate::error::{Error, Result};
use crate::ids::VendorUserId;
use crate::inbound::Inbound;
use crate::time::Timestamp;

/// Reading one conversation's history from the vendor.
#[async_trait]
pub trait Roaming: fmt::Debug + Send + Sync {
    /// What the vendor admits.
    fn limits(&self) -> RoamingLimits;

    /// One page. A page may be shorter than asked and still have a `next`; the end is a missing `next`.
    /// Repeating a call is harmless.
    ///
    /// # Errors
    /// `Unsupported` when the account does not have the service, which is not the same as an empty history.
    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage>;
}

/// Which part of a conversation to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoamingQuery {
    /// Through whose eyes: a participant or member.
    pub viewer: VendorUserId,
    /// The conversation: one user, a group or a room.
    pub target: Target,
    /// From this time on, included.
    pub since: Timestamp,
    /// Up to this time, included.
    pub until: Timestamp,
    /// At most this many; the adapter lowers it to the vendor's limit.
    pub limit: u32,
    /// The `next` of the page before, unchanged.
    pub cursor: Option<String>,
}

/// A page of history, in any order; the sort keys tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoamingPage {
    /// Decoded messages (and recalls where the vendor lists them).
    pub items: Vec<Inbound>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// What a vendor admits in queries. Durations are seconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoamingLimits {
    /// Messages in one page.
    pub max_page: u32,
    /// How far back it reaches; `None` for unknown.
    #[serde(serialize_with = "optional_seconds")]
    pub depth: Option<Duration>,
    /// The longest span of one query; `None` for no limit.
    #[serde(serialize_with = "optional_seconds")]
    pub max_span: Option<Duration>,
    /// After this long a message we sent would show here if it was accepted; `None` if it might never.
    #[serde(serialize_with = "optional_seconds")]
    pub own_sends_after: Option<Duration>,
    /// Kinds of conversation it can be asked for.
    pub targets: Vec<ConversationKind>,
    /// Calls admitted.
    pub quota: Quota,
}

/// Files that hold one hour of a whole app's messages.
#[async_trait]
pub trait HistoryFiles: fmt::Debug + Send + Sync {
    /// What the vendor publishes, and when.
    fn limits(&self) -> HistoryFileLimits;

    /// Asks for the file of the hour that begins at `hour` (UTC milliseconds; the adapter knows the vendor's zone).
    /// Repeating it is harmless and costs quota.
    ///
    /// # Errors
    /// `Unsupported` when the account does not have the service, `InvalidInput` when `hour` is not a whole hour.
    async fn fetch(&self, hour: Timestamp) -> Result<HistoryFile>;

    /// The hour that a file of this name holds, as the vendor names files; `None` for another name.
    fn hour_of(&self, name: &str) -> Option<Timestamp> {
        let _ = name;
        None
    }

    /// Reads a file of the hour that somebody has downloaded, as [`fetch`](Self::fetch) does.
    ///
    /// # Errors
    /// `Unsupported` for an adapter that cannot, `InvalidInput` when `hour` is not a whole hour, `Decode` for a damaged
    /// file, `Storage` when it cannot be read.
    async fn open(&self, hour: Timestamp, file: std::fs::File) -> Result<HourFile> {
        let _ = (hour, file);
        Err(Error::unsupported("history files from disk"))
    }
}

/// The answer to a request for an hour's file.
#[derive(Debug)]
pub enum HistoryFile {
    /// Not there: not yet written, empty, or already gone. The vendor does not tell these apart.
    Absent,
    /// The messages, in no promised order.
    Ready(HourFile),
}

/// What a vendor publishes in files. Durations are seconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryFileLimits {
    /// A file can be there this long after its hour ended.
    #[serde(serialize_with = "seconds")]
    pub earliest: Duration,
    /// After this long it is there and does not change any more.
    #[serde(serialize_with = "seconds")]
    pub final_after: Duration,
    /// After this long it is gone.
    #[serde(serialize_with = "seconds")]
    pub kept: Duration,
    /// Whether messages we sent ourselves stand in it.
    pub own_sends: bool,
    /// Calls admitted.
    pub quota: Quota,
}
