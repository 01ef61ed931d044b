//! Nothing lost: what the vendors' callbacks never brought comes from their history files, exactly and once.

#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod drops;
mod files;
mod hints;
mod paging;
mod pull;
mod recent;
mod restart;
mod stage;
mod tiers;
