//! The journal: every event once, in order.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::backfill::PageMark;
use super::outbox::{ChangeOutcome, EarlyReceipt, LegChange, LegGuard};
use super::setbacks::SetbackChange;
use crate::conversation::ConversationId;
use crate::error::Result;
use crate::event::{Event, Origin, Topic};
use crate::ids::{App, MessageId, Position, Sequence, Shard, TenantId};
use crate::inbound::EventKey;
use crate::time::Timestamp;

/// An event on its way into the journal.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The event; the store fills in our id of its target, when it knows it, before it encodes.
    pub event: Event,
    /// With tenant and app, what makes it one event whatever its source.
    pub key: EventKey,
    /// Orders history within a millisecond.
    pub sort_key: String,
    /// A hash of the canonical content: equal for the same event from any source.
    pub digest: u64,
    /// The vendor's bytes of this item.
    pub raw: Option<Bytes>,
}

/// One atomic write: all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Where legs must stand for any of it to be written. It is asked before the commit's own changes.
    pub only_if: Vec<LegGuard>,
    /// Events to journal, in this order.
    pub drafts: Vec<Draft>,
    /// Of an event that is journalled already other content leaves no trace: the answer is [`Appended::Known`]. For
    /// those who look for what is missing.
    pub only_missing: bool,
    /// Changes of sends.
    pub changes: Vec<LegChange>,
    /// Receipts among the drafts whose message was not known to be a send's.
    pub early: Vec<EarlyReceipt>,
    /// What failed, or no longer does. Of several changes of the same thing the last one stands.
    pub setbacks: Vec<SetbackChange>,
    /// How far the inbox is consumed once this is written.
    pub consumed: Option<InboxMark>,
    /// Where a job stands once this is written; the store [counts](PageMark::count) the drafts that are new.
    pub page: Option<Box<PageMark>>,
}

/// How far an inbox is consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMark {
    /// Which inbox.
    pub inbox: String,
    /// Everything before this offset is in the journal.
    pub offset: u64,
}

/// What became of a [`Commit`], in its order.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One answer for each draft.
    pub drafts: Vec<Appended>,
    /// One answer for each change.
    pub changes: Vec<ChangeOutcome>,
}

/// What became of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was new and has its place.
    Fresh {
        /// In the journal.
        position: Position,
        /// In its conversation, if it has one.
        sequence: Option<Sequence>,
    },
    /// It was known, with the same content.
    Known {
        /// Its place.
        position: Position,
        /// In its conversation.
        sequence: Option<Sequence>,
    },
    /// It was known from another source with other content: the first is kept, the variant recorded.
    Variant {
        /// The place of the first.
        position: Position,
        /// In its conversation.
        sequence: Option<Sequence>,
    },
    /// Two callbacks have its key and different content: the first is kept, this one is in quarantine.
    Conflict {
        /// The place of the first.
        position: Position,
    },
}

impl Appended {
    /// Where the event with this key stands.
    pub const fn position(&self) -> Position {
        match self {
            Self::Fresh { position, .. }
            | Self::Known { position, .. }
            | Self::Variant { position, .. }
            | Self::Conflict { position } => *position,
        }
    }
}

/// Other content that came under the key of a journalled event: the event is what came first.
#[derive(Clone, PartialEq, Eq)]
pub struct Variant {
    /// The digest of its content; the same content is recorded once, however often it comes.
    pub digest: u64,
    /// The source that told it first.
    pub origin: Origin,
    /// When it was first seen, by our clock.
    pub received_at: Timestamp,
    /// The vendor's bytes of it; none from sources without, and none once the message is recalled.
    pub raw: Option<Bytes>,
}

/// Shows no content: bodies do not belong in logs.
impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variant")
            .field("digest", &format_args!("{:016x}", self.digest))
            .field("origin", &self.origin)
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

/// A journalled event, encoded once and shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its shard.
    pub shard: Shard,
    /// Its place in the shard.
    pub position: Position,
    /// Its number in the conversation, if it has one.
    pub sequence: Option<Sequence>,
    /// Its topic.
    pub topic: Topic,
    /// Its conversation.
    pub conversation: Option<ConversationId>,
    /// The app it came from.
    pub app: Option<Arc<App>>,
    /// For a message: our id.
    pub message_id: Option<MessageId>,
    /// By the vendor's clock.
    pub sent_at: Timestamp,
    /// By ours.
    pub received_at: Timestamp,
    /// Found by repair.
    pub late: bool,
    /// The CloudEvents form. For a recalled message, the tombstone.
    pub json: Bytes,
}

impl Entry {
    /// The event, decoded.
    ///
    /// # Errors
    /// `Decode` when the stored bytes are not one, which means a damaged store.
    pub fn event(&self) -> Result<Event> {
        Event::decode(&self.json)
    }
}

/// Shows the place alone: bodies do not belong in logs.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("position", &self.position.0)
            .field("sequence", &self.sequence.map(|sequence| sequence.0))
            .field("topic", &self.topic)
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}

/// A part of a conversation, by sequence, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRange {
    /// The first.
    pub first: Sequence,
    /// The last.
    pub last: Sequence,
}

/// What one conversation has between two positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationBacklog {
    /// Which.
    pub conversation: ConversationId,
    /// Its events there.
    pub range: SequenceRange,
    /// The position of the last of them.
    pub last_position: Position,
}

/// Told of commits. A hint: losing one must never lose an event, since readers also look for themselves.
pub trait CommitListener: fmt::Debug + Send + Sync {
    /// These entries of one tenant and shard are committed, in order of position. Must return at once.
    fn committed(&self, tenant: &TenantId, shard: Shard, entries: &[Entry]);
}

/// The append-only log of events with its unique key.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes everything in one transaction. A fresh draft gets the next position of its tenant's shard and, if it
    /// has a conversation, that conversation's next sequence. A recall turns its target into a tombstone, also when
    /// the target comes later. Drafts with the key of one another within the commit count as repeated.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`; `Conflict`, safe to repeat with new answers, when a leg no longer stands where
    /// [`Commit::only_if`] says. Then nothing was written.
    async fn commit(&self, commit: Commit) -> Result<Committed>;

    /// The entries after `after`, ascending, at most `limit`. Whatever is visible has nothing invisible before it.
    ///
    /// # Errors
    /// `Storage`.
    async fn read(&self, tenant: &TenantId, shard: Shard, after: Position, limit: usize) -> Result<Vec<Entry>>;

    /// A conversation's entries within `range`, at most `limit`: the first ones ascending, or with `newest` the last
    /// ones, still ascending.
    ///
    /// # Errors
    /// `Storage`.
    async fn read_conversation(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        range: SequenceRange,
        limit: usize,
        newest: bool,
    ) -> Result<Vec<Entry>>;

    /// Which conversations have entries in `after < position <= until`, those with the newest last entry first, at
    /// most `limit`, skipping the first `skip`.
    ///
    /// # Errors
    /// `Storage`.
    async fn backlog(
        &self,
        tenant: &TenantId,
        shard: Shard,
        after: Position,
        until: Position,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConversationBacklog>>;

    /// The last position, [`Position::START`] when there is none.
    ///
    /// # Errors
    /// `Storage`.
    async fn tail(&self, tenant: &TenantId, shard: Shard) -> Result<Position>;

    /// The last position that retention has removed; everything after it is there.
    ///
    /// # Errors
    /// `Storage`.
    async fn trimmed(&self, tenant: &TenantId, shard: Shard) -> Result<Position>;

    /// Removes everything up to and including `until`. Callers make sure nobody waits for it.
    ///
    /// # Errors
    /// `Storage`.
    async fn trim(&self, tenant: &TenantId, shard: Shard, until: Position) -> Result<u64>;

    /// The last position received before `time`.
    ///
    /// # Errors
    /// `Storage`.
    async fn position_before(&self, tenant: &TenantId, shard: Shard, time: Timestamp) -> Result<Position>;

    /// The event with this key.
    ///
    /// # Errors
    /// `Storage`.
    async fn find(&self, tenant: &TenantId, app: &App, key: &EventKey) -> Result<Option<Entry>>;

    /// The message with our id.
    ///
    /// # Errors
    /// `Storage`.
    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Entry>>;

    /// The vendor's bytes of the event at this place.
    ///
    /// # Errors
    /// `Storage`.
    async fn raw(&self, tenant: &TenantId, shard: Shard, position: Position) -> Result<Option<Bytes>>;

    /// What else came under the key of the event at this place, in the order in which it came; without the event
    /// itself. Removed with the event.
    ///
    /// # Errors
    /// `Storage`.
    async fn variants(&self, tenant: &TenantId, shard: Shard, position: Position) -> Result<Vec<Variant>>;

    /// How far this inbox is consumed; 0 for an unknown one.
    ///
    /// # Errors
    /// `Storage`.
    async fn consumed(&self, inbox: &str) -> Result<u64>;

    /// Adds a listener for the life of the store.
    fn listen(&self, listener: Arc<dyn CommitListener>);
}
