//! Opening an inbox: which segments are in use, and where the last believable record ends.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use switchboard_contract::{Error, ErrorKind, Result};
use uuid::Uuid;

use super::disk::InboxDir;
use super::frame::{SEGMENT_HEADER, SegmentHeader};
use super::segment::{Live, Segment};
use super::{InboxConfig, damaged, failed};

/// Bytes read at once while looking for the end.
const SCAN_BYTES: usize = 1 << 20;
const SUFFIX: &str = ".segment";

/// An inbox found on disk, before it is known how far it was consumed.
#[derive(Debug)]
pub struct Found {
    config: InboxConfig,
    dir: Arc<dyn InboxDir>,
    id: Uuid,
    used: Vec<(SegmentHeader, Segment)>,
    free: Vec<Segment>,
}

/// What the writer and the readers start from.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) id: Uuid,
    pub(super) live: VecDeque<Live>,
    pub(super) free: Vec<Segment>,
    /// The serial of the next use of a segment.
    pub(super) serial: u64,
    /// Where the next record goes.
    pub(super) tail: u64,
    /// Records not yet consumed.
    pub(super) records: u64,
}

impl Found {
    /// Looks at what `dir` holds. Blocks on the disk.
    ///
    /// # Errors
    /// `Storage` when it cannot be read, `Config` for sizes that make no sense or a segment of another inbox.
    pub fn look(config: InboxConfig, dir: Arc<dyn InboxDir>) -> Result<Self> {
        config.check()?;
        let mut names = dir.list().map_err(|error| failed("the inbox cannot be listed", error))?;
        names.retain(|name| name.ends_with(SUFFIX));
        names.sort();
        let (mut used, mut free) = (Vec::new(), Vec::new());
        for name in names {
            let (header, segment) =
                open(dir.as_ref(), name).map_err(|error| failed("a segment of the inbox cannot be read", error))?;
            match header {
                Header::Used(header) => used.push((header, segment)),
                Header::Never => free.push(segment),
                // It stays as it is for whoever can make something of it, and is not used.
                Header::Damaged => damaged(&format!("the header of {} cannot be read", segment.name), 0, 0),
            }
        }
        used.sort_by_key(|(header, _)| header.serial);
        let id = used.last().map_or_else(Uuid::new_v4, |(header, _)| header.inbox);
        if used.iter().any(|(header, _)| header.inbox != id) {
            return Err(Error::new(ErrorKind::Config, "ingest.inbox.path: holds segments of two different inboxes"));
        }
        Ok(Self { config, dir, id, used, free })
    }

    /// The name under which the store keeps how far this inbox is consumed.
    pub fn name(&self) -> String {
        self.id.simple().to_string()
    }

    /// Finds the last believable record, wipes what follows it and reserves all the room configured.
    pub(super) fn recover(mut self, consumed: u64) -> Result<(InboxConfig, Recovered)> {
        let last_serial = self.used.last().map_or(0, |(header, _)| header.serial);
        let (mut live, records) =
            self.scan(consumed).map_err(|error| failed("the inbox cannot be recovered", error))?;
        let mut tail = live.back().map_or(consumed, |last: &Live| last.end);
        if tail < consumed {
            // The store knows of more than the disk kept: everything here is journalled. Begin behind it, so that no
            // new record stands at an offset that counts as consumed.
            damaged("records before the consumed mark are missing", tail, consumed);
            self.free.extend(live.drain(..).map(|live| live.segment));
            tail = consumed;
        }
        if let Some(last) = live.back() {
            last.wipe_rest().map_err(|error| failed("the inbox cannot be recovered", error))?;
        }
        self.reserve(live.len())?;
        let recovered = Recovered { id: self.id, live, free: self.free, serial: last_serial + 1, tail, records };
        Ok((self.config, recovered))
    }

    /// Which segments hold what is not consumed, and how many records that is.
    fn scan(&mut self, consumed: u64) -> io::Result<(VecDeque<Live>, u64)> {
        let (mut live, mut records) = (VecDeque::new(), 0);
        let used = std::mem::take(&mut self.used);
        let bases: Vec<u64> = used.iter().map(|(header, _)| header.base).collect();
        for (at, (header, segment)) in used.into_iter().enumerate() {
            let next = bases.get(at + 1).copied();
            if next.is_some_and(|next| next <= consumed.max(header.base)) {
                self.free.push(segment);
                continue;
            }
            let mut found = Live { serial: header.serial, base: header.base, end: header.base, segment };
            // What stands between is journalled, or gone: segments go only once the store knows that they are consumed.
            let reached = live.back().map_or(consumed, |last: &Live| last.end);
            if header.base > reached {
                damaged(
                    "records are missing, or the store is not the one they were journalled in",
                    reached,
                    header.base,
                );
            }
            records += match next {
                Some(next) => walk_closed(&mut found, next, consumed)?,
                None => walk_open(&mut found, consumed)?,
            };
            live.push_back(found);
        }
        Ok((live, records))
    }

    /// Brings the number of segments to what is configured. Too little room is an error only when not even two
    /// segments exist: with two the inbox works, and says so when they are full.
    fn reserve(&mut self, live: usize) -> Result<()> {
        let wanted = self.config.segments();
        let size = self.config.segment_bytes;
        // Of another size by configuration, or cut short by a crash while it was made.
        let misfits = self.free.extract_if(.., |segment| segment.bytes != size).collect::<Vec<_>>();
        let surplus = (self.free.len() + live).saturating_sub(wanted.max(live + 1)).min(self.free.len());
        let surplus = self.free.split_off(self.free.len() - surplus);
        for segment in misfits.into_iter().chain(surplus) {
            self.dir
                .remove(&segment.name)
                .map_err(|error| failed("a surplus segment of the inbox cannot be removed", error))?;
        }
        let mut number = 0;
        while self.free.len() + live < wanted {
            let name = format!("{number:06}{SUFFIX}");
            number += 1;
            match make(self.dir.as_ref(), &name, size) {
                Ok(segment) => self.free.push(segment),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) if self.free.len() + live >= 2 => {
                    tracing::warn!(%error, segments = self.free.len() + live, wanted, "the inbox is smaller than configured");
                    break;
                }
                Err(error) => return Err(failed("no room can be reserved for the inbox", error)),
            }
        }
        // Also when nothing changed: a name made by a process that was killed may not be durable yet.
        self.dir.sync().map_err(|error| failed("the directory of the inbox cannot be synced", error))
    }
}

/// What the first bytes of a segment say.
enum Header {
    Used(SegmentHeader),
    Never,
    /// A header is within one sector, so no crash leaves a part of it.
    Damaged,
}

fn open(dir: &dyn InboxDir, name: String) -> io::Result<(Header, Segment)> {
    let file = dir.open(&name)?;
    let bytes = file.bytes()?;
    let mut head = [0; SEGMENT_HEADER];
    let read = file.read_at(&mut head, 0)?;
    let header = match SegmentHeader::decode(&head[..read]) {
        Some(header) => Header::Used(header),
        None if head.iter().all(|byte| *byte == 0) => Header::Never,
        None => Header::Damaged,
    };
    Ok((header, Segment { name, file, bytes }))
}

fn make(dir: &dyn InboxDir, name: &str, bytes: u64) -> io::Result<Segment> {
    // Its size becomes durable with its first records; a file cut short by a crash before is made again.
    let file = dir.create(name, bytes)?;
    Ok(Segment { name: name.to_owned(), file, bytes })
}

/// Moves `live.end` to `until`, where the next segment begins: everything before it was durable once. Returns how many
/// records are there that are not consumed.
fn walk_closed(live: &mut Live, until: u64, consumed: u64) -> io::Result<u64> {
    let mut records = 0;
    loop {
        records += walk(live, until, consumed)?;
        if live.end >= until {
            return Ok(records);
        }
        let resumed = live.resume(live.end, until, false)?;
        if resumed.unwrap_or(until) > consumed {
            damaged("acknowledged records cannot be read", live.end, resumed.unwrap_or(until));
        }
        live.end = resumed.unwrap_or(until);
    }
}

/// Moves `live.end` behind the last believable record of the segment that was written to last. Returns how many records
/// are there that are not consumed.
fn walk_open(live: &mut Live, consumed: u64) -> io::Result<u64> {
    let until = live.base + live.room() as u64;
    let mut records = 0;
    loop {
        records += walk(live, until, consumed)?;
        // A write that was torn is the end. But a frame that was written after a later sync shows that this was none.
        match live.resume(live.end, until, true)? {
            Some(proof) => records += walk_closed(live, proof, consumed)?,
            None => break,
        }
    }
    tell_torn(live, until)?;
    Ok(records)
}

/// A crash leaves this, and so does damage to the very last write; nothing on the disk tells which.
fn tell_torn(live: &Live, until: u64) -> io::Result<()> {
    if live.begins_frame(live.end, until)? {
        tracing::warn!(
            offset = live.end,
            "the last write to the inbox is not whole: it was not over, or it is damaged"
        );
    }
    Ok(())
}

/// Moves `live.end` behind the last whole record before the first that is not believable, or `until`.
fn walk(live: &mut Live, until: u64, consumed: u64) -> io::Result<u64> {
    let mut records = 0;
    while live.end < until {
        let chunk = live.read(live.end, until, SCAN_BYTES)?;
        records += chunk.frames.iter().filter(|frame| frame.offset >= consumed).count() as u64;
        if let Some(last) = chunk.frames.last() {
            live.end = last.end;
        }
        if chunk.stopped {
            break;
        }
    }
    Ok(records)
}
