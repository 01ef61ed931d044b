//! What a device does with what comes: it counts, it times, it acknowledges.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use switchboard_contract::Result;
use switchboard_selfhosted::frame::{Command, HEADER_BYTES, Kind, Packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;

use super::device::{ACK, DELIVER, Reader, SEND, packets};
use super::{Shared, Talk};
use crate::cli::bench::frames;
use crate::cli::bench::measure::failed;

/// Entries that a device acknowledges together, at most, and how long it may wait with that.
const ACK_ENTRIES: u64 = 256;
const ACK_AFTER: Duration = Duration::from_millis(100);

/// Reads one connection until the service closes it.
pub(super) async fn read(
    mut reader: Reader,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    shared: Arc<Shared>,
) -> Result<()> {
    let timed = matches!(shared.talk, Talk::Steady { .. });
    let (mut last, mut unacked, mut acked_at) = (0, 0, Instant::now());
    let mut micros = Vec::new();
    reader.buffer.reserve(256 << 10);
    loop {
        let (mut found, mut answers) = (0, 0);
        let now = shared.now();
        packets(&mut reader.buffer, |seen| match (seen.kind, seen.command) {
            (_, DELIVER) => {
                (found, last) = (found + 1, seen.correlation);
                if timed && let Some(due) = time_in(seen.body) {
                    micros.push((due, now.saturating_sub(due)));
                }
                shared.payload.store((HEADER_BYTES + seen.body.len()) as u64, Ordering::Relaxed);
            }
            (ACK, SEND) => {
                answers += 1;
                shared.refused.fetch_add(u64::from(seen.error), Ordering::Relaxed);
            }
            _ => {}
        });
        if !micros.is_empty() {
            let (from, until) = (shared.from.load(Ordering::Relaxed), shared.until.load(Ordering::Relaxed));
            let within = micros.drain(..).filter(|(due, _)| (from..until).contains(due));
            shared.micros.lock().extend(within.map(|(_, took)| u32::try_from(took).unwrap_or(u32::MAX)));
        }
        shared.read[reader.number].fetch_add(found, Ordering::Relaxed);
        shared.sent.fetch_add(answers, Ordering::Relaxed);
        if let (Talk::Pairs { .. }, Some(window)) = (shared.talk, shared.permits.get(reader.number / 2)) {
            window.add_permits(answers as usize);
        }
        unacked += found;
        if unacked >= ACK_ENTRIES || (unacked > 0 && acked_at.elapsed() >= ACK_AFTER) {
            (unacked, acked_at) = (0, Instant::now());
            let (mut bytes, mut out) = (BytesMut::new(), Vec::new());
            Packet::new(Kind::Ack, Command::Deliver, last, Bytes::new()).encode(&mut bytes);
            frames::write_client(2, &bytes, &mut out);
            writer.lock().await.write_all(&out).await.map_err(failed("a connection was cut off"))?;
        }
        let read = reader.half.read_buf(&mut reader.buffer).await.map_err(failed("a connection was cut off"))?;
        if read == 0 {
            return Ok(());
        }
    }
}

/// When a message was due, as its text says.
pub(super) fn time_in(body: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(body, b"t=")?;
    std::str::from_utf8(body.get(at + 2..at + 14)?).ok()?.parse().ok()
}
