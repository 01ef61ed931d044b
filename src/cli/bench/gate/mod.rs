//! Devices of the self-hosted service, many in one process: they log in, send, read, and acknowledge.
//!
//! Packets are looked at as bytes: whoever drives must not be slower than what is measured.

mod device;
mod reading;
mod talking;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use super::child::Ready;
use super::measure::{Figure, failed};
use super::role::{ready, told_to_stop};
use device::Device;
use reading::read;
use talking::talking;

/// Signs the tokens.
pub(super) const SECRET: &str = "a secret for the bench";
/// The group of all.
pub(super) const GROUP: &str = "team";
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

async fn backlog(devices: Vec<Device>, messages: u64) -> Result<Figure> {
    let Some(mut device) = devices.into_iter().next() else { return Ok(Figure::default()) };
    let begun = Instant::now();
    let found = device.catch_up().await?;
    let figure = Figure::of(found, begun.elapsed());
    Ok(Figure { faults: found.abs_diff(messages), ..figure })
}
