//! Putting the engine together, from a configuration or from parts of the caller's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::storage::{Archive, SetbackKind, Store};
use switchboard_contract::{
    App, Clock, ConversationKind, Error, ErrorKind, Inbound, Origin, Provider, ProviderId, Result, TenantId, Timestamp,
};

use super::providers::{Providers, Registered};
use super::{Inner, Switchboard};
use crate::backfill::Backfill;
use crate::catchup::Catchup;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::fetching::Fetching;
use crate::hub::Hub;
use crate::identity::{Identity, Provisioner};
use crate::ingest::{Ingest, WeakIngest};
use crate::reconcile::Reconciler;
use crate::retention::Retention;
use crate::sending::{AppMode, EvidenceSink, SendHook, Sending};
use crate::silence::Silence;

/// Collects the parts of an engine.
#[derive(Debug, Default)]
pub struct Builder {
    config: Config,
    store: Option<Arc<dyn Store>>,
    archive: Option<Arc<dyn Archive>>,
    clock: Option<Arc<dyn Clock>>,
    providers: BTreeMap<ProviderId, Registered>,
    hooks: Vec<Arc<dyn SendHook>>,
}

impl Builder {
    /// The settings; the defaults otherwise.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A store of your own, instead of the one in the settings.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// An archive of your own: what it holds is read in every query of history as if it stood in the store.
    #[must_use]
    pub fn archive(mut self, archive: Arc<dyn Archive>) -> Self {
        self.archive = Some(archive);
        self
    }

    /// A clock of your own, instead of the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// A provider of your own for the tenant `default`, beside those in the settings.
    #[must_use]
    pub fn provider(mut self, alias: impl Into<ProviderId>, provider: Arc<dyn Provider>) -> Self {
        let registered = Registered { tenant: TenantId::default(), receive_only: false, provider };
        self.providers.insert(alias.into(), registered);
        self
    }

    /// A hook into the way of every send, of every tenant. Hooks are called in the order in which they are added.
    #[must_use]
    pub fn send_hook(mut self, hook: Arc<dyn SendHook>) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Opens everything.
    ///
    /// # Errors
    /// As [`Switchboard::open`].
    pub async fn open(self) -> Result<Switchboard> {
        let Self { config, store, archive, clock, mut providers, hooks } = self;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
        let store = match store {
            Some(store) => store,
            None => crate::assembly::store(&config.store).await?,
        };
        #[cfg(feature = "archive")]
        let archiver = archiver(&config.archive, &store, &clock).await?;
        #[cfg(feature = "archive")]
        let archive = archive.or_else(|| archiver.as_ref().map(crate::archive::Archiver::source));
        for (alias, settings) in &config.providers {
            let provider = crate::assembly::provider(alias, settings, &store, clock.clone()).await?;
            let registered =
                Registered { tenant: settings.tenant.clone(), receive_only: settings.receive_only, provider };
            providers.insert(alias.clone(), registered);
        }
        config.history.check()?;
        let history = Arc::new(config.history.clone());
        let providers = Providers::new(providers, config.routing);

        let identity = Arc::new(Identity::new(store.clone()));
        let provisioner = Arc::new(Provisioner::new(identity.clone(), store.clone()));
        let hub = Hub::open(config.hub, store.clone(), clock.clone()).await?;
        let sending =
            Sending::open(config.sending, store.clone(), provisioner.clone(), identity.clone(), clock.clone(), hooks)
                .await?;
        let ingest = Ingest::open(
            config.ingest,
            store.clone(),
            identity.clone(),
            provisioner.clone(),
            sending.echo_book(),
            clock.clone(),
        )
        .await?;
        let sign_of_life = config.catchup.sign_of_life;
        let reconciler = Reconciler::open(config.reconcile, store.clone(), ingest.downgrade(), clock.clone())?;
        let catchup = Catchup::open(
            config.catchup,
            config.recovery,
            store.clone(),
            identity.clone(),
            ingest.downgrade(),
            clock.clone(),
        )?;
        let recent = history.tiers.recent;
        let retention = Retention::open(config.retention, recent, hub.clone(), store.clone(), clock.clone())?;
        let backfill =
            Backfill::open(config.backfill, store.clone(), catchup.clone(), reconciler.clone(), clock.clone())?;
        let silence = Silence::open(config.silence, store.clone(), ingest.downgrade(), catchup.clone(), clock.clone())?;
        let fetching = Fetching::open(
            config.history,
            store.clone(),
            archive.clone(),
            identity.clone(),
            catchup.clone(),
            clock.clone(),
        )?;
        ingest.set_witness(fetching.witness());
        sending.set_evidence_sink(Arc::new(Evidence(ingest.downgrade())));

        for (alias, one) in providers.iter() {
            if let Some(ended) = earlier_life(&store, one.provider.app(), sign_of_life, clock.now()).await? {
                one.provider.charge_earlier(ended);
            }
            hub.register(alias.clone(), one.provider.app().clone());
            ingest.register(alias.clone(), one.tenant.clone(), one.provider.clone());
            let mode = if one.receive_only { AppMode::ReceiveOnly } else { AppMode::Active };
            sending.register(alias.clone(), one.tenant.clone(), one.provider.clone(), mode);
            let health = sending.health(one.provider.app());
            catchup.register(alias.clone(), one.tenant.clone(), one.provider.clone(), health.clone()).await?;
            fetching.register(alias.clone(), one.tenant.clone(), one.provider.clone())?;
            reconciler.register(alias.clone(), one.tenant.clone(), one.provider.clone(), health).await?;
            backfill.register(alias.clone(), one.tenant.clone(), one.provider.clone())?;
            silence.register(alias.clone(), one.tenant.clone(), &*one.provider);
        }
        #[cfg(feature = "archive")]
        if let Some(archiver) = &archiver {
            let tenants: BTreeSet<TenantId> = providers.iter().map(|(_, one)| one.tenant.clone()).collect();
            archiver.start(hub.clone(), tenants.into_iter().chain([TenantId::default()]).collect()).await?;
        }
        hand_over(&store, &sending, &providers).await?;
        verify_again(&ingest, &providers).await;
        let redrivers = [
            (SetbackKind::Recall, sending.redriver()),
            (SetbackKind::Query, catchup.redriver()),
            (SetbackKind::File, reconciler.redriver()),
            (SetbackKind::Job, backfill.redriver()),
        ]
        .into_iter()
        .collect();
        Ok(Switchboard {
            inner: Arc::new(Inner {
                store,
                archive,
                clock,
                identity,
                provisioner,
                hub,
                ingest,
                reconciler,
                catchup,
                #[cfg(feature = "archive")]
                archiver,
                retention,
                backfill,
                silence,
                history,
                fetching,
                sending,
                providers,
                redrivers,
            }),
        })
    }
}

/// The archive that the settings name. It is there before anything is read.
#[cfg(feature = "archive")]
async fn archiver(
    config: &crate::archive::ArchiveConfig,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<crate::archive::Archiver>> {
    config.check()?;
    match config.location {
        Some(_) => crate::archive::Archiver::open(config.clone(), store.clone(), clock.clone()).await.map(Some),
        None => Ok(None),
    }
}

/// Until when another life of this process may have called an app's vendor; `None` when there was none.
async fn earlier_life(
    store: &Arc<dyn Store>,
    app: &App,
    sign_of_life: Duration,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let served = store.served(app).await?;
    let last = served.into_iter().map(|(_, at)| at).max();
    Ok(last.map(|at| (at + sign_of_life).min(now)))
}

/// Hands what is found in a vendor's history to the way in, which in turn asks the way out about echoes: one of the two
/// must not keep the other open.
#[derive(Debug)]
struct Evidence(WeakIngest);

#[async_trait]
impl EvidenceSink for Evidence {
    async fn submit(&self, tenant: &TenantId, alias: &ProviderId, origin: Origin, items: Vec<Inbound>) -> Result<()> {
        let closed = || Error::new(ErrorKind::Closed, "the way in is closed");
        self.0.upgrade().ok_or_else(closed)?.submit(tenant, alias, origin, items).await.map(drop)
    }
}

/// What was kept for a wrong signature may verify now that a secret was corrected.
async fn verify_again(ingest: &Ingest, providers: &Providers) {
    for (alias, one) in providers.iter() {
        if one.provider.callbacks().is_none() {
            continue;
        }
        match ingest.verify_again(alias).await {
            Ok(0) => {}
            Ok(verified) => {
                tracing::info!(provider = %alias, verified, "callbacks kept for a wrong signature verify now")
            }
            // They stay where they are, until the next start.
            Err(error) => tracing::warn!(provider = %alias, %error, "callbacks kept aside could not be verified again"),
        }
    }
}

/// Sends still queued for an app that no longer sends go to the one that does now.
async fn hand_over(store: &Arc<dyn Store>, sending: &Sending, providers: &Providers) -> Result<()> {
    let active: BTreeSet<App> =
        providers.iter().filter(|(_, one)| !one.receive_only).map(|(_, one)| one.provider.app().clone()).collect();
    let known: BTreeSet<App> = providers.iter().map(|(_, one)| one.provider.app().clone()).collect();
    let tenants: BTreeSet<TenantId> = providers.iter().map(|(_, one)| one.tenant.clone()).collect();
    for app in store.open_apps().await? {
        if active.contains(&app) {
            continue;
        }
        for tenant in &tenants {
            let Ok(to) = providers.route(tenant, ConversationKind::Direct) else { continue };
            let moved = sending.reroute(tenant, &app, &to).await?;
            if moved > 0 {
                tracing::info!(from = %app, to = %to, moved, "queued sends go to the provider that sends now");
            }
        }
        let left = store.open_count(&app).await?;
        if left > 0 && !known.contains(&app) {
            tracing::warn!(
                %app, left,
                "sends of unknown outcome belong to an app that is no longer configured; \
                 keep it with receive_only = true until they are settled"
            );
        }
    }
    Ok(())
}
