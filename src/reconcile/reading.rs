//! Reading a file beside the comparison, a few batches ahead.

use switchboard_contract::{Error, ErrorKind, HourFile, Inbound, Result};
use tokio::sync::mpsc;

/// Batches read ahead: with the one being compared they bound the memory of a file of any size.
const AHEAD: usize = 2;

/// Some events of a file.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Inbound>,
    /// Lines too long to be read.
    pub(super) skipped: u64,
}

/// The file's events in batches, then the error at which reading ended, if it did not end well. Reading stops when
/// the receiver goes.
pub(super) fn read(file: HourFile, most: usize, most_bytes: usize) -> mpsc::Receiver<Result<Batch>> {
    let (sender, batches) = mpsc::channel(AHEAD);
    let reader = sender.clone();
    let task = tokio::task::spawn_blocking(move || {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        for line in file.lines {
            match line {
                Ok(item) => {
                    bytes += item.raw.len();
                    batch.items.push(item);
                }
                Err(error) if error.kind() == ErrorKind::TooLarge => batch.skipped += 1,
                Err(error) => {
                    // Whoever compared has left when this fails, and asks no more.
                    let _ = reader.blocking_send(Ok(batch)).and_then(|()| reader.blocking_send(Err(error)));
                    return;
                }
            }
            if batch.items.len() >= most || bytes >= most_bytes {
                if reader.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                    return;
                }
                bytes = 0;
            }
        }
        let _ = reader.blocking_send(Ok(batch));
    });
    tokio::spawn(async move {
        if let Err(error) = task.await {
            let error = Error::new(ErrorKind::Internal, "reading a history file panicked").with_source(error);
            let _ = sender.send(Err(error)).await;
        }
    });
    batches
}
