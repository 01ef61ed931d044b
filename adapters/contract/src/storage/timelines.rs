//! What a messaging service of our own asks of a database: one log, and each user's view of it.
//!
//! A service writes *lines*. Every line has a position in the service's log; a line of a conversation may take that
//! conversation's next sequence. Who sees it is written beside it in one of two ways, with the same result for every
//! reader: a row for each user (*write diffusion*), or none at all, and readers find it through their membership
//! (*read diffusion*). A user's *timeline* is what that user sees, in order of position.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::conversation::ConversationId;
use crate::error::Result;
use crate::ids::{MessageId, Position, Sequence, UserId};
use crate::provider::UserProfile;
use crate::time::Timestamp;

/// What a line is. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LineKind {
    /// A message.
    Message = 0,
    /// A message was taken back.
    Recall = 1,
    /// A message was changed.
    Edit = 2,
    /// A statement of how far somebody is.
    Receipt = 3,
    /// A group changed.
    Group = 4,
    /// A device came or went.
    Presence = 5,
    /// A client's word to the business.
    Report = 6,
}

impl LineKind {
    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Message,
            1 => Self::Recall,
            2 => Self::Edit,
            3 => Self::Receipt,
            4 => Self::Group,
            5 => Self::Presence,
            6 => Self::Report,
            _ => return None,
        })
    }
}

/// Who sees a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Nobody: it is for the log alone.
    Nobody,
    /// These users, a row for each.
    Users(Arc<[UserId]>),
    /// Whoever is a member of the conversation at this position; no rows.
    Members,
}

/// A line to be written.
#[derive(Clone, Debug)]
pub struct NewLine {
    /// Its conversation, if it has one.
    pub conversation: Option<ConversationId>,
    /// It takes the conversation's next sequence.
    pub numbered: bool,
    /// What it is.
    pub kind: LineKind,
    /// The message's id, or one of its own.
    pub id: MessageId,
    /// Who caused it.
    pub by: UserId,
    /// With `by`, a key that is written once.
    pub client_id: Option<String>,
    /// A fingerprint of what the key stands for; 0 for none. Kept as it is, whatever becomes of the content.
    pub digest: u64,
    /// When.
    pub at: Timestamp,
    /// Kept for the log's reader and shown to nobody else.
    pub mark: Option<String>,
    /// The content.
    pub payload: Bytes,
    /// Who sees it.
    pub spread: Spread,
    /// What else changes in the same transaction, in this order.
    pub changes: Vec<LineChange>,
}

/// A change that is written with a line. Where it names no conversation the line's is meant.
#[derive(Clone, Debug)]
pub enum LineChange {
    /// Another line's content is replaced.
    Rewrite {
        /// Which.
        target: MessageId,
        /// The new content.
        payload: Bytes,
        /// It counts as taken back from now on.
        recalled: bool,
    },
    /// Somebody's marks rise to these; they never sink.
    Marks(ConversationMarks),
    /// The conversation is a group with these traits.
    Group {
        /// The display name.
        name: String,
        /// The owner.
        owner: UserId,
        /// Only admins may speak.
        muted: bool,
        /// It is over.
        ended: bool,
    },
    /// Somebody is a member from this line on, or, already in, has this role.
    Member {
        /// Who.
        user: UserId,
        /// Their role.
        role: MemberRole,
        /// They may not speak before.
        muted_until: Option<Timestamp>,
    },
    /// Somebody is a member up to this line, included, and no longer.
    Leave {
        /// Who.
        user: UserId,
    },
}

/// What a member may do. The numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum MemberRole {
    /// Speak.
    #[default]
    Member = 0,
    /// Add, remove and mute members.
    Admin = 1,
    /// Everything.
    Owner = 2,
}

impl MemberRole {
    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From a stored number; an unknown one may do the least.
    pub const fn from_code(code: u8) -> Self {
        match code {
            2 => Self::Owner,
            1 => Self::Admin,
            _ => Self::Member,
        }
    }
}

/// How far a user is in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationMarks {
    /// Who.
    pub user: UserId,
    /// Everything up to here has reached one of the user's devices.
    pub delivered: Sequence,
    /// Everything up to here is read.
    pub read: Sequence,
}

/// A line as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place in the log.
    pub position: Position,
    /// Its number in the conversation, if it took one.
    pub sequence: Option<Sequence>,
    /// Its conversation.
    pub conversation: Option<ConversationId>,
    /// What it is.
    pub kind: LineKind,
    /// The message's id, or one of its own.
    pub id: MessageId,
    /// Who caused it.
    pub by: UserId,
    /// Its writer's key.
    pub client_id: Option<String>,
    /// As in [`NewLine::digest`].
    pub digest: u64,
    /// When.
    pub at: Timestamp,
    /// As in [`NewLine::mark`].
    pub mark: Option<String>,
    /// It was taken back.
    pub recalled: bool,
    /// The content in force.
    pub payload: Bytes,
}

/// Shows the place alone: contents do not belong in logs.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("position", &self.position.0)
            .field("sequence", &self.sequence.map(|sequence| sequence.0))
            .field("kind", &self.kind)
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}

/// What a device is given of a line.
#[derive(Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// Its place in the log.
    pub position: Position,
    /// Its number in the conversation, if it took one.
    pub sequence: Option<Sequence>,
    /// What it is.
    pub kind: LineKind,
    /// The content in force.
    pub payload: Bytes,
}

/// Shows the place alone: contents do not belong in logs.
impl fmt::Debug for Glimpse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glimpse").field("position", &self.position.0).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What became of a new line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It has its place.
    Fresh {
        /// In the log.
        position: Position,
        /// In its conversation.
        sequence: Option<Sequence>,
    },
    /// Its key was written before; this is the line that has it. Nothing was changed.
    Known(Box<Line>),
}

/// A user of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub user: UserId,
    /// What others may see.
    pub profile: UserProfile,
    /// No login before; `Timestamp(i64::MAX)` for a ban without end.
    pub banned_until: Option<Timestamp>,
}

/// A group or room with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineGroup {
    /// The display name.
    pub name: String,
    /// The owner.
    pub owner: UserId,
    /// Only admins may speak.
    pub muted: bool,
    /// It is over.
    pub ended: bool,
    /// Those in it now, in the order in which they came.
    pub members: Vec<TimelineMember>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineMember {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: MemberRole,
    /// They may not speak before.
    pub muted_until: Option<Timestamp>,
    /// The first line they see.
    pub since: Position,
}

/// A conversation in a user's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineConversation {
    /// Which.
    pub id: ConversationId,
    /// Its last message.
    pub last: Line,
    /// Messages above the user's read mark, neither the user's own nor taken back.
    pub unread: u64,
    /// Everybody's marks in it that are known, at most 100.
    pub marks: Vec<ConversationMarks>,
}

/// How far a device has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCursor {
    /// Whose device.
    pub user: UserId,
    /// Which.
    pub device: String,
    /// Everything up to here is acknowledged.
    pub low: Position,
    /// When it last moved or logged in.
    pub seen_at: Timestamp,
}

/// One service's log and timelines. Durable and safe to share as every store; it has one writing service at a time.
#[async_trait]
pub trait Timelines: fmt::Debug + Send + Sync {
    /// Writes lines in this order, all or nothing. A line whose (`by`, `client_id`) is known, also within the call,
    /// writes nothing.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`; then nothing was written. `NotFound` for the target of a rewrite that is not there.
    async fn append(&self, lines: Vec<NewLine>) -> Result<Vec<Written>>;

    /// The last position.
    ///
    /// # Errors
    /// `Storage`.
    async fn tail(&self) -> Result<Position>;

    /// Every line after `after`, ascending, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn log(&self, after: Position, limit: usize) -> Result<Vec<Line>>;

    /// The lines a user sees in `after < position ≤ until`, ascending, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn timeline(&self, user: &UserId, after: Position, until: Position, limit: usize) -> Result<Vec<Line>>;

    /// The same lines as [`timeline`](Self::timeline), as much of them as a device is given.
    ///
    /// # Errors
    /// `Storage`.
    async fn glimpses(&self, user: &UserId, after: Position, until: Position, limit: usize) -> Result<Vec<Glimpse>> {
        let lines = self.timeline(user, after, until, limit).await?;
        let glimpse = |line| {
            let Line { position, sequence, kind, payload, .. } = line;
            Glimpse { position, sequence, kind, payload }
        };
        Ok(lines.into_iter().map(glimpse).collect())
    }

    /// The line with this id.
    ///
    /// # Errors
    /// `Storage`.
    async fn line(&self, id: MessageId) -> Result<Option<Line>>;

    /// The messages of a conversation with a smaller sequence than `before`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn messages_before(&self, conversation: &ConversationId, before: Sequence, limit: usize)
    -> Result<Vec<Line>>;

    /// The messages of a conversation after `after` with `since ≤ at ≤ until`, ascending, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn messages_between(
        &self,
        conversation: &ConversationId,
        after: Position,
        since: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Line>>;

    /// A user's conversations whose last message is before `before`, the latest first, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn conversations_of(
        &self,
        user: &UserId,
        before: Position,
        limit: usize,
    ) -> Result<Vec<TimelineConversation>>;

    /// A group as it is now. `None` when there never was one; one that is over says so.
    ///
    /// # Errors
    /// `Storage`.
    async fn timeline_group(&self, conversation: &ConversationId) -> Result<Option<TimelineGroup>>;

    /// Who was a member when the line at this position was written: who should have got it.
    ///
    /// # Errors
    /// `Storage`.
    async fn members_at(&self, conversation: &ConversationId, position: Position) -> Result<Vec<UserId>>;

    /// Whether the user takes part in the conversation now.
    ///
    /// # Errors
    /// `Storage`.
    async fn takes_part(&self, user: &UserId, conversation: &ConversationId) -> Result<bool>;

    /// A user.
    ///
    /// # Errors
    /// `Storage`.
    async fn account(&self, user: &UserId) -> Result<Option<Account>>;

    /// Writes a user.
    ///
    /// # Errors
    /// `Storage`.
    async fn put_account(&self, account: &Account) -> Result<()>;

    /// How far a device is; `None` for one never seen.
    ///
    /// # Errors
    /// `Storage`.
    async fn device(&self, user: &UserId, device: &str) -> Result<Option<DeviceCursor>>;

    /// All devices of a user.
    ///
    /// # Errors
    /// `Storage`.
    async fn devices(&self, user: &UserId) -> Result<Vec<DeviceCursor>>;

    /// Writes cursors in one transaction. A cursor never moves back.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`; then nothing was written.
    async fn save_devices(&self, cursors: Vec<DeviceCursor>) -> Result<()>;

    /// Raises marks in one transaction; they never sink.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`; then nothing was written.
    async fn raise_marks(&self, marks: Vec<(ConversationId, ConversationMarks)>) -> Result<()>;
}
