//! Packets out of a stream of bytes, however the network cut it.

use bytes::{Buf, BytesMut};

use super::header::{FrameError, HEADER_BYTES, Header, Packet};

/// Collects bytes and gives out whole packets. Holds no more than one packet and what came behind it in the last read.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// The header of the packet whose body is not whole yet.
    header: Option<Header>,
    limit: u32,
}

impl Decoder {
    /// Admits bodies of at most `limit` bytes.
    pub fn new(limit: u32) -> Self {
        Self { buffer: BytesMut::new(), header: None, limit }
    }

    /// Where bytes are read to.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Adds bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], as soon as the header that holds it is there; from then on the stream is of no use.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
                let header = Header::decode(bytes)?;
                if header.length > self.limit {
                    return Err(FrameError::TooLong { length: header.length, limit: self.limit });
                }
                self.buffer.advance(HEADER_BYTES);
                self.header = Some(header);
                header
            }
        };
        let length = header.length as usize;
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.header = None;
        let body = self.buffer.split_to(length).freeze();
        let Header { kind, flags, command, correlation, .. } = header;
        Ok(Some(Packet { kind, flags, command, correlation, body }))
    }

    /// Whether a packet has begun and is not whole.
    pub fn is_amid_packet(&self) -> bool {
        self.header.is_some() || !self.buffer.is_empty()
    }
}
