//! One file of the inbox and what is in it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::InboxFile;
use super::frame::{self, FRAME_HEADER, SEGMENT_HEADER};

/// A preallocated file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) file: Arc<dyn InboxFile>,
    /// Its size.
    pub(super) bytes: u64,
}

/// A segment in use.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) segment: Segment,
    pub(super) serial: u64,
    /// The offset of its first frame.
    pub(super) base: u64,
    /// The offset behind its last durable frame.
    pub(super) end: u64,
}

/// A record as it stands in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Where it begins.
    pub offset: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Its bytes, a slice of a larger buffer.
    pub payload: Bytes,
}

/// A piece of a segment.
pub(super) struct Chunk {
    pub(super) frames: Vec<Framed>,
    /// What follows is no frame of this segment.
    pub(super) stopped: bool,
}

impl Live {
    /// The file position of an offset.
    pub(super) fn position(&self, offset: u64) -> u64 {
        SEGMENT_HEADER as u64 + (offset - self.base)
    }

    /// How many bytes of frames fit behind `end`.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.segment.bytes.saturating_sub(self.position(self.end))).unwrap_or(usize::MAX)
    }

    /// Reads whole frames from `from` on, about `want` bytes of them, at least one where one is whole, none beyond
    /// `until`.
    pub(super) fn read(&self, from: u64, until: u64, want: usize) -> io::Result<Chunk> {
        let left = usize::try_from(until.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut chunk = self.parse(self.fill(from, left.min(want.max(FRAME_HEADER)))?, from);
        if chunk.frames.is_empty() && !chunk.stopped {
            // The first frame is longer than what was read, or nothing is left.
            let needed = match self.fill(from, left.min(FRAME_HEADER))? {
                head if head.len() == FRAME_HEADER => frame::length(&head),
                _ => None,
            };
            match needed.filter(|needed| *needed <= left) {
                Some(needed) => chunk = self.parse(self.fill(from, needed)?, from),
                None => chunk.stopped = true,
            }
            chunk.stopped |= chunk.frames.is_empty();
        }
        Ok(chunk)
    }

    /// Whether a frame of this use was begun at `at`, whole or not.
    pub(super) fn begins_frame(&self, at: u64, until: u64) -> io::Result<bool> {
        let want = (until - at).min(FRAME_HEADER as u64) as usize;
        Ok(frame::is_marked(&self.fill(at, want)?, self.serial, at))
    }

    /// Where the next frame begins behind damaged bytes at `from`, before `until`; with `after_sync`, the next one that
    /// proves the bytes before it to have been durable.
    pub(super) fn resume(&self, from: u64, until: u64, after_sync: bool) -> io::Result<Option<u64>> {
        const WINDOW: u64 = 1 << 20;
        let mut at = from + 1;
        while at < until {
            let want = (until - at).min(WINDOW) as usize;
            let window = self.fill(at, want)?;
            let places = window.len().saturating_sub(FRAME_HEADER - 1);
            for place in 0..places {
                let (head, offset) = (&window[place..place + FRAME_HEADER], at + place as u64);
                // The cheap question first: it is asked of every byte.
                if (!after_sync || frame::is_after_sync(head))
                    && frame::is_marked(head, self.serial, offset)
                    && !self.read(offset, until, FRAME_HEADER)?.frames.is_empty()
                {
                    return Ok(Some(offset));
                }
            }
            if places == 0 {
                break;
            }
            at += places as u64;
        }
        Ok(None)
    }

    /// Overwrites with zeros whatever follows `end`, so that no leftover of a write that never became durable can
    /// be taken for a record later, and makes the file durable.
    pub(super) fn wipe_rest(&self) -> io::Result<()> {
        let zeros = vec![0; 1 << 18];
        let mut at = self.position(self.end);
        while at < self.segment.bytes {
            let want = usize::try_from(self.segment.bytes - at).unwrap_or(usize::MAX).min(zeros.len());
            let mut found = vec![0; want];
            let read = self.segment.file.read_at(&mut found, at)?;
            if read < want || found.iter().any(|byte| *byte != 0) {
                self.segment.file.write_at(&zeros[..want], at)?;
            }
            at += want as u64;
        }
        self.segment.file.sync_data()
    }

    fn fill(&self, from: u64, want: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; want];
        let mut filled = 0;
        while filled < want {
            match self.segment.file.read_at(&mut buffer[filled..], self.position(from) + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    fn parse(&self, buffer: Vec<u8>, from: u64) -> Chunk {
        let buffer = Bytes::from(buffer);
        let mut chunk = Chunk { frames: Vec::new(), stopped: false };
        let mut at = 0;
        while buffer.len() - at >= FRAME_HEADER {
            let offset = from + at as u64;
            let Some(length) = frame::length(&buffer[at..]) else {
                chunk.stopped = true;
                break;
            };
            let Some(whole) = buffer.get(at..at + length) else { break };
            if !frame::is_sealed(whole, self.serial, offset) {
                chunk.stopped = true;
                break;
            }
            let payload = buffer.slice(at + FRAME_HEADER..at + length);
            at += length;
            chunk.frames.push(Framed { offset, end: from + at as u64, payload });
        }
        chunk
    }
}
