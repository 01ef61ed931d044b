//! Settings of the stack, the same for every vendor.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};
use url::Url;

/// The fewest retries after the first attempt that a configuration may name.
pub(crate) const MIN_RETRIES: u8 = 3;

/// How calls to a vendor are made. Durations are written as durations (`"10s"`, `"250ms"`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundConfig {
    /// Addresses of the same vendor, the preferred one first. Adapters fill in their default when it is empty.
    pub base_urls: Vec<Url>,
    /// The time one call may take with all its attempts and waits.
    #[serde(with = "humantime_serde")]
    pub total_deadline: Duration,
    /// The time one attempt may take. Vendors suggest 5 to 10 s.
    #[serde(with = "humantime_serde")]
    pub attempt_timeout: Duration,
    /// The time to set up a connection; shorter than `attempt_timeout`, so that a host that never answers is told
    /// apart from one that may have taken the request.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Retries after the first attempt, at least 3.
    pub max_retries: u8,
    /// The longest first wait between attempts; the wait is a random part of it (full jitter) and it doubles.
    #[serde(with = "humantime_serde")]
    pub backoff_base: Duration,
    /// The longest wait it doubles up to.
    #[serde(with = "humantime_serde")]
    pub backoff_cap: Duration,
    /// The largest answer that is read, in bytes.
    pub max_response_bytes: usize,
    /// The time a file's download may take.
    #[serde(with = "humantime_serde")]
    pub download_timeout: Duration,
    /// The largest file that is downloaded, in bytes.
    pub max_download_bytes: u64,
    /// How long an idle connection is kept.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Idle connections kept for each host; 0 turns keep-alive off.
    pub max_idle_per_host: usize,
    /// No connection carries more requests than this; `None` for no limit. Connections are replaced in generations, so
    /// the number is an upper bound and not a target.
    pub max_requests_per_connection: Option<u32>,
    /// After a change of address, the next one waits at least this long.
    #[serde(with = "humantime_serde")]
    pub failover_damping: Duration,
    /// The part of every quota that this process takes, 0 to 1: vendors count their client SDKs' calls, and those of
    /// other processes of the same app, against the same quota.
    pub quota_share: f64,
    /// Whether proxies named in the environment are used.
    pub use_proxy: bool,
    /// What the vendor's log is to show as the caller.
    pub user_agent: String,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            base_urls: Vec::new(),
            total_deadline: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            max_retries: MIN_RETRIES,
            backoff_base: Duration::from_millis(200),
            backoff_cap: Duration::from_secs(10),
            max_response_bytes: 8 << 20,
            download_timeout: Duration::from_secs(300),
            max_download_bytes: 4 << 30,
            idle_timeout: Duration::from_secs(50),
            max_idle_per_host: 16,
            max_requests_per_connection: None,
            failover_damping: Duration::from_secs(30),
            quota_share: 1.0,
            use_proxy: true,
            user_agent: concat!("switchboard/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl OutboundConfig {
    /// Every fault at once, each with the name of its field.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: &str| {
            if !good {
                faults.push(fault.to_owned());
            }
        };
        check(!self.base_urls.is_empty(), "base_urls: at least one address is needed");
        for url in &self.base_urls {
            let plain = matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty();
            check(
                plain,
                &format!("base_urls: {}: must be http(s)://host[:port][/path]", url.host_str().unwrap_or("?")),
            );
        }
        check(self.max_retries >= MIN_RETRIES, "max_retries: must be at least 3");
        check(!self.attempt_timeout.is_zero(), "attempt_timeout: must not be zero");
        check(self.connect_timeout < self.attempt_timeout, "connect_timeout: must be shorter than attempt_timeout");
        check(self.attempt_timeout <= self.total_deadline, "attempt_timeout: must not exceed total_deadline");
        check(self.backoff_base <= self.backoff_cap, "backoff_base: must not exceed backoff_cap");
        check(!self.backoff_base.is_zero(), "backoff_base: must not be zero");
        check(self.max_response_bytes > 0, "max_response_bytes: must not be zero");
        check(self.max_download_bytes > 0, "max_download_bytes: must not be zero");
        check(!self.download_timeout.is_zero(), "download_timeout: must not be zero");
        check(self.quota_share > 0.0 && self.quota_share <= 1.0, "quota_share: must be above 0 and at most 1");
        check(self.max_requests_per_connection != Some(0), "max_requests_per_connection: must not be zero");
        faults
    }

    /// # Errors
    /// `Config` naming every fault.
    pub(crate) fn validate(&self) -> Result<()> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Config, faults.join("; "))) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let config: OutboundConfig = toml::from_str(
            "base_urls = [\"ftp://x/\"]\nmax_retries = 2\nattempt_timeout = \"2m\"\nquota_share = 0.0\nconnect_timeout = \"3m\"",
        )
        .unwrap();
        let faults = config.faults().join("\n");
        for field in ["base_urls", "max_retries", "attempt_timeout", "quota_share", "connect_timeout"] {
            assert!(faults.contains(field), "{field} is missing in {faults}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_refused_and_the_defaults_are_good() {
        assert!(toml::from_str::<OutboundConfig>("max_retry = 3").is_err());
        let good = OutboundConfig { base_urls: vec!["http://127.0.0.1:1".parse().unwrap()], ..Default::default() };
        assert_eq!(good.faults(), Vec::<String>::new());
    }
}
