//! The way in and the identity map, from outside.

#![allow(clippy::unwrap_used, reason = "tests")]

mod disk;
mod echoes;
mod identity;
mod inbox;
mod pipeline;
mod provider;
mod receive;
#[path = "../support/recording.rs"]
mod recording;
mod reorder;
mod sources;
mod stage;
mod store;
mod tenants;
