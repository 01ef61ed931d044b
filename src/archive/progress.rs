//! What is told of a run.

use serde::Serialize;
use switchboard_contract::Timestamp;

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// None has been made since the start.
    #[default]
    Idle,
    /// It is under way.
    Running,
    /// It ended well.
    Done,
    /// It failed; what it had settled is archived.
    Failed,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The generation of the list of files after it.
    pub generation: u64,
    /// Messages that moved.
    pub messages: u64,
    /// Days with new messages.
    pub days: u64,
    /// Days written anew, because of recalls or of too many files.
    pub rewritten: u64,
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that left the archive for good.
    pub expired: u64,
    /// Objects removed that nothing names any more.
    pub removed: u64,
    /// Messages of a run before, interrupted when its files stood and the database still held them.
    pub recovered: u64,
}

/// The last run, or the one under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunView {
    /// Where it stands.
    pub state: RunState,
    /// When it began, milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Days to go over, once known.
    pub days_total: u64,
    /// Days gone over.
    pub days_done: u64,
    /// Messages to move, once known.
    pub messages_total: u64,
    /// Messages moved.
    pub messages_done: u64,
    /// What it did, so far.
    pub report: RunReport,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}
