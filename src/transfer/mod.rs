//! Conversations out of one installation and into another: NDJSON, one event a line, and a manifest with hashes.
//!
//! Owns the form of an export and what an import checks. What is exported are the events of conversations with
//! everything that dedupe and history need; places in the journal belong to an installation and are not exported.

mod export;
mod import;
mod line;
mod manifest;

pub use export::{Export, ExportScope};
pub use import::{ImportOptions, ImportReport, import};
pub use manifest::{EVENTS_FILE, ExportManifest, MANIFEST_FILE};
