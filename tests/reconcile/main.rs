//! Nothing lost: what the vendors' callbacks never brought comes from their history files, exactly and once.

#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod drops;
mod files;
mod pull;
mod quota;
mod restart;
mod stage;
