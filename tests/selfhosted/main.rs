//! The self-hosted service from outside: real listeners, a real database file, the flows of a messaging service step
//! by step, and the same business program that runs on a vendor.

#![cfg(feature = "selfhosted")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod connections;
mod conversations;
mod engine;
mod flows;
mod groups;
mod reception;
mod stage;
mod weather;
