//! Settings of recovery.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

/// How fetches that failed are tried again, `[recovery]` in the configuration. Sends have their own in `[sending]`.
/// Durations are written as `60s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// Tries after the first one, 3 at least; then the fetch is a dead letter. Default 3.
    pub max_retries: u32,
    /// The longest first wait before a retry; it doubles with each, and a random part of it is waited. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub backoff_min: Duration,
    /// What it doubles up to. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// The longest first pause of an app that cannot be reached; it doubles, too. Default 500 ms.
    #[serde(with = "humantime_serde")]
    pub pause_min: Duration,
    /// What it doubles up to: so long after the vendor is back everything goes on at the latest. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub pause_max: Duration,
    /// The longest one attempt may take. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub attempt_within: Duration,
    /// Retries of one app under way at once. Default 4.
    pub parallel: usize,
    /// Fixes the jitter, for reproducible runs; none: drawn from the system.
    pub seed: Option<u64>,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            pause_min: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
            attempt_within: Duration::from_secs(300),
            parallel: 4,
            seed: None,
        }
    }
}

impl RecoveryConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// `Config`, naming every field that is out of range.
    pub fn check(&self) -> Result<()> {
        let rises = |least: Duration, most: Duration| !least.is_zero() && least <= most;
        let faults: Vec<&str> = [
            (self.max_retries >= 3, "max_retries must be 3 at least"),
            (rises(self.backoff_min, self.backoff_max), "backoff_min must be in 1ms..=backoff_max"),
            (rises(self.pause_min, self.pause_max), "pause_min must be in 1ms..=pause_max"),
            (!self.attempt_within.is_zero(), "attempt_within must not be zero"),
            (self.parallel >= 1, "parallel must be 1 at least"),
        ]
        .into_iter()
        .filter_map(|(holds, fault)| (!holds).then_some(fault))
        .collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Config, format!("recovery: {}", faults.join("; ")))),
        }
    }

    /// Attempts of one item in all.
    pub(crate) fn max_attempts(&self) -> u32 {
        self.max_retries.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn three_retries_are_the_floor_and_every_fault_is_named() {
        RecoveryConfig::default().check().unwrap();
        let wrong = RecoveryConfig { max_retries: 2, parallel: 0, ..RecoveryConfig::default() };
        let error = wrong.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("max_retries") && error.message().contains("parallel"));
    }
}
