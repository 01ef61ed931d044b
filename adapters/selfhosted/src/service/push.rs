//! A message that no device has taken for a while: somebody is told who can wake a phone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt as _};
use switchboard_contract::storage::Timelines;
use switchboard_contract::{Clock, ConversationId, MessageId, Position, Result, Timestamp, UserId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Routes;

/// Messages that wait for their acknowledgement; more are not watched, and counted.
const WATCHED: usize = 65_536;

/// A hint for a phone: that something waits, and never what it says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PushHint {
    /// Whose phone.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The message.
    pub message: MessageId,
    /// Who sent it.
    pub from: UserId,
    /// Unix milliseconds.
    pub sent_at: Timestamp,
}

/// Hands hints to a push service.
#[async_trait]
pub trait PushHook: fmt::Debug + Send + Sync {
    /// Tells of one message; called once for each message and user.
    ///
    /// # Errors
    /// Whatever went wrong; it is counted, and the hint is let go.
    async fn push(&self, hint: &PushHint) -> Result<()>;
}

/// A message to be watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) hint: PushHint,
    pub(super) position: Position,
}

pub(super) type Pushes = Option<mpsc::Sender<Watched>>;

/// Hooks called at a time; more hints wait.
const AT_ONCE: usize = 32;

/// What a push is decided by.
pub(super) struct Sources {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) log: Arc<dyn Timelines>,
    pub(super) routes: Routes,
}

pub(super) fn start(
    hook: Option<Arc<dyn PushHook>>,
    tasks: &TaskTracker,
    sources: Sources,
    after: Duration,
    stop: CancellationToken,
) -> Pushes {
    let hook = hook?;
    let (sender, mut watched) = mpsc::channel::<Watched>(1024);
    let sources = Arc::new(sources);
    tasks.spawn(async move {
        let mut waiting: VecDeque<Watched> = VecDeque::new();
        let mut under_way = FuturesUnordered::new();
        loop {
            let due = waiting.front().map(|first| (first.hint.sent_at + after).since(sources.clock.now()));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = under_way.next() => {}
                next = watched.recv() => match next {
                    Some(_) if waiting.len() >= WATCHED => {
                        metrics::counter!("switchboard_gate_push_unwatched_total").increment(1);
                    }
                    Some(next) => waiting.push_back(next),
                    None => return,
                },
                () = sources.clock.sleep(due.unwrap_or_default()), if due.is_some() && under_way.len() < AT_ONCE => {
                    if let Some(first) = waiting.pop_front() {
                        under_way.push(tell(hook.clone(), sources.clone(), first));
                    }
                }
            }
        }
    });
    Some(sender)
}

async fn tell(hook: Arc<dyn PushHook>, sources: Arc<Sources>, watched: Watched) {
    // What a device has acknowledged may be stored a moment later.
    let routes = sources.routes.of(&watched.hint.user);
    if routes.iter().any(|route| route.acked.load(Ordering::Relaxed) >= watched.position.0) {
        return;
    }
    let devices = match sources.log.devices(&watched.hint.user).await {
        Ok(devices) => devices,
        Err(error) => return tracing::warn!(%error, "whether a message was taken cannot be read"),
    };
    if devices.iter().any(|device| device.low >= watched.position) {
        return;
    }
    let outcome = if let Err(error) = hook.push(&watched.hint).await {
        tracing::warn!(%error, "a push was not taken");
        "failed"
    } else {
        "sent"
    };
    metrics::counter!("switchboard_gate_pushes_total", "outcome" => outcome).increment(1);
}
