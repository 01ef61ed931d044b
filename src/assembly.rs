//! From settings to concrete adapters and stores. The only place of the library that names them.

#![cfg_attr(
    not(any(feature = "huanxin", feature = "rongcloud", feature = "selfhosted")),
    allow(dead_code, unused_variables, reason = "without an adapter, providers are given to the builder")
)]

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
#[cfg(feature = "bin")]
use switchboard_contract::Capabilities;
use switchboard_contract::storage::Store;
use switchboard_contract::{App, Clock, Error, ErrorKind, Provider, ProviderId, Result, TenantId};

use crate::config::{ConfigFault, ProviderConfig, StoreConfig};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// The vendors this build knows.
pub(crate) const KINDS: &[&str] = &[
    #[cfg(feature = "huanxin")]
    switchboard_huanxin::KIND,
    #[cfg(feature = "rongcloud")]
    switchboard_rongcloud::VENDOR,
    #[cfg(feature = "selfhosted")]
    switchboard_selfhosted::KIND,
];

/// An adapter's settings, understood.
enum Adapter {
    #[cfg(feature = "huanxin")]
    Huanxin(Box<switchboard_huanxin::HuanxinConfig>),
    #[cfg(feature = "rongcloud")]
    RongCloud(Box<switchboard_rongcloud::RongCloudConfig>),
    #[cfg(feature = "selfhosted")]
    SelfHosted(Box<switchboard_selfhosted::SelfHostedConfig>),
}

impl Adapter {
    /// The settings as the adapter understands them, and what is wrong with them; with faults, stand-ins are in it.
    fn read(alias: &ProviderId, config: &ProviderConfig) -> (Option<Self>, Vec<ConfigFault>) {
        let path = format!("providers.{alias}");
        let (adapter, mut faults): (Option<Self>, Vec<ConfigFault>) = match config.kind.as_str() {
            #[cfg(feature = "huanxin")]
            switchboard_huanxin::KIND => {
                let (config, faults) = settings(&path, config);
                (config.map(|config| Self::Huanxin(Box::new(config))), faults)
            }
            #[cfg(feature = "rongcloud")]
            switchboard_rongcloud::VENDOR => {
                let (config, faults) = settings(&path, config);
                (config.map(|config| Self::RongCloud(Box::new(config))), faults)
            }
            #[cfg(feature = "selfhosted")]
            switchboard_selfhosted::KIND => {
                let (config, faults) = settings(&path, config);
                (config.map(|config| Self::SelfHosted(Box::new(config))), faults)
            }
            _ => {
                let fault = ConfigFault::new(format!("{path}.kind"), "this build has no such adapter");
                (None, vec![fault.with_hint(format!("one of {}", KINDS.join(", ")))])
            }
        };
        for text in adapter.iter().flat_map(Self::faults) {
            let (field, problem) = text.split_once(": ").unwrap_or(("", &text));
            let fault = ConfigFault::new(format!("{path}.{field}").trim_end_matches('.'), problem);
            if !faults.iter().any(|told| told.path == fault.path) {
                faults.push(fault);
            }
        }
        (adapter, faults)
    }

    /// What the adapter finds wrong between its settings: `field: problem`.
    fn faults(&self) -> Vec<String> {
        // Without an adapter there is nothing to match, which only a place can say.
        match *self {
            #[cfg(feature = "huanxin")]
            Self::Huanxin(ref config) => config.faults(),
            #[cfg(feature = "rongcloud")]
            Self::RongCloud(ref config) => config.faults(),
            #[cfg(feature = "selfhosted")]
            Self::SelfHosted(ref config) => config.faults(),
        }
    }

    /// The app it names. Nothing is started.
    fn app(self, clock: Arc<dyn Clock>) -> Result<App> {
        let _ = &clock;
        match self {
            #[cfg(feature = "huanxin")]
            Self::Huanxin(config) => Ok(config.build(clock)?.app().clone()),
            #[cfg(feature = "rongcloud")]
            Self::RongCloud(config) => Ok(config.build(clock)?.app().clone()),
            #[cfg(feature = "selfhosted")]
            Self::SelfHosted(config) => Ok(config.app()),
        }
    }

    async fn build(
        self,
        tenant: &TenantId,
        store: &Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Provider>> {
        let _ = (tenant, store);
        match self {
            #[cfg(feature = "huanxin")]
            Self::Huanxin(config) => Ok(Arc::new(config.build(clock)?)),
            #[cfg(feature = "rongcloud")]
            Self::RongCloud(config) => Ok(Arc::new(config.build(clock)?)),
            #[cfg(feature = "selfhosted")]
            Self::SelfHosted(config) if config.base_url.is_some() => {
                Ok(Arc::new(switchboard_selfhosted::RemoteGate::build(&config, clock)?))
            }
            #[cfg(feature = "selfhosted")]
            Self::SelfHosted(config) => Ok(Arc::new(selfhosted(*config, tenant, store, clock).await?)),
        }
    }
}

fn settings<T: DeserializeOwned>(path: &str, config: &ProviderConfig) -> (Option<T>, Vec<ConfigFault>) {
    crate::config::deserialize_section(path, Value::Object(config.settings.clone()))
}

/// Whether the adapter takes these settings, and which app they name. Nothing is contacted.
pub(crate) fn check(alias: &ProviderId, config: &ProviderConfig) -> Result<App, Vec<ConfigFault>> {
    let at = |error: Error| vec![ConfigFault::new(format!("providers.{alias}"), error.message().to_owned())];
    match Adapter::read(alias, config) {
        (Some(adapter), faults) if faults.is_empty() => adapter.app(Arc::new(crate::clock::SystemClock)).map_err(at),
        (_, faults) => Err(faults),
    }
}

fn adapter(alias: &ProviderId, config: &ProviderConfig) -> Result<Adapter> {
    match Adapter::read(alias, config) {
        (Some(adapter), faults) if faults.is_empty() => Ok(adapter),
        (_, faults) => {
            let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Err(Error::new(ErrorKind::Config, text.join("; ")))
        }
    }
}

/// The provider behind an alias, started.
pub(crate) async fn provider(
    alias: &ProviderId,
    config: &ProviderConfig,
    store: &Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Provider>> {
    let built = adapter(alias, config)?.build(&config.tenant, store, clock).await;
    built.map_err(|error| error.with_provider(alias.clone()))
}

/// What the provider behind an alias can do. Nothing is contacted, nobody is listened to.
#[cfg(feature = "bin")]
pub(crate) async fn capabilities(alias: &ProviderId, config: &ProviderConfig) -> Result<Capabilities> {
    let mut adapter = adapter(alias, config)?;
    #[cfg(feature = "selfhosted")]
    if let Adapter::SelfHosted(config) = &mut adapter {
        let off = switchboard_selfhosted::Listen(None);
        (config.websocket, config.tcp) = (off, off);
    }
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let provider = adapter.build(&config.tenant, &store, Arc::new(crate::clock::SystemClock)).await?;
    Ok(provider.capabilities())
}

/// The service of our own, in this process, in this store. Its secret is made once for the installation.
#[cfg(feature = "selfhosted")]
async fn selfhosted(
    config: switchboard_selfhosted::SelfHostedConfig,
    tenant: &TenantId,
    store: &Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Result<switchboard_selfhosted::SelfHosted> {
    let name = format!("selfhosted/{tenant}/{}/secret", config.app_key);
    let fresh: [u8; 32] = rand::random();
    let secret = store.setting_or_insert(&name, &fresh).await?;
    let log = store.timelines(tenant, &config.app()).await?;
    let around = switchboard_selfhosted::Surroundings { log, clock, secret, verifier: None, push: None };
    switchboard_selfhosted::SelfHosted::start(config, around).await
}

/// The store a URL names.
pub(crate) async fn store(config: &StoreConfig) -> Result<Arc<dyn Store>> {
    if config.url == "memory://" {
        return Ok(Arc::new(MemoryStore::new()));
    }
    let path = sqlite_path(&config.url)?;
    let options = SqliteOptions { cache_bytes: config.cache_bytes, readers: config.readers, ..SqliteOptions::at(path) };
    Ok(Arc::new(SqliteStore::open(options).await?))
}

/// The file of a `sqlite://` URL.
pub(crate) fn sqlite_path(url: &str) -> Result<&Path> {
    url.strip_prefix("sqlite://")
        .filter(|path| !path.is_empty())
        .map(Path::new)
        .ok_or_else(|| Error::new(ErrorKind::Config, "store.url: must be sqlite://path or memory://"))
}
