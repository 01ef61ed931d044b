//! The forms of receiving: streams, pulls, and acknowledgements from elsewhere.

use std::sync::Arc;

use switchboard_contract::reception::{Handle, Input, Lease, Worker};
use switchboard_contract::storage::SubscriberUpdate;
use switchboard_contract::{Error, ErrorKind, Position, Result, SubscriberName, TenantId, Timestamp};

use super::Hub;
use super::batch::{Delivery, Fetched, Spot};
use super::core::{Core, Inner, Puller};
use super::desk::{Ask, Desk, within};
use super::id::{DeliveryId, PageCursor};
use super::restore;
use super::subscription::Subscription;
use super::types::{AckOutcome, AckRequest, NackRequest, PullPage, PullRequest, Recovery, WorkerOptions};

/// The worker of pulls that name none.
const PULLER: &str = "pull";

/// The most workers that pull under names, for one subscriber.
const PULLERS: usize = 256;

impl AckOutcome {
    pub(super) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.stale += other.stale;
    }

    pub(super) fn took_effect(self) -> Result<()> {
        if self.done > 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "the delivery is no longer open: it was answered, or it comes again"))
    }
}

impl Hub {
    /// Joins as one worker. Several workers of one subscriber share its events, each conversation with one of them at
    /// a time.
    ///
    /// # Errors
    /// `NotFound` for an unknown subscriber, `Storage`, `Closed`.
    pub async fn stream(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        options: WorkerOptions,
    ) -> Result<Subscription> {
        let core = self.shared.core(tenant, name).await?;
        let (worker, recovery) = self.join(&core, Inner::new_worker).await?;
        let desk = Desk { shared: Arc::clone(&self.shared), core, worker };
        Ok(Subscription::new(desk, options.batch, recovery))
    }

    /// Pulls one page. Presenting a page's cursor acknowledges what is still open of it, durably; without it, and
    /// while the page's deadline lasts, the same page comes again. If the caller goes away while waiting, what was
    /// handed out meanwhile is its open page.
    ///
    /// # Errors
    /// `NotFound` for an unknown subscriber; `InvalidInput` for a cursor that is none, a limit of 0 or too many
    /// worker names; `Timeout` when the store did not confirm the acknowledgement; `Storage`, `Closed`.
    pub async fn pull(&self, tenant: &TenantId, name: &SubscriberName, request: PullRequest) -> Result<PullPage> {
        if request.limit == 0 {
            return Err(Error::invalid("limit", "must be at least 1"));
        }
        let cursor = request.cursor.as_deref().map(str::parse::<PageCursor>).transpose()?;
        let core = self.shared.core(tenant, name).await?;
        let puller = request.worker.as_deref().unwrap_or(PULLER);
        let (worker, recovered) = self.join(&core, |inner| pull_worker(inner, puller)).await?;
        let now = self.shared.clock.now();
        {
            let mut inner = core.lock();
            if !inner.pullers.contains_key(puller) && inner.pullers.len() >= PULLERS {
                return Err(Error::invalid("worker", "too many workers pull under names of their own"));
            }
            inner.pullers.insert(puller.to_owned(), Puller { worker, seen: now });
        }
        let own = |cursor: &PageCursor| cursor.subscriber == core.mark && cursor.worker == worker;
        if let Some(cursor) = cursor.filter(own) {
            self.ack_page(&core, cursor).await?;
        }
        let desk = Desk { shared: Arc::clone(&self.shared), core: Arc::clone(&core), worker };
        let ask = Ask::Page { cursor: None, max: request.limit };
        let wait = request.wait.min(self.shared.config.pull_wait);
        let fetched = match desk.poll(ask).await? {
            Some(fetched) => Some(fetched),
            None if wait.is_zero() => None,
            // Nothing in time is an empty page, no failure.
            None => within(&self.shared, wait, "the pull", desk.fetch(ask)).await.unwrap_or(None),
        };
        Ok(page(&core, worker, fetched.as_ref(), recovered))
    }

    /// Acknowledges deliveries by name, durably.
    ///
    /// # Errors
    /// `NotFound` for an unknown subscriber; `InvalidInput` for a cursor that is none or of another worker;
    /// `Timeout` when the store did not confirm in time; `Storage`, `Closed`.
    pub async fn ack(&self, tenant: &TenantId, name: &SubscriberName, request: AckRequest) -> Result<AckOutcome> {
        let core = self.shared.core(tenant, name).await?;
        match request {
            AckRequest::Ids(ids) => {
                let handles = handles(&core, &ids);
                let mut outcome = self.shared.ack(&core, Input::Ack(&handles)).await?;
                outcome.stale += ids.len() - handles.len();
                Ok(outcome)
            }
            AckRequest::Through(id) => match handles(&core, &[id]).first() {
                Some(handle) => self.shared.ack(&core, Input::AckThrough(*handle)).await,
                None => Ok(AckOutcome { done: 0, stale: 1 }),
            },
            AckRequest::Cursor { cursor, worker } => {
                let cursor: PageCursor = cursor.parse()?;
                let known = worker.and_then(|worker| core.lock().pullers.get(&worker).map(|puller| puller.worker));
                if cursor.subscriber != core.mark || known.is_some_and(|known| known != cursor.worker) {
                    return Err(Error::invalid("cursor", "is of another worker"));
                }
                self.ack_page(&core, cursor).await
            }
        }
    }

    /// Acknowledges what is open of deliveries that came together. After a restart nobody knows the worker, and they come
    /// again.
    async fn ack_page(&self, core: &Arc<Core>, cursor: PageCursor) -> Result<AckOutcome> {
        let outcome = self.shared.settle_page(core, cursor);
        self.shared.wait_saved(core).await.map(|()| outcome)
    }

    /// Refuses deliveries by name; see [`Delivery::nack`].
    ///
    /// # Errors
    /// `NotFound` for an unknown subscriber; `InvalidInput` for a reason that is no word; `Storage`, `Closed`.
    pub async fn nack(&self, tenant: &TenantId, name: &SubscriberName, request: NackRequest) -> Result<AckOutcome> {
        let is_word = |word: &str| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            !word.is_empty() && word.len() <= 64 && word.bytes().all(plain)
        };
        if request.reason.as_deref().is_some_and(|reason| !is_word(reason)) {
            return Err(Error::invalid("reason", "must be lower-case letters, digits and underscores, at most 64"));
        }
        let core = self.shared.core(tenant, name).await?;
        let handles = handles(&core, &request.ids);
        let mut outcome = self.shared.nack(&core, &handles, request.after, request.reason.as_deref())?;
        outcome.stale += request.ids.len() - handles.len();
        Ok(outcome)
    }

    /// Adds a worker, after telling the machine what history there is. The first one begins the walk.
    async fn join(&self, core: &Arc<Core>, worker: impl FnOnce(&mut Inner) -> Worker) -> Result<(Worker, Recovery)> {
        let shared = &self.shared;
        let mut trimmed: Vec<Position> = Vec::with_capacity(core.tails.len());
        for tail in &core.tails {
            tail.raise(shared.store.tail(&core.tenant, tail.shard).await?);
            trimmed.push(shared.store.trimmed(&core.tenant, tail.shard).await?);
        }
        let now = shared.clock.now();
        self.note_return(core, now).await;
        let mut inner = core.lock();
        inner.ensure_open()?;
        if shared.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the hub stops"));
        }
        if inner.workers.is_empty() && restore::is_away(&inner.spec, inner.seen_at, now) {
            inner.expired = true;
        }
        for (tail, until) in core.tails.iter().zip(trimmed) {
            core.apply(shared, &mut inner, Input::Trimmed(tail.shard, until));
        }
        core.tell_tails(shared, &mut inner, now);
        let worker = worker(&mut inner);
        if !inner.workers.contains(&worker) {
            inner.workers.push(worker);
            core.apply(shared, &mut inner, Input::Join(worker));
        }
        inner.seen_at = now;
        inner.used_at = now;
        // Its presence is stored with the next save, which this asks for.
        core.apply(shared, &mut inner, Input::Flush);
        Ok((worker, inner.recovery()))
    }

    /// Stores that a subscriber is back before it is given anything: it may leave again, or we may crash, with nothing
    /// else to save, and from now on it holds what it has not read.
    async fn note_return(&self, core: &Arc<Core>, now: Timestamp) {
        let shared = &self.shared;
        {
            let inner = core.lock();
            if !inner.workers.is_empty() || now.since(inner.seen_at) < shared.config.seen_every {
                return;
            }
        }
        let update = SubscriberUpdate {
            tenant: core.tenant.clone(),
            name: core.name.clone(),
            cursors: Vec::new(),
            park: Vec::new(),
            unpark: Vec::new(),
            attempts: Vec::new(),
            seen_at: Some(now),
        };
        if let Err(error) = shared.store.update_subscribers(vec![update]).await {
            // The keeper tries again while it stays.
            tracing::warn!(subscriber = %core.name, %error, "presence could not be stored");
        }
    }
}

fn pull_worker(inner: &mut Inner, name: &str) -> Worker {
    let known = inner.pullers.get(name).map(|puller| puller.worker);
    known.unwrap_or_else(|| inner.new_worker())
}

fn handles(core: &Core, ids: &[DeliveryId]) -> Vec<Handle> {
    ids.iter().filter(|id| id.subscriber == core.mark).map(DeliveryId::handle).collect()
}

fn page(core: &Core, worker: Worker, fetched: Option<&Arc<Fetched>>, recovered: Recovery) -> PullPage {
    let lease = fetched.and_then(|fetched| fetched.runs.first()).map_or(Lease(0), |run| run.lease);
    let cursor = PageCursor { subscriber: core.mark, worker, first: lease, last: lease };
    let deliveries = fetched.map(|fetched| {
        let mut next = Spot::default();
        std::iter::from_fn(|| Delivery::next(fetched, &mut next)).collect::<Vec<_>>()
    });
    PullPage { deliveries: deliveries.unwrap_or_default(), cursor: cursor.to_string(), recovered }
}
