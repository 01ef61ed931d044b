//! The adapter's settings.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use switchboard_contract::{Clock, Error, ErrorKind, Result};
use switchboard_outbound::{OutboundConfig, Url};

use crate::Huanxin;

/// One app at Huanxin. Secrets show as a mask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HuanxinConfig {
    /// `{org_name}#{app_name}`, as in the console.
    pub app_key: String,
    /// The app's client id, which gets its token.
    pub client_id: String,
    /// The secret that belongs to it.
    pub client_secret: SecretString,
    /// The secrets of the callback rules: one, or several while a rule is changed and because each rule has its own.
    /// Without one every callback is refused.
    #[serde(default)]
    pub callback_secret: Secrets,
    /// Where the REST service is: the data centre's host from the console, or several for fail-over.
    #[serde(default)]
    pub base_url: Addresses,
    /// How calls are made.
    #[serde(default)]
    pub http: OutboundConfig,
    /// The app's token.
    #[serde(default)]
    pub token: TokenConfig,
    /// The tokens of users.
    #[serde(default)]
    pub login: LoginConfig,
    /// Verification of callbacks and pre-send replies.
    #[serde(default)]
    pub callbacks: CallbackConfig,
    /// Sending and recalling.
    #[serde(default)]
    pub sending: SendingConfig,
    /// Hourly history files.
    #[serde(default)]
    pub history: HistoryConfig,
    /// Queries of one conversation.
    #[serde(default)]
    pub roaming: RoamingConfig,
    /// New groups and rooms.
    #[serde(default)]
    pub groups: GroupConfig,
}

/// One secret or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Secrets {
    /// One.
    One(SecretString),
    /// Several; each is tried.
    Many(Vec<SecretString>),
    /// Several, as a table.
    Table {
        /// Each is tried.
        list: Vec<SecretString>,
    },
}

impl Default for Secrets {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Secrets {
    pub(crate) fn as_slice(&self) -> &[SecretString] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(list) | Self::Table { list } => list,
        }
    }
}

/// One address or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Addresses {
    /// One.
    One(Url),
    /// Several, the preferred one first.
    Many(Vec<Url>),
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// The unit in which a cluster counts `ttl` and `expires_in`. Seconds everywhere but on the cluster "VIP 5".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlUnit {
    /// Seconds.
    #[default]
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl TtlUnit {
    pub(crate) fn count(self, duration: Duration) -> u64 {
        match self {
            Self::Seconds => duration.as_secs(),
            Self::Milliseconds => u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn duration(self, count: u64) -> Duration {
        match self {
            Self::Seconds => Duration::from_secs(count),
            Self::Milliseconds => Duration::from_millis(count),
        }
    }
}

/// How the app's token is got and kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// The lifetime asked for; absent: the console's setting. Zero asks for one that never ends.
    #[serde(with = "humantime_serde")]
    pub ttl: Option<Duration>,
    /// The cluster's unit.
    pub unit: TtlUnit,
    /// The part of the lifetime after which a new one is fetched, 0 to 1.
    pub renew_after: f64,
    /// Between two renewals caused by refusals at least this long: the vendor bans accounts that fetch too often.
    #[serde(with = "humantime_serde")]
    pub min_renewal_interval: Duration,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self { ttl: None, unit: TtlUnit::Seconds, renew_after: 0.8, min_renewal_interval: Duration::from_secs(1) }
    }
}

/// How users' tokens are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginMethod {
    /// The vendor makes them (`grant_type = inherit`).
    #[default]
    Inherit,
    /// They are made here from the client secret, without a call.
    Dynamic,
}

/// The tokens of users.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginConfig {
    /// How they are made.
    pub method: LoginMethod,
    /// Their lifetime.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self { method: LoginMethod::Inherit, ttl: Duration::from_secs(24 * 3600) }
    }
}

/// What to do with callbacks of kinds that the vendor's samples show without a signature (reactions, push results).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnsignedPolicy {
    /// Refuse them.
    #[default]
    Refuse,
    /// Take them, marked as unsigned. Anyone who knows the address can forge them.
    Accept,
}

/// Verification of callbacks and pre-send replies.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackConfig {
    /// How old a callback may be; absent: any age, because the vendor's store replays old ones with their old time.
    #[serde(with = "humantime_serde")]
    pub max_age: Option<Duration>,
    /// How far ahead of our clock a callback's time may be.
    #[serde(with = "humantime_serde")]
    pub max_ahead: Duration,
    /// Kinds without a signature.
    pub unsigned: UnsignedPolicy,
    /// The code the sender of a refused message is shown; absent: the vendor's own text.
    pub reject_code: Option<String>,
    /// Whether a callback rule includes messages sent over REST, so that our own sends come back as echoes.
    pub echoes: bool,
}

impl Default for CallbackConfig {
    fn default() -> Self {
        Self {
            max_age: None,
            max_ahead: Duration::from_secs(600),
            unsigned: UnsignedPolicy::Refuse,
            reject_code: None,
            echoes: true,
        }
    }
}

/// The importance of messages sent to rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomLevel {
    /// Kept longest under load.
    High,
    /// As clients send.
    Normal,
    /// Dropped first.
    Low,
}

/// Sending and recalling.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendingConfig {
    /// The `ext` key that carries our mark.
    pub mark_key: String,
    /// The `ext` key that carries mentions: a list of users or `ALL`, as the vendor's UI kits write it.
    pub mention_key: String,
    /// Bytes of body and `ext` together. 5 KB by the present documentation, 40 KB by older ones.
    pub max_bytes: u32,
    /// The importance of messages to rooms; absent: the vendor's default.
    pub room_level: Option<RoomLevel>,
    /// The callback route of sent messages (`env`). A name without a route means no callback at all.
    pub env: Option<String>,
    /// How long after sending the app may recall: 2 minutes, up to 7 days by console.
    #[serde(with = "humantime_serde")]
    pub recall_window: Duration,
    /// Recall regardless of the window.
    pub recall_force: bool,
}

impl Default for SendingConfig {
    fn default() -> Self {
        Self {
            mark_key: "sb".to_owned(),
            mention_key: "em_at_list".to_owned(),
            max_bytes: 5 * 1024,
            room_level: None,
            env: None,
            recall_window: Duration::from_secs(120),
            recall_force: false,
        }
    }
}

/// The zone in which a cluster names hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// UTC+8: clusters in mainland China.
    #[default]
    Beijing,
    /// UTC: clusters elsewhere.
    Utc,
}

/// Hourly history files.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// The cluster's zone.
    pub zone: Zone,
    /// An hour's file may be there this long after its end.
    #[serde(with = "humantime_serde")]
    pub earliest: Duration,
    /// After this long it does not change any more. The vendor promises nothing and advises 24 h under load.
    #[serde(with = "humantime_serde")]
    pub final_after: Duration,
    /// How long files are kept: 3 days, more by contract.
    #[serde(with = "humantime_serde")]
    pub kept: Duration,
    /// Calls admitted in a minute: 10, more by contract.
    pub calls_per_minute: u32,
    /// The longest line that is read, in bytes.
    pub max_line_bytes: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            zone: Zone::Beijing,
            earliest: Duration::from_secs(3600),
            final_after: Duration::from_secs(30 * 3600),
            kept: Duration::from_secs(3 * 24 * 3600),
            calls_per_minute: 10,
            max_line_bytes: 4 << 20,
        }
    }
}

/// Queries of one conversation (`/api/server/v6/…/roaming`). What the vendor's pages leave open is a setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoamingConfig {
    /// Whether to use them at all.
    pub enabled: bool,
    /// Messages in one page.
    pub max_page: u32,
    /// How far back the account's plan reaches: 3, 7 or 90 days.
    #[serde(with = "humantime_serde")]
    pub depth: Option<Duration>,
    /// After this long a message we sent would show if it was accepted; absent: unknown, so absence proves nothing.
    #[serde(with = "humantime_serde")]
    pub own_sends_after: Option<Duration>,
    /// The value of `order` for newest to oldest.
    pub order: String,
    /// Where the messages are in the answer, as a JSON pointer.
    pub messages: String,
    /// Where the next cursor is in the answer, as a JSON pointer.
    pub cursor: String,
}

impl Default for RoamingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_page: 50,
            depth: None,
            own_sends_after: None,
            order: "down".to_owned(),
            messages: "/data/messages".to_owned(),
            cursor: "/data/pagination/cursor".to_owned(),
        }
    }
}

/// New groups and rooms.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// Their description.
    pub description: String,
    /// The business's own text kept with a group, at most 8 KB.
    pub custom: Option<String>,
    /// The most members of a group; 200 by the vendor's default.
    pub max_users: u32,
    /// The most members of a room, at most 10,000.
    pub max_room_users: u32,
    /// Whether users must be admitted to a group.
    pub members_only: bool,
    /// Members asked for in one page.
    pub page_size: u32,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            description: String::new(),
            custom: None,
            max_users: 200,
            max_room_users: 1000,
            members_only: true,
            page_size: 100,
        }
    }
}

impl HuanxinConfig {
    /// Every fault at once, each with the name of its field.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: &str| {
            if !good {
                faults.push(fault.to_owned());
            }
        };
        check(self.org_and_app().is_some(), "app_key: must be org#app");
        check(!self.client_id.is_empty(), "client_id: must not be empty");
        check(!self.client_secret.expose_secret().is_empty(), "client_secret: must not be empty");
        check(
            self.callback_secret.as_slice().iter().all(|secret| !secret.expose_secret().is_empty()),
            "callback_secret: must not be empty",
        );
        check(self.http.base_urls.is_empty() || self.addresses().is_empty(), "base_url: http.base_urls says it too");
        let share = self.token.renew_after;
        check(share > 0.0 && share < 1.0, "token.renew_after: must be between 0 and 1");
        check(!self.login.ttl.is_zero(), "login.ttl: must not be zero");
        let keys = [("mark_key", &self.sending.mark_key), ("mention_key", &self.sending.mention_key)];
        for (name, key) in keys {
            check(!key.is_empty() && !key.starts_with("em_push"), &format!("sending.{name}: not usable as a key"));
        }
        check(self.sending.mark_key != self.sending.mention_key, "sending.mark_key: equals mention_key");
        let env = self.sending.env.as_deref().unwrap_or("x");
        let env_good = (1..=8).contains(&env.len()) && env.bytes().all(|byte| byte.is_ascii_alphanumeric());
        check(env_good, "sending.env: 1 to 8 letters or digits");
        check(self.history.earliest <= self.history.final_after, "history.earliest: must not exceed final_after");
        check(self.history.calls_per_minute > 0, "history.calls_per_minute: must not be zero");
        check(self.history.max_line_bytes >= 1024, "history.max_line_bytes: at least 1024");
        check(self.roaming.max_page > 0, "roaming.max_page: must not be zero");
        check((1..=10_000).contains(&self.groups.max_room_users), "groups.max_room_users: 1 to 10000");
        check((1..=1000).contains(&self.groups.page_size), "groups.page_size: 1 to 1000");
        check(
            self.callbacks.reject_code.as_ref().is_none_or(|code| code.chars().count() <= 256),
            "callbacks.reject_code: at most 256 characters",
        );
        faults.extend(self.outbound().faults().into_iter().map(|fault| {
            if fault.starts_with("base_urls") {
                fault.replacen("base_urls", "base_url", 1)
            } else {
                format!("http.{fault}")
            }
        }));
        faults
    }

    /// Checks everything and makes the adapter. Calls nothing yet.
    ///
    /// # Errors
    /// `Config` naming every fault.
    pub fn build(self, clock: Arc<dyn Clock>) -> Result<Huanxin> {
        let faults = self.faults();
        if faults.is_empty() {
            Huanxin::new(self, clock)
        } else {
            Err(Error::new(ErrorKind::Config, faults.join("; ")))
        }
    }

    pub(crate) fn outbound(&self) -> OutboundConfig {
        let mut http = self.http.clone();
        if http.base_urls.is_empty() {
            http.base_urls = self.addresses().to_vec();
        }
        http
    }

    /// The two halves of the app key.
    pub(crate) fn org_and_app(&self) -> Option<(&str, &str)> {
        self.app_key.split_once('#').filter(|(org, app)| !org.is_empty() && !app.is_empty() && !app.contains('#'))
    }

    fn addresses(&self) -> &[Url] {
        match &self.base_url {
            Addresses::One(one) => std::slice::from_ref(one),
            Addresses::Many(list) => list,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const GOOD: &str = "app_key = 'acme-im#bridge'\nclient_id = 'id'\nclient_secret = 'hush'\n";

    #[test]
    fn secrets_and_addresses_come_in_each_form_and_secrets_stay_masked() {
        for (secrets, addresses, count) in [
            ("'a'", "'http://127.0.0.1:1'", 1),
            ("['a', 'b']", "['http://127.0.0.1:1', 'http://127.0.0.1:2']", 2),
            ("{ list = ['a', 'b'] }", "['http://127.0.0.1:1']", 2),
        ] {
            let text = format!("{GOOD}callback_secret = {secrets}\nbase_url = {addresses}");
            let config: HuanxinConfig = toml::from_str(&text).unwrap();
            assert_eq!(config.callback_secret.as_slice().len(), count);
            assert_eq!(config.faults(), Vec::<String>::new());
            assert!(!format!("{config:?}").contains("hush"));
        }
    }

    #[test]
    fn every_fault_is_named_at_once_and_a_misspelt_key_is_refused() {
        let text = "app_key = 'bridge'\nclient_id = ''\nclient_secret = ''\nhttp = { max_retries = 1 }\n\
                    sending = { env = 'not ok', mark_key = '' }\ntoken = { renew_after = 2.0 }";
        let faults = toml::from_str::<HuanxinConfig>(text).unwrap().faults().join("\n");
        for field in
            ["app_key", "client_id", "client_secret", "http.max_retries", "base_url", "env", "mark_key", "renew_after"]
        {
            assert!(faults.contains(field), "{field} is missing in {faults}");
        }
        assert!(toml::from_str::<HuanxinConfig>(&format!("{GOOD}callback_secrets = 'a'")).is_err());
    }
}
