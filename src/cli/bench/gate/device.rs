//! One connection of a device: its login, its pulls, its packets as they lie in a buffer.

use std::net::SocketAddr;

use bytes::BytesMut;
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};
use switchboard_selfhosted::frame::{Body, Command, HEADER_BYTES, Kind, Packet, encode_body};
use switchboard_selfhosted::proto;
use switchboard_selfhosted::service::TokenIssuer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{SECRET, user};
use crate::cli::bench::frames;
use crate::cli::bench::measure::failed;

fn request(command: Command, number: u64, body: &Body, out: &mut Vec<u8>) {
    let mut bytes = BytesMut::new();
    Packet::new(Kind::Request, command, number, encode_body(body)).encode(&mut bytes);
    frames::write_client(2, &bytes, out);
}

/// One connection whose frames are read whole.
pub(super) struct Device {
    number: usize,
    stream: TcpStream,
    buffer: Vec<u8>,
}

pub(super) struct Reader {
    pub(super) number: usize,
    pub(super) half: OwnedReadHalf,
    pub(super) buffer: Vec<u8>,
}

/// A packet as it lies in a buffer.
pub(super) struct Seen<'a> {
    pub(super) kind: u8,
    pub(super) error: bool,
    pub(super) command: u16,
    pub(super) correlation: u64,
    pub(super) body: &'a [u8],
}

/// Takes whole frames from the front of `buffer` and shows the packets in them.
pub(super) fn packets(buffer: &mut Vec<u8>, mut show: impl FnMut(&Seen<'_>)) {
    let mut at = 0;
    while let Some(head) = frames::head(&buffer[at..])
        && buffer.len() - at >= head.head + head.payload
    {
        let mut rest = &buffer[at + head.head..at + head.head + head.payload];
        at += head.head + head.payload;
        while head.opcode == 2 && rest.len() >= HEADER_BYTES {
            let number = |from: usize, to: usize| rest[from..to].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
            let end = HEADER_BYTES + number(16, 20) as usize;
            if rest.len() < end {
                break;
            }
            let seen = Seen {
                kind: rest[3],
                error: rest[5] & 1 == 1,
                command: number(6, 8) as u16,
                correlation: number(8, 16),
                body: &rest[HEADER_BYTES..end],
            };
            show(&seen);
            rest = &rest[end..];
        }
    }
    buffer.drain(..at);
}

pub(super) const ACK: u8 = Kind::Ack as u8;
const LOGIN: u16 = Command::Login as u16;
pub(super) const PULL: u16 = Command::Pull as u16;
pub(super) const SEND: u16 = Command::Send as u16;
pub(super) const DELIVER: u16 = Command::Deliver as u16;

impl Device {
    pub(super) async fn log_in(address: SocketAddr, number: usize) -> Result<Self> {
        let lost = failed("the gate cannot be reached");
        let mut stream = TcpStream::connect(address).await.map_err(&lost)?;
        stream.set_nodelay(true).map_err(&lost)?;
        let buffer = frames::connect(&mut stream, "/", "").await?;
        let name = user(number);
        let token = TokenIssuer::new(SECRET.as_bytes()).issue(&name.as_str().into(), Timestamp(i64::MAX));
        let login = proto::Login { user: name, token, device: "bench".to_owned(), ..Default::default() };
        let mut device = Self { number, stream, buffer };
        device.ask(Command::Login, &Body::Login(login), LOGIN).await?;
        Ok(device)
    }

    /// Asks and waits for the answer to this command; its body.
    async fn ask(&mut self, command: Command, body: &Body, wanted: u16) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        request(command, 1, body, &mut out);
        self.stream.write_all(&out).await.map_err(failed("a connection was cut off"))?;
        loop {
            let mut found = None;
            packets(&mut self.buffer, |seen| {
                if seen.kind == ACK && seen.command == wanted {
                    found = Some((seen.error, seen.body.to_vec()));
                }
            });
            match found {
                Some((false, body)) => return Ok(body),
                Some((true, body)) => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    return Err(Error::new(ErrorKind::Rejected, format!("the gate refused: {text}")));
                }
                None => {}
            }
            let read = self.stream.read_buf(&mut self.buffer).await.map_err(failed("a connection was cut off"))?;
            if read == 0 {
                return Err(Error::new(ErrorKind::Unavailable, "the gate closed a connection"));
            }
        }
    }

    /// Pulls until the empty page. Returns the entries there were.
    pub(super) async fn catch_up(&mut self) -> Result<u64> {
        let (mut after, mut entries) = (0, 0);
        loop {
            let body = self.ask(Command::Pull, &Body::Pull(proto::Pull { after, limit: 0 }), PULL).await?;
            let Some((count, cursor)) = page(&body) else { return Ok(entries) };
            (after, entries) = (cursor, entries + count);
        }
    }

    pub(super) fn split(self) -> (Reader, OwnedWriteHalf) {
        let (half, writer) = self.stream.into_split();
        (Reader { number: self.number, half, buffer: self.buffer }, writer)
    }
}

/// The entries of a page and its cursor; `None` for the empty one.
pub(super) fn page(mut body: &[u8]) -> Option<(u64, u64)> {
    let (mut entries, mut cursor) = (0, 0);
    while let Some((key, rest)) = varint(body) {
        let (value, rest) = varint(rest)?;
        if key == 0x0a {
            entries += 1;
            body = rest.get(usize::try_from(value).ok()?..)?;
        } else {
            cursor = value;
            body = rest;
        }
    }
    (entries > 0).then_some((entries, cursor))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| *byte < 0x80)?;
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::GROUP;
    use super::super::reading::time_in;
    use super::super::talking::say;
    use super::*;

    #[test]
    fn packets_in_a_frame_are_seen_and_pages_counted() {
        let mut packed = BytesMut::new();
        let entry = proto::Entry { position: 7, id: "x".repeat(200), ..Default::default() };
        let entries = Body::Page(proto::Page { entries: vec![entry; 3], cursor: 300 });
        Packet::new(Kind::Ack, Command::Pull, 1, encode_body(&entries)).encode(&mut packed);
        let to = proto::target::To::Group(GROUP.to_owned());
        say(&to, 9, "k", 123_456, &mut packed);
        let mut buffer = Vec::new();
        frames::write_server(&packed, &mut buffer);
        buffer[0] = 0x82;
        let whole = buffer.clone();
        buffer.truncate(100);
        packets(&mut buffer, |_| panic!("not whole"));
        buffer.extend_from_slice(&whole[100..]);
        let mut seen = Vec::new();
        packets(&mut buffer, |packet| seen.push((packet.command, page(packet.body), time_in(packet.body))));
        assert_eq!(seen[0], (PULL, Some((3, 300)), None));
        assert_eq!((seen[1].0, seen[1].2), (SEND, Some(123_456)));
        assert!(buffer.is_empty());
        assert_eq!(page(&[]), None);
    }
}
