//! History: pages of a conversation in the order of the vendor's clock, by tiers of age.
//!
//! Owns the tiers and the form of cursors. Reads through the storage traits; what the store does not hold is fetched
//! by whoever owns a provider, never from here.

mod cursor;
mod request;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::Timestamp;

pub use cursor::HistoryCursor;
pub use request::{HistoryRequest, HistorySlice};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A range of ages. The bounds belong to the nearer tier: exactly 7 days old is `recent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Up to 7 days.
    Recent,
    /// More than 7 and up to 30 days.
    Month,
    /// More than 30 days.
    Archive,
}

impl Tier {
    /// The times of this tier as seen at `now`: from the first (included) to the second (excluded).
    pub fn bounds(self, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        let (week, month) = (now - 7 * DAY, now - 30 * DAY);
        match self {
            Self::Recent => (Some(week), None),
            Self::Month => (Some(month), Some(week)),
            Self::Archive => (None, Some(month)),
        }
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Month => "month",
            Self::Archive => "archive",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier_of(now: Timestamp, at: Timestamp) -> Vec<Tier> {
        [Tier::Recent, Tier::Month, Tier::Archive]
            .into_iter()
            .filter(|tier| {
                let (since, until) = tier.bounds(now);
                since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
            })
            .collect()
    }

    #[test]
    fn every_moment_belongs_to_exactly_one_tier() {
        let now = Timestamp(1_795_200_000_101);
        let ms = Duration::from_millis(1);
        for (age, tier) in [
            (Duration::ZERO, Tier::Recent),
            (7 * DAY - ms, Tier::Recent),
            (7 * DAY, Tier::Recent),
            (7 * DAY + ms, Tier::Month),
            (30 * DAY - ms, Tier::Month),
            (30 * DAY, Tier::Month),
            (30 * DAY + ms, Tier::Archive),
            (3000 * DAY, Tier::Archive),
        ] {
            assert_eq!(tier_of(now, now - age), [tier], "{age:?}");
        }
    }
}
