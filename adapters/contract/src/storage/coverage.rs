//! What is known to be whole: the ledger of an app's hours, and what the journal itself says of its holes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::conversation::ConversationId;
use crate::error::Result;
use crate::ids::{App, Position, Sequence, Shard, TenantId};
use crate::inbound::{EventKey, KeyClass};
use crate::time::Timestamp;

/// How much of something is in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum CoverageState {
    /// Everything the vendor has of it.
    Complete = 0,
    /// Something may be missing, and there is a way to find out.
    Suspect = 1,
    /// Something may be missing, and no way is left.
    Unfillable = 2,
}

impl CoverageState {
    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Suspect => "suspect",
            Self::Unfillable => "unfillable",
        }
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Complete,
            1 => Self::Suspect,
            2 => Self::Unfillable,
            _ => return None,
        })
    }
}

/// A file of an hour, as it was last read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFact {
    /// Its size as downloaded, in bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// The events in it.
    pub lines: u64,
}

/// Positions that follow one another, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRun {
    /// The first.
    pub first: Position,
    /// The last.
    pub last: Position,
}

/// One hour of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourCoverage {
    /// When it begins: a whole hour of UTC.
    pub hour: Timestamp,
    /// How much of it is here.
    pub state: CoverageState,
    /// Why: a stable lower-case word.
    pub reason: String,
    /// The file last read; `None` while there was none.
    pub file: Option<FileFact>,
    /// Where the file's messages stand in the journal. May cover others between them.
    pub runs: Vec<PositionRun>,
    /// Messages of this hour that stood at `runs` when the file was read.
    pub journalled: u64,
    /// Messages that this hour's files brought and nobody else had.
    pub repaired: u64,
    /// A reading is under way that has journalled something: what files brought behind this place is not in
    /// `repaired` yet. Found at a start, the reading was cut off.
    pub reading: Option<Position>,
    /// How often the file was asked for.
    pub looks: u32,
    /// When it was last asked for.
    pub looked_at: Timestamp,
    /// When to ask again; `None` for never.
    pub next_look: Option<Timestamp>,
}

/// Numbers that are missing from a conversation, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SequenceHole {
    /// Which conversation.
    pub conversation: ConversationId,
    /// The first number missing.
    pub first: Sequence,
    /// The last number missing.
    pub last: Sequence,
}

/// The ledger of coverage.
#[async_trait]
pub trait CoverageLedger: Send + Sync {
    /// Writes what is known of an hour, in the place of what was.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`.
    async fn put_hour(&self, tenant: &TenantId, app: &App, hour: &HourCoverage) -> Result<()>;

    /// The hours of an app that begin at or after `from` and before `until`, ascending.
    ///
    /// # Errors
    /// `Storage`.
    async fn hours(&self, tenant: &TenantId, app: &App, from: Timestamp, until: Timestamp)
    -> Result<Vec<HourCoverage>>;

    /// Where the events with these keys stand, in the order asked; `None` for those not journalled. Changes nothing
    /// and, unlike a commit, compares no content.
    ///
    /// # Errors
    /// `Storage`.
    async fn known(&self, tenant: &TenantId, app: &App, keys: &[EventKey]) -> Result<Vec<Option<Position>>>;

    /// The places from the first to the last at which the events with these keys stand, if every one of them is journalled;
    /// a key that is named twice makes it `None` as well. Much cheaper than [`known`](Self::known), which tells them apart.
    ///
    /// # Errors
    /// `Storage`.
    async fn known_run(
        &self,
        tenant: &TenantId,
        app: &App,
        class: KeyClass,
        keys: &[&str],
    ) -> Result<Option<PositionRun>>;

    /// How many messages of an app, sent at or after `since` and before `until`, stand at these places.
    ///
    /// # Errors
    /// `Storage`.
    async fn messages_at(
        &self,
        tenant: &TenantId,
        app: &App,
        shard: Shard,
        runs: &[PositionRun],
        since: Timestamp,
        until: Timestamp,
    ) -> Result<u64>;

    /// Messages of an app that a file brought, behind `after`.
    ///
    /// # Errors
    /// `Storage`.
    async fn filed_since(&self, tenant: &TenantId, app: &App, shard: Shard, after: Position) -> Result<u64>;

    /// Messages that files brought of all hours of an app, as the ledger has them.
    ///
    /// # Errors
    /// `Storage`.
    async fn repaired_in_all(&self, tenant: &TenantId, app: &App) -> Result<u64>;

    /// Places among these, behind the trimmed ones, from which an event is gone: ascending, at most `limit` runs. Nothing
    /// the store does leaves such a place; somebody removed it by hand. Looks at as many rows as `among` names.
    ///
    /// # Errors
    /// `Storage`.
    async fn gone_places(
        &self,
        tenant: &TenantId,
        shard: Shard,
        among: PositionRun,
        limit: usize,
    ) -> Result<Vec<PositionRun>>;

    /// Which numbers of which conversations stood at these places, in the order of the conversations' ids, at most
    /// `limit` holes. Without places it costs nothing; with some it passes once over the index by conversation.
    ///
    /// # Errors
    /// `Storage`.
    async fn gone_sequences(
        &self,
        tenant: &TenantId,
        shard: Shard,
        places: &[PositionRun],
        limit: usize,
    ) -> Result<Vec<SequenceHole>>;

    /// Numbers of one conversation from which an event is gone, ascending, at most `limit` holes. Looks at each event of
    /// the conversation once.
    ///
    /// # Errors
    /// `Storage`.
    async fn gone_from(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        limit: usize,
    ) -> Result<Vec<SequenceHole>>;
}

/// Holes out of single numbers, which come conversation by conversation and ascend within each.
pub fn sequence_holes(numbers: impl IntoIterator<Item = (ConversationId, Sequence)>) -> Vec<SequenceHole> {
    let mut holes: Vec<SequenceHole> = Vec::new();
    for (conversation, number) in numbers {
        match holes.last_mut() {
            Some(last) if last.conversation == conversation && last.last.0 + 1 == number.0 => last.last = number,
            _ => holes.push(SequenceHole { conversation, first: number, last: number }),
        }
    }
    holes
}
