//! Settings of the watch for silence.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

/// Settings of the watch for silence and bans, `[silence]` in the configuration. Durations are written as `50s`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SilenceConfig {
    /// Whether apps are watched. Default true.
    pub enabled: bool,
    /// After so many expected gaps without a callback the vendor is asked whether something was said. Default 4.
    pub gaps_to_ask: f64,
    /// After so many it is an alarm without an answer, once the hours of weeks before are known. Default 20.
    pub gaps_to_alarm: f64,
    /// Where at least one callback a second is expected, it is an alarm after this long in any case. Default 50 s.
    #[serde(with = "humantime_serde")]
    pub alarm_within: Duration,
    /// Conversations the vendor is asked for, the most recent ones. 0 asks for none. Default 5.
    pub ask_conversations: usize,
    /// While a silence lasts, what can be had is fetched this often. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub fetch_every: Duration,
    /// An app that is expected to call back less often than once in this long is not watched. Default 6 h.
    #[serde(with = "humantime_serde")]
    pub rarest: Duration,
}

impl Default for SilenceConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            gaps_to_ask: 4.0,
            gaps_to_alarm: 20.0,
            alarm_within: Duration::from_secs(50),
            ask_conversations: 5,
            fetch_every: Duration::from_secs(300),
            rarest: Duration::from_secs(6 * 3600),
        }
    }
}

impl SilenceConfig {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("silence.{what}")));
        if !(self.gaps_to_ask >= 1.0 && self.gaps_to_ask.is_finite()) {
            return wrong("gaps_to_ask: must be at least 1");
        }
        if !(self.gaps_to_alarm >= self.gaps_to_ask && self.gaps_to_alarm.is_finite()) {
            return wrong("gaps_to_alarm: must be at least gaps_to_ask");
        }
        if self.alarm_within < Duration::from_secs(10) {
            return wrong("alarm_within: must be at least 10s");
        }
        if self.fetch_every < Duration::from_secs(1) || self.rarest.is_zero() {
            return wrong("fetch_every, rarest: must be at least 1s");
        }
        Ok(())
    }
}
