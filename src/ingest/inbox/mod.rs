//! The durable inbox: an append-only log in preallocated segments, apart from the main database, with its own lock.
//!
//! What it promises: a record whose append returned `Ok` survives a kill and a loss of power at any instant, is read
//! back once, and in the order of appending. Room is reserved beforehand, so a full disk stops acceptance and
//! damages nothing. A segment is used again only when everything in it was released.
//!
//! Offsets are bytes of frames since the inbox was made; they never repeat. One writer thread commits whatever waits
//! with one write and one sync, and no timer: the slower the disk, the larger the group.

mod disk;
mod frame;
mod recover;
mod segment;
mod shared;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use metrics::{gauge, histogram};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, oneshot, watch};

pub use disk::{DiskDir, InboxDir, InboxFile};
pub use recover::Found;
pub use segment::Framed;

use frame::{FRAME_HEADER, SEGMENT_HEADER};
use shared::{Failure, Layout, Metrics, Pending, Shared};

/// Where the inbox is and how large it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InboxConfig {
    /// Its directory, used by one process at a time. Default `switchboard.inbox`.
    pub path: PathBuf,
    /// The size of one segment, 64 KiB to 1 GiB; no record is larger. Default 16 MiB.
    pub segment_bytes: u64,
    /// Room reserved in all, at least two segments; when it is full callbacks are refused. Default 256 MiB: six
    /// minutes without the main database at 1,000 callbacks of 700 bytes a second.
    pub capacity_bytes: u64,
    /// Bytes that may wait in memory for the disk. Default 16 MiB.
    pub max_pending_bytes: usize,
}

impl Default for InboxConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("switchboard.inbox"),
            segment_bytes: 16 << 20,
            capacity_bytes: 256 << 20,
            max_pending_bytes: 16 << 20,
        }
    }
}

impl InboxConfig {
    fn segments(&self) -> usize {
        usize::try_from(self.capacity_bytes / self.segment_bytes).unwrap_or(usize::MAX)
    }

    /// The largest record it takes, in bytes.
    pub fn max_record_bytes(&self) -> usize {
        let segment = usize::try_from(self.segment_bytes).unwrap_or(usize::MAX);
        segment.min(self.max_pending_bytes).saturating_sub(SEGMENT_HEADER + FRAME_HEADER)
    }

    /// Checks the values against each other.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("ingest.inbox.{what}")));
        if !(64 << 10..=1 << 30).contains(&self.segment_bytes) {
            return wrong("segment_bytes: must be between 64 KiB and 1 GiB");
        }
        if self.segments() < 2 {
            return wrong("capacity_bytes: must be at least two segments");
        }
        if !(64 << 10..=1 << 30).contains(&self.max_pending_bytes) {
            return wrong("max_pending_bytes: must be between 64 KiB and 1 GiB");
        }
        Ok(())
    }
}

/// A handle on an open inbox. Clones share it; it closes with the last one, or by [`close`](Self::close).
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A promise that a record will be durable.
#[derive(Debug)]
pub struct Appending(oneshot::Receiver<Result<(), Failure>>);

impl Appending {
    /// Waits for the disk.
    ///
    /// # Errors
    /// `StorageFull` when every segment is in use, `Storage` when the disk failed, `Closed`.
    pub async fn durable(self) -> Result<()> {
        self.0.await.unwrap_or(Err(Failure::Closed)).map_err(Error::from)
    }
}

impl Inbox {
    /// Opens what was found, given how far the store says it is consumed, and starts its writer. Blocks on the disk.
    ///
    /// # Errors
    /// `StorageFull` when the room cannot be reserved, `Storage` when the disk fails.
    pub fn open(found: Found, consumed: u64) -> Result<Self> {
        let (config, recovered) = found.recover(consumed)?;
        let serial = recovered.serial;
        let shared = Arc::new(Shared {
            id: recovered.id,
            limit: config.max_record_bytes(),
            pending: Mutex::new(Pending::default()),
            wake: Condvar::new(),
            room: Semaphore::new(config.max_pending_bytes),
            layout: Mutex::new(Layout {
                live: recovered.live,
                free: recovered.free.into(),
                tail: recovered.tail,
                released: consumed,
            }),
            durable: watch::Sender::new(recovered.tail),
            records: AtomicU64::new(recovered.records),
            trouble: Mutex::default(),
            metrics: Metrics {
                fsync: histogram!("switchboard_inbox_fsync_seconds"),
                batch: histogram!("switchboard_inbox_batch_records"),
            },
        });
        gauge!("switchboard_inbox_writable").set(1.0);
        let writer = std::thread::Builder::new()
            .name("switchboard-inbox".to_owned())
            .spawn({
                let shared = shared.clone();
                move || writer::run(&shared, serial)
            })
            .map_err(|error| failed("the writer of the inbox cannot be started", error))?;
        Ok(Self(Arc::new(Handle { shared, writer: Mutex::new(Some(writer)) })))
    }

    /// The name under which the store keeps how far this inbox is consumed.
    pub fn name(&self) -> String {
        self.0.shared.id.simple().to_string()
    }

    /// Puts one record in line. `write` appends its bytes, at most `size` of them; waits only while the bytes in
    /// line exceed their bound. Records become durable in the order in which this returns.
    ///
    /// # Errors
    /// `TooLarge` for a record that fits no segment, `Closed`.
    pub async fn append(&self, size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<Appending> {
        let shared = &self.0.shared;
        if size > shared.limit {
            return Err(Error::new(ErrorKind::TooLarge, "the record is larger than the inbox takes"));
        }
        let wanted = u32::try_from(size + FRAME_HEADER).unwrap_or(u32::MAX);
        match shared.room.acquire_many(wanted).await {
            // The writer gives the room back, since the bytes stay when the caller leaves.
            Ok(permit) => permit.forget(),
            Err(_) => return Err(Failure::Closed.into()),
        }
        shared.push(size, write).map_err(Error::from)
    }

    /// As [`append`](Self::append), without waiting for room.
    ///
    /// # Errors
    /// `RateLimited` when there is no room in line, otherwise as `append`.
    pub fn try_append(&self, size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<Appending> {
        let shared = &self.0.shared;
        if size > shared.limit {
            return Err(Error::new(ErrorKind::TooLarge, "the record is larger than the inbox takes"));
        }
        let wanted = u32::try_from(size + FRAME_HEADER).unwrap_or(u32::MAX);
        match shared.room.try_acquire_many(wanted) {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(Error::new(ErrorKind::RateLimited, "too much waits for the disk of the inbox")),
        }
        shared.push(size, write).map_err(Error::from)
    }

    /// Whole records from offset `from` on, in order, about `want` bytes of them, at least one if there is one.
    /// Second: where to go on, which differs from the end of the last record only behind damage. Blocks on the disk.
    ///
    /// # Errors
    /// `Storage` when the disk fails.
    pub fn read(&self, from: u64, want: usize) -> Result<(Vec<Framed>, u64)> {
        let shared = &self.0.shared;
        let (live, next) = {
            let layout = shared.layout.lock();
            match layout.live.iter().position(|live| live.end > from) {
                Some(at) => (layout.live[at].clone(), layout.live.get(at + 1).map(|next| next.base)),
                None => return Ok((Vec::new(), from.max(layout.tail))),
            }
        };
        let from = from.max(live.base);
        let unreadable = |error| failed("the inbox cannot be read", error);
        let chunk = live.read(from, live.end, want).map_err(unreadable)?;
        let reached = chunk.frames.last().map_or(from, |last| last.end);
        if chunk.stopped && reached < live.end {
            let resumed = live.resume(reached, live.end, false).map_err(unreadable)?;
            let resumed = resumed.or(next).unwrap_or(live.end);
            damaged("an acknowledged record cannot be read back", reached, resumed);
            return Ok((chunk.frames, resumed));
        }
        Ok((chunk.frames, reached))
    }

    /// The offset behind the last durable record; changes wake the receiver.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.0.shared.durable.subscribe()
    }

    /// The offset that will be behind everything now in line.
    pub fn accepted(&self) -> u64 {
        let shared = &self.0.shared;
        let pending = shared.pending.lock();
        let layout = shared.layout.lock();
        layout.tail + pending.bytes.len() as u64 + pending.taken
    }

    /// Lets segments go whose records all stand before `consumed`. Call it only once that mark is durable elsewhere.
    pub fn release(&self, consumed: u64) {
        let mut layout = self.0.shared.layout.lock();
        layout.released = layout.released.max(consumed);
        while layout.live.get(1).is_some_and(|next| next.base <= consumed) {
            if let Some(done) = layout.live.pop_front() {
                layout.free.push_back(done.segment);
            }
        }
        gauge!("switchboard_inbox_lag_bytes").set(layout.tail.saturating_sub(consumed) as f64);
    }

    /// Why the last write failed; `None` once one succeeded again. While it fails, an idle inbox tries by itself once
    /// a second.
    pub fn trouble(&self) -> Option<Error> {
        self.0.shared.trouble.lock().map(Error::from)
    }

    /// The first offset not released.
    pub fn released(&self) -> u64 {
        self.0.shared.layout.lock().released
    }

    /// Bytes durable and not released.
    pub fn lag_bytes(&self) -> u64 {
        let layout = self.0.shared.layout.lock();
        layout.tail.saturating_sub(layout.released)
    }

    /// Records made durable since opening, and those found then that were not consumed.
    pub fn records(&self) -> u64 {
        self.0.shared.records.load(Ordering::Relaxed)
    }

    /// Takes nothing more, makes everything in line durable and ends the writer. Blocks on the disk.
    pub fn close(&self) {
        self.0.shared.close();
        if let Some(writer) = self.0.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the inbox panicked");
        }
    }
}

pub(super) fn failed(what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
        io::ErrorKind::ResourceBusy => ErrorKind::Conflict,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, what).with_source(error)
}

/// Reports bytes that were durable once and are not what they were: a fault of the medium, never of a crash.
fn damaged(what: &str, from: u64, until: u64) {
    tracing::error!(from, until, "inbox damaged: {what}");
    metrics::counter!("switchboard_inbox_damaged_total").increment(1);
}
