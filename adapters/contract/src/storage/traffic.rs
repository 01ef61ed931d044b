//! How much an app used to call back, hour by hour: what silence is measured against.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::ids::{App, TenantId};
use crate::time::Timestamp;

/// One hour of an app's callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficHour {
    /// When it begins: a whole hour of UTC.
    pub hour: Timestamp,
    /// Callbacks accepted in it.
    pub callbacks: u64,
    /// How long of it was watched, silences known to be faults left out.
    pub watched: Duration,
    /// The longest wait between two of them.
    pub longest_gap: Duration,
}

/// The record of traffic.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// Writes an hour in the place of what was, and forgets the app's hours before `keep`.
    ///
    /// # Errors
    /// `Storage`, `StorageFull`.
    async fn put_traffic(&self, tenant: &TenantId, app: &App, hour: &TrafficHour, keep: Timestamp) -> Result<()>;

    /// The hours of an app from `since` on, ascending.
    ///
    /// # Errors
    /// `Storage`.
    async fn traffic(&self, tenant: &TenantId, app: &App, since: Timestamp) -> Result<Vec<TrafficHour>>;
}
