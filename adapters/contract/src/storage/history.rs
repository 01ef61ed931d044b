//! Reading a conversation in the order of the vendor's clock.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::journal::Entry;
use crate::conversation::ConversationId;
use crate::error::Result;
use crate::ids::{MessageId, Sequence, TenantId, UserId};
use crate::time::Timestamp;

/// A message's place in history, fixed when it is first seen: time, the vendor's order within the millisecond, our id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HistoryKey {
    /// By the vendor's clock.
    pub sent_at: Timestamp,
    /// The adapter's sort key.
    pub sort_key: String,
    /// Ours.
    pub message_id: MessageId,
}

/// Which way to page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageDirection {
    /// Towards the past; entries come newest first.
    #[default]
    Older,
    /// Towards the present; entries come oldest first.
    Newer,
}

/// What to leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only this sender.
    pub sender: Option<UserId>,
    /// Only these body kinds, as in [`Body::kind`](crate::Body::kind); empty for all.
    pub bodies: Vec<String>,
}

/// One page to read. Only messages (tombstones included) are in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which way.
    pub direction: PageDirection,
    /// Go on behind this place; `None` begins at the end the direction comes from.
    pub after: Option<HistoryKey>,
    /// Not before, included.
    pub since: Option<Timestamp>,
    /// Not after, excluded.
    pub until: Option<Timestamp>,
    /// At most this many.
    pub limit: usize,
    /// What to leave out.
    pub filter: HistoryFilter,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// In the order of the direction.
    pub entries: Vec<Entry>,
    /// Where each of them stands, in their order: pages of several sources are merged by these.
    pub keys: Vec<HistoryKey>,
    /// Where to go on. The end is a missing `next`, never a short page.
    pub next: Option<HistoryKey>,
}

/// A conversation in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConversationSummary {
    /// Which.
    pub id: ConversationId,
    /// The number of its last event.
    pub last_sequence: Sequence,
    /// When that happened, by the vendor's clock.
    pub last_at: Timestamp,
}

/// Paging through what is kept.
#[async_trait]
pub trait History: Send + Sync {
    /// One page of a conversation. Messages appended while somebody pages cause neither a skip nor a repeat.
    ///
    /// # Errors
    /// `Storage`.
    async fn page(&self, query: &HistoryQuery) -> Result<HistoryPage>;

    /// The conversations of a tenant in the order of their ids, after `after`, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn conversations(
        &self,
        tenant: &TenantId,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>>;

    /// One conversation, if anything ever happened in it.
    ///
    /// # Errors
    /// `Storage`.
    async fn conversation(&self, tenant: &TenantId, id: &ConversationId) -> Result<Option<ConversationSummary>>;
}
