//! From settings to concrete adapters and stores. The only place of the library that names them.

#![cfg_attr(
    not(any(feature = "huanxin", feature = "rongcloud")),
    allow(dead_code, unused_variables, reason = "without an adapter, providers are given to the builder")
)]

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use switchboard_contract::storage::Store;
use switchboard_contract::{App, Clock, Error, ErrorKind, Provider, ProviderId, Result};

use crate::config::{ConfigFault, ProviderConfig, StoreConfig};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// The vendors this build knows.
pub(crate) const KINDS: &[&str] = &[
    #[cfg(feature = "huanxin")]
    switchboard_huanxin::KIND,
    #[cfg(feature = "rongcloud")]
    switchboard_rongcloud::VENDOR,
];

/// An adapter's settings, understood.
enum Adapter {
    #[cfg(feature = "huanxin")]
    Huanxin(Box<switchboard_huanxin::HuanxinConfig>),
    #[cfg(feature = "rongcloud")]
    RongCloud(Box<switchboard_rongcloud::RongCloudConfig>),
}

impl Adapter {
    fn parse(alias: &ProviderId, config: &ProviderConfig) -> Result<Self, Vec<ConfigFault>> {
        let path = format!("providers.{alias}");
        match config.kind.as_str() {
            #[cfg(feature = "huanxin")]
            switchboard_huanxin::KIND => settings(&path, config).map(|config| Self::Huanxin(Box::new(config))),
            #[cfg(feature = "rongcloud")]
            switchboard_rongcloud::VENDOR => settings(&path, config).map(|config| Self::RongCloud(Box::new(config))),
            _ => Err(vec![
                ConfigFault::new(format!("{path}.kind"), "this build has no such adapter")
                    .with_hint(format!("one of {}", KINDS.join(", "))),
            ]),
        }
    }

    fn build(self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Provider>> {
        match self {
            #[cfg(feature = "huanxin")]
            Self::Huanxin(config) => Ok(Arc::new(config.build(clock)?)),
            #[cfg(feature = "rongcloud")]
            Self::RongCloud(config) => Ok(Arc::new(config.build(clock)?)),
        }
    }
}

fn settings<T: DeserializeOwned>(path: &str, config: &ProviderConfig) -> Result<T, Vec<ConfigFault>> {
    crate::config::deserialize_section(path, Value::Object(config.settings.clone()))
}

/// Whether the adapter takes these settings, and which app they name. Nothing is contacted.
pub(crate) fn check(alias: &ProviderId, config: &ProviderConfig) -> Result<App, Vec<ConfigFault>> {
    let at = |error: Error| vec![ConfigFault::new(format!("providers.{alias}"), error.message().to_owned())];
    let adapter = Adapter::parse(alias, config)?;
    let provider = adapter.build(Arc::new(crate::clock::SystemClock)).map_err(at)?;
    Ok(provider.app().clone())
}

/// The provider behind an alias.
pub(crate) fn provider(
    alias: &ProviderId,
    config: &ProviderConfig,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Provider>> {
    let adapter = Adapter::parse(alias, config).map_err(|faults| {
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Error::new(ErrorKind::Config, text.join("; "))
    })?;
    adapter.build(clock).map_err(|error| error.with_provider(alias.clone()))
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
