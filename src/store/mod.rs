//! Databases behind the storage traits of the contract. Knows nothing of who subscribes.
//!
//! [`memory::MemoryStore`] keeps everything in the process, for tests and for trying things out;
//! [`sqlite::SqliteStore`] keeps it in one file. One suite holds both to the same text.

pub(crate) mod content;
pub mod memory;
pub mod sqlite;
