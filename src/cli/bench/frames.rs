//! As much of RFC 6455 as raw limits need: the handshake, heads of frames, and small frames from a client.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest as _, Sha1};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::measure::failed;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Asks for a WebSocket; returns what came behind the answer already.
pub(super) async fn connect(stream: &mut TcpStream, path: &str, token: &str) -> Result<Vec<u8>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(failed("a stream cannot be asked for"))?;
    let (head, rest) = read_head(stream).await?;
    if !head.starts_with("HTTP/1.1 101") {
        let status = head.lines().next().unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(&rest).into_owned();
        return Err(Error::new(ErrorKind::Rejected, format!("no stream: {status} {body}")));
    }
    Ok(rest)
}

/// Grants a WebSocket to whoever asks.
pub(super) async fn accept(stream: &mut TcpStream) -> Result<()> {
    let (head, _) = read_head(stream).await?;
    let key = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map_or("", |(_, value)| value.trim());
    let accept = BASE64_STANDARD
        .encode(Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.map_err(failed("a stream cannot be granted"))
}

/// Everything up to the empty line, and what came behind it.
async fn read_head(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        let read = stream.read_buf(&mut bytes).await.map_err(failed("a stream was cut off"))?;
        if read == 0 || bytes.len() > 16 << 10 {
            return Err(Error::new(ErrorKind::Unavailable, "a stream was refused"));
        }
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// 1 text, 2 binary, 8 close, 9 ping.
    pub(super) opcode: u8,
    /// Bytes of the head.
    pub(super) head: usize,
    /// Bytes behind it.
    pub(super) payload: usize,
}

/// The head of a server's frame, when `bytes` holds all of it.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (head, payload) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    Some(Head { opcode: first & 0x0f, head, payload })
}

/// Writes a server's text frame.
pub(super) fn write_server(payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    write_length(payload.len(), 0, out);
    out.extend_from_slice(payload);
}

/// Writes a client's frame. The mask is zero: it hides nothing here, and costs nothing.
pub(super) fn write_client(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    write_length(payload.len(), 0x80, out);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn write_length(length: usize, mask: u8, out: &mut Vec<u8>) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(mask | short),
        (_, Ok(middle)) => {
            out.push(mask | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut out = Vec::new();
            write_server(&vec![b'x'; length], &mut out);
            let found = head(&out).map(|head| (head.opcode, head.payload, head.head + head.payload));
            assert_eq!(found, Some((1, length, out.len())));
        }
        assert_eq!(head(&[0x81]), None);
        assert_eq!(head(&[0x81, 126, 1]), None);
    }
}
