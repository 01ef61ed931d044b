//! The self-hosted service from outside: real listeners, a real database file, the flows of a messaging service step
//! by step, and the same business program that runs on a vendor.

#![cfg(feature = "selfhosted")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod connections;
mod conversations;
mod engine;
mod flows;
mod groups;
#[cfg(feature = "sidecar")]
mod hooks;
#[cfg(feature = "bin")]
mod process;
mod reception;
#[path = "../support/recording.rs"]
mod recording;
#[cfg(feature = "bin")]
mod remote;
mod slow_store;
mod stage;
#[cfg(feature = "bin")]
#[path = "../support/mod.rs"]
mod support;
mod weather;
mod wide;
