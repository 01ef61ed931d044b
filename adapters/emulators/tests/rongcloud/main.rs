//! The RongCloud emulator against the vendor's documented requests, answers and callbacks.
#![allow(clippy::unwrap_used, missing_docs)]

mod api;
mod callback_bodies;
mod callbacks;
mod captures;
mod chatrooms;
mod fixtures;
mod flipped;
#[path = "../common/flips.rs"]
mod flips;
mod history;
mod limits;
mod support;
