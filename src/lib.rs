//! Middleware between a business and its instant-messaging vendor.

pub mod clock;
pub mod hub;
pub mod identity;
pub mod ingest;
pub mod sending;
pub mod store;
