//! Recovery: one policy for everything that talks to the outside.
//!
//! What fails is judged by the error's own answer (`verdict`): refused for good, to be tried again, or the fault of
//! the whole app. Tries again are spaced by exponential ceilings with full jitter, or by the wait the other side named
//! (`backoff`); an app that cannot be reached is paused as a whole and costs no item an attempt (`breaker`). What
//! has failed as often as allowed, three retries after the first try at least, is a dead letter (`letters`): kept with
//! its reason and its attempts until somebody redrives or drops it.
//!
//! Owns the policy and its words. It makes no calls itself, and knows no vendor, no SQL and no HTTP.

pub(crate) mod backoff;
pub(crate) mod breaker;
mod config;
pub(crate) mod health;
mod letters;
pub(crate) mod verdict;

pub use config::RecoveryConfig;
pub use health::{AppHealth, BreakerState};
pub use letters::{Redriver, bury};
pub(crate) use letters::{alert, app_hash, told};
