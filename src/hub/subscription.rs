//! One worker's stream of deliveries.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use switchboard_contract::reception::Input;
use tokio_util::sync::ReusableBoxFuture;

use super::batch::{Batch, Delivery, Fetched, Spot};
use super::desk::{Ask, Desk};
use super::types::{Recovery, SubscriptionState};

/// One worker of a subscriber. Several of one name share the work: each conversation is with one of them at a time.
///
/// Dropping it gives back what it holds unacknowledged: that comes again, to it or to others, and the first of it
/// counts as failed, since it may be what ended the worker. [`close`](Self::close) says good-bye instead.
pub struct Subscription {
    desk: Desk,
    batch: usize,
    recovery: Recovery,
    buffer: Option<(Arc<Fetched>, Spot)>,
    /// Kept over calls that were given up, so that nothing handed out is forgotten; its memory is kept over fetches.
    fetch: Option<ReusableBoxFuture<'static, Option<Arc<Fetched>>>>,
    fetching: bool,
    closed: bool,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({}, worker {})", self.desk.core.name, self.desk.worker.0)
    }
}

impl Subscription {
    pub(super) fn new(desk: Desk, batch: usize, recovery: Recovery) -> Self {
        Self { desk, batch: batch.max(1), recovery, buffer: None, fetch: None, fetching: false, closed: false }
    }

    /// Whether everything since the last acknowledgement was there when this worker joined.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// The next delivery; `None` when the subscriber was removed or the hub stops. Giving up the wait loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|context| self.poll_delivery(context)).await
    }

    /// The next deliveries: as many as are there, at least one, at most `max`. Empty when the stream has ended.
    pub async fn next_batch(&mut self, max: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        if let Some(first) = self.next().await {
            deliveries.push(first);
            while deliveries.len() < max {
                let Some(next) = self.buffered() else { break };
                deliveries.push(next);
            }
        }
        deliveries
    }

    /// The next deliveries as one batch with no cost per delivery, at most [`WorkerOptions::batch`] of them. Do not
    /// mix it with [`next`](Self::next) in the middle of what that has fetched.
    ///
    /// [`WorkerOptions::batch`]: super::WorkerOptions::batch
    pub async fn next_page(&mut self) -> Option<Batch> {
        std::future::poll_fn(|context| self.poll_fetched(context)).await.map(Batch)
    }

    /// The states of the subscriber as they change, beginning with the present one. Ends with the subscription.
    pub fn states(&self) -> impl Stream<Item = SubscriptionState> + use<> {
        let states = self.desk.core.states.subscribe();
        futures::stream::unfold((states, true), |(mut states, first)| async move {
            if !first {
                states.changed().await.ok()?;
            }
            let state = states.borrow_and_update().clone();
            Some((state, (states, false)))
        })
    }

    /// Where the subscriber stands now.
    pub fn state(&self) -> SubscriptionState {
        self.desk.core.states.borrow().clone()
    }

    /// Says good-bye: what is held comes again without counting as failed.
    pub fn close(mut self) {
        self.leave(false);
    }

    fn leave(&mut self, lost: bool) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.fetch = None;
        self.buffer = None;
        let Desk { shared, core, worker } = &self.desk;
        let mut inner = core.lock();
        inner.workers.retain(|other| other != worker);
        inner.used_at = shared.clock.now();
        core.apply(shared, &mut inner, Input::Leave { worker: *worker, lost });
        drop(inner);
        core.wake();
    }

    fn buffered(&mut self) -> Option<Delivery> {
        let (fetched, next) = self.buffer.as_mut()?;
        let delivery = Delivery::next(fetched, next);
        if delivery.is_none() {
            self.buffer = None;
        }
        delivery
    }

    fn poll_fetched(&mut self, context: &mut Context<'_>) -> Poll<Option<Arc<Fetched>>> {
        if self.closed {
            return Poll::Ready(None);
        }
        let (desk, ask) = (&self.desk, Ask::Take(self.batch));
        let fetch = match &mut self.fetch {
            Some(fetch) => {
                if !self.fetching {
                    fetch.set(desk.clone().fetch_owned(ask));
                }
                fetch
            }
            none => none.insert(ReusableBoxFuture::new(desk.clone().fetch_owned(ask))),
        };
        self.fetching = true;
        let fetched = ready!(fetch.poll(context));
        self.fetching = false;
        Poll::Ready(fetched)
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            if let Some(delivery) = self.buffered() {
                return Poll::Ready(Some(delivery));
            }
            match ready!(self.poll_fetched(context)) {
                Some(fetched) => self.buffer = Some((fetched, Spot::default())),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.get_mut().poll_delivery(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.leave(true);
    }
}
