//! Running hooks: one after another, within their time, and whatever they do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use switchboard_contract::storage::{CommitListener, Entry, Leg, NewSend, Store};
use switchboard_contract::{
    CallHeaders, Clock, ConversationKind, Error, ErrorKind, Event, EventData, ProviderId, Result, Retry, SentTo, Shard,
    TenantId, Topic,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{SendCall, SendDraft, SendHook, StateChange};
use crate::sending::context::AppPost;
use crate::sending::metrics;

/// Changes of state that may wait for hooks.
const WAITING: usize = 16_384;

/// All hooks, in order.
#[derive(Debug)]
pub(crate) struct Hooks {
    hooks: Vec<Arc<dyn SendHook>>,
    within: Duration,
}

impl Hooks {
    pub(crate) fn new(hooks: Vec<Arc<dyn SendHook>>, within: Duration) -> Self {
        Self { hooks, within }
    }

    /// What hooks are shown of a call; `None` without hooks.
    pub(crate) fn about(
        &self,
        post: &AppPost,
        alias: &ProviderId,
        kind: ConversationKind,
        legs: &[Leg],
    ) -> Option<SendCall> {
        let send = &legs.first().filter(|_| !self.hooks.is_empty())?.send;
        Some(SendCall {
            tenant: send.tenant.clone(),
            provider: post.alias_for(&send.tenant).unwrap_or_else(|| alias.clone()),
            app: post.app.clone(),
            send: send.id,
            messages: legs.iter().map(|leg| leg.message_id).collect(),
            attempt: legs.iter().map(|leg| leg.attempts).max().unwrap_or(0).saturating_add(1),
            kind,
            headers: CallHeaders::new(),
        })
    }

    /// See [`SendHook::before_build`].
    pub(crate) async fn before_build(&self, clock: &dyn Clock, send: &mut NewSend) -> Result<()> {
        let mut draft = SendDraft { send };
        for hook in &self.hooks {
            let work = async { hook.before_build(&mut draft).await };
            self.bounded(clock, hook.name(), "before_build", work).await?;
        }
        Ok(())
    }

    /// See [`SendHook::before_send`].
    pub(crate) async fn before_send(&self, clock: &dyn Clock, call: &mut SendCall) -> Result<()> {
        for hook in &self.hooks {
            let work = async { hook.before_send(call).await };
            self.bounded(clock, hook.name(), "before_send", work).await.map_err(unsent)?;
        }
        Ok(())
    }

    /// See [`SendHook::after_answer`].
    pub(crate) fn after_answer(&self, call: &SendCall, answer: std::result::Result<&[SentTo], &Error>) {
        for hook in &self.hooks {
            if catch_unwind(AssertUnwindSafe(|| hook.after_answer(call, answer))).is_err() {
                failed(hook.name(), "after_answer", "it panicked");
            }
        }
    }

    fn on_state(&self, tenant: TenantId, entry: &Entry) {
        let Ok(Event { app, received_at, data: EventData::SendStatus(status), .. }) = entry.event() else {
            return tracing::error!(op = "on_state", ?entry, "a change of state cannot be read");
        };
        let change = StateChange { tenant, app, at: received_at, status };
        for hook in &self.hooks {
            if catch_unwind(AssertUnwindSafe(|| hook.on_state(&change))).is_err() {
                failed(hook.name(), "on_state", "it panicked");
            }
        }
    }

    /// Runs a hook that may refuse: its panic and its delay are refusals, too.
    async fn bounded(
        &self,
        clock: &dyn Clock,
        hook: &'static str,
        stage: &'static str,
        work: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        tokio::select! {
            biased;
            outcome = AssertUnwindSafe(work).catch_unwind() => outcome.unwrap_or_else(|_| {
                failed(hook, stage, "it panicked");
                // Never repeated: it would most likely panic for ever.
                Err(Error::new(ErrorKind::Internal, "a hook panicked"))
            }),
            () = clock.sleep(self.within) => {
                failed(hook, stage, "it took too long");
                Err(Error::new(ErrorKind::Timeout, "a hook took too long").with_retry(Retry::Safe { after: None }))
            }
        }
    }
}

/// Nothing was sent, whatever the hook says of its own doings.
fn unsent(error: Error) -> Error {
    match error.retry() {
        Retry::OutcomeUnknown => error.with_retry(Retry::Safe { after: None }),
        _ => error,
    }
}

/// Counts and logs; what a panic says may hold content, and is left out.
fn failed(hook: &'static str, stage: &'static str, why: &'static str) {
    metrics::hook_failed(hook, stage);
    tracing::error!(op = "hook", hook, stage, why, "a hook failed");
}

/// Tells hooks of changes of state, away from those who commit. Every change of a state is a `send_status` event in a
/// commit, whoever makes it: hence this is the one place that knows of all of them, and of none that is not durable.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Telling {
    /// Begins, if there is a hook to tell.
    pub(crate) fn begin(hooks: &Arc<Hooks>, store: &dyn Store) -> Self {
        let telling = Self::default();
        if !hooks.hooks.is_empty() {
            let (queue, changes) = mpsc::channel(WAITING);
            store.listen(Arc::new(Ear { queue }));
            telling.tracker.spawn(tell(Arc::clone(hooks), changes, telling.stop.clone()));
        }
        telling
    }

    /// Tells what is left, and ends.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn tell(hooks: Arc<Hooks>, mut changes: mpsc::Receiver<(TenantId, Entry)>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            Some((tenant, entry)) = changes.recv() => hooks.on_state(tenant, &entry),
            () = stop.cancelled() => break,
        }
    }
    while let Ok((tenant, entry)) = changes.try_recv() {
        hooks.on_state(tenant, &entry);
    }
}

/// Takes changes from the store as they are committed, in their order. It never waits: the store does.
#[derive(Debug)]
struct Ear {
    queue: mpsc::Sender<(TenantId, Entry)>,
}

impl CommitListener for Ear {
    fn committed(&self, tenant: &TenantId, _: Shard, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| entry.topic == Topic::SendStatus) {
            if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send((tenant.clone(), entry.clone())) {
                metrics::hook_missed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_a_hook_refuses_was_never_sent() {
        let unknown = Error::new(ErrorKind::Unavailable, "x").with_retry(Retry::OutcomeUnknown);
        assert_eq!(unsent(unknown).retry(), Retry::Safe { after: None });
        assert_eq!(unsent(Error::new(ErrorKind::Rejected, "x")).retry(), Retry::Never);
    }
}
