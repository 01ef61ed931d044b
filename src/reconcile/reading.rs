//! Reading a file beside the comparison, a few batches ahead.

use bytes::Bytes;
use switchboard_contract::{Error, ErrorKind, HourLine, HourLines, Result, Timestamp};
use tokio::sync::mpsc;

/// Batches read ahead: with the one being compared they bound the memory of a file of any size.
const AHEAD: usize = 2;

/// Some lines of a file, as few pieces of memory: one thread fills them and another reads them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    ids: String,
    lines: Vec<End>,
    /// Lines too long to be read.
    pub(super) skipped: u64,
}

/// Where a line and its id end.
#[derive(Clone, Copy, Debug)]
struct End {
    text: usize,
    id: usize,
    /// When its message was sent; `None` for a line that must be decoded to be known.
    sent_at: Option<Timestamp>,
}

/// A line of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    text: &'a [u8],
    /// The id of its message and when that was sent, if a glance told.
    pub(super) message: Option<(&'a str, Timestamp)>,
}

impl Line<'_> {
    /// Its bytes, to be kept.
    pub(super) fn text(&self) -> Bytes {
        Bytes::copy_from_slice(self.text)
    }
}

impl Batch {
    fn push(&mut self, line: &HourLine<'_>) {
        self.text.extend_from_slice(line.text);
        if let Some(glance) = &line.glance {
            self.ids.push_str(&glance.id);
        }
        let sent_at = line.glance.as_ref().map(|glance| glance.sent_at);
        self.lines.push(End { text: self.text.len(), id: self.ids.len(), sent_at });
    }

    /// In their order.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let (mut text, mut id) = (0, 0);
        self.lines.iter().map(move |end| {
            let message = end.sent_at.map(|sent_at| (&self.ids[id..end.id], sent_at));
            let line = Line { text: &self.text[text..end.text], message };
            (text, id) = (end.text, end.id);
            line
        })
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ids.clear();
        self.lines.clear();
        self.skipped = 0;
    }
}

/// A file that is being read.
pub(super) struct Reading {
    batches: mpsc::Receiver<Result<Batch>>,
    /// Batches that were compared, to be filled again.
    used: mpsc::UnboundedSender<Batch>,
}

impl Reading {
    /// The next lines, then the error at which reading ended, if it did not end well.
    pub(super) async fn next(&mut self) -> Option<Result<Batch>> {
        self.batches.recv().await
    }

    /// Done with.
    pub(super) fn used(&self, mut batch: Batch) {
        batch.clear();
        // Whoever reads may have come to the end.
        let _ = self.used.send(batch);
    }
}

/// Reads a file in batches. Stops when the reading is dropped.
pub(super) fn read(lines: Box<dyn HourLines>, most: usize, most_bytes: usize) -> Reading {
    let (sender, batches) = mpsc::channel(AHEAD);
    let (used, again) = mpsc::unbounded_channel();
    let reader = sender.clone();
    let task = tokio::task::spawn_blocking(move || read_all(lines, (most, most_bytes), &reader, again));
    tokio::spawn(async move {
        if let Err(error) = task.await {
            let error = Error::new(ErrorKind::Internal, "reading a history file panicked").with_source(error);
            let _ = sender.send(Err(error)).await;
        }
    });
    Reading { batches, used }
}

fn read_all(
    mut lines: Box<dyn HourLines>,
    (most, most_bytes): (usize, usize),
    batches: &mpsc::Sender<Result<Batch>>,
    mut used: mpsc::UnboundedReceiver<Batch>,
) {
    let mut batch = Batch::default();
    while let Some(line) = lines.next() {
        match line {
            Ok(line) => batch.push(&line),
            Err(error) if error.kind() == ErrorKind::TooLarge => batch.skipped += 1,
            Err(error) => {
                // Whoever compared has left when this fails, and asks no more.
                let _ = batches.blocking_send(Ok(batch)).and_then(|()| batches.blocking_send(Err(error)));
                return;
            }
        }
        if batch.lines.len() >= most || batch.text.len() >= most_bytes {
            if batches.blocking_send(Ok(batch)).is_err() {
                return;
            }
            batch = used.try_recv().unwrap_or_default();
        }
    }
    let _ = batches.blocking_send(Ok(batch));
}
