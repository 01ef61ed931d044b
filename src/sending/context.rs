//! What all parts of sending share: the world outside, the key of marks, and where the apps can be reached.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use switchboard_contract::storage::{Leg, Store};
use switchboard_contract::{App, Clock, MessageId, Provider, ProviderId, Result, SendState, TenantId};
use tokio::sync::{Notify, watch};

use super::evidence::SinkSlot;
use super::holds::Holds;
use super::hooks::Hooks;
use super::mark::Marks;
use super::{AfterHold, AppMode, SendingConfig};
use crate::identity::{Identity, Provisioner};
use crate::recovery::AppHealth;
use crate::recovery::backoff::Jitter;

/// Legs read at once when the process starts.
const LEFTOVER_PAGE: usize = 1024;
/// Settled messages told of by hint; beyond this many the dispatcher looks at all it has in doubt.
const MAX_SETTLED_HINTS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Context {
    pub config: SendingConfig,
    pub store: Arc<dyn Store>,
    pub provisioner: Arc<Provisioner>,
    pub identity: Arc<Identity>,
    pub clock: Arc<dyn Clock>,
    pub marks: Marks,
    pub jitter: Jitter,
    pub holds: Holds,
    pub hooks: Arc<Hooks>,
    pub sink: ArcSwapOption<SinkSlot>,
    pub apps: Mutex<HashMap<App, Arc<AppPost>>>,
    /// Where queued messages of an app go that no longer sends, as [`reroute`](super::Sending::reroute) was told.
    pub routes: Mutex<HashMap<(TenantId, App), App>>,
    /// Apps that are about to hand a tenant's queue on; until they have, the tenant's other apps send nothing, or what
    /// is newer would overtake what is older.
    pub draining: Mutex<BTreeSet<(TenantId, App)>>,
    /// Messages that were dispatched or in doubt when this process began, until their app is registered.
    pub leftovers: Mutex<HashMap<App, Vec<Leg>>>,
}

impl Context {
    pub(crate) fn post(&self, app: &App) -> Option<Arc<AppPost>> {
        self.apps.lock().get(app).cloned()
    }

    /// Holds the conversations of messages that were under way when the last life ended, before anything new may leave:
    /// their own app may be registered last.
    pub(crate) async fn hold_leftovers(&self) -> Result<()> {
        let now = self.clock.now();
        for app in self.store.open_apps().await? {
            let mut after = 0;
            let mut left: Vec<Leg> = Vec::new();
            loop {
                let page = self.store.open_legs(&app, after, LEFTOVER_PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.order;
                left.extend(page.into_iter().filter(|leg| leg.state != SendState::Queued));
            }
            for leg in &left {
                let since = if leg.state == SendState::InDoubt { leg.next_attempt_at } else { now };
                let until = match self.config.after_hold {
                    AfterHold::Wait => None,
                    AfterHold::Release | AfterHold::Fail => Some(since + self.config.in_doubt_hold),
                };
                self.holds.doubt(&leg.send.tenant, &leg.conversation, leg.message_id, until);
            }
            if !left.is_empty() {
                tracing::info!(op = "open", %app, messages = left.len(), "messages were left under way");
                self.leftovers.lock().insert(app, left);
            }
        }
        Ok(())
    }

    /// Tenants whose messages must not leave by `app` now.
    pub(crate) fn barred(&self, app: &App) -> BTreeSet<TenantId> {
        let draining = self.draining.lock();
        draining.iter().filter(|(_, from)| from != app).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// A tenant's queue at `from` is about to be handed on.
    pub(crate) fn drain(&self, tenant: &TenantId, from: &App) {
        self.draining.lock().insert((tenant.clone(), from.clone()));
    }

    /// It was handed on, or there is nowhere for it to go.
    pub(crate) fn drained(&self, tenant: &TenantId, from: &App) {
        if self.draining.lock().remove(&(tenant.clone(), from.clone())) {
            let posts: Vec<Arc<AppPost>> = self.apps.lock().values().cloned().collect();
            posts.iter().filter(|post| post.sends_for(tenant)).for_each(|post| post.hint_queued(tenant));
        }
    }

    /// Where queued messages of `from` go: where somebody said, else the tenant's only app that sends.
    pub(crate) fn successor(&self, tenant: &TenantId, from: &App) -> Option<App> {
        let told = self.routes.lock().get(&(tenant.clone(), from.clone())).cloned();
        let apps = self.apps.lock();
        let sends = |app: &App| app != from && apps.get(app).is_some_and(|post| post.sends_for(tenant));
        if told.as_ref().is_some_and(sends) {
            return told;
        }
        let mut others = apps.keys().filter(|app| sends(app));
        match (others.next(), others.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }
}

/// How an app is served.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub provider: Arc<dyn Provider>,
    pub tenants: BTreeMap<TenantId, (ProviderId, AppMode)>,
}

/// News for a dispatcher. Losing one delays, and never loses, a message.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// Tenants with new messages.
    pub queued: BTreeSet<TenantId>,
    /// Tenants with messages anywhere in the store, as after a reroute.
    pub moved: BTreeSet<TenantId>,
    /// Messages whose state somebody else changed.
    pub settled: Vec<MessageId>,
    /// More of them than fit.
    pub recheck: bool,
    /// The setup changed, or another app's did.
    pub setup: bool,
    /// A send was accepted whose receipt may be here already.
    pub receipts: bool,
}

impl Hints {
    fn is_empty(&self) -> bool {
        let quiet = !self.recheck && !self.setup && !self.receipts;
        quiet && self.queued.is_empty() && self.moved.is_empty() && self.settled.is_empty()
    }
}

/// Where a dispatcher is reached. Its mailbox is a set, hence bounded.
#[derive(Debug)]
pub(crate) struct AppPost {
    pub app: App,
    pub setup: Mutex<Setup>,
    hints: Mutex<Hints>,
    pub notify: Notify,
    idle: watch::Sender<bool>,
    health: watch::Sender<AppHealth>,
    /// Unfinished messages, about: read from the store now and then, and counted in between.
    pub open: AtomicU64,
    /// Messages in doubt here, for those who would otherwise decode events in vain.
    pub in_doubt: AtomicUsize,
    /// Whether there may be receipts that wait for their send to be known.
    pub early: AtomicBool,
}

impl AppPost {
    pub(crate) fn new(app: App, setup: Setup) -> Self {
        Self {
            app,
            setup: Mutex::new(setup),
            hints: Mutex::default(),
            notify: Notify::new(),
            idle: watch::Sender::new(false),
            health: watch::Sender::new(AppHealth::default()),
            open: AtomicU64::new(0),
            in_doubt: AtomicUsize::new(0),
            early: AtomicBool::new(true),
        }
    }

    pub(crate) fn mode_for(&self, tenant: &TenantId) -> Option<AppMode> {
        self.setup.lock().tenants.get(tenant).map(|(_, mode)| *mode)
    }

    pub(crate) fn sends_for(&self, tenant: &TenantId) -> bool {
        self.mode_for(tenant) == Some(AppMode::Active)
    }

    /// The alias under which a tenant is served.
    pub(crate) fn alias_for(&self, tenant: &TenantId) -> Option<ProviderId> {
        self.setup.lock().tenants.get(tenant).map(|(alias, _)| alias.clone())
    }

    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.setup.lock().provider)
    }

    /// Leaves news and wakes the dispatcher.
    pub(crate) fn hint(&self, leave: impl FnOnce(&mut Hints)) {
        let mut hints = self.hints.lock();
        leave(&mut hints);
        self.idle.send_replace(false);
        drop(hints);
        self.notify.notify_one();
    }

    /// A tenant has new messages.
    pub(crate) fn hint_queued(&self, tenant: &TenantId) {
        self.hint(|hints| {
            hints.queued.insert(tenant.clone());
        });
    }

    /// A tenant got messages from another app.
    pub(crate) fn hint_moved(&self, tenant: &TenantId) {
        self.hint(|hints| {
            hints.moved.insert(tenant.clone());
        });
    }

    /// A message's state was changed by somebody else.
    pub(crate) fn hint_settled(&self, message: MessageId) {
        self.hint(|hints| {
            if hints.settled.len() < MAX_SETTLED_HINTS {
                hints.settled.push(message);
            } else {
                hints.recheck = true;
            }
        });
    }

    pub(crate) fn take_hints(&self) -> Hints {
        std::mem::take(&mut *self.hints.lock())
    }

    /// Says whether the dispatcher has anything left to do; news that came meanwhile speak against it.
    pub(crate) fn publish_idle(&self, idle: bool) {
        let hints = self.hints.lock();
        let idle = idle && hints.is_empty();
        self.idle.send_if_modified(|known| std::mem::replace(known, idle) != idle);
    }

    /// Says whether the app can be reached.
    pub(crate) fn publish_health(&self, health: AppHealth) {
        self.health.send_if_modified(|known| std::mem::replace(known, health) != health);
    }

    pub(crate) fn health(&self) -> watch::Receiver<AppHealth> {
        self.health.subscribe()
    }

    pub(crate) fn idle(&self) -> watch::Receiver<bool> {
        self.idle.subscribe()
    }

    /// `count` messages are no longer open.
    pub(crate) fn closed(&self, count: u64) {
        // Never fails: the closure always answers.
        let _ = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| Some(open.saturating_sub(count)));
    }
}
