//! The adapter from outside: what it makes of the vendor's documents, and what it asks of a listener in its place.

#![allow(clippy::unwrap_used, reason = "tests")]

mod callbacks;
mod coverage;
mod history;
mod requests;
mod roaming;
mod sdks;
mod sending;
mod support;
mod users_and_groups;
