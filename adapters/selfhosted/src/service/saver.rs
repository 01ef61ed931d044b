//! Cursors of devices, written together: however many devices acknowledge at a time, one transaction takes them.

use std::sync::Arc;

use parking_lot::Mutex;
use switchboard_contract::storage::{DeviceCursor, Timelines};
use switchboard_contract::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

const QUEUE: usize = 1024;
const BATCH: usize = 512;

type Save = (DeviceCursor, oneshot::Sender<bool>);

/// The way to the task that writes cursors.
#[derive(Debug)]
pub(crate) struct Saver(Mutex<Option<mpsc::Sender<Save>>>);

pub(super) fn start(tasks: &TaskTracker, log: Arc<dyn Timelines>) -> Saver {
    let (sender, mut saves) = mpsc::channel::<Save>(QUEUE);
    tasks.spawn(async move {
        let mut batch = Vec::new();
        while saves.recv_many(&mut batch, BATCH).await > 0 {
            let (cursors, replies): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
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
    });
    Saver(Mutex::new(Some(sender)))
}

impl Saver {
    /// Queues a cursor. The answer says whether it is durable.
    pub(crate) async fn save(&self, cursor: DeviceCursor) -> Result<oneshot::Receiver<bool>> {
        let closed = || Error::new(ErrorKind::Closed, "the service is stopping");
        let sender = self.0.lock().clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        sender.send((cursor, reply)).await.map_err(|_| closed())?;
        Ok(answer)
    }

    pub(super) async fn close(&self) {
        self.0.lock().take();
    }
}
