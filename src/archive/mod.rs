//! Old messages as Parquet in object storage.
//!
//! Owns the files, their list, and moving messages into them; gives them back in every query of history and whenever the
//! journal is read. A message leaves the database only when the list that names its file is durable. Its key, id, place
//! and sequence stay: so it is known when it comes again, and its number is never given twice.

mod config;
#[cfg(feature = "archive")]
mod manifest;
#[cfg(feature = "archive")]
mod objects;
#[cfg(feature = "archive")]
mod page;
#[cfg(feature = "archive")]
mod progress;
#[cfg(feature = "archive")]
mod read;
#[cfg(feature = "archive")]
mod restore;
#[cfg(feature = "archive")]
mod rows;
#[cfg(feature = "archive")]
mod run;
#[cfg(feature = "archive")]
mod schema;
#[cfg(feature = "archive")]
mod service;
#[cfg(feature = "archive")]
mod verify;
#[cfg(feature = "archive")]
mod write;

pub use config::{ArchiveConfig, S3Config, TenantArchive};
#[cfg(feature = "archive")]
pub use manifest::ArchiveFile;
#[cfg(feature = "archive")]
pub use object_store;
#[cfg(feature = "archive")]
pub use progress::{RunReport, RunState, RunView};
#[cfg(feature = "archive")]
pub use service::{ArchiveStatus, Archiver};
#[cfg(feature = "archive")]
pub use verify::{FileFault, VerifyReport};
