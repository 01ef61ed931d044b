//! Callbacks a vendor gave up on and kept, to be sent again when asked.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::quota::{Quota, seconds};
use crate::error::Result;
use crate::time::Timestamp;

/// The vendor's own store of callbacks that nobody took. The cheapest repair there is: what was lost comes as
/// callbacks once more, soon, and whatever its kind.
#[async_trait]
pub trait KeptCallbacks: fmt::Debug + Send + Sync {
    /// What the vendor keeps, and how often it sends again.
    fn limits(&self) -> KeptCallbackLimits;

    /// The slots that hold callbacks now, the oldest first.
    ///
    /// # Errors
    /// `Unsupported` when the account does not have the service, which is not the same as nothing kept.
    async fn slots(&self) -> Result<Vec<KeptSlot>>;

    /// Asks for a slot's callbacks once more. `Ok` means that the vendor accepted it; they then come to the address
    /// that callbacks go to, as any callback does, with the signature and the time they had. Repeating it is harmless
    /// and spends one of the repeats.
    ///
    /// # Errors
    /// `NotFound` for a slot that is no longer kept; `Unsupported` as above.
    async fn send_again(&self, slot: &KeptSlot) -> Result<()>;
}

/// A stretch of time and what is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptSlot {
    /// The vendor's name of it.
    pub name: String,
    /// When it begins.
    pub since: Timestamp,
    /// When it ends, excluded.
    pub until: Timestamp,
    /// Callbacks in it. Sending them again does not take them out.
    pub callbacks: u64,
    /// How often they were sent again.
    pub repeats: u32,
}

/// What a vendor keeps. Durations are seconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeptCallbackLimits {
    /// After this long a slot is gone.
    #[serde(serialize_with = "seconds")]
    pub kept: Duration,
    /// How often a slot may be sent again.
    pub max_repeats: u32,
    /// Calls admitted.
    pub quota: Quota,
}
