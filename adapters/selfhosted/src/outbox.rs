//! What goes out with the next write, as few pieces of memory.

use std::io::IoSlice;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::frame::Packet;
use crate::service::Piece;

/// Pieces below this size are copied behind one another; larger ones are written from where they are.
const COPIED: usize = 2048;

pub(crate) enum Part {
    Packet(Packet),
    Piece(Piece),
}

/// Packets in the order in which they go out.
#[derive(Default)]
pub(crate) struct Outbox {
    /// What is missing of something that went out in part: it goes before everything else, as it is.
    rest: Option<Bytes>,
    parts: Vec<Part>,
    size: usize,
}

impl Outbox {
    pub(crate) fn of(packet: Packet) -> Self {
        let mut outbox = Self::default();
        outbox.push(packet);
        outbox
    }

    pub(crate) fn push(&mut self, packet: Packet) {
        self.size += packet.wire_length();
        self.parts.push(Part::Packet(packet));
    }

    pub(crate) fn push_piece(&mut self, piece: Piece) {
        self.size += piece.size();
        self.parts.push(Part::Piece(piece));
    }

    pub(crate) fn owe(&mut self, rest: Bytes) {
        debug_assert!(self.rest.is_none(), "one thing at a time goes out in part");
        self.rest = Some(rest);
    }

    pub(crate) fn take_rest(&mut self) -> Option<Bytes> {
        self.rest.take()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.rest.is_none()
    }

    /// In bytes of the binary form.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Everything, as the one WebSocket message of a run that is all there is; then the outbox is empty.
    pub(crate) fn take_message(&mut self) -> Option<Bytes> {
        let [Part::Piece(piece)] = self.parts.as_slice() else { return None };
        let message = piece.message()?;
        self.size = 0;
        self.parts.clear();
        Some(message)
    }

    /// Everything, and the outbox is empty. Keeps no memory: most connections are silent most of the time.
    pub(crate) fn take(&mut self) -> Vec<Part> {
        self.size = 0;
        std::mem::take(&mut self.parts)
    }
}

/// The binary form behind `head`, which is given the number of bytes that follow it.
pub(crate) fn binary(parts: Vec<Part>, size: usize, head: impl FnOnce(usize, &mut BytesMut)) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut small = BytesMut::with_capacity(size.min(16 << 10));
    head(size, &mut small);
    for part in parts {
        match part {
            Part::Packet(packet) => packet.encode(&mut small),
            Part::Piece(piece) => {
                let bytes = piece.bytes();
                if bytes.len() < COPIED {
                    small.put_slice(&bytes);
                } else {
                    if !small.is_empty() {
                        chunks.push(small.split().freeze());
                    }
                    chunks.push(bytes);
                }
            }
        }
    }
    if !small.is_empty() {
        chunks.push(small.freeze());
    }
    chunks
}

/// Writes all of it, with one call where the system takes it.
pub(crate) async fn write_chunks(io: &mut (impl AsyncWrite + Unpin), chunks: &[Bytes]) -> std::io::Result<()> {
    if let [only] = chunks {
        io.write_all(only).await?;
        return io.flush().await;
    }
    let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = io.write_vectored(rest).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    io.flush().await
}

/// The most bytes that it takes.
pub(crate) const MESSAGE_HEAD: usize = 10;

/// The head of a server's binary WebSocket message.
pub(crate) fn message_head(length: usize, out: &mut BytesMut) {
    let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
    let formatted = header.format(length as u64, &mut out.writer());
    debug_assert!(formatted.is_ok(), "memory takes everything");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::frame::{Command, Decoder, Kind};

    #[tokio::test]
    async fn what_is_written_in_pieces_reads_as_one() {
        let packets: Vec<Packet> = [1, COPIED, 70_000]
            .map(|size| Packet::new(Kind::Ack, Command::Pull, size as u64, Bytes::from(vec![7; size])))
            .into();
        let mut outbox = Outbox::default();
        packets.iter().cloned().for_each(|packet| outbox.push(packet));
        let size = outbox.size();
        let chunks = binary(outbox.take(), size, message_head);
        assert!(outbox.is_empty());
        let (mut here, mut there) = tokio::io::duplex(1000);
        let writing = tokio::spawn(async move { write_chunks(&mut here, &chunks).await });
        let mut read = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut there, &mut read).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!((read[0], read[1], read.len()), (0x82, 127, size + 10));
        assert_eq!(u64::from_be_bytes(*read[2..].first_chunk().unwrap()), size as u64);
        let mut decoder = Decoder::new(1 << 20);
        decoder.extend(&read[10..]);
        for packet in packets {
            assert_eq!(decoder.next_packet().unwrap().unwrap(), packet);
        }
    }
}
