//! Subscribers made, looked at, changed, rewound and removed.

use std::sync::Arc;

use switchboard_contract::reception::{Input, Key, State, Why};
use switchboard_contract::storage::{CursorState, ParkedConversation, ShardCursor, StartAt, SubscriberSpec};
use switchboard_contract::{ConversationId, Error, Position, Result, Shard, SubscriberName, TenantId, Timestamp};

use super::core::{Core, Inner};
use super::filter::Filter;
use super::restore::is_away;
use super::types::{SubscriberView, SubscriptionState};
use super::{Hub, restore, unknown};

/// The most that may be out at a time, for one subscriber.
const MAX_IN_FLIGHT: u32 = 65_536;

fn check(name: &SubscriberName, spec: &SubscriberSpec) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let text = name.as_str();
    if text.is_empty() || text.len() > 128 || !text.bytes().all(plain) {
        return Err(Error::invalid("name", "must be 1 to 128 letters, digits, '_', '-' or '.'"));
    }
    if spec.topics.is_empty() {
        return Err(Error::invalid("topics", "must name at least one"));
    }
    if spec.max_in_flight == 0 || spec.max_in_flight > MAX_IN_FLIGHT {
        return Err(Error::invalid("max_in_flight", format!("must be 1 to {MAX_IN_FLIGHT}")));
    }
    if spec.page_size == 0 || spec.page_size > MAX_IN_FLIGHT {
        return Err(Error::invalid("page_size", format!("must be 1 to {MAX_IN_FLIGHT}")));
    }
    if spec.ack_deadline.is_zero() {
        return Err(Error::invalid("ack_deadline", "must be longer than nothing"));
    }
    if spec.max_attempts == 0 {
        return Err(Error::invalid("max_attempts", "must be at least 1"));
    }
    Ok(())
}

impl Hub {
    /// Creates a subscriber, or changes what an existing one asked for: its progress stays, what is out stays out,
    /// and the new wishes count from the next event read. Returns whether it is new.
    ///
    /// # Errors
    /// `InvalidInput` naming the field; `Storage`.
    pub async fn put(&self, tenant: &TenantId, name: &SubscriberName, spec: SubscriberSpec) -> Result<bool> {
        check(name, &spec)?;
        let shared = &self.shared;
        let start = self.start(tenant, spec.start).await?;
        let new = shared.store.put_subscriber(tenant, name, &spec, &start, shared.clock.now()).await?;
        if let Some(core) = shared.loaded(tenant, name) {
            let mut inner = core.lock();
            inner.filter = Filter::new(&spec, &shared.apps.read());
            let settings = restore::settings(shared, &spec);
            inner.spec = spec;
            core.apply(shared, &mut inner, Input::Settings(settings));
            drop(inner);
            core.wake();
        }
        Ok(new)
    }

    /// One subscriber.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn get(&self, tenant: &TenantId, name: &SubscriberName) -> Result<SubscriberView> {
        let state = self.shared.store.subscriber(tenant, name).await?;
        let state = state.ok_or_else(|| unknown("subscriber", name))?;
        self.view(tenant, name, state).await
    }

    /// All subscribers of a tenant, in the order of their names.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<SubscriberView>> {
        let mut views = Vec::new();
        for (name, state) in self.shared.store.subscribers(tenant).await? {
            views.push(self.view(tenant, &name, state).await?);
        }
        views.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(views)
    }

    async fn view(&self, tenant: &TenantId, name: &SubscriberName, state: CursorState) -> Result<SubscriberView> {
        let now = self.shared.clock.now();
        let away = is_away(&state.spec, state.seen_at, now);
        let mut view = SubscriberView {
            name: name.clone(),
            state: State::Connecting,
            lag: 0,
            in_flight: 0,
            workers: 0,
            parked: state.parked.len() as u64,
            cursors: state.cursors.iter().map(|cursor| (cursor.shard, cursor.low)).collect(),
            seen_at: state.seen_at,
            expired: away,
            spec: state.spec,
        };
        if let Some(core) = self.shared.loaded(tenant, name) {
            let inner = core.lock();
            view.state = inner.machine.state();
            view.lag = inner.machine.lag();
            view.in_flight = inner.machine.in_flight() as u64;
            view.workers = inner.workers.len() as u64;
            view.parked = inner.machine.set_aside_now().count() as u64;
            view.seen_at = view.seen_at.max(inner.seen_at);
            view.expired = inner.workers.is_empty() && is_away(&view.spec, view.seen_at, now);
            return Ok(view);
        }
        for shard in self.shards() {
            let low = view.cursors.iter().find(|(known, _)| *known == shard).map_or(Position::START, |(_, low)| *low);
            view.lag += self.shared.store.tail(tenant, shard).await?.0.saturating_sub(low.0);
        }
        Ok(view)
    }

    /// The state of a subscriber as it changes, beginning with the present one. Loads it.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn states(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
    ) -> Result<tokio::sync::watch::Receiver<SubscriptionState>> {
        Ok(self.shared.core(tenant, name).await?.states.subscribe())
    }

    /// Removes a subscriber with its progress. Its streams end. Returns whether there was one.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn remove(&self, tenant: &TenantId, name: &SubscriberName) -> Result<bool> {
        let _writing = self.shared.writing.lock().await;
        let removed = self.shared.store.remove_subscriber(tenant, name).await?;
        let cell = self.shared.cores.lock().remove(&(tenant.clone(), name.clone()));
        if let Some(core) = cell.as_ref().and_then(|cell| cell.get()) {
            core.lock().closed = true;
            core.notify.notify_waiters();
            core.wake();
        }
        Ok(removed)
    }

    /// Starts a subscriber over from a place, forwards or back: everything after it is delivered, what it had passed
    /// before as [`Historical`](super::DeliveryKind::Historical). What is out is no longer, and what was set aside is
    /// forgotten. Returns where each shard starts.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn replay(&self, tenant: &TenantId, name: &SubscriberName, from: StartAt) -> Result<Vec<ShardCursor>> {
        let shared = &self.shared;
        let core = shared.core(tenant, name).await?;
        let start = self.start(tenant, from).await?;
        let _writing = shared.writing.lock().await;
        let before = shared.store.subscriber(tenant, name).await?.ok_or_else(|| unknown("subscriber", name))?;
        let now = shared.clock.now();
        if !shared.store.rewind_subscriber(tenant, name, &start, now).await? {
            return Err(unknown("subscriber", name));
        }
        let state = CursorState { cursors: start.clone(), parked: Vec::new(), attempts: Vec::new(), ..before.clone() };
        let history = before.cursors.iter().map(|cursor| (cursor.shard, cursor.low)).collect();
        let (machine, names) = restore::machine(shared, &state, history, now);
        let mut inner = core.lock();
        let inner_mut: &mut Inner = &mut inner;
        inner_mut.replace(machine, names);
        core.tell_tails(shared, inner_mut, now);
        for worker in inner_mut.workers.clone() {
            core.apply(shared, inner_mut, Input::Join(worker));
        }
        let number = inner.saved_number();
        drop(inner);
        core.saved.send_replace(number);
        core.wake();
        Ok(start)
    }

    /// The conversations set aside.
    ///
    /// # Errors
    /// `NotFound`, `Storage`.
    pub async fn parked(&self, tenant: &TenantId, name: &SubscriberName) -> Result<Vec<ParkedConversation>> {
        if let Some(core) = self.shared.loaded(tenant, name) {
            self.shared.wait_saved(&core).await?;
        }
        let state = self.shared.store.subscriber(tenant, name).await?;
        state.map(|state| state.parked).ok_or_else(|| unknown("subscriber", name))
    }

    /// Every conversation of a tenant that was set aside because an event of it failed too often, with its subscriber.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn all_parked(&self, tenant: &TenantId) -> Result<Vec<(SubscriberName, ParkedConversation)>> {
        let mut all = Vec::new();
        for (name, state) in self.shared.store.subscribers(tenant).await? {
            let parked = match self.shared.loaded(tenant, &name) {
                // What it has just set aside may not be stored yet.
                Some(_) => self.parked(tenant, &name).await?,
                None => state.parked,
            };
            let failed = parked.into_iter().filter(|one| Why::from_word(&one.reason) == Why::Failed);
            all.extend(failed.map(|one| (name.clone(), one)));
        }
        Ok(all)
    }

    /// Delivers a conversation that is set aside again, from its first open event, in order; new events of it follow
    /// behind. Its event gets a fresh number of tries. Durable when this returns. Returns whether it was set aside.
    ///
    /// # Errors
    /// `NotFound` for an unknown subscriber; `Timeout` when the store did not confirm in time; `Storage`, `Closed`.
    pub async fn redrive(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        conversation: &ConversationId,
    ) -> Result<bool> {
        self.go_on(tenant, name, conversation, Input::Redrive).await
    }

    /// Gives up the first open event of a conversation that is set aside: it is never delivered again, and the
    /// conversation goes on behind it, in order. Durable when this returns. Returns whether it was set aside.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    pub async fn pass_over(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        conversation: &ConversationId,
    ) -> Result<bool> {
        self.go_on(tenant, name, conversation, Input::PassOver).await
    }

    async fn go_on(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        conversation: &ConversationId,
        input: impl FnOnce(Key) -> Input<'static>,
    ) -> Result<bool> {
        let core: Arc<Core> = self.shared.core(tenant, name).await?;
        let key = self.shared.keys.conversation(conversation);
        let known = {
            let mut inner = core.lock();
            inner.ensure_open()?;
            let known = inner.machine.set_aside_now().any(|record| record.key == key);
            core.apply(&self.shared, &mut inner, input(key));
            known
        };
        core.wake();
        self.shared.wait_saved(&core).await?;
        Ok(known)
    }

    /// The lowest position some subscriber of the tenant still needs in a shard; expired ones need nothing. `None`
    /// when nobody needs anything. Retention may remove everything up to and including it.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn held_from(&self, tenant: &TenantId, shard: Shard) -> Result<Option<Position>> {
        let now = self.shared.clock.now();
        let mut lowest: Option<Position> = None;
        for (name, state) in self.shared.store.subscribers(tenant).await? {
            // Only how long ago it was here counts. That it once expired, and has to be told, is another matter: it
            // is back, and what it has not read since then must stay.
            let (seen_at, present) = self.shared.loaded(tenant, &name).map_or((state.seen_at, false), |core| {
                let inner = core.lock();
                (state.seen_at.max(inner.seen_at), !inner.workers.is_empty())
            });
            if !present && is_away(&state.spec, seen_at, now) {
                continue;
            }
            let low = state.cursors.iter().find(|cursor| cursor.shard == shard).map_or(Position::START, |c| c.low);
            let parked = state.parked.iter().filter(|parked| parked.shard == shard);
            let parked = parked.map(|parked| Position(parked.position.0.saturating_sub(1))).min();
            let needs = parked.map_or(low, |parked| parked.min(low));
            lowest = Some(lowest.map_or(needs, |lowest| lowest.min(needs)));
        }
        Ok(lowest)
    }

    /// Removes what was received before `before` and no subscriber of the tenant needs any more: it is acknowledged by
    /// all of them, or they have expired. Returns how many events went.
    ///
    /// # Errors
    /// `Storage`; then a part may be gone.
    pub async fn retain(&self, tenant: &TenantId, before: Timestamp) -> Result<u64> {
        let store = &self.shared.store;
        let mut removed = 0;
        for shard in self.shards() {
            let due = store.position_before(tenant, shard, before).await?;
            let held = self.held_from(tenant, shard).await?;
            let until = held.map_or(due, |held| held.min(due));
            if until > store.trimmed(tenant, shard).await? {
                removed += store.trim(tenant, shard, until).await?;
            }
        }
        Ok(removed)
    }

    fn shards(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shared.config.shards.max(1)).map(Shard)
    }

    /// The cursors of a place to start at.
    async fn start(&self, tenant: &TenantId, at: StartAt) -> Result<Vec<ShardCursor>> {
        let store = &self.shared.store;
        let mut cursors = Vec::new();
        for shard in self.shards() {
            let trimmed = store.trimmed(tenant, shard).await?;
            let low = match at {
                StartAt::Beginning => trimmed,
                StartAt::Now => store.tail(tenant, shard).await?,
                StartAt::Time(time) => store.position_before(tenant, shard, time).await?,
                StartAt::Position(position) => position.min(store.tail(tenant, shard).await?),
            };
            cursors.push(ShardCursor { shard, low: low.max(trimmed), acked: Vec::new() });
        }
        Ok(cursors)
    }
}
