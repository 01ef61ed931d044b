//! What all subscribers of a hub share, and how a core reaches the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use switchboard_contract::reception::{Handle, Input, Key, Place};
use switchboard_contract::storage::{SequenceRange, Store};
use switchboard_contract::{
    App, Clock, ConversationId, Error, ErrorKind, Position, ProviderId, Result, Sequence, Shard, SubscriberName,
    TenantId, Timestamp,
};
use tokio::sync::{Notify, OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::chunk::{Chunk, Keys};
use super::config::HubConfig;
use super::core::{Core, Inner};
use super::desk::within;
use super::id::PageCursor;
use super::meters::Meters;
use super::notices::Untold;
use super::pages::Pages;
use super::step::{Read, Told};
use super::tail::Tails;
use super::types::AckOutcome;

/// Conversations a concurrent walk remembers; a longer backlog is worked off before live events.
const SURVEY: usize = 65_536;

pub(super) type Cores = HashMap<(TenantId, SubscriberName), Arc<OnceCell<Arc<Core>>>>;

pub(super) struct Shared {
    pub(super) config: HubConfig,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: Keys,
    pub(super) tails: Arc<Tails>,
    pub(super) pages: Pages,
    pub(super) cores: Mutex<Cores>,
    pub(super) apps: RwLock<HashMap<ProviderId, App>>,
    pub(super) meters: Meters,
    pub(super) stop: CancellationToken,
    /// The committer goes on after `stop`, until everything is stored.
    pub(super) last_call: CancellationToken,
    pub(super) tasks: TaskTracker,
    unsaved: Mutex<Vec<Arc<Core>>>,
    pub(super) to_save: Notify,
    /// Held while cursors are written: a replay must not be overtaken by an older save.
    pub(super) writing: tokio::sync::Mutex<()>,
    pub(super) keeper: Notify,
    next_tick: AtomicI64,
    epochs: AtomicU64,
    pub(super) notices: mpsc::Sender<Untold>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub({} subscribers in memory)", self.cores.lock().len())
    }
}

impl Shared {
    pub(super) fn new(
        config: HubConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        notices: mpsc::Sender<Untold>,
    ) -> Self {
        let keys = Keys::default();
        Self {
            tails: Arc::new(Tails::new(keys.clone(), config.tail_bytes)),
            pages: Pages::new(Arc::clone(&store), keys.clone(), &config),
            keys,
            config,
            store,
            clock,
            cores: Mutex::default(),
            apps: RwLock::default(),
            meters: Meters::default(),
            stop: CancellationToken::new(),
            last_call: CancellationToken::new(),
            tasks: TaskTracker::new(),
            unsaved: Mutex::default(),
            to_save: Notify::new(),
            writing: tokio::sync::Mutex::default(),
            keeper: Notify::new(),
            next_tick: AtomicI64::new(i64::MAX),
            epochs: AtomicU64::new(0),
            notices,
        }
    }

    pub(super) fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed) & 0xff
    }

    /// The subscriber, loaded if need be.
    pub(super) async fn core(&self, tenant: &TenantId, name: &SubscriberName) -> Result<Arc<Core>> {
        if self.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the hub stops"));
        }
        let place = (tenant.clone(), name.clone());
        let cell = Arc::clone(self.cores.lock().entry(place.clone()).or_default());
        let loaded = cell.get_or_try_init(|| self.load(tenant, name)).await.map(Arc::clone);
        if loaded.is_err() {
            let mut cores = self.cores.lock();
            // Another caller may be loading it with more luck.
            if cores.get(&place).is_some_and(|known| Arc::ptr_eq(known, &cell) && !cell.initialized()) {
                cores.remove(&place);
            }
        }
        loaded
    }

    pub(super) fn loaded(&self, tenant: &TenantId, name: &SubscriberName) -> Option<Arc<Core>> {
        self.cores.lock().get(&(tenant.clone(), name.clone())).and_then(|cell| cell.get().cloned())
    }

    pub(super) fn all_cores(&self) -> Vec<Arc<Core>> {
        self.cores.lock().values().filter_map(|cell| cell.get().cloned()).collect()
    }

    async fn load(&self, tenant: &TenantId, name: &SubscriberName) -> Result<Arc<Core>> {
        let unknown = || Error::new(ErrorKind::NotFound, format!("subscriber: {name} does not exist"));
        // The tails come first: whatever is committed from here on is seen by one way or the other.
        let tails = self.tails.of(tenant, self.config.shards);
        let state = self.store.subscriber(tenant, name).await?.ok_or_else(unknown)?;
        for tail in &tails {
            tail.raise(self.store.tail(tenant, tail.shard).await?);
        }
        let core = Arc::new(Core::new(self, tenant, name, state, tails));
        for tail in &core.tails {
            tail.attach(&core);
        }
        Ok(core)
    }

    pub(super) fn has_unsaved(&self, core: &Arc<Core>) {
        if core.enqueue() {
            self.unsaved.lock().push(Arc::clone(core));
            self.to_save.notify_one();
        }
    }

    pub(super) fn take_unsaved(&self) -> Vec<Arc<Core>> {
        std::mem::take(&mut *self.unsaved.lock())
    }

    /// The keeper must wake by then.
    pub(super) fn expect_tick(&self, due: Option<Timestamp>) {
        if let Some(due) = due
            && self.next_tick.fetch_min(due.0, Ordering::AcqRel) > due.0
        {
            self.keeper.notify_one();
        }
    }

    /// As [`expect_tick`](Self::expect_tick), said by the keeper to itself.
    pub(super) fn note_tick(&self, due: Timestamp) {
        self.next_tick.fetch_min(due.0, Ordering::AcqRel);
    }

    /// Forgets the ticks expected, before all are asked anew.
    pub(super) fn reset_ticks(&self) {
        self.next_tick.store(i64::MAX, Ordering::Release);
    }

    /// The earliest tick expected.
    pub(super) fn earliest_tick(&self) -> Timestamp {
        Timestamp(self.next_tick.load(Ordering::Acquire))
    }

    /// Applies an acknowledgement without waiting.
    pub(super) fn settle(&self, core: &Arc<Core>, input: Input<'_>) -> AckOutcome {
        self.settle_at(core, self.clock.now(), input)
    }

    fn settle_at(&self, core: &Arc<Core>, now: Timestamp, input: Input<'_>) -> AckOutcome {
        let mut inner = core.lock();
        let step = core.apply_at(self, &mut inner, now, input);
        // Room in flight, a conversation set free or the step to online may be what others wait for.
        let wakes = core.has_waiting() && (step.acked > 0 || inner.machine.has_ready());
        drop(inner);
        if wakes {
            core.wake();
        }
        self.meters.acked(step.acked, step.stale);
        AckOutcome { done: step.acked, stale: step.stale }
    }

    /// Applies the acknowledgement of deliveries that came together, without waiting.
    pub(super) fn settle_page(&self, core: &Arc<Core>, page: PageCursor) -> AckOutcome {
        let (mut outcome, now) = (AckOutcome::default(), self.clock.now());
        for lease in page.leases() {
            outcome.add(self.settle_at(core, now, Input::AckLease(page.worker, lease)));
        }
        outcome
    }

    /// Applies an acknowledgement, at once, and returns what waits until it is durable.
    pub(super) fn ack<'a>(
        &'a self,
        core: &'a Arc<Core>,
        input: Input<'_>,
    ) -> impl Future<Output = Result<AckOutcome>> + Send + use<'a> {
        let outcome = self.settle(core, input);
        async move { self.wait_saved(core).await.map(|()| outcome) }
    }

    /// Waits until everything done so far is durable.
    pub(super) async fn wait_saved(&self, core: &Arc<Core>) -> Result<()> {
        let ticket = core.lock().ticket();
        let mut saved = core.saved.subscribe();
        if *saved.borrow_and_update() >= ticket {
            return Ok(());
        }
        let stored = async { saved.wait_for(|number| *number >= ticket).await.map(drop) };
        let wait = within(self, self.config.ack_wait, "storing the acknowledgement", stored);
        tokio::select! {
            waited = wait => match waited? {
                Ok(()) => Ok(()),
                Err(_) => Err(Error::new(ErrorKind::Closed, "the subscriber is gone")),
            },
            () = self.last_call.cancelled() => Err(Error::new(ErrorKind::Closed, "the hub has stopped")),
        }
    }

    pub(super) fn nack(
        &self,
        core: &Arc<Core>,
        handles: &[Handle],
        after: Option<Duration>,
        reason: Option<&str>,
    ) -> Result<AckOutcome> {
        let mut outcome = AckOutcome::default();
        let mut inner = core.lock();
        inner.ensure_open()?;
        for handle in handles {
            let before = inner.machine.in_flight();
            if let Some(reason) = reason {
                inner.reasons.insert(handle.place, reason.to_owned());
            }
            core.apply(self, &mut inner, Input::Nack(*handle, after));
            // A refusal takes at least its own delivery back.
            if inner.machine.in_flight() < before {
                outcome.done += 1
            } else {
                outcome.stale += 1
            };
        }
        let known: Vec<Place> = inner.machine.set_aside_now().map(|record| record.place).collect();
        inner.reasons.retain(|place, _| known.contains(place));
        let due = inner.machine.next_tick();
        drop(inner);
        core.wake();
        self.expect_tick(due);
        self.meters.nacked(outcome.done);
        Ok(outcome)
    }

    /// Reads what a machine asked for and feeds it. Returns whether anything came of it.
    pub(super) async fn read(&self, core: &Arc<Core>, reads: &[Read]) -> Result<bool> {
        let mut fed = false;
        for read in reads {
            let done = match *read {
                Read::Walk { shard, after, until, limit } => self.read_walk(core, shard, after, until, limit).await,
                Read::Aside { key, place, from, seen, limit } => {
                    self.read_aside(core, (key, place, from, seen), limit).await
                }
                Read::Survey { shard, after, until } => self.survey(core, shard, after, until).await,
            };
            match done {
                Ok(done) => fed |= done,
                Err(error) => {
                    self.trouble(core, true);
                    return Err(error);
                }
            }
        }
        self.trouble(core, false);
        Ok(fed)
    }

    /// Tells a core whether the store answers.
    pub(super) fn trouble(&self, core: &Arc<Core>, trouble: bool) {
        let mut inner = core.lock();
        if inner.note_trouble(trouble) {
            core.apply(self, &mut inner, Input::Trouble(trouble));
        }
    }

    async fn read_walk(
        &self,
        core: &Arc<Core>,
        shard: Shard,
        after: Position,
        until: Position,
        limit: usize,
    ) -> Result<bool> {
        let (mut at, mut count) = (after, 0);
        while at < until && count < limit.max(1) {
            let chunk = self.pages.behind(&core.tenant, shard, at, self.recalls()).await?;
            if chunk.until <= at {
                break;
            }
            let mut inner = core.lock();
            core.feed(self, &mut inner, self.clock.now(), shard, &chunk);
            at = chunk.until;
            count += chunk.heads.len();
        }
        Ok(at > after)
    }

    fn recalls(&self) -> u64 {
        self.tails.recalls.load(Ordering::Acquire)
    }

    async fn read_aside(
        &self,
        core: &Arc<Core>,
        (key, place, from, seen): (Key, Place, Sequence, Sequence),
        limit: usize,
    ) -> Result<bool> {
        let Some(conversation) = self.conversation(core, key, place).await? else { return Ok(false) };
        let range = SequenceRange { first: from, last: Sequence(i64::MAX as u64) };
        let entries = self.store.read_conversation(&core.tenant, &conversation, range, limit, false).await?;
        let chunk = Arc::new(Chunk::read(&self.keys, Position::START, Position::START, entries));
        let mut inner = core.lock();
        core.feed_aside(self, &mut inner, (key, place.shard, from, seen), &chunk);
        Ok(true)
    }

    /// The conversation behind a key that is set aside, remembered once it is known.
    pub(super) async fn conversation(
        &self,
        core: &Arc<Core>,
        key: Key,
        place: Place,
    ) -> Result<Option<ConversationId>> {
        if let Some(name) = core.lock().names.get(&key) {
            return Ok(Some(name.clone()));
        }
        let Some((chunk, index)) = self.event_at(&core.tenant, place).await? else { return Ok(None) };
        let name = chunk.entries[index as usize].conversation.clone();
        if let Some(name) = &name {
            core.lock().names.insert(key, name.clone());
        }
        Ok(name)
    }

    /// The event at a place, with the chunk it stands in; `None` when it is no longer there.
    pub(super) async fn event_at(&self, tenant: &TenantId, place: Place) -> Result<Option<(Arc<Chunk>, u32)>> {
        let after = Position(place.position.0.saturating_sub(1));
        let chunk = self.pages.behind(tenant, place.shard, after, self.recalls()).await?;
        let index = chunk.find(place.position);
        Ok(index.map(|index| (chunk, u32::try_from(index).unwrap_or(0))))
    }

    async fn survey(&self, core: &Arc<Core>, shard: Shard, after: Position, until: Position) -> Result<bool> {
        let mut conversations: Vec<(Key, Position)> = Vec::new();
        let complete = loop {
            let page = self.store.backlog(&core.tenant, shard, after, until, conversations.len(), 1000).await?;
            let found = page.iter().map(|one| (self.keys.conversation(&one.conversation), one.last_position));
            let short = page.is_empty();
            conversations.extend(found);
            if short {
                break true;
            }
            if conversations.len() >= SURVEY {
                break false;
            }
        };
        let mut inner = core.lock();
        let input = Input::Surveyed { shard, until, conversations: &conversations, complete };
        core.apply(self, &mut inner, input);
        Ok(true)
    }

    /// Something a person may want to know: journalled as a notice when there is time.
    pub(super) fn tell(&self, core: &Arc<Core>, inner: &mut Inner, told: &[Told]) {
        for told in told {
            if let Told::Aside(record) = told
                && !inner.names.contains_key(&record.key)
                && let Some((chunk, index)) = inner.find(record.place, &core.tails)
                && let Some(name) = &chunk.entries[index].conversation
            {
                inner.names.insert(record.key, name.clone());
            }
            self.meters.told(told);
            let untold = Untold { core: Arc::clone(core), told: *told };
            if self.notices.try_send(untold).is_err() {
                self.meters.notice_lost();
            }
        }
    }
}
