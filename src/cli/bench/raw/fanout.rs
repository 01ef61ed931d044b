//! Two raw ways to give one message to many tasks of one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use switchboard_contract::Result;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::cli::bench::measure::{Figure, failed};

/// Messages published before the subscribers get a turn.
pub(in crate::cli::bench) const BURST: usize = 64;

/// A log that everybody reads, each with a cursor of its own, woken by one watch.
pub(in crate::cli::bench) fn log(subscribers: usize, bytes: usize, run_ms: u64) -> Result<Figure> {
    on_one_thread(async move {
        let log: Rc<RefCell<Vec<Bytes>>> = Rc::default();
        let (tail, watched) = watch::channel(0_usize);
        let delivered = Rc::new(Cell::new(0_u64));
        let set = LocalSet::new();
        for _ in 0..subscribers {
            let (log, mut watched, delivered) = (Rc::clone(&log), watched.clone(), Rc::clone(&delivered));
            set.spawn_local(async move {
                let mut cursor = 0;
                while watched.changed().await.is_ok() {
                    let log = log.borrow();
                    let fresh = &log[cursor..];
                    cursor = log.len();
                    for message in fresh {
                        std::hint::black_box(message.clone());
                    }
                    delivered.set(delivered.get() + fresh.len() as u64);
                }
            });
        }
        let publish = async || {
            let mut log = log.borrow_mut();
            log.extend((0..BURST).map(|_| Bytes::from(vec![b'x'; bytes])));
            tail.send_replace(log.len());
        };
        measured(&set, subscribers, run_ms, &delivered, publish).await
    })
}

/// A bounded channel for each subscriber, and a publisher that waits for room as it must.
pub(in crate::cli::bench) fn channels(subscribers: usize, bytes: usize, run_ms: u64) -> Result<Figure> {
    on_one_thread(async move {
        let delivered = Rc::new(Cell::new(0_u64));
        let set = LocalSet::new();
        let senders: Vec<mpsc::Sender<Bytes>> = (0..subscribers)
            .map(|_| {
                let (sender, mut receiver) = mpsc::channel::<Bytes>(1024);
                let delivered = Rc::clone(&delivered);
                set.spawn_local(async move {
                    while let Some(message) = receiver.recv().await {
                        std::hint::black_box(message);
                        delivered.set(delivered.get() + 1);
                    }
                });
                sender
            })
            .collect();
        let publish = async || {
            for _ in 0..BURST {
                let message = Bytes::from(vec![b'x'; bytes]);
                for sender in &senders {
                    // The receivers live as long as the set.
                    let _ = sender.send(message.clone()).await;
                }
            }
        };
        measured(&set, subscribers, run_ms, &delivered, publish).await
    })
}

/// Publishes burst after burst, each when the one before has reached everybody.
async fn measured(
    set: &LocalSet,
    subscribers: usize,
    run_ms: u64,
    delivered: &Cell<u64>,
    publish: impl AsyncFn(),
) -> Figure {
    set.run_until(async {
        // Everybody waits before the first message comes.
        tokio::task::yield_now().await;
        let begun = Instant::now();
        let end = begun + Duration::from_millis(run_ms);
        let mut published = 0_u64;
        while Instant::now() < end {
            publish().await;
            published += (BURST * subscribers) as u64;
            while delivered.get() < published {
                tokio::task::yield_now().await;
            }
        }
        Figure::of(delivered.get(), begun.elapsed())
    })
    .await
}

fn on_one_thread(work: impl Future<Output = Figure>) -> Result<Figure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("a runtime cannot be made"))?;
    Ok(runtime.block_on(work))
}
