//! Moving messages out of the database, and whole conversations from one database to another.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::history::HistoryKey;
use super::journal::Entry;
use crate::conversation::ConversationId;
use crate::error::Result;
use crate::event::Origin;
use crate::ids::{App, MessageId, Position, Sequence, TenantId, UserId};
use crate::inbound::EventKey;
use crate::time::Timestamp;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// A day of the calendar in UTC, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub i32);

impl Day {
    /// The day of a moment.
    pub fn of(time: Timestamp) -> Self {
        Self(i32::try_from(time.0.div_euclid(DAY)).unwrap_or(if time.0 < 0 { i32::MIN } else { i32::MAX }))
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0) * DAY)
    }

    /// The first moment behind it.
    pub fn end(self) -> Timestamp {
        Timestamp((i64::from(self.0) + 1) * DAY)
    }
}

/// `YYYY-MM-DD`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.start().to_rfc3339();
        f.write_str(text.split_once('T').map_or(text.as_str(), |(day, _)| day))
    }
}

/// An event of a conversation with everything the journal knows of it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the journal.
    pub position: Position,
    /// Its number in the conversation.
    pub sequence: Sequence,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The app it came from.
    pub app: Option<Arc<App>>,
    /// What makes it one event, with tenant and app.
    pub key: EventKey,
    /// The hash of its canonical content.
    pub digest: u64,
    /// How it reached us first.
    pub origin: Origin,
    /// Orders history within a millisecond; empty once the message is archived.
    pub sort_key: String,
    /// By the vendor's clock.
    pub sent_at: Timestamp,
    /// By ours.
    pub received_at: Timestamp,
    /// Found by repair.
    pub late: bool,
    /// For a message: our id.
    pub message_id: Option<MessageId>,
    /// For a message: who sent it.
    pub sender: Option<UserId>,
    /// For a message that was not recalled: the kind of its body. Missing once the message is archived.
    pub body: Option<String>,
    /// The CloudEvents form; empty once the message is archived.
    pub json: Bytes,
    /// The vendor's bytes.
    pub raw: Option<Bytes>,
}

impl StoredEvent {
    /// Where it stands in history, if it is a message.
    pub fn history_key(&self) -> Option<HistoryKey> {
        let message_id = self.message_id?;
        Some(HistoryKey { sent_at: self.sent_at, sort_key: self.sort_key.clone(), message_id })
    }

    /// Whether the content stands in the archive.
    pub fn is_archived(&self) -> bool {
        self.json.is_empty()
    }
}

/// Shows the place alone: bodies do not belong in logs.
impl fmt::Debug for StoredEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredEvent")
            .field("position", &self.position.0)
            .field("sequence", &self.sequence.0)
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}

/// Messages of a day that are old enough to leave the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueDay {
    /// The day, by the vendor's clock.
    pub day: Day,
    /// How many.
    pub messages: u64,
}

/// A message whose content the archive holds durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its place in the journal.
    pub position: Position,
    /// The SHA-256 of the content that was archived, first 8 bytes. What changed in the database meanwhile is kept as a
    /// change of the archived message.
    pub digest: [u8; 8],
}

/// What became of an archived message since its file was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveChange {
    /// Which message.
    pub message_id: MessageId,
    /// Its place in the journal.
    pub position: Position,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its day.
    pub day: Day,
    /// Rises with each change of this message.
    pub revision: u64,
    /// The content that counts; `None` when it was recalled: the archived content, as a tombstone.
    pub json: Option<Bytes>,
}

/// What the database knows of an archive beside it. Keys, ids, places and sequences of archived messages stay in the
/// journal, so that a message that comes again is known and no number is given twice.
#[async_trait]
pub trait ArchiveLedger: Send + Sync {
    /// Announces that this tenant has an archive: from now on retention of the journal leaves messages where they are
    /// until they are archived.
    ///
    /// # Errors
    /// `Storage`.
    async fn open_archive(&self, tenant: &TenantId) -> Result<()>;

    /// The generation of the archive's list of files that the database has settled; 0 for none.
    ///
    /// # Errors
    /// `Storage`.
    async fn archive_generation(&self, tenant: &TenantId) -> Result<u64>;

    /// Makes everything journalled so far visible to [`due_days`](Self::due_days) and [`due`](Self::due).
    ///
    /// # Errors
    /// `Storage`.
    async fn prepare_archive(&self) -> Result<()>;

    /// The days with messages sent before `before`, at or before `until` in the journal, and not archived: ascending.
    ///
    /// # Errors
    /// `Storage`.
    async fn due_days(&self, tenant: &TenantId, before: Timestamp, until: Position) -> Result<Vec<DueDay>>;

    /// The places of such messages from `first` to `last`, day by day in the order of (conversation, history key).
    ///
    /// # Errors
    /// `Storage`.
    async fn due(
        &self,
        tenant: &TenantId,
        first: Day,
        last: Day,
        before: Timestamp,
        until: Position,
    ) -> Result<Vec<(Day, Vec<Position>)>>;

    /// Events of conversations by their places, in the order asked; what is not there is left out.
    ///
    /// # Errors
    /// `Storage`.
    async fn stored(&self, tenant: &TenantId, positions: &[Position]) -> Result<Vec<StoredEvent>>;

    /// Removes the content of archived messages from the database, in one transaction, and notes that their days are
    /// archived. Repeating it is harmless. Returns how many were removed.
    ///
    /// # Errors
    /// `Storage`.
    async fn settle_moved(&self, tenant: &TenantId, moved: Vec<Moved>) -> Result<u64>;

    /// Notes that the archive's list of files is settled up to `generation`, and that these changes are in its files;
    /// one that has risen since is kept. Days up to `expired` hold nothing any more.
    ///
    /// # Errors
    /// `Storage`.
    async fn settle_generation(
        &self,
        tenant: &TenantId,
        generation: u64,
        applied: Vec<(Position, u64)>,
        expired: Option<Day>,
    ) -> Result<()>;

    /// The days of a conversation in the archive, ascending, within the bounds, both included.
    ///
    /// # Errors
    /// `Storage`.
    async fn archived_days(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        first: Day,
        last: Day,
    ) -> Result<Vec<Day>>;

    /// Changes of archived messages: of a conversation's day, or with `None` all of the tenant.
    ///
    /// # Errors
    /// `Storage`.
    async fn archive_changes(
        &self,
        tenant: &TenantId,
        of: Option<(&ConversationId, Day)>,
    ) -> Result<Vec<ArchiveChange>>;
}

/// Gives journal entries back the content that stands in the archive. The store asks it whenever it reads such an entry.
#[async_trait]
pub trait ArchivedEntries: fmt::Debug + Send + Sync {
    /// The same entries in the same order, none without content.
    ///
    /// # Errors
    /// `Storage` when the archive cannot be read.
    async fn restore(&self, tenant: &TenantId, entries: Vec<Entry>) -> Result<Vec<Entry>>;

    /// The same events in the same order, each with its content, its sort key and the vendor's bytes.
    ///
    /// # Errors
    /// `Storage` when the archive cannot be read.
    async fn complete(&self, tenant: &TenantId, events: Vec<StoredEvent>) -> Result<Vec<StoredEvent>>;

    /// The vendor's bytes of an archived message.
    ///
    /// # Errors
    /// `Storage` when the archive cannot be read.
    async fn raw(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        sent_at: Timestamp,
        message_id: MessageId,
    ) -> Result<Option<Bytes>>;
}

/// How far an import has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportMark {
    /// Which export, by the hash of its manifest.
    pub export: String,
    /// Lines of it that are in the journal.
    pub lines: u64,
    /// All of them are.
    pub complete: bool,
}

/// Conversations out of one database and into another.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Events of a conversation in the order of their sequences, behind `after`, at most `limit`; with `sender` only
    /// this user's messages. None is without content. The last place looked at comes with them: the end is an absent
    /// place.
    ///
    /// # Errors
    /// `Storage`.
    async fn conversation_events(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        after: Sequence,
        limit: usize,
        sender: Option<&UserId>,
    ) -> Result<(Vec<StoredEvent>, Option<Sequence>)>;

    /// How many events of conversations a tenant has, about.
    ///
    /// # Errors
    /// `Storage`.
    async fn event_count(&self, tenant: &TenantId) -> Result<u64>;

    /// How far the last import into this tenant has come.
    ///
    /// # Errors
    /// `Storage`.
    async fn import_mark(&self, tenant: &TenantId) -> Result<Option<ImportMark>>;

    /// Writes events with the sequences they have and the next places of the journal, together with the mark. They are
    /// history: no subscriber is given them. The first call of an import must find a tenant without events.
    ///
    /// # Errors
    /// `Conflict` when the tenant has events that this import did not bring, or when a key or a sequence stands twice;
    /// `Storage`.
    async fn import(&self, tenant: &TenantId, events: Vec<StoredEvent>, mark: ImportMark) -> Result<()>;
}
