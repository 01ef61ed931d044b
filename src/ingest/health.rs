//! What the way in says of itself.

use switchboard_contract::{Error, ErrorKind, Result};

use super::Ingest;

impl Ingest {
    /// The largest callback body taken, in bytes.
    pub fn max_body_bytes(&self) -> usize {
        self.0.core.config.max_body_bytes
    }

    /// Whether a callback would find room now.
    ///
    /// # Errors
    /// `StorageFull` when what is not yet journalled fills the inbox; `Closed` after a stop.
    pub fn accepting(&self) -> Result<()> {
        let core = &self.0.core;
        if core.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the way in is stopped"));
        }
        let record = core.config.inbox.max_record_bytes() as u64;
        if core.inbox.lag_bytes() + record > core.config.inbox.capacity_bytes {
            return Err(Error::new(ErrorKind::StorageFull, "the inbox is full of callbacks that are not yet journalled"));
        }
        Ok(())
    }
}
