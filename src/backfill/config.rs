//! Settings of backfill.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

/// Settings of backfill, `[backfill]` in the configuration. Durations are written as `60s`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackfillConfig {
    /// Pages asked for in a second, at most, so that walks and in-doubt sends keep their share of the vendor's quota.
    /// Default 20.
    pub pages_per_second: f64,
    /// How long a job runs before another one of its app that waits has its turn. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub turn: Duration,
    /// Tries of a page after the first before its conversation or hour is given up; an outage spends none. At least 3.
    /// Default 3.
    pub max_retries: u8,
    /// The first wait before another try; it doubles. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub retry_first: Duration,
    /// The longest wait before another try. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub retry_longest: Duration,
    /// Jobs of one app that may be open at once; more are refused. Default 100.
    pub max_open: usize,
    /// Progress is told to subscribers this often. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub tell_every: Duration,
}

impl Default for BackfillConfig {
    fn default() -> Self {
        Self {
            pages_per_second: 20.0,
            turn: Duration::from_secs(60),
            max_retries: 3,
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(60),
            max_open: 100,
            tell_every: Duration::from_secs(10),
        }
    }
}

impl BackfillConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("backfill.{what}")));
        if !(self.pages_per_second > 0.0 && self.pages_per_second.is_finite()) {
            return wrong("pages_per_second: must be above 0");
        }
        if self.max_retries < 3 {
            return wrong("max_retries: must be at least 3");
        }
        if self.retry_first.is_zero() || self.retry_longest < self.retry_first {
            return wrong("retry_longest: must be at least retry_first, which must not be 0");
        }
        if self.max_open == 0 || self.turn.is_zero() || self.tell_every.is_zero() {
            return wrong("max_open, turn, tell_every: must not be 0");
        }
        Ok(())
    }

    /// The least time between the beginnings of two pages.
    pub(super) fn spacing(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.pages_per_second)
    }
}
