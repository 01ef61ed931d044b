//! What has reached devices, gathered for a moment and then written together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::{Clock, ConversationId, Sequence, UserId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acts::Act;
use super::writer::WriterHandle;

type Raised = HashMap<(UserId, ConversationId), u64>;

/// Marks that have risen and are not written yet.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    raised: Arc<Mutex<Raised>>,
    writer: WriterHandle,
}

pub(super) fn start(
    tasks: &TaskTracker,
    clock: Arc<dyn Clock>,
    every: Duration,
    writer: WriterHandle,
    stop: CancellationToken,
) -> Delivered {
    let delivered = Delivered { raised: Arc::default(), writer };
    let task = delivered.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep(every) => task.flush().await,
            }
        }
    });
    delivered
}

impl Delivered {
    pub(super) fn raise(&self, user: &UserId, conversation: &ConversationId, through: u64) {
        let mut raised = self.raised.lock();
        let mark = raised.entry((user.clone(), conversation.clone())).or_default();
        *mark = through.max(*mark);
    }

    /// A crash loses what is not written: the device has acknowledged all the same, and the next mark covers it.
    pub(super) async fn flush(&self) {
        let raised = std::mem::take(&mut *self.raised.lock());
        let mut answers = Vec::with_capacity(raised.len());
        for ((user, conversation), through) in raised {
            let act = Act::Delivered { user, conversation, through: Sequence(through) };
            match self.writer.submit(act).await {
                Ok(answer) => answers.push(answer),
                Err(_) => return,
            }
        }
        for answer in answers {
            if let Err(error) = answer.wait().await {
                tracing::debug!(%error, "a delivered mark was not written");
            }
        }
    }
}
