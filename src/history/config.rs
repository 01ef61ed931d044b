//! Settings of history.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};

use super::Tier;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where one tier ends and the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierBounds {
    /// What is at most this old is `recent`. Default 7 days.
    #[serde(with = "humantime_serde")]
    pub recent: Duration,
    /// What is older than that and at most this old is `month`. Default 30 days.
    #[serde(with = "humantime_serde")]
    pub month: Duration,
}

impl Default for TierBounds {
    fn default() -> Self {
        Self { recent: 7 * DAY, month: 30 * DAY }
    }
}

impl TierBounds {
    /// The times of a tier as seen at `now`: from the first (included) to the second (excluded).
    pub fn of(&self, tier: Tier, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        let (recent, month) = (now - self.recent, now - self.month);
        match tier {
            Tier::Recent => (Some(recent), None),
            Tier::Month => (Some(month), Some(recent)),
            Tier::Archive => (None, Some(month)),
        }
    }
}

/// Settings of history, `[history]` in the configuration. Durations are written as `7d`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Where the tiers meet.
    pub tiers: TierBounds,
    /// Pages that one pull of a conversation reads from the vendor, at most. Default 200.
    pub max_pages: u32,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { tiers: TierBounds::default(), max_pages: 200 }
    }
}

impl HistoryConfig {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        if self.tiers.recent.is_zero() || self.tiers.month <= self.tiers.recent || self.max_pages == 0 {
            let text = "history.tiers.month: must be more than history.tiers.recent, which must not be 0; \
                        history.max_pages: at least 1";
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(())
    }
}
