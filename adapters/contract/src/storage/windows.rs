//! Times in which something may have been missed: when each app was last heard to be served, and what was opened
//! for repair since.

use async_trait::async_trait;
use serde::Serialize;

use crate::error::Result;
use crate::ids::{App, TenantId};
use crate::time::Timestamp;

/// A time in which an app's events may have been missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairWindow {
    /// Its number in the store, ascending; 0 for one that is not stored yet.
    pub id: u64,
    /// From this time on.
    pub since: Timestamp,
    /// Up to this time.
    pub until: Timestamp,
    /// Why: a stable lower-case word.
    pub cause: String,
    /// Callbacks that came because the vendor was asked for those it had kept.
    pub sent_again: u64,
    /// Messages brought by queries of conversations when the window was opened.
    pub queried: u64,
    /// Messages that files brought since.
    pub repaired: u64,
    /// When nothing was left to do for it; `None` while it is open.
    pub closed_at: Option<Timestamp>,
    /// Whether everything of it is here. `false` while it is open, and for one that could not be filled.
    pub complete: bool,
}

/// Signs of life and windows.
#[async_trait]
pub trait RepairWindows: Send + Sync {
    /// Notes that the app is served at this time. Earlier times than the one known change nothing.
    ///
    /// # Errors
    /// `Storage`.
    async fn set_alive(&self, tenant: &TenantId, app: &App, at: Timestamp) -> Result<()>;

    /// When the app was last served; `None` for never.
    ///
    /// # Errors
    /// `Storage`.
    async fn alive(&self, tenant: &TenantId, app: &App) -> Result<Option<Timestamp>>;

    /// Every tenant for which the app was ever served, and when last.
    ///
    /// # Errors
    /// `Storage`.
    async fn served(&self, app: &App) -> Result<Vec<(TenantId, Timestamp)>>;

    /// Writes a window, in the place of the one with its number unless that is 0. Returns its number.
    ///
    /// # Errors
    /// `Storage`; `NotFound` for a number this app has no window of.
    async fn put_window(&self, tenant: &TenantId, app: &App, window: &RepairWindow) -> Result<u64>;

    /// Windows of an app, the newest first, at most `limit`; with `open` only those that are not closed.
    ///
    /// # Errors
    /// `Storage`.
    async fn windows(&self, tenant: &TenantId, app: &App, open: bool, limit: usize) -> Result<Vec<RepairWindow>>;
}
