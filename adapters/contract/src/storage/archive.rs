//! What left the database for good storage elsewhere, read back as history is.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;

use super::history::{HistoryKey, HistoryQuery};
use super::journal::Entry;
use crate::conversation::ConversationId;
use crate::error::Result;
use crate::ids::TenantId;
use crate::time::Timestamp;

/// A time of which an archive holds messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldSpan {
    /// From this time on, by the vendor's clock.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
}

impl HeldSpan {
    /// Whether it has a moment in common with the time from `since` (included) to `until` (excluded); `None` is without
    /// end.
    pub fn meets(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        since.is_none_or(|since| since < self.until) && until.is_none_or(|until| self.since < until)
    }
}

/// A page out of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePage {
    /// Messages with the keys that they had in the database, in the order of the direction. May be fewer than asked for.
    pub rows: Vec<(HistoryKey, Entry)>,
    /// Where to go on. The end is a missing `next`, never a short page.
    pub next: Option<HistoryKey>,
}

/// Messages that are kept outside the database. Whoever moves them makes them visible here first and removes them from
/// the database after; whoever reads looks into the database first and here after. So each is found in one of them,
/// or in both while it moves.
#[async_trait]
pub trait Archive: fmt::Debug + Send + Sync {
    /// One page of what it holds of a conversation. Order, direction, bounds and filter are those of
    /// [`History::page`](super::History::page).
    ///
    /// # Errors
    /// `Storage` when it cannot be read; a page never leaves out silently what could not be.
    async fn page(&self, query: &HistoryQuery) -> Result<ArchivePage>;

    /// The times it holds something of, of one conversation or with `None` of the whole tenant: ascending, without
    /// overlap. A span may be wider than the messages in it and never narrower. It is asked with every page, so it must
    /// answer from memory.
    ///
    /// # Errors
    /// `Storage`.
    async fn held(&self, tenant: &TenantId, conversation: Option<&ConversationId>) -> Result<Vec<HeldSpan>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_meets_what_it_has_a_moment_in_common_with() {
        let span = HeldSpan { since: Timestamp(10), until: Timestamp(20) };
        for (since, until, meets) in [
            (None, None, true),
            (Some(19), None, true),
            (Some(20), None, false),
            (None, Some(10), false),
            (None, Some(11), true),
            (Some(12), Some(13), true),
        ] {
            assert_eq!(span.meets(since.map(Timestamp), until.map(Timestamp)), meets, "{since:?} {until:?}");
        }
    }
}
