//! A connection of the adapter's own.

use std::fmt;

use async_trait::async_trait;

use crate::callback::RawCallback;
use crate::error::Result;

/// A connection the adapter holds, over which comes what other vendors send as callbacks.
///
/// What it gives is as trusted or not as any callback: it is verified, kept and decoded in the same way.
#[async_trait]
pub trait Link: fmt::Debug + Send + Sync {
    /// Waits until there is something and returns it in its order; nothing after a while. A call acknowledges what
    /// the one before it returned; what was never acknowledged comes again, also after a restart. One caller at a
    /// time. Dropping the future is harmless.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout` or `Storage` while the other side cannot be reached; `Closed` after
    /// [`close`](Self::close).
    async fn next(&self) -> Result<Vec<RawCallback>>;

    /// Ends the connection, and with it whatever the adapter runs in this process. Nothing accepted is lost.
    async fn close(&self);
}
