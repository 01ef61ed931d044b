//! Settings of the way in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, FixedVerdict, ProviderId, Result};

use super::inbox::InboxConfig;

/// A conversation is not held up longer than this for the sake of its order.
const LONGEST_WINDOW: Duration = Duration::from_secs(60);

/// Settings of the way in, `[ingest]` in the configuration. Durations are written as `3s`, `500ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// The durable inbox.
    pub inbox: InboxConfig,
    /// The largest callback body taken; a larger one is answered 413. Default 1 MiB.
    pub max_body_bytes: usize,
    /// The longest a reply waits for the disk; then 503. Default 3 s, well inside every vendor's budget.
    #[serde(with = "humantime_serde")]
    pub reply_within: Duration,
    /// The answer to pre-send callbacks. Default `pass`.
    pub pre_send: FixedVerdict,
    /// Other answers for some providers, by alias.
    pub pre_send_for: BTreeMap<ProviderId, FixedVerdict>,
    /// Events written in one transaction, at most. Default 512.
    pub batch_events: usize,
    /// Bytes of callbacks read at once and written in one transaction, about. Default 1 MiB.
    pub batch_bytes: usize,
    /// The first wait after the database failed; it doubles with each failure. Default 20 ms.
    #[serde(with = "humantime_serde")]
    pub retry_first: Duration,
    /// The longest wait between tries of the database. Default 1 s.
    #[serde(with = "humantime_serde")]
    pub retry_longest: Duration,
    /// How long events of an unknown group may wait until the vendor told whether it is a group or a room, or until
    /// a group being made there is known. Then they count as a group's. Default 60 s.
    #[serde(with = "humantime_serde")]
    pub settle_within: Duration,
    /// How many events of one tenant may wait so; beyond it the tenant's further callbacks stay in the inbox until
    /// there is room. Look-ups end early once what waits for them holds half of the inbox. Default 10,000.
    pub max_waiting: usize,
    /// How long events of a conversation wait for those that the vendor's delivery overtook: within it they come out
    /// in the order of the vendor's clock, and what comes later than that is marked late. At most 1 min. Default 0,
    /// which is off: events come out in the order in which they arrive.
    #[serde(with = "humantime_serde")]
    pub reorder_window: Duration,
    /// How many events of one tenant may wait so; beyond it the oldest go on before their time. Default 10,000.
    pub reorder_max_held: usize,
    /// How long callbacks whose provider is not registered (yet) stay before they go to quarantine. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub unregistered_within: Duration,
    /// Callbacks kept in quarantine for each app; beyond it the oldest go. Default 1,000.
    pub quarantine_items: u32,
    /// Callbacks with a wrong signature that are larger than this are refused and counted, not kept. Default 256 KiB.
    pub quarantine_max_bytes: usize,
    /// The longest a stop waits for the transaction in progress. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub stop_within: Duration,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            inbox: InboxConfig::default(),
            max_body_bytes: 1 << 20,
            reply_within: Duration::from_secs(3),
            pre_send: FixedVerdict::Pass,
            pre_send_for: BTreeMap::new(),
            batch_events: 512,
            batch_bytes: 1 << 20,
            retry_first: Duration::from_millis(20),
            retry_longest: Duration::from_secs(1),
            settle_within: Duration::from_secs(60),
            max_waiting: 10_000,
            reorder_window: Duration::ZERO,
            reorder_max_held: 10_000,
            unregistered_within: Duration::from_secs(10),
            quarantine_items: 1_000,
            quarantine_max_bytes: 256 << 10,
            stop_within: Duration::from_secs(10),
        }
    }
}

impl IngestConfig {
    /// Checks the values against each other.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("ingest.{what}")));
        // A record holds path, query and headers beside the body; 64 KiB is more than any HTTP server admits.
        if self.max_body_bytes + (64 << 10) > self.inbox.max_record_bytes() {
            return wrong("max_body_bytes: must be 64 KiB less than a segment and than max_pending_bytes");
        }
        if self.batch_events == 0 || self.batch_bytes == 0 || self.max_waiting == 0 || self.quarantine_items == 0 {
            return wrong("batch_events, batch_bytes, max_waiting, quarantine_items: must be at least 1");
        }
        if self.reorder_window > LONGEST_WINDOW {
            return wrong("reorder_window: must be at most 1 minute, for every delivery waits that long");
        }
        if self.reorder_max_held == 0 {
            return wrong("reorder_max_held: must be at least 1");
        }
        if self.retry_first.is_zero() || self.retry_longest < self.retry_first {
            return wrong("retry_longest: must be at least retry_first, which must not be 0");
        }
        Ok(())
    }

    /// Whether events wait for their turn.
    pub(super) fn reorders(&self) -> bool {
        !self.reorder_window.is_zero()
    }

    pub(super) fn verdict(&self, alias: &ProviderId) -> FixedVerdict {
        self.pre_send_for.get(alias).copied().unwrap_or(self.pre_send)
    }
}
