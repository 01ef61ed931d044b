//! How far the journal is behind the inbox.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Histogram, gauge, histogram};
use parking_lot::Mutex;
use switchboard_contract::{Error, ErrorKind, Timestamp};
use tokio::sync::watch;

/// Shared by those who receive, who journal, and who ask.
pub(super) struct Progress {
    /// Everything before this offset is journalled.
    consumed: watch::Sender<u64>,
    /// Records that were read and handled, those waiting for a look-up included.
    read: AtomicU64,
    /// When the oldest callback not journalled came; 0 when there is none.
    behind_since: AtomicI64,
    /// Why the store takes nothing, since it does not.
    trouble: Mutex<Option<(ErrorKind, String)>>,
    append: Histogram,
    batch: Histogram,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("consumed", &*self.consumed.borrow()).finish_non_exhaustive()
    }
}

impl Progress {
    pub(super) fn new(consumed: u64) -> Self {
        Self {
            consumed: watch::Sender::new(consumed),
            read: AtomicU64::new(0),
            behind_since: AtomicI64::new(0),
            trouble: Mutex::default(),
            append: histogram!("switchboard_ingest_append_seconds"),
            batch: histogram!("switchboard_ingest_batch_events"),
        }
    }

    /// A callback came; it is the oldest if nothing else is behind.
    pub(super) fn received(&self, at: Timestamp) {
        if self.behind_since.load(Ordering::Relaxed) == 0 {
            // Whoever was first, stays.
            let _ = self.behind_since.compare_exchange(0, at.0.max(1), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    pub(super) fn working_on(&self, received_at: Timestamp) {
        self.behind_since.store(received_at.0.max(1), Ordering::Relaxed);
    }

    pub(super) fn appended(&self, took: Duration, events: usize) {
        self.append.record(took);
        self.batch.record(events as f64);
    }

    /// The store has failed so often that somebody should look.
    pub(super) fn stalled(&self, error: &Error) {
        let before = self.trouble.lock().replace((error.kind(), error.message().to_owned()));
        if before.is_none() {
            gauge!("switchboard_ingest_stalled").set(1.0);
            tracing::error!(%error, "ALERT: the store takes nothing; callbacks wait in the inbox while it has room");
        }
    }

    /// Why the store takes nothing.
    pub(super) fn trouble(&self) -> Option<Error> {
        self.trouble.lock().as_ref().map(|(kind, message)| Error::new(*kind, message.clone()))
    }

    pub(super) fn read(&self, records: u64) {
        self.read.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn consumed(&self, mark: u64, caught_up: bool) {
        if self.trouble.lock().take().is_some() {
            gauge!("switchboard_ingest_stalled").set(0.0);
            tracing::info!("the store takes callbacks again");
        }
        if caught_up {
            self.behind_since.store(0, Ordering::Relaxed);
        }
        self.consumed.send_if_modified(|consumed| {
            let moved = mark > *consumed;
            *consumed = mark.max(*consumed);
            moved
        });
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.consumed.subscribe()
    }

    pub(super) fn records(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(super) fn behind_since(&self) -> Option<Timestamp> {
        match self.behind_since.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Timestamp(at)),
        }
    }
}
