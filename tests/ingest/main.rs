//! The way in and the identity map, from outside.

#![allow(clippy::unwrap_used, reason = "tests")]

mod disk;
mod inbox;
