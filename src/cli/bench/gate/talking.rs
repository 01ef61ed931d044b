//! What devices say, and how fast.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use switchboard_contract::Result;
use switchboard_selfhosted::frame::{Body, Command, Kind, Packet, encode_body};
use switchboard_selfhosted::proto;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;

use super::{GROUP, Shared, Talk, user};
use crate::cli::bench::frames;
use crate::cli::bench::measure::failed;

/// Characters of a message's text, its time included.
const TEXT: usize = 60;
/// Messages sent and not yet with the slowest device, at most: what a device may have unacknowledged.
const WINDOW: u64 = 1024;
/// How often who waits without sleeping looks for what has come, in microseconds: the kernel's lists are not its alone.
const LOOK_EVERY: u64 = 5;
/// Messages put into one write.
const BURST: u32 = 16;

pub(super) fn say(to: &proto::target::To, number: u64, key: &str, due: u64, out: &mut BytesMut) {
    let text = format!("t={due:012} {:x<1$}", "", TEXT - 15);
    let content = proto::Content { body: format!(r#"{{"type":"text","text":"{text}"}}"#), ..Default::default() };
    let to = Some(proto::Target { to: Some(to.clone()) });
    let send = proto::Send { to, content: Some(content), client_id: format!("{key}-{number:010}") };
    Packet::new(Kind::Request, Command::Send, number, encode_body(&Body::Send(send))).encode(out);
}

type Writers = Vec<Arc<tokio::sync::Mutex<OwnedWriteHalf>>>;

/// Lets them talk until the process ends.
pub(super) async fn talking(writers: Writers, shared: Arc<Shared>) -> Result<()> {
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

/// Waits without sleeping. A timer would send up to a millisecond late, and a core that sleeps must be woken at each write,
/// at the expense of the one who writes: in truth the devices are on other machines.
async fn steady(writers: Writers, rate: u64, shared: Arc<Shared>) -> Result<()> {
    let to = proto::target::To::Group(GROUP.to_owned());
    let (begun, mut number) = (shared.now(), 0);
    loop {
        let due = begun + number * 1_000_000 / rate.max(1);
        while shared.now() < due {
            let look = shared.now() + LOOK_EVERY;
            while shared.now() < look {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
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
