//! Settings of catching up.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

/// Settings of catching up after we were away, `[catchup]` in the configuration. Durations are written as `60s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CatchupConfig {
    /// Whether conversations are asked for at the vendor. Repair windows are kept either way. Default true.
    pub queries: bool,
    /// The longest a provider stays in catching up before it is reported online. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
    /// Conversations in which something happened so long before we went are asked for. Default 7 days.
    #[serde(with = "humantime_serde")]
    pub active_within: Duration,
    /// Conversations asked for, at most; the most recent ones first. Default 1,000.
    pub max_conversations: usize,
    /// Pages of one conversation, at most. Default 20.
    pub max_pages: u32,
    /// Queries under way at once. Default 4.
    pub parallel: usize,
    /// How often a sign of life is noted: what came since the last one is asked for at the next start. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub sign_of_life: Duration,
    /// Whether a vendor that keeps failed callbacks is asked for them. Default true.
    pub send_again: bool,
    /// How long the callbacks of one such call may take to come. Default 20 s.
    #[serde(with = "humantime_serde")]
    pub send_again_within: Duration,
    /// The wait before asking once more for what did not come; it doubles, up to an hour. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub send_again_pause: Duration,
    /// How far the vendor's clock and ours may differ: so much more is asked for on both sides. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub clock_margin: Duration,
}

impl Default for CatchupConfig {
    fn default() -> Self {
        Self {
            queries: true,
            within: Duration::from_secs(60),
            active_within: Duration::from_secs(7 * 24 * 3600),
            max_conversations: 1_000,
            max_pages: 20,
            parallel: 4,
            sign_of_life: Duration::from_secs(10),
            send_again: true,
            send_again_within: Duration::from_secs(20),
            send_again_pause: Duration::from_secs(60),
            clock_margin: Duration::from_secs(10 * 60),
        }
    }
}

impl CatchupConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        if self.max_pages == 0 || self.parallel == 0 || self.sign_of_life < Duration::from_secs(1) {
            let text = "catchup.max_pages, catchup.parallel: must be at least 1; catchup.sign_of_life: at least 1s";
            return Err(Error::new(ErrorKind::Config, text));
        }
        if self.send_again_within.is_zero() || self.send_again_pause.is_zero() {
            let text = "catchup.send_again_within, catchup.send_again_pause: must not be 0";
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(())
    }
}
