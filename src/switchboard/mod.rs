//! The whole engine behind one handle.

mod archive;
mod builder;
mod coverage;
mod groups;
mod history;
mod letter;
mod letters;
mod providers;
mod subscriber;
mod trace;

use std::sync::Arc;

use switchboard_contract::storage::{Archive, Recipients, Store, SubscriberSpec};
use switchboard_contract::{
    Clock, ConversationId, ConversationKind, Error, ErrorKind, MessageId, ProviderId, RawCallback, Result, SendId,
    SubscriberName, TenantId,
};

pub use builder::Builder;
pub use coverage::{ConversationAppCoverage, ConversationCoverage, ConversationHole, IncompleteConversation};
pub use history::{HistorySpan, ProviderPlan, PulledPart};
pub use letter::{DeadLetter, DeadLetterFilter, DeadLetterPage, LettersDone, RefusedLetter};
pub use providers::ProviderView;
pub use subscriber::Subscriber;
pub use trace::Trace;

use crate::backfill::Backfill;
use crate::catchup::Catchup;
use crate::config::Config;
use crate::fetching::Fetching;
use crate::history::{Fetcher, HistoryConfig, HistoryRequest, Pages};
use crate::hub::{Hub, Subscription};
use crate::identity::{Identity, Provisioner};
use crate::ingest::{CallbackAnswer, Ingest};
use crate::reconcile::Reconciler;
use crate::retention::Retention;
use crate::sending::{Outgoing, RedriveRisk, SendReceipt, SendView, Sending};
use crate::silence::Silence;
use providers::Providers;

/// The engine. Clones share it. Its methods act for the tenant `default`; [`tenant`](Self::tenant) gives the others.
#[derive(Clone, Debug)]
pub struct Switchboard {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    archive: Option<Arc<dyn Archive>>,
    clock: Arc<dyn Clock>,
    identity: Arc<Identity>,
    provisioner: Arc<Provisioner>,
    hub: Hub,
    ingest: Ingest,
    reconciler: Reconciler,
    catchup: Catchup,
    #[cfg(feature = "archive")]
    archiver: Option<crate::archive::Archiver>,
    retention: Retention,
    backfill: Backfill,
    silence: Silence,
    history: Arc<HistoryConfig>,
    fetching: Fetching,
    sending: Sending,
    providers: Providers,
    redrivers: letters::Redrivers,
}

impl Switchboard {
    /// Opens the store and the inbox, starts every provider, and goes on where the last run ended.
    ///
    /// # Errors
    /// `Config` for settings that cannot work together; `Storage` when the store or the inbox cannot be opened,
    /// among others because another process has it.
    pub async fn open(config: Config) -> Result<Self> {
        Self::builder().config(config).open().await
    }

    /// Opens it with parts of your own: a store, a clock, providers.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same engine, acting for one tenant.
    pub fn tenant(&self, tenant: impl Into<TenantId>) -> Tenant {
        Tenant { switchboard: self.clone(), id: tenant.into() }
    }

    fn default_tenant(&self) -> Tenant {
        self.tenant(TenantId::default())
    }

    /// Creates the subscriber, or goes on where it left off, and joins it as one more worker.
    ///
    /// # Errors
    /// `InvalidInput` for a specification that cannot work; `Storage`.
    pub async fn subscribe(&self, subscriber: Subscriber) -> Result<Subscription> {
        self.default_tenant().subscribe(subscriber).await
    }

    /// Accepts a message for sending: durable when this returns. Under the same `client_message_id` a repeat is
    /// harmless for ever.
    ///
    /// # Errors
    /// `InvalidInput`, `Unsupported` or `TooLarge` for a message its vendor cannot carry, `Conflict` for another
    /// message under the same client id; then nothing is stored. `Storage`, `StorageFull`.
    pub async fn send(&self, outgoing: Outgoing) -> Result<SendReceipt> {
        self.default_tenant().send(outgoing).await
    }

    /// Begins a request for a conversation's history.
    pub fn history(&self, conversation: &ConversationId) -> HistoryRequest {
        self.default_tenant().history(conversation)
    }

    /// Takes a vendor's callback. The answer is what the vendor must hear; it is durable when this returns.
    pub async fn receive(&self, provider: &ProviderId, callback: RawCallback) -> CallbackAnswer {
        self.inner.ingest.receive(provider, callback).await
    }

    /// The hub, for everything beyond [`subscribe`](Self::subscribe).
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// The way out, for everything beyond [`send`](Self::send).
    pub fn sending(&self) -> &Sending {
        &self.inner.sending
    }

    /// The way in.
    pub fn ingest(&self) -> &Ingest {
        &self.inner.ingest
    }

    /// Reconciliation with the vendors' history files, and the ledger of coverage.
    pub fn reconciler(&self) -> &Reconciler {
        &self.inner.reconciler
    }

    /// Catching up after we were away, and the windows that repair still has to fill.
    pub fn catchup(&self) -> &Catchup {
        &self.inner.catchup
    }

    /// Removing what is old and acknowledged.
    pub fn retention(&self) -> &Retention {
        &self.inner.retention
    }

    /// Jobs that fetch the past in the background.
    pub fn backfill(&self) -> &Backfill {
        &self.inner.backfill
    }

    /// The watch for callbacks that do not come.
    pub fn silence(&self) -> &Silence {
        &self.inner.silence
    }

    /// Fetching what nobody brought.
    pub fn fetching(&self) -> &Fetching {
        &self.inner.fetching
    }

    /// The identity map.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.inner.identity
    }

    /// Makes users and groups at vendors.
    pub fn provisioner(&self) -> &Arc<Provisioner> {
        &self.inner.provisioner
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The archive behind the store, if there is one.
    pub fn archive(&self) -> Option<&Arc<dyn Archive>> {
        self.inner.archive.as_ref()
    }

    /// The clock everything runs on.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Every provider with its state, by alias.
    pub async fn providers(&self) -> Result<Vec<ProviderView>> {
        self.inner.providers.views(&self.inner).await
    }

    /// The provider behind an alias.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn provider(&self, alias: &ProviderId) -> Result<Arc<dyn switchboard_contract::Provider>> {
        self.inner.providers.get(alias)
    }

    /// Stops taking callbacks and sends, finishes what is under way, writes everything out. What could not be
    /// finished in time is durable and goes on at the next start.
    ///
    /// # Errors
    /// The first failure of a part; the others are stopped all the same.
    pub async fn shutdown(&self) -> Result<()> {
        #[cfg(feature = "archive")]
        if let Some(archiver) = &self.inner.archiver {
            archiver.shutdown().await;
        }
        let stopped = [
            self.inner.fetching.shutdown().await,
            self.inner.retention.shutdown().await,
            self.inner.silence.shutdown().await,
            self.inner.backfill.shutdown().await,
            self.inner.catchup.shutdown().await,
            self.inner.reconciler.shutdown().await,
            self.inner.ingest.clone().shutdown().await,
            self.inner.sending.clone().shutdown().await,
            self.inner.hub.clone().shutdown().await,
        ];
        for (_, one) in self.inner.providers.iter() {
            if let Some(link) = one.provider.link() {
                link.close().await;
            }
        }
        self.inner.store.close().await;
        stopped.into_iter().collect()
    }
}

/// The engine, acting for one tenant. A tenant never sees, delays or exhausts another.
#[derive(Clone, Debug)]
pub struct Tenant {
    switchboard: Switchboard,
    id: TenantId,
}

impl Tenant {
    /// Which tenant.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// As [`Switchboard::subscribe`].
    ///
    /// # Errors
    /// As there.
    pub async fn subscribe(&self, subscriber: Subscriber) -> Result<Subscription> {
        let hub = &self.switchboard.inner.hub;
        let (name, spec, worker) = subscriber.into_parts();
        self.put_subscriber(&name, spec).await?;
        hub.stream(&self.id, &name, worker).await
    }

    /// Creates a subscriber or changes what it asked for; whether it is new. For a new one `recent` is filled from the
    /// vendors, which delivers nothing by itself.
    ///
    /// # Errors
    /// `InvalidInput` naming the field; `Storage`.
    pub async fn put_subscriber(&self, name: &SubscriberName, spec: SubscriberSpec) -> Result<bool> {
        let inner = &self.switchboard.inner;
        let new = inner.hub.put(&self.id, name, spec).await?;
        if new {
            inner.fetching.first_walk(&self.id);
        }
        Ok(new)
    }

    /// Joins an existing subscriber as one more worker.
    ///
    /// # Errors
    /// `NotFound` for an unknown subscriber; `Storage`.
    pub async fn join(&self, name: &SubscriberName) -> Result<Subscription> {
        self.switchboard.inner.hub.stream(&self.id, name, crate::hub::WorkerOptions::default()).await
    }

    /// As [`Switchboard::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, outgoing: Outgoing) -> Result<SendReceipt> {
        let kind = match &outgoing.to {
            Recipients::Group(_) => ConversationKind::Group,
            Recipients::Room(_) => ConversationKind::Room,
            Recipients::System(_) => ConversationKind::System,
            Recipients::User(_) | Recipients::Users(_) => ConversationKind::Direct,
        };
        let app = self.switchboard.inner.providers.route(&self.id, kind)?;
        self.switchboard.inner.sending.send(&self.id, &app, outgoing).await
    }

    /// Withdraws a message that was sent through us or that its sender's user id is known of.
    ///
    /// # Errors
    /// `NotFound` for an unknown message, `Conflict` for one that is not yet accepted, `Rejected` when the vendor
    /// says it is too late.
    pub async fn recall(&self, message: MessageId) -> Result<()> {
        self.switchboard.inner.sending.recall(&self.id, message).await
    }

    /// Withdraws what of a send has not left yet. Returns where each of its messages stands now.
    ///
    /// # Errors
    /// `NotFound` for an unknown send; `Storage`.
    pub async fn cancel(&self, send: SendId) -> Result<SendView> {
        self.switchboard.inner.sending.cancel(&self.id, send).await
    }

    /// Sends a failed message again, in its place before what its conversation has queued since.
    ///
    /// # Errors
    /// `NotFound` for an unknown message; `Conflict` for one that has not failed, whose time has run out, or of which
    /// nobody knows whether it arrived, unless `risk` accepts that it may arrive twice; `RateLimited`; `Storage`.
    pub async fn redrive(&self, message: MessageId, risk: RedriveRisk) -> Result<SendView> {
        self.switchboard.inner.sending.redrive(&self.id, message, risk).await
    }

    /// The provider behind an alias, or without one the provider that carries this tenant's direct messages.
    ///
    /// # Errors
    /// `NotFound` for an unknown alias or one of another tenant; `Config` when nothing sends for this tenant.
    pub fn provider(&self, alias: Option<&ProviderId>) -> Result<Arc<dyn switchboard_contract::Provider>> {
        self.switchboard.inner.providers.of_tenant(&self.id, alias)
    }

    /// The alias of the provider that carries this tenant's direct messages.
    ///
    /// # Errors
    /// `Config` when nothing sends for this tenant.
    pub fn default_provider(&self) -> Result<ProviderId> {
        let app = self.switchboard.inner.providers.route(&self.id, ConversationKind::Direct)?;
        let alias = self.switchboard.inner.providers.iter().find(|(_, one)| *one.provider.app() == app);
        alias.map(|(alias, _)| alias.clone()).ok_or_else(|| no_route(&self.id))
    }

    /// As [`Switchboard::history`].
    pub fn history(&self, conversation: &ConversationId) -> HistoryRequest {
        let inner = &self.switchboard.inner;
        let pages = Pages::new(inner.store.clone(), inner.archive.clone());
        let fetcher: Arc<dyn Fetcher> = Arc::new(inner.fetching.clone());
        let (clock, config) = (inner.clock.clone(), inner.history.clone());
        HistoryRequest::new(pages, clock, self.id.clone(), conversation.clone(), config, Some(fetcher))
    }
}

fn no_route(tenant: &TenantId) -> Error {
    Error::new(ErrorKind::Config, format!("no provider sends for tenant {tenant}"))
}
