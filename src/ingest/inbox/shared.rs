//! What callers, the writer and the readers of an inbox share.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Histogram, counter, gauge};
use parking_lot::{Condvar, Mutex};
use switchboard_contract::{Error, ErrorKind};
use tokio::sync::{Semaphore, oneshot, watch};
use uuid::Uuid;

use super::Appending;
use super::frame::{self, FRAME_HEADER};
use super::segment::{Live, Segment};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: Uuid,
    pub(super) limit: usize,
    pub(super) pending: Mutex<Pending>,
    pub(super) wake: Condvar,
    pub(super) room: Semaphore,
    pub(super) layout: Mutex<Layout>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) records: AtomicU64,
    /// Why the last write failed.
    pub(super) trouble: Mutex<Option<Failure>>,
    pub(super) metrics: Metrics,
}

pub(super) struct Metrics {
    pub(super) fsync: Histogram,
    pub(super) batch: Histogram,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Frames in line, and who waits for them, in the same order. The writer swaps it for an empty one.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    pub(super) waiters: Vec<Waiter>,
    /// Bytes the writer has taken and not finished.
    pub(super) taken: u64,
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct Waiter(oneshot::Sender<Result<(), Failure>>);

impl Waiter {
    pub(super) fn tell(self, outcome: Result<(), Failure>) {
        // A caller that has left does not need the answer.
        let _ = self.0.send(outcome);
    }
}

#[derive(Debug)]
pub(super) struct Layout {
    /// In order of offset. The last one is written to.
    pub(super) live: VecDeque<Live>,
    pub(super) free: VecDeque<Segment>,
    pub(super) tail: u64,
    pub(super) released: u64,
}

impl Shared {
    pub(super) fn push(&self, size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<Appending, Failure> {
        let (waiter, receiver) = oneshot::channel();
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(Failure::Closed);
        }
        let start = frame::begin(&mut pending.bytes);
        write(&mut pending.bytes);
        debug_assert!(pending.bytes.len() - start <= size + FRAME_HEADER, "a record is longer than announced");
        // The room was taken for `size`; what was not used goes back.
        self.room.add_permits((size + FRAME_HEADER).saturating_sub(pending.bytes.len() - start));
        frame::finish(&mut pending.bytes, start);
        pending.waiters.push(Waiter(waiter));
        let first = pending.waiters.len() == 1;
        drop(pending);
        if first {
            self.wake.notify_one();
        }
        Ok(Appending(receiver))
    }

    /// Waits for records and takes them all; for at most `within`, where that is given.
    pub(super) fn take(&self, batch: &mut Pending, within: Option<Duration>) -> Taken {
        let mut pending = self.pending.lock();
        pending.taken = 0;
        while pending.bytes.is_empty() {
            if pending.closed {
                return Taken::Closed;
            }
            match within {
                None => self.wake.wait(&mut pending),
                Some(within) if self.wake.wait_for(&mut pending, within).timed_out() => {
                    return if pending.bytes.is_empty() { Taken::Nothing } else { continue };
                }
                Some(_) => {}
            }
        }
        std::mem::swap(&mut pending.bytes, &mut batch.bytes);
        std::mem::swap(&mut pending.waiters, &mut batch.waiters);
        pending.taken = batch.bytes.len() as u64;
        Taken::Records
    }

    /// The disk took a write, or did not. Tells of each change once, however many callers are refused meanwhile.
    pub(super) fn wrote(&self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            counter!("switchboard_inbox_failures_total", "reason" => failure.reason()).increment(1);
        }
        let before = std::mem::replace(&mut *self.trouble.lock(), outcome.err());
        if before == outcome.err() {
            return;
        }
        gauge!("switchboard_inbox_writable").set(if outcome.is_ok() { 1.0 } else { 0.0 });
        match outcome {
            Err(failure) => tracing::error!(
                reason = failure.reason(),
                "ALERT: the inbox cannot be written; callbacks are refused until it can"
            ),
            Ok(()) => tracing::info!("the inbox is written again; callbacks are taken"),
        }
    }

    /// Publishes what became durable.
    pub(super) fn advance(&self, live: &Live, records: u64) {
        {
            let mut pending = self.pending.lock();
            let mut layout = self.layout.lock();
            pending.taken = pending.taken.saturating_sub(live.end - layout.tail);
            layout.tail = live.end;
            if let Some(last) = layout.live.back_mut() {
                last.end = live.end;
            }
        }
        self.records.fetch_add(records, Ordering::Relaxed);
        self.durable.send_replace(live.end);
    }

    /// Forgets what was taken and did not become durable, and wakes those who wait for it.
    pub(super) fn give_up(&self) {
        self.pending.lock().taken = 0;
        self.durable.send_modify(|_| {});
    }

    pub(super) fn close(&self) {
        self.pending.lock().closed = true;
        self.room.close();
        self.wake.notify_one();
    }
}

/// What the writer found in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Records,
    /// Nothing came in time.
    Nothing,
    /// Closed, and empty.
    Closed,
}

/// Why records did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Everything reserved is in use: what it holds is not journalled yet.
    Full,
    /// The disk has no room, although it was reserved: a file system that copies what it changes.
    NoRoom,
    Disk,
    Closed,
}

impl Failure {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Full => "segments_in_use",
            Self::NoRoom => "disk_full",
            Self::Disk => "disk_failed",
            Self::Closed => "closed",
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom,
            _ => {
                tracing::warn!(%error, "a write to the inbox failed");
                Self::Disk
            }
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => {
                Self::new(ErrorKind::StorageFull, "the inbox is full of callbacks that are not journalled")
            }
            Failure::NoRoom => Self::new(ErrorKind::StorageFull, "the disk of the inbox is full"),
            Failure::Disk => Self::new(ErrorKind::Storage, "the disk of the inbox failed"),
            Failure::Closed => Self::new(ErrorKind::Closed, "the inbox is closed"),
        }
    }
}
