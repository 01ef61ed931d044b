//! Many WebSockets read by one process: it counts what comes, and acknowledges what must be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::child::Ready;
use super::measure::{Figure, failed};
use super::role::{ready, told_to_stop};
use super::{frames, meter};

/// Streams to open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sockets {
    /// Of which server.
    pub(super) address: SocketAddr,
    /// At which path; `{}` stands for the connection's number.
    pub(super) path: String,
    /// The API token.
    pub(super) token: String,
    /// How many.
    pub(super) connections: usize,
    /// Whether deliveries are to be acknowledged.
    pub(super) acknowledge: bool,
    /// Where to tell what the slowest stream has read.
    pub(super) progress: Option<SocketAddr>,
    /// Read before measuring begins.
    pub(super) warm_ms: u64,
    /// Measured; 0 leaves the streams alone until told to stop.
    pub(super) run_ms: u64,
}

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Opens the streams, says so, reads, and says how many frames came each second.
pub(super) async fn run(sockets: Sockets) -> Result<Figure> {
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..sockets.connections).map(|_| AtomicU64::new(0)).collect());
    let mut open = Vec::with_capacity(sockets.connections);
    for number in 0..sockets.connections {
        let lost = failed("the server cannot be reached");
        let mut stream = TcpStream::connect(sockets.address).await.map_err(&lost)?;
        stream.set_nodelay(true).map_err(&lost)?;
        let path = sockets.path.replace("{}", &number.to_string());
        let rest = frames::connect(&mut stream, &path, &sockets.token).await?;
        open.push((stream, rest));
    }
    let slowest = {
        let counts = Arc::clone(&counts);
        move || counts.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap_or(0)
    };
    ready(Ready { address: sockets.address, meter: None });
    if let Some(progress) = sockets.progress {
        meter::report(progress, slowest).await?;
    }
    if sockets.run_ms == 0 {
        told_to_stop().await;
        return Ok(Figure { count: open.len() as u64, ..Figure::default() });
    }
    let mut tasks = tokio::task::JoinSet::new();
    let payload = Arc::new(AtomicU64::new(0));
    for (number, (stream, rest)) in open.into_iter().enumerate() {
        let (counts, payload) = (Arc::clone(&counts), Arc::clone(&payload));
        tasks.spawn(read(stream, rest, counts, number, payload, sockets.acknowledge));
    }
    let all = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
    let figure = async {
        tokio::time::sleep(Duration::from_millis(sockets.warm_ms)).await;
        let (begun, before) = (Instant::now(), all());
        tokio::time::sleep(Duration::from_millis(sockets.run_ms)).await;
        Figure::of(all() - before, begun.elapsed())
    };
    tokio::select! {
        figure = figure => Ok(Figure { payload: payload.load(Ordering::Relaxed), ..figure }),
        Some(ended) = tasks.join_next() => {
            ended.map_err(failed("a stream's reader ended"))??;
            Err(Error::new(ErrorKind::Unavailable, "the server closed a stream"))
        }
    }
}

/// Reads one stream until the server closes it.
async fn read(
    mut stream: TcpStream,
    mut buffer: Vec<u8>,
    counts: Arc<Vec<AtomicU64>>,
    number: usize,
    payload: Arc<AtomicU64>,
    acknowledge: bool,
) -> Result<()> {
    buffer.reserve(BUFFER);
    let mut answer = Vec::new();
    loop {
        let (mut at, mut found) = (0, 0);
        while let Some(head) = frames::head(&buffer[at..])
            && buffer.len() - at >= head.head + head.payload
        {
            let body = &buffer[at + head.head..at + head.head + head.payload];
            at += head.head + head.payload;
            let things = match head.opcode {
                8 => return Ok(()),
                9 => {
                    frames::write_client(10, body, &mut answer);
                    0
                }
                1 | 2 if acknowledge => acknowledged(body, &mut answer)?,
                _ => 1,
            };
            found += things;
            if let Some(each) = (body.len() as u64).checked_div(things) {
                payload.store(each, Ordering::Relaxed);
            }
        }
        counts[number].fetch_add(found, Ordering::Relaxed);
        buffer.drain(..at);
        if !answer.is_empty() {
            stream.write_all(&answer).await.map_err(failed("a stream was cut off"))?;
            answer.clear();
        }
        let read = stream.read_buf(&mut buffer).await.map_err(failed("a stream was cut off"))?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// How many deliveries a frame has. Their acknowledgement goes into `out`.
///
/// The frame is searched, not parsed: the reader must not be slower than what it measures. Deliveries alone begin with
/// their id right behind a bracket or a comma; in an event an id stands behind its field's colon.
fn acknowledged(frame: &[u8], out: &mut Vec<u8>) -> Result<u64> {
    if frame.starts_with(b"{\"error\"") {
        let text = String::from_utf8_lossy(frame).into_owned();
        return Err(Error::new(ErrorKind::Rejected, format!("the stream said {text}")));
    }
    let Some(cursor) = frame.strip_prefix(b"{\"cursor\":\"") else { return Ok(0) };
    let end = memchr::memchr(b'"', cursor).unwrap_or(0);
    let ids = memchr::memmem::find_iter(frame, b"{\"id\":\"");
    let count = ids.filter(|at| matches!(frame[at - 1], b'[' | b',')).count();
    let ack = [b"{\"ack_cursor\":\"", &cursor[..end], b"\"}"].concat();
    frames::write_client(1, &ack, out);
    Ok(count as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn deliveries_are_counted_and_acknowledged_by_their_frame() {
        let frame = br#"{"cursor":"c1","deliveries":[{"id":"a1","event":{"specversion":"1.0","id":"no","data":{"id":"no"}}},{"id":"b2","event":{"data":{"id":"no"}}}]}"#;
        let mut out = Vec::new();
        assert_eq!(acknowledged(frame, &mut out).unwrap(), 2);
        let head = frames::head(&out).unwrap();
        // Behind the head of a client's frame stand the four bytes of its mask.
        assert_eq!(&out[head.head + 4..], br#"{"ack_cursor":"c1"}"#);
        assert_eq!(acknowledged(br#"{"state":"online"}"#, &mut out).unwrap(), 0);
        assert!(acknowledged(br#"{"error":{"id":"x"}}"#, &mut out).is_err());
    }
}
