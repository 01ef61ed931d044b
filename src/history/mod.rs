//! History: pages of a conversation in the order of the vendor's clock, by tiers of age.
//!
//! Owns the tiers and the form of cursors. Reads through the storage traits; what the store does not hold is fetched
//! by whoever owns a provider, never from here.

mod config;
mod cursor;
mod gaps;
mod known;
mod pages;
mod plan;
mod request;

use serde::{Deserialize, Serialize};

pub use config::{AutomaticConfig, HintsConfig, HistoryConfig, TierBounds, TierConfig};
pub use cursor::HistoryCursor;
pub(crate) use gaps::Fetcher;
pub use gaps::HistoryGap;
pub use known::{Known, reason};
pub(crate) use pages::Pages;
pub use plan::{CallsLeft, PlanFacts, PlanSource, PlanStep, plan};
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
    /// Every tier, the nearest first.
    pub const ALL: [Self; 3] = [Self::Recent, Self::Month, Self::Archive];

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Month => "month",
            Self::Archive => "archive",
        }
    }
}
