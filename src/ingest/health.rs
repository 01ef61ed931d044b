//! What the way in says of itself.

use std::sync::{Arc, Weak};

use switchboard_contract::{Error, ErrorKind, ProviderId, Result, Timestamp};

use super::{Arrivals, CameAgain, Ingest, Inner};

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

    /// What came of a provider's callbacks since it was registered; `None` for an alias that is not. One caller may ask:
    /// the longest wait begins anew each time.
    pub(crate) fn arrivals(&self, alias: &ProviderId) -> Option<Arrivals> {
        Some(self.0.core.sources.by_alias(alias)?.arrivals())
    }

    /// Callbacks of these times, by the vendor's clock, are from now on those that the vendor was asked to send again:
    /// they are journalled as such, late, and counted. None: nothing is expected any more, and counting ends.
    pub(crate) fn expect_again(&self, alias: &ProviderId, spans: Vec<(Timestamp, Timestamp)>) {
        if let Some(source) = self.0.core.sources.by_alias(alias) {
            source.expect_again(spans);
        }
    }

    /// What of those is journalled, since something was first expected.
    pub(crate) fn came_again(&self, alias: &ProviderId) -> CameAgain {
        self.0.core.sources.by_alias(alias).map(|source| source.came_again()).unwrap_or_default()
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
