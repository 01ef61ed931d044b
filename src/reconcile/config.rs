//! Settings of reconciliation.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

/// Settings of reconciliation, `[reconcile]` in the configuration. Durations are written as `15m`, `6h`. When a file
/// can be there, when it is final and when it is gone are facts of the vendor, set with the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconcileConfig {
    /// Whether hours are reconciled by themselves. `switchboard reconcile` works either way. Default true.
    pub enabled: bool,
    /// After the first look at a file that is not final, it is looked at again after this long; the wait doubles with
    /// each look, and the last look comes when the file is final. Default 15 min.
    #[serde(with = "humantime_serde")]
    pub look_again: Duration,
    /// The longest such wait, and the wait between looks for a file that should be there and is not. Default 6 h.
    #[serde(with = "humantime_serde")]
    pub look_longest: Duration,
    /// How far the vendor's clock and ours may differ: a file counts as final this much later. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub clock_margin: Duration,
    /// However early the vendor calls a file final, it is looked at once more this long after the end of its hour.
    /// Default 26 h.
    #[serde(with = "humantime_serde")]
    pub confirm_after: Duration,
    /// A file that is missing this long after the end of an hour in which there were messages is an alert. Default 6 h.
    #[serde(with = "humantime_serde")]
    pub late_after: Duration,
    /// The longest one file may take to fetch. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub fetch_within: Duration,
    /// Lines compared with the journal at once. Default 1,024.
    pub batch_lines: usize,
    /// Bytes of lines compared at once, about. Default 1 MiB.
    pub batch_bytes: usize,
    /// Compare the content of messages already journalled, too, and record what differs. Several times slower; what is
    /// journalled stays as it is either way. Default false.
    pub compare_content: bool,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            look_again: Duration::from_secs(15 * 60),
            look_longest: Duration::from_secs(6 * 3600),
            clock_margin: Duration::from_secs(10 * 60),
            confirm_after: Duration::from_secs(26 * 3600),
            late_after: Duration::from_secs(6 * 3600),
            fetch_within: Duration::from_secs(10 * 60),
            batch_lines: 1024,
            batch_bytes: 1 << 20,
            compare_content: false,
        }
    }
}

impl ReconcileConfig {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("reconcile.{what}")));
        if self.look_again < Duration::from_secs(1) || self.look_longest < self.look_again {
            return wrong("look_longest: must be at least look_again, which must be at least 1s");
        }
        if self.fetch_within.is_zero() {
            return wrong("fetch_within: must not be 0");
        }
        if self.batch_lines == 0 || self.batch_bytes == 0 {
            return wrong("batch_lines, batch_bytes: must be at least 1");
        }
        Ok(())
    }
}
