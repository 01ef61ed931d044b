//! The hub's settings.

use std::time::Duration;

use serde::Deserialize;

/// How the hub reads, remembers and waits. Every value has a default that suits one process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubConfig {
    /// Shards of each tenant's journal. 1 by default.
    pub shards: u16,
    /// Bytes of recent events kept in memory, over all tenants, for subscribers that keep up. 32 MiB by default.
    pub tail_bytes: usize,
    /// Bytes of journal pages kept for subscribers that fell behind together. 32 MiB by default.
    pub page_cache_bytes: u64,
    /// How long such a page is kept. 5 s by default.
    #[serde(with = "humantime_serde")]
    pub page_cache_ttl: Duration,
    /// How often the journal is asked for what no hint announced. 1 s by default.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// The longest a caller waits for its acknowledgement to become durable. 30 s by default.
    #[serde(with = "humantime_serde")]
    pub ack_wait: Duration,
    /// The longest a pull may wait for something to happen, whatever it asks for. 60 s by default.
    #[serde(with = "humantime_serde")]
    pub pull_wait: Duration,
    /// A worker that pulls and has not come back for this long is taken to be gone. 5 min by default.
    #[serde(with = "humantime_serde")]
    pub pull_idle: Duration,
    /// A subscriber nobody uses leaves memory after this long. 1 min by default.
    #[serde(with = "humantime_serde")]
    pub unload_after: Duration,
    /// How often the presence of a connected subscriber is noted. 30 s by default.
    #[serde(with = "humantime_serde")]
    pub seen_every: Duration,
    /// The wait after a failed delivery before the next try; doubles with each. 1 s by default.
    #[serde(with = "humantime_serde")]
    pub retry_base: Duration,
    /// The longest wait between two tries, also of a blocked conversation. 5 min by default.
    #[serde(with = "humantime_serde")]
    pub retry_cap: Duration,
    /// How long a graceful stop may take. 10 s by default.
    #[serde(with = "humantime_serde")]
    pub stop_within: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            shards: 1,
            tail_bytes: 32 << 20,
            page_cache_bytes: 32 << 20,
            page_cache_ttl: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            ack_wait: Duration::from_secs(30),
            pull_wait: Duration::from_secs(60),
            pull_idle: Duration::from_secs(300),
            unload_after: Duration::from_secs(60),
            seen_every: Duration::from_secs(30),
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(300),
            stop_within: Duration::from_secs(10),
        }
    }
}
