//! What is known of the times of single conversations.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::coverage::CoverageState;
use crate::conversation::ConversationId;
use crate::error::Result;
use crate::ids::{App, TenantId};
use crate::time::Timestamp;

/// A time of one conversation, by the vendor's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredRange {
    /// From this time on.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// How much of it is in the journal.
    pub state: CoverageState,
    /// Why: a stable lower-case word.
    pub reason: String,
    /// When that was found out, by our clock.
    pub checked_at: Timestamp,
}

impl CoveredRange {
    fn says_as(&self, other: &Self) -> bool {
        self.state == other.state && self.reason == other.reason
    }
}

/// What becomes of ranges that ascend without overlap when `new` is laid over them. Neighbours that say the same become
/// one, checked when the older of them was.
#[must_use]
pub fn overlay(known: Vec<CoveredRange>, new: CoveredRange) -> Vec<CoveredRange> {
    if new.since >= new.until {
        return known;
    }
    let mut pieces: Vec<CoveredRange> = Vec::with_capacity(known.len() + 2);
    let mut after = Vec::new();
    for range in known {
        if range.since < new.since {
            let until = range.until.min(new.since);
            pieces.push(CoveredRange { until, ..range.clone() });
        }
        if range.until > new.until {
            let since = range.since.max(new.until);
            after.push(CoveredRange { since, ..range });
        }
    }
    pieces.push(new);
    pieces.extend(after);
    let mut joined: Vec<CoveredRange> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if last.until == piece.since && last.says_as(&piece) => {
                last.until = piece.until;
                last.checked_at = last.checked_at.min(piece.checked_at);
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// The ledger of conversations. What it says of a conversation goes before what the hours of its app say.
#[async_trait]
pub trait ConversationLedger: Send + Sync {
    /// Writes what is known of a time of a conversation, in the place of what was known of it.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`.
    async fn put_range(
        &self,
        tenant: &TenantId,
        app: &App,
        conversation: &ConversationId,
        range: &CoveredRange,
    ) -> Result<()>;

    /// What is known of a conversation from `since` to `until`, ascending and without overlap. Ranges that reach
    /// beyond these times are given whole.
    ///
    /// # Errors
    /// `Storage`.
    async fn ranges(
        &self,
        tenant: &TenantId,
        app: &App,
        conversation: &ConversationId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CoveredRange>>;

    /// Ranges that are not complete, of all conversations in the order of their ids, after the conversation `after`,
    /// at most `limit` ranges and then the rest of the last conversation.
    ///
    /// # Errors
    /// `Storage`.
    async fn incomplete(
        &self,
        tenant: &TenantId,
        app: &App,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, CoveredRange)>>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn range(since: i64, until: i64, word: u8) -> CoveredRange {
        CoveredRange {
            since: Timestamp(since),
            until: Timestamp(until),
            state: CoverageState::from_code(word % 3).unwrap(),
            reason: format!("reason_{word}"),
            checked_at: Timestamp(i64::from(word)),
        }
    }

    proptest! {
        #[test]
        fn what_is_laid_on_top_counts(writes in prop::collection::vec((0_i64..60, 0_i64..20, 0_u8..4), 0..30)) {
            let mut known = Vec::new();
            let mut moments = [None; 80];
            for (since, length, word) in writes {
                known = overlay(known, range(since, since + length, word));
                (since..since + length).for_each(|at| moments[usize::try_from(at).unwrap()] = Some(word));
                prop_assert!(known.windows(2).all(|pair| pair[0].until <= pair[1].since), "{:?}", known);
                let joined = |pair: &[CoveredRange]| pair[0].until == pair[1].since && pair[0].says_as(&pair[1]);
                prop_assert!(!known.windows(2).any(joined), "{:?}", known);
                prop_assert!(known.iter().all(|range| range.since < range.until));
            }
            for (at, word) in moments.into_iter().enumerate() {
                let at = Timestamp(at as i64);
                let found = known.iter().find(|range| range.since <= at && at < range.until);
                prop_assert_eq!(found.map(|range| range.reason.clone()), word.map(|word| format!("reason_{word}")));
            }
        }
    }
}
