//! The settings of one RongCloud app.
//!
//! Only `app_key` and `app_secret` are needed. Where the vendor's documentation leaves a question open, both readings
//! are taken, or the reading is a setting here.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use switchboard_contract::{App, Clock, Error, ErrorKind, Result};
use switchboard_outbound::{Outbound, OutboundConfig, Url};

use crate::error::RongCloudAnswers;
use crate::limits::RongCloudQuotas;
use crate::provider::RongCloud;
use crate::sign::{HeaderNames, RequestSigner, TimeUnit};
use crate::{VENDOR, provider};

/// Everything that can be set for an app at RongCloud.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RongCloudConfig {
    /// The app key from the console. Public.
    pub app_key: String,
    /// The app secret from the console. Signs our requests, and the vendor's callbacks.
    pub app_secret: SecretString,
    /// Former secrets that callbacks may still be signed with. Empty unless the secret was changed lately.
    #[serde(default)]
    pub former_secrets: Vec<SecretString>,
    /// Where the app lives. An app is in exactly one data centre.
    #[serde(default)]
    pub data_centre: DataCentre,
    /// Another address than the data centre's two: a private deployment or an emulator. Used alone.
    #[serde(default)]
    pub base_url: Option<Url>,
    /// How calls are made; `base_urls` there, if any, stand in place of the data centre's two addresses.
    #[serde(default)]
    pub outbound: OutboundConfig,
    /// How requests are signed.
    #[serde(default)]
    pub signing: SigningConfig,
    /// How callbacks are taken.
    #[serde(default)]
    pub callbacks: CallbackConfig,
    /// How history is read.
    #[serde(default)]
    pub history: HistoryConfig,
    /// How rooms are made.
    #[serde(default)]
    pub rooms: RoomConfig,
    /// The user whose online status the probe asks for. It need not exist.
    #[serde(default = "default_probe_user")]
    pub probe_user: String,
    /// The key inside `content.extra` under which our mark travels; 1 to 32 characters. Changing it hides the marks
    /// of messages already sent.
    #[serde(default = "default_mark_key")]
    pub mark_key: String,
    /// What the account's plan admits.
    #[serde(default)]
    pub quotas: RongCloudQuotas,
}

/// The vendor's data centres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataCentre {
    /// China.
    #[default]
    Beijing,
    /// Singapore.
    Singapore,
    /// Singapore B.
    SingaporeB,
    /// North America.
    NorthAmerica,
    /// Saudi Arabia.
    SaudiArabia,
}

impl DataCentre {
    /// The preferred address and the one to turn to when it fails.
    pub const fn addresses(self) -> [&'static str; 2] {
        match self {
            Self::Beijing => ["https://api.rong-api.com", "https://api-b.rong-api.com"],
            Self::Singapore => ["https://api.sg-light-api.com", "https://api-b.sg-light-api.com"],
            Self::SingaporeB => ["https://api.sg-b-light-api.com", "https://api-b.sg-b-light-api.com"],
            Self::NorthAmerica => ["https://api.us-light-api.com", "https://api-b.us-light-api.com"],
            Self::SaudiArabia => ["https://api.sau-light-api.com", "https://api-b.sau-light-api.com"],
        }
    }

    /// The zone of the hourly logs: Beijing time in China, UTC elsewhere.
    pub const fn log_zone(self) -> LogZone {
        match self {
            Self::Beijing => LogZone::Beijing,
            _ => LogZone::Utc,
        }
    }
}

/// How requests are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigningConfig {
    /// The unit of the signed time.
    pub time: TimeUnit,
    /// The spelling of the four headers.
    pub headers: HeaderNames,
}

/// How callbacks are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackConfig {
    /// How far the signed time may lie from ours, both ways. The vendor documents callbacks five minutes late.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// The path below `/callbacks/{provider}` to which the pre-send hook is pointed in the console, without slashes
    /// at its ends.
    pub pre_send_path: String,
    /// Whether the console switch that also routes messages sent through the Server API is on. Off at the vendor
    /// unless asked for; on, an echo proves that a send was accepted.
    pub server_messages: bool,
}

impl Default for CallbackConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(600), pre_send_path: "pre-send".to_owned(), server_messages: false }
    }
}

/// How history is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// The zone that hourly logs are named and written in; the data centre's when absent.
    pub log_zone: Option<LogZone>,
    /// How long after its hour a log is first asked for. The vendor says it is there within an hour, normally.
    #[serde(with = "humantime_serde")]
    pub log_earliest: Duration,
    /// How long after its hour a log is taken as final.
    #[serde(with = "humantime_serde")]
    pub log_final_after: Duration,
    /// The largest log, unpacked, in bytes; it is unpacked to a temporary file, never in memory.
    pub max_log_bytes: u64,
    /// How numbers are written in queries: one official SDK writes text, another numbers.
    pub query_values: QueryValues,
    /// The order in which queries list messages; the vendor states it for some kinds of conversation only.
    pub query_order: QueryOrder,
    /// The longest span of one query. The vendor states 14 days for ultra groups.
    #[serde(with = "humantime_serde")]
    pub query_max_span: Duration,
    /// How far back queries reach, as the plan says. The vendor's default is six months.
    #[serde(with = "humantime_serde")]
    pub query_depth: Duration,
    /// After this long a query shows our own sends; absent: it might never, so that a query proves nothing about a
    /// send without an answer.
    #[serde(with = "humantime_serde")]
    pub query_own_sends_after: Option<Duration>,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            log_zone: None,
            log_earliest: Duration::from_secs(20 * 60),
            log_final_after: Duration::from_secs(2 * 3600),
            max_log_bytes: 16 << 30,
            query_values: QueryValues::default(),
            query_order: QueryOrder::default(),
            query_max_span: Duration::from_secs(14 * 86_400),
            query_depth: Duration::from_secs(180 * 86_400),
            query_own_sends_after: None,
        }
    }
}

/// The zone of hourly logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogZone {
    /// UTC+8, without summer time.
    Beijing,
    /// UTC.
    Utc,
}

/// How numbers are written in queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryValues {
    /// As JSON numbers and truth values, like the Java SDK.
    #[default]
    Numbers,
    /// As text, like the Go SDK.
    Text,
}

/// The order of the messages in a query's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryOrder {
    /// Read from the answers.
    #[default]
    Auto,
    /// Newest first.
    Descending,
    /// Oldest first.
    Ascending,
}

/// How rooms are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomConfig {
    /// When a room ends by itself; absent: as the vendor does it, after an hour without activity.
    pub ends: Option<RoomEnd>,
}

/// When a room ends by itself: 1 hour to 7 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RoomEnd {
    /// After this long without activity.
    Idle(#[serde(with = "humantime_serde")] Duration),
    /// This long after it was made.
    After(#[serde(with = "humantime_serde")] Duration),
}

impl RoomEnd {
    /// The vendor's `destroyType` and `destroyTime` in minutes.
    pub(crate) fn parts(self) -> (u8, u64) {
        match self {
            Self::Idle(span) => (0, span.as_secs().div_ceil(60)),
            Self::After(span) => (1, span.as_secs().div_ceil(60)),
        }
    }
}

fn default_probe_user() -> String {
    "switchboard".to_owned()
}

fn default_mark_key() -> String {
    "sb".to_owned()
}

/// Requests on one connection; the vendor asks for fewer than 80, and less than 55 s of idleness.
const MAX_REQUESTS_PER_CONNECTION: u32 = 79;

impl RongCloudConfig {
    /// The settings of an app with everything else at its default.
    pub fn new(app_key: impl Into<String>, app_secret: impl Into<String>) -> Self {
        Self {
            app_key: app_key.into(),
            app_secret: SecretString::from(app_secret.into()),
            former_secrets: Vec::new(),
            data_centre: DataCentre::default(),
            base_url: None,
            outbound: OutboundConfig::default(),
            signing: SigningConfig::default(),
            callbacks: CallbackConfig::default(),
            history: HistoryConfig::default(),
            rooms: RoomConfig::default(),
            probe_user: default_probe_user(),
            mark_key: default_mark_key(),
            quotas: RongCloudQuotas::default(),
        }
    }

    /// The app these settings are for.
    pub fn app(&self) -> App {
        App::new(VENDOR, self.app_key.as_str())
    }

    /// Every fault at once, each with the name of its field.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: &str| {
            if !good {
                faults.push(fault.to_owned());
            }
        };
        let graphic = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        check(graphic(&self.app_key), "app_key: must be visible ASCII characters");
        check(!self.app_secret.expose_secret().is_empty(), "app_secret: must not be empty");
        check(
            self.former_secrets.iter().all(|secret| !secret.expose_secret().is_empty()),
            "former_secrets: must not be empty",
        );
        check(
            self.base_url.is_none() || self.outbound.base_urls.is_empty(),
            "base_url: give either this or outbound.base_urls",
        );
        check(
            !self.probe_user.is_empty()
                && self.probe_user.len() <= 64
                && self.probe_user.bytes().all(provider::is_id_byte),
            "probe_user: must be a user id of the vendor",
        );
        check((1..=32).contains(&self.mark_key.chars().count()), "mark_key: must have 1 to 32 characters");
        check(
            !matches!(self.mark_key.as_str(), "extra" | "mentionedInfo"),
            "mark_key: this key of a content has a meaning already",
        );
        let path = self.callbacks.pre_send_path.as_str();
        check(
            !path.is_empty() && path.trim_matches('/') == path,
            "callbacks.pre_send_path: must not be empty or begin or end with a slash",
        );
        check(!self.callbacks.window.is_zero(), "callbacks.window: must not be zero");
        check(self.history.query_max_span >= Duration::from_secs(1), "history.query_max_span: must be 1s or more");
        check(
            self.history.log_earliest <= self.history.log_final_after,
            "history.log_earliest: must not exceed history.log_final_after",
        );
        check(self.history.max_log_bytes > 0, "history.max_log_bytes: must not be zero");
        if let Some(end) = self.rooms.ends {
            check((60..=10_080).contains(&end.parts().1), "rooms.ends: must be 1h to 7d");
        }
        self.quotas.faults(&mut faults);
        faults.extend(self.addressed().faults().into_iter().map(|fault| format!("outbound.{fault}")));
        faults
    }

    /// The outbound settings with their addresses filled in.
    fn addressed(&self) -> OutboundConfig {
        let mut outbound = self.outbound.clone();
        match &self.base_url {
            Some(url) => outbound.base_urls = vec![url.clone()],
            None if outbound.base_urls.is_empty() => {
                let parse = |address: &str| Url::parse(address).expect("the vendor's own addresses are URLs");
                outbound.base_urls = self.data_centre.addresses().into_iter().map(parse).collect();
            }
            None => {}
        }
        let requests = outbound.max_requests_per_connection.unwrap_or(MAX_REQUESTS_PER_CONNECTION);
        outbound.max_requests_per_connection = Some(requests.min(MAX_REQUESTS_PER_CONNECTION));
        outbound.idle_timeout = outbound.idle_timeout.min(Duration::from_secs(50));
        // The vendor's SDKs stay at least this long with an address.
        outbound.failover_damping = outbound.failover_damping.max(Duration::from_secs(30));
        outbound
    }

    /// Makes the provider. Nothing is called yet.
    ///
    /// # Errors
    /// `Config` naming every fault.
    pub fn build(self, clock: Arc<dyn Clock>) -> Result<RongCloud> {
        let faults = self.faults();
        if !faults.is_empty() {
            return Err(Error::new(ErrorKind::Config, faults.join("; ")));
        }
        let signer = RequestSigner::new(
            &self.app_key,
            self.app_secret.clone(),
            self.signing.time,
            self.signing.headers,
            clock.clone(),
        )?;
        let answers = Arc::new(RongCloudAnswers { clock: clock.clone() });
        let outbound = Outbound::builder(self.addressed(), self.app(), clock, answers)
            .with_signer(Arc::new(signer))
            .with_quotas(self.quotas.groups())
            .build()?;
        Ok(RongCloud::new(self, outbound))
    }
}
