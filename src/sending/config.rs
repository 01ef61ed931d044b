//! The settings of sending, each with its default and its range.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};

/// What happens to a conversation once `in_doubt_hold` has passed and its message is still in doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterHold {
    /// Later messages go on. Should the doubtful one turn out never to have arrived, it is sent then, out of order.
    #[default]
    Release,
    /// Later messages wait until the doubt is settled, however long that takes (`in_doubt_limit` at most).
    Wait,
    /// The doubtful message becomes `failed{outcome_unknown}`, and later ones go on.
    Fail,
}

/// Settings of sending. Every field has a default; durations are written as in `30s`, `5m`, `48h`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendingConfig {
    /// Retries after the first attempt of one message, 3 at least. Only outcomes of the message itself count.
    pub max_retries: u32,
    /// The ceiling of the first wait before a retry; each further one doubles. The wait is drawn from 0 to its ceiling.
    #[serde(with = "humantime_serde")]
    pub backoff_min: Duration,
    /// The ceiling of every wait.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// Calls to one app that may be under way at once, 1 at least.
    pub concurrency: usize,
    /// Messages of one tenant and app held in memory, 1 at least. What is beyond stays in the store.
    pub window: usize,
    /// Messages of one conversation held in memory, so that a stopped conversation cannot fill the window; 1 at least.
    pub per_conversation: usize,
    /// The deadline of one call; a call cut off by it has an unknown outcome.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// The deadline of making users and groups at the vendor before a call.
    #[serde(with = "humantime_serde")]
    pub prepare_timeout: Duration,
    /// How long one hook may take before a send is built or a call made; beyond it the hook counts as failed. The
    /// hooks of one call share its `call_timeout`, too.
    #[serde(with = "humantime_serde")]
    pub hook_within: Duration,
    /// How long a message is worth sending when its sender does not say; none: for ever.
    #[serde(with = "humantime_serde")]
    pub default_ttl: Option<Duration>,
    /// Recipients of one send, 1 at least.
    pub max_recipients: usize,
    /// Unfinished messages of one app beyond which new ones are refused, 1 at least.
    pub max_open: u64,
    /// How long a message in doubt holds its conversation, and how long an echo is waited for where nothing else can
    /// tell what became of it.
    #[serde(with = "humantime_serde")]
    pub in_doubt_hold: Duration,
    /// What happens then.
    pub after_hold: AfterHold,
    /// How long evidence is sought at most; then the message becomes `failed{outcome_unknown}`.
    #[serde(with = "humantime_serde")]
    pub in_doubt_limit: Duration,
    /// Messages of one app in doubt beyond which it sends nothing new, 1 at least.
    pub max_in_doubt: usize,
    /// How far the vendor's clock may differ from ours.
    #[serde(with = "humantime_serde")]
    pub clock_skew: Duration,
    /// How long after we gave up on a call the vendor may still carry it out.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// How long an echo is waited for before the vendor is asked.
    #[serde(with = "humantime_serde")]
    pub echo_wait: Duration,
    /// Pages read in one search for a message in doubt, 1 at least.
    pub max_pages: u32,
    /// The first pause of an app that cannot be reached; each further one doubles, jittered.
    #[serde(with = "humantime_serde")]
    pub pause_min: Duration,
    /// The longest such pause: so long after the vendor is back everything goes on at the latest.
    #[serde(with = "humantime_serde")]
    pub pause_max: Duration,
    /// The part of a quota's window by which a call may be counted late at the vendor, 0 to 0.5.
    pub quota_margin: f64,
    /// The part of a quota's window that one tenant leaves to the others when an app serves several, 0 to 0.9.
    pub tenant_reserve: f64,
    /// How often the store is read again from the start, so that a lost hint delays a message no longer than this.
    #[serde(with = "humantime_serde")]
    pub rescan: Duration,
    /// How long a shutdown waits for calls under way; those it cuts off are in doubt at the next start.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// Fixes the jitter, for reproducible runs; none: drawn from the system.
    pub seed: Option<u64>,
}

impl Default for SendingConfig {
    fn default() -> Self {
        Self {
            max_retries: 3,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            concurrency: 32,
            window: 2048,
            per_conversation: 64,
            call_timeout: Duration::from_secs(30),
            prepare_timeout: Duration::from_secs(60),
            hook_within: Duration::from_secs(1),
            default_ttl: None,
            max_recipients: 10_000,
            max_open: 1_000_000,
            in_doubt_hold: Duration::from_secs(300),
            after_hold: AfterHold::Release,
            in_doubt_limit: Duration::from_secs(48 * 3600),
            max_in_doubt: 4096,
            clock_skew: Duration::from_secs(30),
            settle: Duration::from_secs(10),
            echo_wait: Duration::from_secs(3),
            max_pages: 64,
            pause_min: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
            quota_margin: 0.04,
            tenant_reserve: 0.1,
            rescan: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(10),
            seed: None,
        }
    }
}

impl SendingConfig {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// `Config`, naming every field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let positive = |value: Duration| !value.is_zero();
        let faults: Vec<&str> = [
            (self.max_retries >= 3, "max_retries must be 3 at least"),
            (
                positive(self.backoff_min) && self.backoff_min <= self.backoff_max,
                "backoff_min must be in 1ms..=backoff_max",
            ),
            (self.concurrency >= 1, "concurrency must be 1 at least"),
            (self.window >= 1, "window must be 1 at least"),
            (self.per_conversation >= 1, "per_conversation must be 1 at least"),
            (positive(self.call_timeout), "call_timeout must not be zero"),
            (positive(self.prepare_timeout), "prepare_timeout must not be zero"),
            (positive(self.hook_within), "hook_within must not be zero"),
            (self.default_ttl.is_none_or(positive), "default_ttl must not be zero"),
            (self.max_recipients >= 1, "max_recipients must be 1 at least"),
            (self.max_open >= 1, "max_open must be 1 at least"),
            (positive(self.in_doubt_hold), "in_doubt_hold must not be zero"),
            (self.in_doubt_limit >= self.in_doubt_hold, "in_doubt_limit must not be below in_doubt_hold"),
            (self.max_in_doubt >= 1, "max_in_doubt must be 1 at least"),
            (self.max_pages >= 1, "max_pages must be 1 at least"),
            (positive(self.pause_min) && self.pause_min <= self.pause_max, "pause_min must be in 1ms..=pause_max"),
            ((0.0..=0.5).contains(&self.quota_margin), "quota_margin must be in 0..=0.5"),
            ((0.0..=0.9).contains(&self.tenant_reserve), "tenant_reserve must be in 0..=0.9"),
            (positive(self.rescan), "rescan must not be zero"),
        ]
        .into_iter()
        .filter_map(|(holds, fault)| (!holds).then_some(fault))
        .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Config, format!("sending: {}", faults.join("; "))))
        }
    }

    /// Attempts of one message in all.
    pub(crate) fn max_attempts(&self) -> u32 {
        self.max_retries.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_every_fault_is_named() {
        SendingConfig::default().validate().unwrap();
        let wrong = SendingConfig { max_retries: 2, quota_margin: 0.9, ..SendingConfig::default() };
        let error = wrong.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("max_retries") && error.message().contains("quota_margin"));
    }

    #[test]
    fn durations_are_written_as_durations_and_typos_are_refused() {
        let config: SendingConfig = toml::from_str("in_doubt_hold = \"90s\"\nafter_hold = \"wait\"").unwrap();
        assert_eq!((config.in_doubt_hold, config.after_hold), (Duration::from_secs(90), AfterHold::Wait));
        assert!(toml::from_str::<SendingConfig>("in_doubt_holdd = \"90s\"").is_err());
    }
}
