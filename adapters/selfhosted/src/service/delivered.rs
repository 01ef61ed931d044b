//! What has reached devices, gathered for a moment and then written together: a line for each mark in a conversation of
//! two, which its sender waits for; in groups, where every member has one, the marks alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::storage::{ConversationMarks, Timelines};
use switchboard_contract::{Clock, ConversationId, ConversationKind, MessageId, Sequence, UserId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acts::Act;
use super::writer::WriterHandle;

/// In groups marks are written once in so many rounds.
const GROUPS_EVERY: u32 = 5;

type Raised = HashMap<(UserId, ConversationId), (Sequence, MessageId)>;

/// Marks that have risen and are not written yet.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    people: Arc<Mutex<Raised>>,
    groups: Arc<Mutex<Raised>>,
    writer: WriterHandle,
    log: Arc<dyn Timelines>,
}

pub(super) fn start(
    tasks: &TaskTracker,
    clock: Arc<dyn Clock>,
    every: Duration,
    writer: WriterHandle,
    log: Arc<dyn Timelines>,
    stop: CancellationToken,
) -> Delivered {
    let delivered = Delivered { people: Arc::default(), groups: Arc::default(), writer, log };
    let task = delivered.clone();
    tasks.spawn(async move {
        let mut round = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep(every) => {}
            }
            task.flush_people().await;
            round = round.wrapping_add(1);
            if round.is_multiple_of(GROUPS_EVERY) {
                task.flush_groups().await;
            }
        }
    });
    delivered
}

impl Delivered {
    /// Everything up to this message has reached one of the user's devices.
    pub(super) fn raise(&self, user: &UserId, conversation: &ConversationId, through: Sequence, last: MessageId) {
        let grouped = matches!(conversation.kind(), ConversationKind::Group | ConversationKind::Room);
        let mut raised = if grouped { self.groups.lock() } else { self.people.lock() };
        let mark = raised.entry((user.clone(), conversation.clone())).or_insert((through, last));
        if mark.0 < through {
            *mark = (through, last);
        }
    }

    /// A crash loses what is not written: the device has acknowledged all the same, and the next mark covers it.
    pub(super) async fn flush(&self) {
        self.flush_people().await;
        self.flush_groups().await;
    }

    async fn flush_people(&self) {
        let raised = std::mem::take(&mut *self.people.lock());
        let mut answers = Vec::with_capacity(raised.len());
        for ((user, conversation), (through, last)) in raised {
            let act = Act::Delivered { user, conversation, through, last };
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

    async fn flush_groups(&self) {
        let raised = std::mem::take(&mut *self.groups.lock());
        if raised.is_empty() {
            return;
        }
        let marks = raised.into_iter().map(|((user, conversation), (delivered, _))| {
            (conversation, ConversationMarks { user, delivered, read: Sequence(0) })
        });
        if let Err(error) = self.log.raise_marks(marks.collect()).await {
            tracing::debug!(%error, "delivered marks of groups were not written");
        }
    }
}
