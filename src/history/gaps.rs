//! What a page of history lacks, and who can bring it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use switchboard_contract::storage::{CoverageState, HistoryKey, HistoryPage, HistoryQuery, PageDirection};
use switchboard_contract::{ConversationId, MessageId, ProviderId, Result, TenantId, Timestamp};

use super::Tier;

/// A time of a conversation that is not, or not surely, whole here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryGap {
    /// At which provider.
    pub provider: ProviderId,
    /// Its age.
    pub tier: Tier,
    /// From this time on, milliseconds since the epoch.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// `suspect` or `unfillable`.
    pub state: CoverageState,
    /// Why: a stable lower-case word.
    pub reason: String,
    /// A page can fetch it.
    #[serde(skip)]
    pub(crate) fetchable: bool,
}

/// Whoever can bring what the store lacks.
#[async_trait]
pub(crate) trait Fetcher: fmt::Debug + Send + Sync {
    /// What a conversation lacks from `since` to `until` (`None`: as far as anything reaches), ascending, as seen at
    /// `now`.
    ///
    /// # Errors
    /// `Storage`.
    async fn gaps(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        since: Option<Timestamp>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<HistoryGap>>;

    /// Fetches this gap, or the part of it that was cut out; whether all of it was read. Waits no longer than its tier
    /// admits.
    ///
    /// # Errors
    /// Whatever the vendor says; `Timeout`.
    async fn fetch(&self, tenant: &TenantId, conversation: &ConversationId, gap: &HistoryGap) -> Result<bool>;
}

/// The times that a page speaks of: every message of them is in it, or was in a page before. The second is excluded.
pub(super) fn told_of(query: &HistoryQuery, page: &HistoryPage, now: Timestamp) -> (Option<Timestamp>, Timestamp) {
    let behind = |key: &HistoryKey| Timestamp(key.sent_at.0.saturating_add(1));
    let until = query.until.map_or(now, |until| until.min(now));
    match query.direction {
        PageDirection::Older => {
            let high = query.after.as_ref().map_or(until, |after| until.min(behind(after)));
            (query.since.max(page.next.as_ref().map(|next| next.sent_at)), high)
        }
        PageDirection::Newer => {
            let low = query.since.max(query.after.as_ref().map(|after| after.sent_at));
            (low, page.next.as_ref().map_or(until, |next| until.min(behind(next))))
        }
    }
}

/// The part of a gap that a walk in this direction comes to first.
pub(super) fn near_part(gap: &HistoryGap, direction: PageDirection, stride: Duration) -> HistoryGap {
    match direction {
        PageDirection::Older => HistoryGap { since: gap.since.max(gap.until - stride), ..gap.clone() },
        PageDirection::Newer => HistoryGap { until: gap.until.min(gap.since + stride), ..gap.clone() },
    }
}

/// A page that ends where this gap begins, since what comes there was not fetched yet: the next one goes on from here.
pub(super) fn cut(page: HistoryPage, gap: &HistoryGap, direction: PageDirection) -> HistoryPage {
    let edge = match direction {
        PageDirection::Older => gap.until,
        PageDirection::Newer => gap.since,
    };
    let before = |at: Timestamp| match direction {
        PageDirection::Older => at >= edge,
        PageDirection::Newer => at < edge,
    };
    let kept: Vec<_> = page.keys.into_iter().zip(page.entries).filter(|(key, _)| before(key.sent_at)).collect();
    // Smaller than every message of its moment, and none of them.
    let next = HistoryKey { sent_at: edge, sort_key: String::new(), message_id: MessageId::from_bytes([0; 16]) };
    let (keys, entries) = kept.into_iter().unzip();
    HistoryPage { entries, keys, next: Some(next) }
}
