//! Cursors of devices, written together: however many devices acknowledge at a time, one transaction takes them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::{DeviceCursor, Timelines};
use switchboard_contract::{Clock, Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::gathering::gather;

const QUEUE: usize = 1024;
const BATCH: usize = 512;
/// How long a cursor that nobody waits for waits for others.
const GATHER: Duration = Duration::from_millis(50);

enum Order {
    Save {
        cursor: DeviceCursor,
        reply: oneshot::Sender<bool>,
        /// Nobody waits for it.
        later: bool,
    },
    /// Somebody waits for what was ordered before.
    Hurry,
}

/// The way to the task that writes cursors.
#[derive(Debug)]
pub(crate) struct Saver(Mutex<Option<mpsc::Sender<Order>>>);

pub(super) fn start(tasks: &TaskTracker, clock: Arc<dyn Clock>, log: Arc<dyn Timelines>) -> Saver {
    let (sender, mut orders) = mpsc::channel(QUEUE);
    tasks.spawn(async move {
        let mut batch = Vec::new();
        while orders.recv_many(&mut batch, BATCH).await > 0 {
            let until = clock.now() + GATHER;
            let rests = |order: &Order| matches!(order, Order::Save { later: true, .. }).then_some(until);
            gather(&mut batch, &mut orders, BATCH, &*clock, rests).await;
            write(&mut batch, &*log).await;
        }
    });
    Saver(Mutex::new(Some(sender)))
}

async fn write(batch: &mut Vec<Order>, log: &dyn Timelines) {
    let saves = batch.drain(..).filter_map(|order| match order {
        Order::Save { cursor, reply, .. } => Some((cursor, reply)),
        Order::Hurry => None,
    });
    let (cursors, replies): (Vec<_>, Vec<_>) = saves.unzip();
    if cursors.is_empty() {
        return;
    }
    let count = cursors.len();
    let saved = log.save_devices(cursors).await;
    if let Err(error) = &saved {
        tracing::warn!(%error, count, "cursors of devices could not be stored");
        metrics::counter!("switchboard_gate_cursor_failures_total").increment(1);
    }
    // A device that is gone needs no answer.
    for reply in replies {
        let _ = reply.send(saved.is_ok());
    }
}

impl Saver {
    /// Queues a cursor. The answer says whether it is durable.
    pub(crate) async fn save(&self, cursor: DeviceCursor) -> Result<oneshot::Receiver<bool>> {
        self.order(cursor, false).await
    }

    /// Queues a cursor that nobody waits for: it may wait for others.
    pub(crate) async fn save_later(&self, cursor: DeviceCursor) -> Result<oneshot::Receiver<bool>> {
        self.order(cursor, true).await
    }

    async fn order(&self, cursor: DeviceCursor, later: bool) -> Result<oneshot::Receiver<bool>> {
        let closed = || Error::new(ErrorKind::Closed, "the service is stopping");
        let sender = self.0.lock().clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        sender.send(Order::Save { cursor, reply, later }).await.map_err(|_| closed())?;
        Ok(answer)
    }

    /// Somebody waits for what is queued.
    pub(crate) fn hurry(&self) {
        if let Some(sender) = &*self.0.lock() {
            // In a queue that is full nothing waits.
            let _ = sender.try_send(Order::Hurry);
        }
    }

    pub(super) async fn close(&self) {
        self.0.lock().take();
    }
}
