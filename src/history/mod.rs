//! History: pages of a conversation in the order of the vendor's clock, by tiers of age.
//!
//! Owns the tiers and the form of cursors. Reads through the storage traits; what the store does not hold is fetched
//! by whoever owns a provider, never from here.

mod config;
mod cursor;
mod pages;
mod plan;
mod request;

use serde::{Deserialize, Serialize};

pub use config::{HistoryConfig, TierBounds};
pub use cursor::HistoryCursor;
pub(crate) use pages::Pages;
pub use plan::{PlanFacts, PlanSource, PlanStep, plan};
pub use request::{HistoryRequest, HistorySlice};

/// A range of ages. The bounds belong to the nearer tier: exactly 7 days old is `recent`. The ages are settings.
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
    use std::time::Duration;

    use switchboard_contract::Timestamp;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn tier_of(now: Timestamp, at: Timestamp) -> Vec<Tier> {
        [Tier::Recent, Tier::Month, Tier::Archive]
            .into_iter()
            .filter(|tier| {
                let (since, until) = TierBounds::default().of(*tier, now);
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
