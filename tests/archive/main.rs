//! The archive: moving, reading back, independent readers, S3, crashes; and exports and imports.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod files;
mod moving;
mod s3;
mod stage;
mod transfer;

#[path = "../support/mod.rs"]
mod support;
