//! The sections of the configuration, with their defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use switchboard_contract::{ConversationKind, ProviderId, TenantId};

use crate::archive::ArchiveConfig;
use crate::backfill::BackfillConfig;
use crate::catchup::CatchupConfig;
use crate::history::HistoryConfig;
use crate::hub::HubConfig;
use crate::ingest::IngestConfig;
use crate::reconcile::ReconcileConfig;
use crate::recovery::RecoveryConfig;
use crate::retention::RetentionConfig;
use crate::sending::SendingConfig;
use crate::silence::SilenceConfig;

/// All settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The sidecar's listener.
    pub server: ServerConfig,
    /// Bearer tokens of the API. Without one the API refuses everybody.
    pub tokens: Vec<TokenConfig>,
    /// The database.
    pub store: StoreConfig,
    /// The way in.
    pub ingest: IngestConfig,
    /// Comparing with the vendors' history files.
    pub reconcile: ReconcileConfig,
    /// Old messages in object storage.
    pub archive: ArchiveConfig,
    /// Tiers of history, and what a pull may cost.
    pub history: HistoryConfig,
    /// Catching up after we were away.
    pub catchup: CatchupConfig,
    /// How long events are kept.
    pub retention: RetentionConfig,
    /// How fetches that failed are tried again.
    pub recovery: RecoveryConfig,
    /// The watch for callbacks that do not come.
    pub silence: SilenceConfig,
    /// Fetching the past in the background.
    pub backfill: BackfillConfig,
    /// Subscriptions.
    pub hub: HubConfig,
    /// The way out.
    pub sending: SendingConfig,
    /// Providers by alias.
    pub providers: BTreeMap<ProviderId, ProviderConfig>,
    /// Which provider carries what.
    pub routing: RoutingConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// The sidecar's listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest body of an API call, in bytes. Callbacks have their own limit in `[ingest]`.
    pub max_body_bytes: usize,
    /// API calls of one token in flight at once; more get 429 with `Retry-After`.
    pub max_calls_per_token: usize,
    /// Open streams of one token; more get 429.
    pub max_streams_per_token: usize,
    /// How long a WebSocket waits after a frame of deliveries before the next, which takes along what comes meanwhile; 0
    /// for not at all. The first after a silence goes at once, and so does what is behind a full frame. Default 5 ms.
    #[serde(with = "humantime_serde")]
    pub flush_every: Duration,
    /// How long a stop waits for calls and streams to end.
    #[serde(with = "humantime_serde")]
    pub shutdown_deadline: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body_bytes: 1 << 20,
            max_calls_per_token: 256,
            max_streams_per_token: 2048,
            flush_every: Duration::from_millis(5),
            shutdown_deadline: Duration::from_secs(10),
        }
    }
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send, recall, cancel, look at sends.
    Messages,
    /// Create subscribers and receive.
    Subscribe,
    /// Read conversations and history.
    History,
    /// Everything else: users, groups, providers, identity map.
    Admin,
}

/// A bearer token of the API.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// A name for logs and metrics.
    pub name: String,
    /// The token: a literal, `{ env = "…" }` or `{ file = "…" }`.
    pub secret: SecretString,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// The tenant it acts for.
    #[serde(default)]
    pub tenant: TenantId,
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenConfig")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite://path` (relative to the working directory), or `memory://` for trials: it forgets everything.
    pub url: String,
    /// Memory for cached pages of the database, in bytes.
    pub cache_bytes: u64,
    /// Connections that read.
    pub readers: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: "sqlite://switchboard.db".to_owned(), cache_bytes: 64 << 20, readers: 4 }
    }
}

/// One app at one vendor.
#[derive(Clone)]
pub struct ProviderConfig {
    /// The vendor family.
    pub kind: String,
    /// The tenant whose messages it carries.
    pub tenant: TenantId,
    /// It only receives: nothing new is sent through it, what is queued goes to the default provider.
    pub receive_only: bool,
    /// The adapter's own settings.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl<'de> Deserialize<'de> for ProviderConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Common {
            kind: String,
            #[serde(default)]
            tenant: TenantId,
            #[serde(default)]
            receive_only: bool,
            #[serde(flatten)]
            settings: serde_json::Map<String, serde_json::Value>,
        }
        let Common { kind, tenant, receive_only, settings } = Common::deserialize(deserializer)?;
        Ok(Self { kind, tenant, receive_only, settings })
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("kind", &self.kind)
            .field("tenant", &self.tenant)
            .field("receive_only", &self.receive_only)
            .finish_non_exhaustive()
    }
}

/// Which provider carries what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingConfig {
    /// The provider of everything no rule names. May be left out when there is only one.
    pub default: Option<ProviderId>,
    /// The first rule that fits decides.
    pub rules: Vec<RouteRule>,
}

/// A rule: every condition that is given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// The provider to use.
    pub provider: ProviderId,
    /// Only this tenant.
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// Only this kind of conversation.
    #[serde(default)]
    pub conversation: Option<ConversationKind>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Levels by module, such as `info,switchboard::hub=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
