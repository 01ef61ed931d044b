//! One task for each app: it alone decides what leaves, when, and what became of it.
//!
//! Promises: nothing leaves before the store says `dispatched`; an answer is acted on only once the store has it;
//! what the store could not take is kept and tried again. The task owns all state here; calls and searches run beside
//! it and hand their results back.

mod calls;
mod health;
mod outfit;
mod past;
mod receipts;
mod search;
mod settle;
mod strikes;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use switchboard_contract::storage::Leg;
use switchboard_contract::{
    App, ConversationKind, MessageId, MessagingLimits, ProviderId, Result, SendId, SendState, TenantId, Timestamp,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::AppMode;
use super::context::{AppPost, Context, Hints};
use super::doubt::{Doubts, Sources};
use super::evidence::Sought;
use super::metrics::AppMetrics;
use super::queue::Queue;
use super::quota::Quotas;
use super::step::{Step, reason};
use crate::recovery::AppHealth;
use crate::recovery::breaker::{Breaker, Gate};

use calls::{Done, Flight};
use search::Source;
use settle::Pending;
use strikes::Strike;

/// Pages read before the dispatcher looks at other things again.
const PAGES_AT_ONCE: usize = 8;

/// What a dispatcher is asked to do, with an answer.
#[derive(Debug)]
pub(crate) enum Command {
    /// Hand the tenant's queued messages to another app.
    Reroute { tenant: TenantId, to: App, reply: oneshot::Sender<Result<u64>> },
}

/// See the module.
pub(crate) struct Dispatcher {
    ctx: Arc<Context>,
    post: Arc<AppPost>,
    alias: ProviderId,
    modes: HashMap<TenantId, AppMode>,
    /// Tenants whose queue at another app has yet to come over.
    barred: BTreeSet<TenantId>,
    /// Tenants of whom it is not known yet what of theirs the vendor still counts.
    uncharged: BTreeSet<TenantId>,
    /// Tenants that an earlier life sent for by this app and this one does not; `None` until they are known.
    strangers: Option<BTreeSet<TenantId>>,
    limits: MessagingLimits,
    queue: Queue,
    quotas: Quotas<ConversationKind>,
    look_quotas: Quotas<Source>,
    breaker: Breaker,
    flights: HashMap<u64, Flight>,
    flight_ids: u64,
    /// Recipients one call of this send may carry, after a refusal that may be one recipient's fault.
    packs: HashMap<SendId, u32>,
    /// Refusals for rate in a row, by kind of conversation.
    too_fast: HashMap<ConversationKind, u32>,
    /// Messages whose call ended with the failure of the whole app.
    strikes: HashMap<MessageId, Strike>,
    /// Calls that got through.
    successes: u64,
    /// Subscribers were told that the app cannot be reached, and since when.
    told_paused: Option<Timestamp>,
    doubts: Doubts,
    looks: usize,
    tasks: JoinSet<Done>,
    pending: Vec<Pending>,
    store_failures: u32,
    store_retry_at: Option<Timestamp>,
    rescan_at: Timestamp,
    reroute_due: bool,
    receipts_due: bool,
    metrics: AppMetrics,
}

impl Dispatcher {
    pub(crate) fn new(ctx: Arc<Context>, post: Arc<AppPost>, alias: ProviderId) -> Self {
        let provider = post.provider();
        let config = &ctx.config;
        let limits = provider.messaging().limits();
        let sources = Sources::of(&*provider);
        let look_quotas = search::quotas(&sources);
        Self {
            queue: Queue::new(config.window, config.per_conversation),
            quotas: Quotas::new(&limits.quotas, config.quota_margin, config.tenant_reserve),
            look_quotas: Quotas::new(&look_quotas, config.quota_margin, 0.0),
            breaker: Breaker::new(),
            flights: HashMap::new(),
            flight_ids: 0,
            packs: HashMap::new(),
            too_fast: HashMap::new(),
            strikes: HashMap::new(),
            successes: 0,
            told_paused: None,
            doubts: Doubts::new(config.clone(), sources),
            looks: 0,
            tasks: JoinSet::new(),
            pending: Vec::new(),
            store_failures: 0,
            store_retry_at: None,
            rescan_at: ctx.clock.now(),
            reroute_due: false,
            receipts_due: true,
            metrics: AppMetrics::new(&alias),
            modes: HashMap::new(),
            barred: BTreeSet::new(),
            uncharged: BTreeSet::new(),
            strangers: None,
            limits,
            alias,
            post,
            ctx,
        }
    }

    /// Runs until `stop`, then waits for calls under way as long as configured.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut released = self.ctx.holds.watch();
        self.take_setup();
        let leftovers = self.ctx.leftovers.lock().remove(&self.post.app).unwrap_or_default();
        leftovers.into_iter().for_each(|leg| self.take_stray(leg));
        loop {
            self.round().await;
            let wake = self.wake_in();
            let post = Arc::clone(&self.post);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(command) = commands.recv() => self.command(command).await,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.take_done(done),
                () = post.notify.notified() => {}
                Ok(()) = released.changed() => self.queue.unblock(self.ctx.clock.now()),
                () = wait(&*self.ctx.clock, wake) => {}
            }
        }
        self.wind_down().await;
    }

    /// Everything that can be done now.
    async fn round(&mut self) {
        while let Some(done) = self.tasks.try_join_next() {
            self.take_done(done);
        }
        // Before the hints: what was handed over by then is among them.
        self.barred = self.ctx.barred(&self.post.app);
        self.take_hints().await;
        self.charge_past().await;
        self.barred.extend(self.uncharged.iter().cloned());
        self.settle().await;
        self.rescan().await;
        if self.reroute_due && !self.store_is_down(self.ctx.clock.now()) {
            self.reroute_due = false;
            self.reroute_idle_tenants().await;
        }
        self.load().await;
        self.expire();
        self.search();
        self.dispatch();
        self.settle().await;
        self.take_receipts().await;
        self.publish();
    }

    async fn take_hints(&mut self) {
        let Hints { queued, moved, settled, recheck, setup, receipts } = self.post.take_hints();
        self.receipts_due |= receipts;
        queued.iter().for_each(|tenant| self.queue.wake(tenant, false));
        let now = self.ctx.clock.now();
        // Read again in order: what came over is older than what waits here.
        moved.iter().for_each(|tenant| self.queue.drop_all_waiting(tenant, now));
        if setup {
            self.take_setup();
        }
        let suspects = if recheck { self.doubts.ids() } else { settled };
        for message in suspects {
            self.queue.drop_waiting(message, now);
            self.look_up(message).await;
        }
    }

    /// Somebody else settled a message in doubt, perhaps.
    async fn look_up(&mut self, message: MessageId) {
        let Some(doubt) = self.doubts.get(message) else { return };
        let tenant = doubt.leg.send.tenant.clone();
        match self.ctx.store.leg(&tenant, message).await {
            Ok(Some(leg)) if leg.state == SendState::InDoubt => {}
            Ok(_) => {
                if let Some(doubt) = self.doubts.remove(message) {
                    self.finish(&doubt.leg);
                }
            }
            // The next look settles it.
            Err(error) => tracing::warn!(provider = %self.alias, op = "look_up", %message, %error),
        }
    }

    fn take_setup(&mut self) {
        let setup = self.post.setup.lock().clone();
        self.limits = setup.provider.messaging().limits();
        for (tenant, (_, mode)) in &setup.tenants {
            self.queue.admit(tenant);
            let charged = self.strangers.as_ref().is_some_and(|strangers| strangers.contains(tenant));
            if self.modes.insert(tenant.clone(), *mode).is_none() && !charged {
                self.uncharged.insert(tenant.clone());
            }
        }
        self.reroute_due = true;
    }

    /// Reads the next pages of those whose windows have room.
    async fn load(&mut self) {
        for _ in 0..PAGES_AT_ONCE {
            let now = self.ctx.clock.now();
            if self.store_is_down(now) {
                return;
            }
            let Some((tenant, after, limit)) = self.queue.wants() else { return };
            match self.ctx.store.open_legs_of(&self.post.app, &tenant, after, limit).await {
                Ok(page) => {
                    let strays = self.queue.loaded(&tenant, page, limit, now);
                    strays.into_iter().for_each(|leg| self.take_stray(leg));
                }
                Err(error) => return self.store_failed("load", &error),
            }
        }
    }

    /// A message that another life of this process left dispatched or in doubt.
    fn take_stray(&mut self, leg: Leg) {
        let now = self.ctx.clock.now();
        self.queue.admit(&leg.send.tenant);
        self.queue.occupy(&leg, now);
        match leg.state {
            SendState::InDoubt => self.take_doubt(leg),
            SendState::Dispatched => {
                let step = Step::in_doubt(&leg, now, reason::INTERRUPTED);
                self.pending.push(Pending::of(leg, step));
            }
            _ => self.finish(&leg),
        }
    }

    /// Now and then: counts, and looks for what no hint told of.
    async fn rescan(&mut self) {
        let now = self.ctx.clock.now();
        if now < self.rescan_at || self.store_is_down(now) {
            return;
        }
        self.rescan_at = now + self.ctx.config.rescan;
        self.reroute_due = true;
        if self.queue.is_idle() {
            self.queue.wake_all();
        }
        match self.ctx.store.open_count(&self.post.app).await {
            Ok(open) => self.post.open.store(open, Ordering::Relaxed),
            Err(error) => self.store_failed("count", &error),
        }
        if let Err(error) = self.rescan_receipts().await {
            self.store_failed("rescan_receipts", &error);
        }
    }

    fn expire(&mut self) {
        for leg in self.queue.expired(self.ctx.clock.now()) {
            let step = Step::expired(&leg);
            self.pending.push(Pending::of(leg, step));
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Reroute { tenant, to, reply } => {
                let moved = self.reroute(&tenant, &to).await;
                self.ctx.drained(&tenant, &self.post.app);
                // Whoever asked may have gone; the messages have moved all the same.
                let _ = reply.send(moved);
            }
        }
    }

    /// Hands on what tenants have queued here that are no longer sent for.
    async fn reroute_idle_tenants(&mut self) {
        let idle: Vec<TenantId> = self
            .modes
            .iter()
            .filter(|(_, mode)| **mode == AppMode::ReceiveOnly)
            .map(|(tenant, _)| tenant.clone())
            .collect();
        for tenant in idle {
            if let Some(to) = self.ctx.successor(&tenant, &self.post.app)
                && let Err(error) = self.reroute(&tenant, &to).await
            {
                self.reroute_due = true;
                self.store_failed("reroute", &error);
                continue;
            }
            self.ctx.drained(&tenant, &self.post.app);
        }
    }

    async fn reroute(&mut self, tenant: &TenantId, to: &App) -> Result<u64> {
        let now = self.ctx.clock.now();
        // Nothing of it may leave by this app once the store has handed it on.
        self.withdraw(tenant);
        self.queue.drop_all_waiting(tenant, now);
        let moved = self.ctx.store.reroute(tenant, &self.post.app, to).await?;
        if moved > 0 {
            self.post.closed(moved);
            tracing::info!(provider = %self.alias, op = "reroute", %to, moved, "queued messages were handed on");
            if let Some(post) = self.ctx.post(to) {
                post.hint_moved(tenant);
            }
        }
        Ok(moved)
    }

    /// When something comes due by itself; `None` when only news can change anything.
    fn wake_in(&self) -> Option<Duration> {
        let now = self.ctx.clock.now();
        let mut due = vec![Some(self.rescan_at), self.queue.next_expiry(), self.doubts.next_due()];
        match self.breaker.gate(now) {
            Gate::Paused(until) => due.push(Some(until)),
            Gate::Open | Gate::Trial if self.may_dispatch() => {
                due.push(self.queue.next_retry());
                let ready = self.queue.ready_kinds().filter(|kind| !self.is_trying(*kind));
                due.extend(ready.map(|kind| self.quotas.next_room(kind, now)));
            }
            // Only an answer can change anything.
            _ => {}
        }
        if self.store_is_down(now) {
            due = vec![self.store_retry_at];
        }
        // Nothing that is due is left undone by a round; should it be, a moment keeps this from spinning.
        due.into_iter().flatten().min().map(|at| at.since(now).max(Duration::from_millis(1)))
    }

    fn publish(&mut self) {
        let idle = self.queue.is_idle()
            && self.flights.is_empty()
            && self.doubts.len() == 0
            && self.pending.is_empty()
            && self.tasks.is_empty();
        self.post.in_doubt.store(self.doubts.len(), Ordering::Relaxed);
        let now = self.ctx.clock.now();
        let open = self.post.open.load(Ordering::Relaxed);
        let health = AppHealth::of(&self.breaker, now);
        self.metrics.publish(open, self.queue.len(), self.flights.len(), self.doubts.len(), &health);
        self.tell(&health);
        self.post.publish_health(health);
        self.metrics.oldest_doubt(self.doubts.oldest().map_or(Duration::ZERO, |since| now.since(since)));
        self.post.publish_idle(idle);
    }

    /// Lets calls under way come back. What does not come in time is in doubt at the next start.
    async fn wind_down(mut self) {
        let tenants: Vec<TenantId> = self.modes.keys().cloned().collect();
        tenants.iter().for_each(|tenant| self.withdraw(tenant));
        let ctx = Arc::clone(&self.ctx);
        let mut deadline = ctx.clock.sleep(ctx.config.shutdown_grace);
        while !self.flights.is_empty() || !self.pending.is_empty() {
            self.settle().await;
            let retry = self.store_retry_at.map(|at| at.since(ctx.clock.now()).max(Duration::from_millis(1)));
            tokio::select! {
                biased;
                () = &mut deadline => break,
                Some(done) = self.tasks.join_next(), if !self.flights.is_empty() => self.take_done(done),
                () = wait(&*ctx.clock, retry), if !self.pending.is_empty() => {}
            }
            if self.pending.is_empty() && self.flights.is_empty() {
                break;
            }
        }
        if !self.flights.is_empty() {
            tracing::warn!(provider = %self.alias, op = "shutdown", calls = self.flights.len(), "calls were cut off");
        }
        self.tasks.shutdown().await;
    }
}

/// Waits on a clock; for ever without a duration.
async fn wait(clock: &dyn switchboard_contract::Clock, duration: Option<Duration>) {
    match duration {
        Some(duration) => clock.sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Cuts a future off at its deadline.
async fn within<T>(
    clock: &dyn switchboard_contract::Clock,
    deadline: Duration,
    future: impl Future<Output = Result<T>>,
) -> Option<Result<T>> {
    tokio::select! {
        biased;
        outcome = future => Some(outcome),
        () = clock.sleep(deadline) => None,
    }
}
