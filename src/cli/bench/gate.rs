//! Devices of the self-hosted service, many in one process: they log in, send, read, and acknowledge.
//!
//! Packets are looked at as bytes: whoever drives must not be slower than what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};
use switchboard_selfhosted::frame::{Body, Command, HEADER_BYTES, Kind, Packet, encode_body};
use switchboard_selfhosted::proto;
use switchboard_selfhosted::service::TokenIssuer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;

use super::child::Ready;
use super::frames;
use super::measure::{Figure, failed};
use super::role::{ready, told_to_stop};

/// Signs the tokens.
pub(super) const SECRET: &str = "a secret for the bench";
/// The group of all.
pub(super) const GROUP: &str = "team";
/// Characters of a message's text, its time included.
const TEXT: usize = 60;
/// Entries that a device acknowledges together, at most, and how long it may wait with that.
const ACK_ENTRIES: u64 = 256;
const ACK_AFTER: Duration = Duration::from_millis(100);
/// Messages sent and not yet with the slowest device, at most: what a device may have unacknowledged.
const WINDOW: u64 = 1024;
/// Messages put into one write.
const BURST: u32 = 16;

/// The name of a user.
pub(super) fn user(number: usize) -> String {
    format!("u{number}")
}

/// What the devices do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Talk {
    /// All in one group. So many of them send as fast as the slowest reads.
    Saturate { senders: usize },
    /// All in one group. So many messages each second, whatever happens; each is timed from the moment it was due.
    Steady { rate: u64 },
    /// In pairs: the first of each keeps so many messages on their way to the second.
    Pairs { window: usize },
    /// Nothing.
    Silence,
    /// The first takes what waits for it, page by page.
    Backlog { messages: u64 },
}

/// Devices to log in, one for each user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Devices {
    pub(super) address: SocketAddr,
    pub(super) count: usize,
    pub(super) talk: Talk,
    /// Before measuring begins.
    pub(super) warm_ms: u64,
    pub(super) run_ms: u64,
}

/// What all devices of the process share.
struct Shared {
    talk: Talk,
    began: Instant,
    /// Entries each has read.
    read: Vec<AtomicU64>,
    /// Messages acknowledged by the service.
    sent: AtomicU64,
    refused: AtomicU64,
    /// Bytes of the last entry.
    payload: AtomicU64,
    /// Measuring, in microseconds since `began`; entries that arrive outside are not timed.
    from: AtomicU64,
    until: AtomicU64,
    micros: parking_lot::Mutex<Vec<u32>>,
    /// Messages that may be sent now (saturated), or by one pair (pairs: one for each).
    permits: Vec<Semaphore>,
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn slowest(&self) -> u64 {
        self.read.iter().map(|read| read.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    fn all(&self) -> u64 {
        self.read.iter().map(|read| read.load(Ordering::Relaxed)).sum()
    }
}

/// Logs everybody in, says so, lets them talk, and says what came of it.
pub(super) async fn run(devices: Devices) -> Result<Figure> {
    let Devices { address, count, talk, warm_ms, run_ms } = devices;
    let permits = match talk {
        Talk::Pairs { window } => (0..count / 2).map(|_| Semaphore::new(window)).collect(),
        _ => vec![Semaphore::new(0)],
    };
    let shared = Arc::new(Shared {
        talk,
        began: Instant::now(),
        read: (0..count).map(|_| AtomicU64::new(0)).collect(),
        sent: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        payload: AtomicU64::new(0),
        from: AtomicU64::new(u64::MAX),
        until: AtomicU64::new(u64::MAX),
        micros: parking_lot::Mutex::default(),
        permits,
    });
    let mut open = Vec::with_capacity(count);
    for number in 0..count {
        open.push(Device::log_in(address, number).await?);
    }
    ready(Ready { address, meter: None });
    if let Talk::Backlog { messages } = talk {
        return backlog(open, messages).await;
    }
    if talk == Talk::Silence {
        told_to_stop().await;
        return Ok(Figure { count: open.len() as u64, ..Figure::default() });
    }
    for device in &mut open {
        device.catch_up().await?;
    }
    let mut tasks = tokio::task::JoinSet::new();
    let mut writers = Vec::new();
    for device in open {
        let (reader, writer) = device.split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        writers.push(Arc::clone(&writer));
        tasks.spawn(read(reader, writer, Arc::clone(&shared)));
    }
    tasks.spawn(talking(writers, Arc::clone(&shared)));
    let measured = async {
        tokio::time::sleep(Duration::from_millis(warm_ms)).await;
        let (begun, read, sent) = (Instant::now(), shared.all(), shared.sent.load(Ordering::Relaxed));
        shared.from.store(shared.now(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(run_ms)).await;
        shared.until.store(shared.now(), Ordering::Relaxed);
        let took = begun.elapsed();
        let count = match talk {
            Talk::Pairs { .. } => shared.sent.load(Ordering::Relaxed) - sent,
            _ => shared.all() - read,
        };
        Figure::of(count, took)
    };
    let figure = tokio::select! {
        figure = measured => figure,
        Some(ended) = tasks.join_next() => {
            ended.map_err(failed("a device ended"))??;
            return Err(Error::new(ErrorKind::Unavailable, "the service closed a connection"));
        }
    };
    let micros = std::mem::take(&mut *shared.micros.lock());
    let (payload, faults) = (shared.payload.load(Ordering::Relaxed), shared.refused.load(Ordering::Relaxed));
    Ok(Figure { payload, faults, ..figure }.timed(micros))
}

fn request(command: Command, number: u64, body: &Body, out: &mut Vec<u8>) {
    let mut bytes = BytesMut::new();
    Packet::new(Kind::Request, command, number, encode_body(body)).encode(&mut bytes);
    frames::write_client(2, &bytes, out);
}

/// One connection whose frames are read whole.
struct Device {
    number: usize,
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Reader {
    number: usize,
    half: OwnedReadHalf,
    buffer: Vec<u8>,
}

/// A packet as it lies in a buffer.
struct Seen<'a> {
    kind: u8,
    error: bool,
    command: u16,
    correlation: u64,
    body: &'a [u8],
}

/// Takes whole frames from the front of `buffer` and shows the packets in them.
fn packets(buffer: &mut Vec<u8>, mut show: impl FnMut(&Seen<'_>)) {
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

const ACK: u8 = Kind::Ack as u8;
const LOGIN: u16 = Command::Login as u16;
const PULL: u16 = Command::Pull as u16;
const SEND: u16 = Command::Send as u16;
const DELIVER: u16 = Command::Deliver as u16;

impl Device {
    async fn log_in(address: SocketAddr, number: usize) -> Result<Self> {
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
    async fn catch_up(&mut self) -> Result<u64> {
        let (mut after, mut entries) = (0, 0);
        loop {
            let body = self.ask(Command::Pull, &Body::Pull(proto::Pull { after, limit: 0 }), PULL).await?;
            let Some((count, cursor)) = page(&body) else { return Ok(entries) };
            (after, entries) = (cursor, entries + count);
        }
    }

    fn split(self) -> (Reader, OwnedWriteHalf) {
        let (half, writer) = self.stream.into_split();
        (Reader { number: self.number, half, buffer: self.buffer }, writer)
    }
}

/// The entries of a page and its cursor; `None` for the empty one.
fn page(mut body: &[u8]) -> Option<(u64, u64)> {
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

async fn backlog(devices: Vec<Device>, messages: u64) -> Result<Figure> {
    let Some(mut device) = devices.into_iter().next() else { return Ok(Figure::default()) };
    let begun = Instant::now();
    let found = device.catch_up().await?;
    let figure = Figure::of(found, begun.elapsed());
    Ok(Figure { faults: found.abs_diff(messages), ..figure })
}

/// Reads one connection until the service closes it.
async fn read(mut reader: Reader, writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>, shared: Arc<Shared>) -> Result<()> {
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
            Packet::new(Kind::Ack, Command::Deliver, last, bytes::Bytes::new()).encode(&mut bytes);
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
fn time_in(body: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(body, b"t=")?;
    std::str::from_utf8(body.get(at + 2..at + 14)?).ok()?.parse().ok()
}

fn say(to: &proto::target::To, number: u64, key: &str, due: u64, out: &mut BytesMut) {
    let text = format!("t={due:012} {:x<1$}", "", TEXT - 15);
    let content = proto::Content { body: format!(r#"{{"type":"text","text":"{text}"}}"#), ..Default::default() };
    let to = Some(proto::Target { to: Some(to.clone()) });
    let send = proto::Send { to, content: Some(content), client_id: format!("{key}-{number:010}") };
    Packet::new(Kind::Request, Command::Send, number, encode_body(&Body::Send(send))).encode(out);
}

type Writers = Vec<Arc<tokio::sync::Mutex<OwnedWriteHalf>>>;

/// Lets them talk until the process ends.
async fn talking(writers: Writers, shared: Arc<Shared>) -> Result<()> {
    match shared.talk {
        Talk::Saturate { senders } => saturate(writers, senders, shared).await,
        Talk::Steady { rate } => steady(writers, rate, shared).await,
        Talk::Pairs { .. } => pairs(writers, shared).await,
        Talk::Silence | Talk::Backlog { .. } => std::future::pending().await,
    }
}

async fn write(writer: &tokio::sync::Mutex<OwnedWriteHalf>, packets: &[u8]) -> Result<()> {
    let mut out = Vec::with_capacity(packets.len() + 16);
    frames::write_client(2, packets, &mut out);
    writer.lock().await.write_all(&out).await.map_err(failed("a connection was cut off"))
}

async fn saturate(writers: Writers, senders: usize, shared: Arc<Shared>) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for (sender, writer) in writers.into_iter().take(senders).enumerate() {
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let (to, key) = (proto::target::To::Group(GROUP.to_owned()), format!("s{sender}"));
            let mut number = 0;
            loop {
                let permits = shared.permits[0].acquire_many(BURST).await.map_err(failed("nobody may send"))?;
                permits.forget();
                let (mut out, now) = (BytesMut::new(), shared.now());
                for _ in 0..BURST {
                    number += 1;
                    say(&to, number, &key, now, &mut out);
                }
                write(&writer, &out).await?;
            }
        });
    }
    let mut issued = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let allowed = shared.slowest() + WINDOW;
                shared.permits[0].add_permits(usize::try_from(allowed.saturating_sub(issued)).unwrap_or(0));
                issued = issued.max(allowed);
            }
            Some(ended) = tasks.join_next() => {
                let ended: Result<()> = ended.map_err(failed("a sender ended"))?;
                return ended;
            }
        }
    }
}

async fn steady(writers: Writers, rate: u64, shared: Arc<Shared>) -> Result<()> {
    let to = proto::target::To::Group(GROUP.to_owned());
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / rate.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let (begun, mut number) = (shared.now(), 0);
    loop {
        tick.tick().await;
        let due = begun + number * 1_000_000 / rate.max(1);
        number += 1;
        let (mut out, writer) = (BytesMut::new(), &writers[usize::try_from(number).unwrap_or(0) % writers.len()]);
        say(&to, number, "s", due, &mut out);
        write(writer, &out).await?;
    }
}

async fn pairs(writers: Writers, shared: Arc<Shared>) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for (pair, both) in writers.chunks_exact(2).enumerate() {
        let (shared, writer) = (Arc::clone(&shared), Arc::clone(&both[0]));
        tasks.spawn(async move {
            let (to, key) = (proto::target::To::User(user(pair * 2 + 1)), format!("p{pair}"));
            let (window, mut number) = (&shared.permits[pair], 0);
            loop {
                let mut count = 1;
                window.acquire().await.map_err(failed("nobody may send"))?.forget();
                while let Ok(more) = window.try_acquire() {
                    more.forget();
                    count += 1;
                }
                let (mut out, now) = (BytesMut::new(), shared.now());
                for _ in 0..count {
                    number += 1;
                    say(&to, number, &key, now, &mut out);
                }
                write(&writer, &out).await?;
            }
        });
    }
    match tasks.join_next().await {
        Some(ended) => ended.map_err(failed("a sender ended"))?,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

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
