//! What the way in says of itself.

use std::sync::{Arc, Weak};

use switchboard_contract::{Error, ErrorKind, Result};

use super::{Ingest, Inner};

/// A way in that does not keep it open: for those whom it holds itself.
#[derive(Clone, Debug)]
pub struct WeakIngest(Weak<Inner>);

impl WeakIngest {
    /// The way in, while somebody keeps it open.
    pub fn upgrade(&self) -> Option<Ingest> {
        self.0.upgrade().map(Ingest)
    }
}

impl Ingest {
    /// A handle that does not keep it open.
    pub fn downgrade(&self) -> WeakIngest {
        WeakIngest(Arc::downgrade(&self.0))
    }

    /// The largest callback body taken, in bytes.
    pub fn max_body_bytes(&self) -> usize {
        self.0.core.config.max_body_bytes
    }

    /// Whether callbacks get from the inbox to the journal.
    ///
    /// # Errors
    /// Why the store has taken nothing for a while. Callbacks are received all the same while the inbox has room.
    pub fn journalling(&self) -> Result<()> {
        self.0.core.progress.trouble().map_or(Ok(()), Err)
    }

    /// Whether a callback would find room now.
    ///
    /// # Errors
    /// `StorageFull` when what is not yet journalled fills the inbox, or its disk is full; `Storage` when its disk
    /// fails; `Closed` after a stop.
    pub fn accepting(&self) -> Result<()> {
        let core = &self.0.core;
        if core.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the way in is stopped"));
        }
        if let Some(trouble) = core.inbox.trouble() {
            return Err(trouble);
        }
        let record = core.config.inbox.max_record_bytes() as u64;
        if core.inbox.lag_bytes() + record > core.config.inbox.capacity_bytes {
            return Err(Error::new(
                ErrorKind::StorageFull,
                "the inbox is full of callbacks that are not yet journalled",
            ));
        }
        Ok(())
    }
}
