//! A load generator: connections that each post, wait for the answer, and post again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::callbacks::{Callbacks, Vendor};
use super::measure::{Figure, failed};
use super::meter;

/// Callbacks posted over keep-alive connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    /// Whereto.
    pub(super) address: SocketAddr,
    /// Whose callbacks.
    pub(super) vendor: Vendor,
    /// Connections, one request in flight on each.
    pub(super) connections: usize,
    /// The number of the first message; none is posted twice.
    pub(super) first: u64,
    /// Posted before measuring begins.
    pub(super) warm_ms: u64,
    /// Measured.
    pub(super) run_ms: u64,
    /// What is delivered counts, not what is posted.
    pub(super) delivered: Option<Delivered>,
}

/// Deliveries at the other end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Delivered {
    /// The meter that counts them.
    pub(super) meter: SocketAddr,
    /// Callbacks that may be posted and not yet delivered; the backlog cannot grow beyond.
    pub(super) window: u64,
}

struct Shared {
    next: AtomicU64,
    first: u64,
    begin: Instant,
    end: Instant,
    window: u64,
    delivered: Option<watch::Receiver<u64>>,
}

/// What one connection saw.
#[derive(Default)]
struct Tally {
    micros: Vec<u32>,
    faults: u64,
}

/// Posts, and says how many answers came each second while it measured; with `delivered`, how many deliveries.
pub(super) async fn run(load: Load) -> Result<Figure> {
    let delivered = match load.delivered {
        Some(delivered) => Some(meter::follow(delivered.meter).await?),
        None => None,
    };
    let begin = Instant::now() + Duration::from_millis(load.warm_ms);
    let shared = Arc::new(Shared {
        next: AtomicU64::new(load.first),
        first: load.first,
        begin,
        end: begin + Duration::from_millis(load.run_ms),
        window: load.delivered.map_or(u64::MAX, |delivered| delivered.window),
        delivered: delivered.clone(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..load.connections {
        tasks.spawn(drive(Arc::clone(&shared), load.address, load.vendor));
    }
    let counted = async {
        match &delivered {
            Some(delivered) => count(&shared, delivered).await,
            None => Figure::default(),
        }
    };
    let (mut figure, tallies) = tokio::join!(counted, tasks.join_all());
    let mut micros = Vec::new();
    for tally in tallies {
        let tally = tally?;
        figure.faults += tally.faults;
        micros.extend(tally.micros);
    }
    if load.delivered.is_none() {
        let counted = Figure::of(micros.len() as u64, Duration::from_millis(load.run_ms));
        (figure.rate, figure.count) = (counted.rate, counted.count);
    }
    Ok(figure.timed(micros))
}

/// Deliveries while measuring, and how many were behind at either end.
async fn count(shared: &Shared, delivered: &watch::Receiver<u64>) -> Figure {
    let look = || {
        let delivered = *delivered.borrow();
        let posted = shared.next.load(Ordering::Relaxed) - shared.first;
        (Instant::now(), delivered, posted.saturating_sub(delivered))
    };
    tokio::time::sleep_until(shared.begin.into()).await;
    let (begun, before, backlog_before) = look();
    tokio::time::sleep_until(shared.end.into()).await;
    let (ended, after, backlog_after) = look();
    Figure { backlog_before, backlog_after, ..Figure::of(after - before, ended - begun) }
}

impl Shared {
    /// The number of the next message, once there is room for it; `None` when time is up.
    async fn admit(&self, delivered: &mut Option<watch::Receiver<u64>>) -> Option<u64> {
        if let Some(delivered) = delivered {
            let room = delivered.wait_for(|delivered| {
                let posted = self.next.load(Ordering::Relaxed) - self.first;
                posted < delivered + self.window || Instant::now() >= self.end
            });
            let room = tokio::time::timeout_at((self.end).into(), room).await;
            if !matches!(room, Ok(Ok(_))) {
                return None;
            }
        }
        (Instant::now() < self.end).then(|| self.next.fetch_add(1, Ordering::Relaxed))
    }
}

async fn drive(shared: Arc<Shared>, address: SocketAddr, vendor: Vendor) -> Result<Tally> {
    let lost = failed("the server cannot be reached");
    let mut stream = TcpStream::connect(address).await.map_err(&lost)?;
    stream.set_nodelay(true).map_err(&lost)?;
    let (mut callbacks, mut delivered) = (Callbacks::new(vendor), shared.delivered.clone());
    let (mut request, mut answer, mut tally) = (Vec::new(), Vec::with_capacity(4096), Tally::default());
    while let Some(number) = shared.admit(&mut delivered).await {
        callbacks.request(number, now_ms(), &mut request);
        let posted = Instant::now();
        stream.write_all(&request).await.map_err(&lost)?;
        let good = read_answer(&mut stream, &mut answer).await?;
        let answered = Instant::now();
        if posted >= shared.begin && answered <= shared.end {
            tally.micros.push(u32::try_from((answered - posted).as_micros()).unwrap_or(u32::MAX));
        }
        tally.faults += u64::from(!good);
    }
    Ok(tally)
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Reads one whole answer; whether its status is 200.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<bool> {
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.map_err(failed("an answer was cut off"))?;
        if read == 0 {
            return Err(Error::new(ErrorKind::Unavailable, "the server closed a connection"));
        }
        if let Some((status, length)) = parse_answer(buffer)
            && buffer.len() >= length
        {
            return Ok(status == 200);
        }
    }
}

/// The status and the whole length of an answer, once its head is complete. Only what the servers measured here send.
fn parse_answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse().ok())?;
    Some((status, head + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(parse_answer(answer), Some((200, answer.len())));
        assert_eq!(parse_answer(&answer[..answer.len() - 2]), Some((200, answer.len())));
        assert_eq!(parse_answer(&answer[..20]), None);
        assert_eq!(parse_answer(b"HTTP/1.1 503 No\r\n\r\n"), Some((503, 19)));
    }
}
