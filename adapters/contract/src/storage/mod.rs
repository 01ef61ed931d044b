//! What Switchboard asks of a database, in small traits. SQL stays behind them; nothing here knows who subscribes.
//!
//! Every write that returned `Ok` is durable: it survives a crash and a loss of power. Every method may be called
//! from many tasks at once. A store that fails answers `Storage` (or `StorageFull`) and has then changed nothing.

mod archive;
mod backfill;
mod bindings;
mod cold;
mod coverage;
mod directory;
mod history;
mod journal;
mod outbox;
mod quarantine;
mod ranges;
mod setbacks;
mod subscribers;
mod timelines;
mod traffic;
mod windows;

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;

pub use archive::{Archive, ArchivePage, HeldSpan};
pub use backfill::{
    BackfillItem, BackfillJob, BackfillPart, BackfillScope, BackfillState, BackfillTally, Backfills, PageMark,
};
pub use bindings::{Binding, BindingKind, Bindings};
pub use cold::{ArchiveChange, ArchiveLedger, ArchivedEntries, Day, DueDay, ImportMark, Moved, StoredEvent, Transfer};
pub use coverage::{CoverageLedger, CoverageState, FileFact, HourCoverage, PositionRun, SequenceHole, sequence_holes};
pub use directory::{Directory, GroupRecord, UserRecord};
pub use history::{ConversationSummary, History, HistoryFilter, HistoryKey, HistoryPage, HistoryQuery, PageDirection};
pub use journal::{
    Appended, Commit, CommitListener, Committed, ConversationBacklog, Draft, Entry, InboxMark, Journal, SequenceRange,
    Variant,
};
pub use outbox::{
    BoundReceipt, ChangeOutcome, EarlyReceipt, Enqueued, Leg, LegChange, LegGuard, NewLeg, NewSend, Outbox, Recipients,
    SendPayload, SendRecord,
};
pub use quarantine::{Quarantine, QuarantineReason, Quarantined};
pub use ranges::{ConversationLedger, CoveredRange, overlay};
pub use setbacks::{
    FailedAttempt, FailedAttempts, Setback, SetbackChange, SetbackCount, SetbackFilter, SetbackKind, Setbacks,
};
pub use subscribers::{
    Backlog, CursorState, ParkedConversation, PoisonPolicy, Reception, ShardCursor, StartAt, SubscriberFilter,
    SubscriberSpec, SubscriberUpdate, Subscribers,
};
pub use timelines::{
    Account, ConversationMarks, DeviceCursor, Glimpse, Line, LineChange, LineKind, MemberRole, NewLine, Spread,
    TimelineConversation, TimelineGroup, TimelineMember, Timelines, Written,
};
pub use traffic::{Traffic, TrafficHour};
pub use windows::{RepairWindow, RepairWindows};

use crate::error::{Error, Result};
use crate::ids::{App, TenantId};

/// A whole store: one value that is all of the traits.
#[async_trait]
pub trait Store:
    Journal
    + History
    + Outbox
    + Subscribers
    + Bindings
    + Directory
    + Quarantine
    + CoverageLedger
    + ConversationLedger
    + RepairWindows
    + Setbacks
    + Backfills
    + Traffic
    + fmt::Debug
    + Send
    + Sync
{
    /// Every tenant of whom anything is stored, in the order of their names.
    ///
    /// # Errors
    /// `Storage`.
    async fn tenants(&self) -> Result<Vec<TenantId>>;

    /// Reads a small value that belongs to the installation, such as the key of marks.
    ///
    /// # Errors
    /// `Storage`.
    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Writes such a value unless there is one, and returns the one in force. Two callers get the same answer.
    ///
    /// # Errors
    /// `Storage`.
    async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>>;

    /// The log and timelines of a messaging service of our own, made when it is missing.
    ///
    /// # Errors
    /// `Unsupported` for a store that keeps none; `Storage`.
    async fn timelines(&self, tenant: &TenantId, app: &App) -> Result<Arc<dyn Timelines>> {
        let _ = (tenant, app);
        Err(Error::unsupported("timelines in this store"))
    }

    /// What it knows of an archive beside it; `None` for a store that cannot have one.
    fn archive_ledger(&self) -> Option<&dyn ArchiveLedger> {
        None
    }

    /// Names who gives archived entries their content back. Called once, before anything is read.
    fn attach_archive(&self, entries: Weak<dyn ArchivedEntries>) {
        let _ = entries;
    }

    /// Conversations out of it and into it; `None` for a store that does not do that.
    fn transfer(&self) -> Option<&dyn Transfer> {
        None
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// `Storage` when it cannot read.
    async fn ping(&self) -> Result<()>;

    /// Writes out what is open and closes. Further calls answer `Closed`.
    async fn close(&self);
}
