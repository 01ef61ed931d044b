//! The bytes of a segment: a header, then frames `length u32 | mark u32 | checksum u32 | payload`, little endian.
//!
//! Mark and checksum cover the serial number of the segment's present use and the frame's offset, so that what an
//! earlier use of the same file left behind can never be taken for a frame of this one. The mark covers the length
//! alone: it finds the next frame behind damaged bytes without believing any length it meets. The top bit of a length
//! says that a sync was over before this frame was written: whatever stands before it was durable.

use uuid::Uuid;

/// Bytes before the first frame of a segment.
pub(super) const SEGMENT_HEADER: usize = 64;
/// Bytes before a payload.
pub(super) const FRAME_HEADER: usize = 12;
/// No segment is so long that a length needs this bit.
const AFTER_SYNC: u32 = 1 << 31;

const MAGIC: &[u8; 8] = b"SWINBOX1";

/// What a segment is used for at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The inbox it belongs to.
    pub(super) inbox: Uuid,
    /// Rises with every use of any segment of the inbox.
    pub(super) serial: u64,
    /// The offset of its first frame.
    pub(super) base: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..24].copy_from_slice(self.inbox.as_bytes());
        out[24..32].copy_from_slice(&self.serial.to_le_bytes());
        out[32..40].copy_from_slice(&self.base.to_le_bytes());
        let checksum = crc32fast::hash(&out[..40]);
        out[40..44].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// `None` for a segment never used, or a damaged one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(40)?;
        let checksum = crc32fast::hash(head).to_le_bytes();
        if !head.starts_with(MAGIC) || !rest.starts_with(&checksum) {
            return None;
        }
        Some(Self {
            inbox: Uuid::from_slice(&head[8..24]).ok()?,
            serial: u64::from_le_bytes(head[24..32].try_into().ok()?),
            base: u64::from_le_bytes(head[32..40].try_into().ok()?),
        })
    }
}

/// Begins a frame in `out`; everything written to `out` until [`finish`] is its payload.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    start
}

/// Ends the frame that began at `start`. Its checksum is missing until [`seal`].
pub(super) fn finish(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - FRAME_HEADER).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// The whole length of the frame that `bytes` begins with; `None` where no frame can be.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let length = (word(bytes)? & !AFTER_SYNC) as usize;
    (length > 0).then_some(FRAME_HEADER + length)
}

/// Writes mark and checksum of a whole frame that will stand at `offset`.
pub(super) fn seal(frame: &mut [u8], serial: u64, offset: u64, after_sync: bool) {
    if after_sync {
        frame[3] |= (AFTER_SYNC >> 24) as u8;
    }
    let mark = checksum(&frame[..4], &[], serial, offset);
    frame[4..8].copy_from_slice(&mark.to_le_bytes());
    let checksum = checksum(&frame[..8], &frame[FRAME_HEADER..], serial, offset);
    frame[8..FRAME_HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether this whole frame was sealed for this place.
pub(super) fn is_sealed(frame: &[u8], serial: u64, offset: u64) -> bool {
    checksum(&frame[..8], &frame[FRAME_HEADER..], serial, offset).to_le_bytes() == frame[8..FRAME_HEADER]
}

/// Whether these bytes begin a frame that was sealed for this place. Says nothing of its payload.
pub(super) fn is_marked(head: &[u8], serial: u64, offset: u64) -> bool {
    head.len() >= FRAME_HEADER
        && length(head).is_some()
        && checksum(&head[..4], &[], serial, offset).to_le_bytes() == head[4..8]
}

/// Whether everything before this frame was durable when it was written.
pub(super) fn is_after_sync(head: &[u8]) -> bool {
    head[3] & (AFTER_SYNC >> 24) as u8 != 0
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn checksum(length: &[u8], payload: &[u8], serial: u64, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&serial.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(length);
    hasher.update(payload);
    hasher.finalize()
}
