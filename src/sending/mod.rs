//! The way out: the durable outbox and the dispatcher of each provider app.
//!
//! Owns every send from the moment it is accepted until nothing more can become of it: its states, its attempts, the
//! vendor's quotas, the order within a conversation, and the doubt that an answer leaves which never came. It does
//! not own how a vendor is called, nor what comes in.
//!
//! Promises: a send is durable before its id is returned; under one `client_message_id` it reaches its recipient at
//! most once for ever, and at least once unless its status says otherwise; a call whose outcome is unknown is never
//! repeated without proof that it had no effect.

mod accept;
mod config;
mod context;
mod dispatcher;
mod doubt;
mod echo;
mod evidence;
mod holds;
mod hooks;
mod mark;
mod metrics;
mod outgoing;
mod own;
mod queue;
mod quota;
mod redrive;
mod step;
mod view;
mod withdraw;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use switchboard_contract::storage::{Enqueued, Leg, Store};
use switchboard_contract::{
    App, Clock, Error, ErrorKind, MessageId, Provider, ProviderId, Result, Retry, SendId, TenantId,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::identity::{Identity, Provisioner};
use crate::ingest::EchoBook;
use crate::recovery::backoff::Jitter;
use crate::recovery::{AppHealth, Redriver};
use context::{AppPost, Context, Setup};
use dispatcher::{Command, Dispatcher};

pub use config::{AfterHold, SendingConfig};
pub use evidence::EvidenceSink;
pub use hooks::{SendCall, SendDraft, SendHook, StateChange};
pub use outgoing::{Outgoing, To};
pub use redrive::{RedriveRisk, Redriven};
pub use view::{LegView, SendKey, SendReceipt, SendView};

/// Commands to one dispatcher that may wait.
const COMMANDS: usize = 16;

/// What an app is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppMode {
    /// Sending and receiving.
    Active,
    /// Only what it already has is brought to its end; what is queued goes to the tenant's app that sends.
    ReceiveOnly,
}

/// The way out. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Sending(Arc<Inner>);

struct Inner {
    ctx: Arc<Context>,
    dispatchers: Mutex<HashMap<App, mpsc::Sender<Command>>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    telling: hooks::Telling,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("apps", &self.0.dispatchers.lock().len()).finish_non_exhaustive()
    }
}

impl Sending {
    /// Opens the outbox: reads (or makes) the key of marks, and holds the conversations of messages that an earlier
    /// life left under way. Nothing is sent before [`register`](Self::register). `hooks` are called in this order.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `Config` for settings out of range; `Storage`.
    pub async fn open(
        config: SendingConfig,
        store: Arc<dyn Store>,
        provisioner: Arc<Provisioner>,
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
        hooks: Vec<Arc<dyn SendHook>>,
    ) -> Result<Self> {
        config.validate()?;
        let marks = mark::Marks::open(&*store).await?;
        let ctx = Arc::new(Context {
            jitter: Jitter::new(config.seed),
            holds: holds::Holds::new(),
            hooks: Arc::new(hooks::Hooks::new(hooks, config.hook_within)),
            sink: ArcSwapOption::empty(),
            apps: Mutex::default(),
            routes: Mutex::default(),
            draining: Mutex::default(),
            leftovers: Mutex::default(),
            config,
            store,
            provisioner,
            identity,
            clock,
            marks,
        });
        ctx.hold_leftovers().await?;
        ctx.store.listen(Arc::new(echo::Watch(Arc::downgrade(&ctx))));
        let telling = hooks::Telling::begin(&ctx.hooks, &*ctx.store);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let inner = Inner { ctx, dispatchers: Mutex::default(), tracker, stop, telling };
        Ok(Self(Arc::new(inner)))
    }

    /// The book in which ingest looks up echoes and receipts of own sends.
    pub fn echo_book(&self) -> Arc<dyn EchoBook> {
        Arc::new(echo::Book { ctx: Arc::clone(&self.0.ctx) })
    }

    /// Has history that is found while a doubt is settled journalled by `sink`.
    pub fn set_evidence_sink(&self, sink: Arc<dyn EvidenceSink>) {
        self.0.ctx.sink.store(Some(Arc::new(evidence::SinkSlot(sink))));
    }

    /// Serves a tenant through an app, and starts the app's dispatcher when it is the first. Registering again
    /// changes alias, provider and mode; an app that becomes [`AppMode::ReceiveOnly`] hands what it has queued for
    /// the tenant to the tenant's app that sends. Must be called within a tokio runtime.
    pub fn register(&self, alias: ProviderId, tenant: TenantId, provider: Arc<dyn Provider>, mode: AppMode) {
        let app = provider.app().clone();
        let ctx = &self.0.ctx;
        let post = {
            let mut apps = ctx.apps.lock();
            let fresh = || {
                let setup = Setup { provider: Arc::clone(&provider), tenants: std::collections::BTreeMap::new() };
                Arc::new(AppPost::new(app.clone(), setup))
            };
            Arc::clone(apps.entry(app.clone()).or_insert_with(fresh))
        };
        {
            let mut setup = post.setup.lock();
            setup.provider = provider;
            setup.tenants.insert(tenant.clone(), (alias.clone(), mode));
        }
        // One app's mode decides where another's queue goes, and that queue goes first.
        let posts: Vec<Arc<AppPost>> = ctx.apps.lock().values().cloned().collect();
        for post in &posts {
            if post.mode_for(&tenant) == Some(AppMode::ReceiveOnly) {
                ctx.drain(&tenant, &post.app);
            }
        }
        self.0.dispatchers.lock().entry(app).or_insert_with(|| {
            let (commands, inbox) = mpsc::channel(COMMANDS);
            let dispatcher = Dispatcher::new(Arc::clone(ctx), Arc::clone(&post), alias);
            self.0.tracker.spawn(dispatcher.run(inbox, self.0.stop.child_token()));
            commands
        });
        posts.iter().for_each(|post| post.hint(|hints| hints.setup = true));
    }

    /// Accepts a send: durable, with its status events, before this returns. Repeating it under the same
    /// `client_message_id` returns the first answer and sends nothing, for ever.
    ///
    /// # Errors
    /// Nothing is stored then. `Unsupported` for what the vendor cannot carry; `InvalidInput` or `TooLarge`, naming
    /// the field; `Conflict`, naming the first send, for other content under a used `client_message_id`; `NotFound`
    /// or `Forbidden` when the app is not registered for the tenant or does not send; `RateLimited` when too much is
    /// queued; `Storage`, `StorageFull`; `Closed` after [`shutdown`](Self::shutdown) began; whatever a hook refuses it
    /// with.
    pub async fn send(&self, tenant: &TenantId, app: &App, outgoing: Outgoing) -> Result<SendReceipt> {
        let ctx = &self.0.ctx;
        if self.0.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "sending is shutting down"));
        }
        let mut send = accept::new_send(outgoing, tenant, app, ctx.clock.now(), &ctx.config)?;
        let known = match &send.client_message_id {
            Some(client) => ctx.store.send_by_client_id(tenant, client).await?,
            None => None,
        };
        let post = ctx.post(app);
        let legs = u64::try_from(send.legs.len()).unwrap_or(u64::MAX);
        // A repetition is answered whatever has become of the app meanwhile; the store writes nothing for it.
        if known.is_none() {
            let post = self.admits(tenant, post.as_deref(), legs)?;
            // What the caller gave has its digest already: a repeat is compared with that.
            ctx.hooks.before_build(&*ctx.clock, &mut send).await?;
            accept::check_with(&*post.provider(), &ctx.identity, &ctx.marks, &send).await?;
        }
        let messages = send.legs.iter().map(|leg| (leg.conversation.clone(), leg.message_id)).collect();
        let id = send.id;
        match ctx.store.enqueue(vec![send]).await?.into_iter().next() {
            Some(Enqueued::Fresh) => {
                if let Some(post) = post {
                    post.open.fetch_add(legs, Ordering::Relaxed);
                    post.hint_queued(tenant);
                }
                Ok(SendReceipt { id, messages, repeated: false })
            }
            Some(Enqueued::Repeated(first)) => self.repeated(tenant, first).await,
            Some(Enqueued::Conflict(first)) => {
                Err(Error::new(ErrorKind::Conflict, format!("client_message_id: used before, by send {first}")))
            }
            None => Err(Error::new(ErrorKind::Storage, "the store did not answer for a send")),
        }
    }

    fn admits<'a>(&self, tenant: &TenantId, post: Option<&'a AppPost>, legs: u64) -> Result<&'a AppPost> {
        let post = post.ok_or_else(|| Error::new(ErrorKind::NotFound, "the app is not registered"))?;
        match post.mode_for(tenant) {
            None => return Err(Error::new(ErrorKind::NotFound, "the app is not registered for this tenant")),
            Some(AppMode::ReceiveOnly) => {
                return Err(Error::new(ErrorKind::Forbidden, "the app is receive-only"));
            }
            Some(AppMode::Active) => {}
        }
        let open = post.open.load(Ordering::Relaxed);
        if open.saturating_add(legs) > self.0.ctx.config.max_open {
            let retry = Retry::Safe { after: Some(Duration::from_secs(1)) };
            return Err(Error::new(ErrorKind::RateLimited, "too many unfinished messages").with_retry(retry));
        }
        Ok(post)
    }

    async fn repeated(&self, tenant: &TenantId, first: SendId) -> Result<SendReceipt> {
        let legs = self.0.ctx.store.legs(tenant, first).await?;
        let messages = legs.into_iter().map(|leg| (leg.conversation, leg.message_id)).collect();
        Ok(SendReceipt { id: first, messages, repeated: true })
    }

    /// Where a send and its messages stand; `None` for an unknown one.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn status(&self, tenant: &TenantId, key: impl Into<SendKey>) -> Result<Option<SendView>> {
        Ok(SendView::of(self.legs(tenant, key.into()).await?))
    }

    async fn legs(&self, tenant: &TenantId, key: SendKey) -> Result<Vec<Leg>> {
        let store = &self.0.ctx.store;
        let send = match key {
            SendKey::Send(send) => Some(send),
            SendKey::Message(message) => store.leg(tenant, message).await?.map(|leg| leg.send.id),
            SendKey::Client(client) => store.send_by_client_id(tenant, &client).await?,
        };
        match send {
            Some(send) => store.legs(tenant, send).await,
            None => Ok(Vec::new()),
        }
    }

    /// Cancels what has not left: one message, or every message of a send. Repeating it is harmless. Returns where
    /// the send stands then; of several messages some may have left already.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when nothing of it could be cancelled; `Storage`.
    pub async fn cancel(&self, tenant: &TenantId, key: impl Into<SendKey>) -> Result<SendView> {
        let key = key.into();
        let mut legs = self.legs(tenant, key.clone()).await?;
        let missing = || Error::new(ErrorKind::NotFound, "no such send");
        let send = legs.first().map(|leg| leg.send.id).ok_or_else(missing)?;
        if let SendKey::Message(message) = key {
            legs.retain(|leg| leg.message_id == message);
        }
        let mut refused = None;
        let mut cancelled = 0;
        for leg in &legs {
            match withdraw::cancel(&self.0.ctx, leg).await {
                Ok(()) => cancelled += 1,
                Err(error) if error.kind() == ErrorKind::Conflict => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = refused.filter(|_| cancelled == 0) {
            return Err(error);
        }
        self.status(tenant, send).await?.ok_or_else(missing)
    }

    /// Sends again what failed: one message, or every failed message of a send, each in its place before what its
    /// conversation has queued since. What is on its way already is left alone, so repeating this is harmless.
    /// Returns where the send stands then.
    ///
    /// # Errors
    /// Nothing is queued then. `NotFound` for an unknown send, and when the app it failed at is no longer registered;
    /// `Conflict` when nothing of it has failed, when its time has run out, when it arrived after all, and for
    /// `outcome_unknown` unless `risk` accepts that it may arrive twice; `RateLimited` when too much is queued;
    /// `Storage`.
    pub async fn redrive(&self, tenant: &TenantId, key: impl Into<SendKey>, risk: RedriveRisk) -> Result<SendView> {
        let key = key.into();
        let mut legs = self.legs(tenant, key.clone()).await?;
        let missing = || Error::new(ErrorKind::NotFound, "no such send");
        let send = legs.first().map(|leg| leg.send.id).ok_or_else(missing)?;
        if let SendKey::Message(message) = key {
            legs.retain(|leg| leg.message_id == message);
        }
        redrive::redrive(&self.0.ctx, tenant, legs, risk).await?;
        self.status(tenant, send).await?.ok_or_else(missing)
    }

    /// As [`redrive`](Self::redrive), for any number of messages whatever they belong to: those of one conversation go
    /// in the order in which they were accepted. What cannot go is named with the reason, and keeps nothing else back.
    ///
    /// # Errors
    /// `RateLimited` when too much is queued, `Storage`; what was queued before that stays.
    pub async fn redrive_all(&self, tenant: &TenantId, messages: &[MessageId], risk: RedriveRisk) -> Result<Redriven> {
        redrive::redrive_all(&self.0.ctx, tenant, messages, risk).await
    }

    /// What redrives recalls that are dead letters.
    pub(crate) fn redriver(&self) -> Arc<dyn Redriver> {
        Arc::new(withdraw::RecallAgain(Arc::clone(&self.0.ctx)))
    }

    /// Whether an app can be reached, as it changes; `None` for an app that is not registered.
    pub fn health(&self, app: &App) -> Option<tokio::sync::watch::Receiver<AppHealth>> {
        self.0.ctx.post(app).map(|post| post.health())
    }

    /// Withdraws a message, ours or anybody's, at the vendor that carried it. One of ours that has not left is
    /// cancelled instead. Repeating it is harmless.
    ///
    /// # Errors
    /// `NotFound` for a message that is not known, here or at the vendor; `Conflict` for one of ours that is on its
    /// way (to be tried again) or was never sent; `Rejected` when it is too late; otherwise as the vendor answers.
    pub async fn recall(&self, tenant: &TenantId, message: MessageId) -> Result<()> {
        withdraw::recall(&self.0.ctx, tenant, message).await
    }

    /// Hands what a tenant has queued at `from` to `to`, now and whenever something returns to its queue while it is
    /// receive-only. What is dispatched or in doubt stays until that is settled. Returns how many messages moved.
    ///
    /// # Errors
    /// `InvalidInput` when both are the same; `Storage`; `Closed` after [`shutdown`](Self::shutdown).
    pub async fn reroute(&self, tenant: &TenantId, from: &App, to: &App) -> Result<u64> {
        if from == to {
            return Err(Error::invalid("to", "is the app itself"));
        }
        self.0.ctx.routes.lock().insert((tenant.clone(), from.clone()), to.clone());
        let commands = self.0.dispatchers.lock().get(from).cloned();
        let Some(commands) = commands else {
            let moved = self.0.ctx.store.reroute(tenant, from, to).await?;
            if let Some(post) = self.0.ctx.post(to) {
                post.hint_moved(tenant);
            }
            return Ok(moved);
        };
        let closed = || Error::new(ErrorKind::Closed, "sending is shut down");
        self.0.ctx.drain(tenant, from);
        let (reply, answer) = oneshot::channel();
        let command = Command::Reroute { tenant: tenant.clone(), to: to.clone(), reply };
        commands.send(command).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Apps with unfinished messages that are not registered, and how many each has: nobody will bring those to an
    /// end until the app is registered (receive-only will do).
    ///
    /// # Errors
    /// `Storage`.
    pub async fn unattended(&self) -> Result<Vec<(App, u64)>> {
        let mut unattended = Vec::new();
        for app in self.0.ctx.store.open_apps().await? {
            if self.0.ctx.post(&app).is_none() {
                let open = self.0.ctx.store.open_count(&app).await?;
                unattended.push((app, open));
            }
        }
        Ok(unattended)
    }

    /// Waits until no registered app has anything left to do. Waits for ever while one cannot be reached.
    pub async fn idle(&self) {
        loop {
            let posts: Vec<Arc<AppPost>> = self.0.ctx.apps.lock().values().cloned().collect();
            let mut all = true;
            for post in &posts {
                let mut idle = post.idle();
                if !*idle.borrow_and_update() {
                    all = false;
                    // Fails only when the post is gone, which this holds.
                    let _ = idle.wait_for(|idle| *idle).await;
                }
            }
            // One app may have handed something to another that was idle before.
            if all {
                return;
            }
        }
    }

    /// Accepts nothing more, sends nothing more, and waits for calls under way up to `shutdown_grace`.
    ///
    /// # Errors
    /// None today; the signature leaves room for them.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.stop.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
        self.0.telling.end().await;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
