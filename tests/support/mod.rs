//! What several black-box tests share: the binary as a child process, and files that forget what was not fsynced.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests; each of them uses a part")]

pub mod callbacks;
pub mod consumer;
pub mod notices;
pub mod sidecar;
pub mod unsynced;
pub mod vendors;
