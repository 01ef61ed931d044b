//! The one thread that writes: it takes everything that waits, writes it at once, syncs once, and tells each caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{self, SEGMENT_HEADER, SegmentHeader};
use super::segment::{Live, Segment};
use super::shared::{Failure, Pending, Shared, Taken};

/// While the disk takes nothing and nobody asks, this often it is tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_BYTES: usize = 4096;

/// Runs until the inbox is closed and nothing waits any more.
pub(super) fn run(shared: &Arc<Shared>, mut serial: u64) {
    let mut batch = Pending::default();
    let mut current = shared.layout.lock().live.back().cloned();
    loop {
        let within = shared.trouble.lock().map(|_| PROBE_EVERY);
        match shared.take(&mut batch, within) {
            Taken::Records => {}
            Taken::Nothing => {
                shared.wrote(probe(shared, &mut current, &mut serial));
                continue;
            }
            Taken::Closed => break,
        }
        let bytes = batch.bytes.len();
        let mut at = 0;
        let mut waiters = batch.waiters.drain(..);
        while at < batch.bytes.len() {
            let outcome = write_part(shared, &mut current, &mut serial, &mut batch.bytes[at..]);
            let Part { bytes, records } = match outcome {
                Ok(part) => {
                    shared.wrote(Ok(()));
                    part
                }
                Err(failure) => {
                    shared.wrote(Err(failure));
                    // What was written of it may be on the disk or not: this use of the segment is over.
                    abandon(shared, &mut current);
                    shared.give_up();
                    waiters.by_ref().for_each(|waiter| waiter.tell(Err(failure)));
                    break;
                }
            };
            at += bytes;
            waiters.by_ref().take(records).for_each(|waiter| waiter.tell(Ok(())));
        }
        drop(waiters);
        shared.room.add_permits(bytes);
        batch.bytes.clear();
        // Those just answered are likely to come again: on a busy core, let them in before the next sync begins.
        std::thread::yield_now();
    }
}

struct Part {
    bytes: usize,
    records: usize,
}

/// Writes as many whole frames as fit into one segment and makes them durable.
fn write_part(
    shared: &Shared,
    current: &mut Option<Live>,
    serial: &mut u64,
    bytes: &mut [u8],
) -> Result<Part, Failure> {
    let first = frame::length(bytes).unwrap_or(bytes.len());
    if current.as_ref().is_none_or(|live| live.room() < first) {
        *current = Some(roll(shared, serial, first)?);
    }
    let Some(live) = current else { return Err(Failure::Full) };
    let part = seal_fitting(bytes, live);
    let started = Instant::now();
    if live.end == live.base {
        // The header of a new use becomes durable together with its first records, never before them.
        let header = SegmentHeader { inbox: shared.id, serial: live.serial, base: live.base };
        live.segment.file.write_at(&header.encode(), 0)?;
    }
    live.segment.file.write_at(&bytes[..part.bytes], live.position(live.end))?;
    live.segment.file.sync_data()?;
    shared.metrics.fsync.record(started.elapsed());
    shared.metrics.batch.record(part.records as f64);
    live.end += part.bytes as u64;
    shared.advance(live, part.records as u64);
    Ok(part)
}

/// Finds out whether the disk takes writes again, by one that leaves no trace: behind the header of a segment that
/// holds nothing.
fn probe(shared: &Shared, current: &mut Option<Live>, serial: &mut u64) -> Result<(), Failure> {
    let live = match current {
        Some(live) => live,
        None => current.insert(roll(shared, serial, PROBE_BYTES)?),
    };
    if live.end == live.base {
        let place = live.position(live.end);
        let tried = live.segment.file.write_at(&[0; PROBE_BYTES], place).and_then(|()| live.segment.file.sync_data());
        if let Err(error) = tried {
            abandon(shared, current);
            return Err(error.into());
        }
    }
    Ok(())
}

fn seal_fitting(bytes: &mut [u8], live: &Live) -> Part {
    let room = live.room();
    let mut part = Part { bytes: 0, records: 0 };
    while let Some(length) = bytes.get(part.bytes..).and_then(frame::length) {
        if part.bytes + length > room {
            break;
        }
        let frame = &mut bytes[part.bytes..part.bytes + length];
        // The first of each write: everything before it was synced.
        frame::seal(frame, live.serial, live.end + part.bytes as u64, part.records == 0);
        part.bytes += length;
        part.records += 1;
    }
    part
}

/// Begins a new use of a free segment with room for `needed` bytes, right behind the last durable record.
fn roll(shared: &Shared, serial: &mut u64, needed: usize) -> Result<Live, Failure> {
    let mut layout = shared.layout.lock();
    let fits = |segment: &Segment| segment.bytes >= (SEGMENT_HEADER + needed) as u64;
    let at = layout.free.iter().position(fits).ok_or(Failure::Full)?;
    let segment = layout.free.remove(at).ok_or(Failure::Full)?;
    let base = layout.tail;
    let live = Live { segment, serial: *serial, base, end: base };
    *serial += 1;
    layout.live.push_back(live.clone());
    Ok(live)
}

/// A segment that failed is not written to again in this use; one that holds nothing durable is free at once.
fn abandon(shared: &Shared, current: &mut Option<Live>) {
    let Some(live) = current.take() else { return };
    let mut layout = shared.layout.lock();
    if live.end == live.base && layout.live.back().is_some_and(|last| last.serial == live.serial) {
        layout.live.pop_back();
        layout.free.push_back(live.segment);
    }
}
