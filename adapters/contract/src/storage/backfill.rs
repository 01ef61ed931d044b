//! Jobs that fetch the past in the background: what was asked for, what is done, and where to go on after a stop.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::journal::Appended;
use crate::conversation::ConversationId;
use crate::error::Result;
use crate::ids::{App, BackfillId, TenantId, UserId};
use crate::time::Timestamp;

/// Whose past a job fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillScope {
    /// Everything of an app: the files the vendor still has, and every conversation known.
    App,
    /// Every conversation of a user that is known.
    User(UserId),
    /// One conversation.
    Conversation(ConversationId),
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum BackfillState {
    /// It waits for its turn.
    Queued = 0,
    /// It is the one of its app that runs.
    Running = 1,
    /// Somebody stopped it for now.
    Paused = 2,
    /// Everything of it was tried.
    Done = 3,
    /// Somebody ended it. What it brought stays.
    Cancelled = 4,
    /// It cannot go on.
    Failed = 5,
}

impl BackfillState {
    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Queued,
            1 => Self::Running,
            2 => Self::Paused,
            3 => Self::Done,
            4 => Self::Cancelled,
            5 => Self::Failed,
            _ => return None,
        })
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether something is left to do.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Paused)
    }
}

/// Parts of one kind: how many there are, how many are done, and what they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillTally {
    /// Parts in the plan.
    pub total: u64,
    /// Parts done.
    pub done: u64,
    /// Time worked on them, waits for an outage left out.
    #[serde(rename = "active_ms", with = "millis")]
    pub active: Duration,
    /// The same of those that are done.
    #[serde(rename = "settled_ms", with = "millis")]
    pub settled: Duration,
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillJob {
    /// Its id; later jobs sort later.
    pub id: BackfillId,
    /// The app whose vendor is asked.
    pub app: App,
    /// Whose past.
    pub scope: BackfillScope,
    /// Not before this time; `None` for as far back as the vendor goes.
    pub since: Option<Timestamp>,
    /// Up to this time.
    pub until: Timestamp,
    /// The newest so many messages of each conversation, and no more.
    pub max_messages: Option<u64>,
    /// Where it stands.
    pub state: BackfillState,
    /// Why it failed.
    pub reason: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last moved on.
    pub updated_at: Timestamp,
    /// How often its plan was made: again after the files, which may name new conversations.
    pub plans: u8,
    /// Hourly files.
    pub hours: BackfillTally,
    /// Conversations.
    pub conversations: BackfillTally,
    /// Pages and files fetched.
    pub pages: u64,
    /// Messages in them.
    pub messages: u64,
    /// Messages journalled as history: delivered to nobody who does not ask for them.
    pub inserted: u64,
    /// Messages journalled that were missed since Switchboard has the app: delivered late.
    pub missed: u64,
    /// Conversations that ended at the cap.
    pub capped: u64,
    /// Parts the vendor has nothing of, or that it cannot be asked for.
    pub absent: u64,
    /// Parts that were given up.
    pub failed: u64,
}

/// What one part of a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillPart {
    /// The file of the hour that begins here.
    Hour(Timestamp),
    /// A conversation.
    Conversation(ConversationId),
}

/// One part of a job, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillItem {
    /// What.
    pub part: BackfillPart,
    /// Greater ranks come first.
    pub rank: i64,
    /// From this time on, included.
    pub since: Timestamp,
    /// Up to this time, included.
    pub until: Timestamp,
    /// The vendor's cursor behind the last page that is journalled.
    pub cursor: Option<String>,
    /// The time of the oldest message journalled.
    pub reached: Option<Timestamp>,
    /// Messages read.
    pub messages: u64,
    /// Tries of the present page that failed.
    pub attempts: u8,
    /// How it ended: a stable word; `None` while it is open.
    pub outcome: Option<String>,
    /// What went wrong last.
    pub fault: Option<String>,
}

/// Where a job and its part stand once a page is journalled, in one transaction with the page: whoever is stopped in
/// between neither fetches it again nor counts it twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageMark {
    /// Whose job.
    pub tenant: TenantId,
    /// The job, without what of the page turns out to be new.
    pub job: BackfillJob,
    /// The part.
    pub item: BackfillItem,
    /// Whether what is new was missed, or is history.
    pub missed: bool,
}

impl PageMark {
    /// Counts what became of messages of the page.
    pub fn count(&mut self, answers: &[Appended]) {
        let fresh = answers.iter().filter(|answer| matches!(answer, Appended::Fresh { .. })).count() as u64;
        *(if self.missed { &mut self.job.missed } else { &mut self.job.inserted }) += fresh;
    }
}

/// Jobs and their parts.
#[async_trait]
pub trait Backfills: Send + Sync {
    /// Writes a job in the place of the one with its id, and with it one of its parts, in one transaction.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`.
    async fn put_backfill(&self, tenant: &TenantId, job: &BackfillJob, item: Option<&BackfillItem>) -> Result<()>;

    /// Adds parts to a job's plan. Parts it has already stay as they are.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`.
    async fn plan_backfill(&self, tenant: &TenantId, id: BackfillId, items: &[BackfillItem]) -> Result<()>;

    /// How many files and how many conversations a job's plan has.
    ///
    /// # Errors
    /// `Storage`.
    async fn planned_backfill(&self, tenant: &TenantId, id: BackfillId) -> Result<(u64, u64)>;

    /// Reads a job.
    ///
    /// # Errors
    /// `Storage`.
    async fn backfill(&self, tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillJob>>;

    /// Jobs of a tenant, the newest first, at most `limit`; with `open` only those with something left to do.
    ///
    /// # Errors
    /// `Storage`.
    async fn backfills(&self, tenant: &TenantId, open: bool, limit: usize) -> Result<Vec<BackfillJob>>;

    /// The next part of a job with something left to do: files before conversations, then by rank.
    ///
    /// # Errors
    /// `Storage`.
    async fn next_backfill_item(&self, tenant: &TenantId, id: BackfillId) -> Result<Option<BackfillItem>>;

    /// Parts of a job that ended with this outcome, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn ended_backfill_items(
        &self,
        tenant: &TenantId,
        id: BackfillId,
        outcome: &str,
        limit: usize,
    ) -> Result<Vec<BackfillItem>>;
}
