//! Nothing lost: what the vendors' callbacks never brought comes from their history files, exactly and once.

#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod backfill;
mod cut_off;
mod drops;
mod files;
mod gated;
mod hints;
mod kept;
#[cfg(feature = "bin")]
mod killed;
mod paging;
mod pull;
mod quota;
mod recent;
mod restart;
mod silence;
mod stage;
#[cfg(feature = "bin")]
#[path = "../support/mod.rs"]
mod support;
mod tiers;
