//! What is delivered and under which rules.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ban::BanPolicy;
use super::ledger::DropReason;

/// Which answers count as success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// HTTP 200 and nothing else.
    Only200,
    /// Any 2xx.
    Any2xx,
}

/// The vendor's delivery rules.
#[derive(Clone, Debug)]
pub struct CallbackPolicy {
    /// Requests in flight at once.
    pub concurrency: usize,
    /// Events waiting at most; more are given up.
    pub queue: usize,
    /// Limit per attempt, by the emulator's clock.
    pub timeout: Duration,
    /// Attempts in all, at least one.
    pub attempts: u8,
    /// Wait before the 2nd, 3rd, … attempt; the last one repeats; empty: at once.
    pub spacing: Vec<Duration>,
    /// Which answers count as success.
    pub accepts: Accepts,
    /// A longer answer counts as a failure, in characters.
    pub max_reply_chars: Option<usize>,
    /// When the vendor stops calling.
    pub ban: Option<BanPolicy>,
}

impl Default for CallbackPolicy {
    fn default() -> Self {
        Self {
            concurrency: 64,
            queue: 1_000_000,
            timeout: Duration::from_secs(10),
            attempts: 2,
            spacing: Vec::new(),
            accepts: Accepts::Only200,
            max_reply_chars: None,
            ban: None,
        }
    }
}

/// One HTTP request as it will be sent. `Debug` shows neither the query, which may carry a signature, nor the body.
#[derive(Clone)]
pub struct OutgoingCallback {
    /// Full address, query included.
    pub url: String,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for OutgoingCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("OutgoingCallback")
            .field("url", &address)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Renders one attempt (from 1); with a spoiled signature when `corrupt`.
pub type Render = Arc<dyn Fn(u8, bool) -> OutgoingCallback + Send + Sync>;

/// An event to be delivered.
#[derive(Clone)]
pub struct CallbackJob {
    /// The event's kind in the vendor's words; scripts and the ledger use it.
    pub label: String,
    /// What it is about: a message id, a group, a user.
    pub key: String,
    /// Where it goes, for the ledger.
    pub url: String,
    /// What a ban falls on: an app, a rule, an address.
    pub scope: String,
    /// Builds the request for each attempt.
    pub render: Render,
}

impl fmt::Debug for CallbackJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackJob")
            .field("label", &self.label)
            .field("key", &self.key)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Told of every event that was given up; a vendor's paid store of failed callbacks hangs here.
pub type OutcomeHook = Arc<dyn Fn(&CallbackJob, DropReason) + Send + Sync>;

/// The answer to a synchronous callback.
#[derive(Clone, Debug)]
pub struct DirectReply {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

/// Why a synchronous callback brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectFailure {
    /// The wait time passed.
    Timeout,
    /// No connection, or it broke.
    Connection,
}
