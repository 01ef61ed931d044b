//! Group commit in SQLite: callers that each wait until their own row is durable.
//!
//! One thread owns the connection; it takes whatever waits and writes it in one transaction. With one row each it is
//! the plain way to make a callback durable. The table is the least that such a row needs to be known again and found:
//! unique keys that come in no order, and an index each by conversation and by time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as threads;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rusqlite::{Connection, params};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::cli::bench::callbacks::{BODY, CONVERSATIONS};
use crate::cli::bench::machine::fsync_us;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::raw::open;

/// How long the median fsync takes here.
pub(in crate::cli::bench) fn fsync(dir: &Path) -> Result<Figure> {
    let micros = fsync_us(dir)?;
    Ok(Figure { rate: 1e6 / micros, p50_us: micros as u64, ..Figure::default() })
}

type Waiting = (u64, oneshot::Sender<()>);

/// Measures for `run_ms` after a fifth of that to warm up.
pub(in crate::cli::bench) async fn run(dir: &Path, callers: usize, most: usize, run_ms: u64) -> Result<Figure> {
    let db = open(&dir.join("raw.db"))?;
    db.execute_batch(
        "CREATE TABLE callbacks (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, conversation INTEGER NOT NULL,
         received INTEGER NOT NULL, body BLOB NOT NULL);
         CREATE INDEX callbacks_conversation ON callbacks (conversation, received);
         CREATE INDEX callbacks_received ON callbacks (received);",
    )
    .map_err(failed("a raw database cannot be made"))?;
    let (sender, queue) = threads::channel();
    let writer = tokio::task::spawn_blocking(move || write(db, &queue, most.max(1)));

    let begin = Instant::now() + Duration::from_millis(run_ms / 5);
    let end = begin + Duration::from_millis(run_ms);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (sender, next) = (sender.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut micros = Vec::new();
            while Instant::now() < end {
                let (reply, answer) = oneshot::channel();
                let asked = Instant::now();
                if sender.send((next.fetch_add(1, Ordering::Relaxed), reply)).is_err() || answer.await.is_err() {
                    break;
                }
                if asked >= begin && Instant::now() <= end {
                    micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
            }
            micros
        });
    }
    drop(sender);
    let micros: Vec<u32> = tasks.join_all().await.into_iter().flatten().collect();
    writer.await.map_err(|error| Error::new(ErrorKind::Internal, "the writer panicked").with_source(error))??;
    Ok(Figure::of(micros.len() as u64, end - begin).timed(micros))
}

fn write(mut db: Connection, queue: &threads::Receiver<Waiting>, most: usize) -> Result<()> {
    let fail = failed("a raw row cannot be written");
    let body = vec![b'x'; BODY];
    let mut random = StdRng::seed_from_u64(1);
    let mut batch: Vec<Waiting> = Vec::new();
    while let Ok(first) = queue.recv() {
        batch.push(first);
        while batch.len() < most
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let transaction = db.transaction().map_err(&fail)?;
        {
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO callbacks (key, conversation, received, body) VALUES (?, ?, ?, ?)
                     ON CONFLICT DO NOTHING",
                )
                .map_err(&fail)?;
            for (number, _) in &batch {
                let (key, conversation) = (format!("{:020}", random.next_u64()), random.random_range(0..CONVERSATIONS));
                insert.execute(params![key, conversation.cast_signed(), number.cast_signed(), body]).map_err(&fail)?;
            }
        }
        transaction.commit().map_err(&fail)?;
        for (_, reply) in batch.drain(..) {
            // A caller whose time is up does not wait any more.
            let _ = reply.send(());
        }
    }
    Ok(())
}
