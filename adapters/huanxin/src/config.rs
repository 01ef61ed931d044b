//! The adapter's settings.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use switchboard_contract::{Clock, Error, ErrorKind, Result};
use switchboard_outbound::{OutboundConfig, Url};

use crate::Huanxin;
pub use crate::settings::{
    CallbackConfig, GroupConfig, HistoryConfig, KeptConfig, LoginConfig, LoginMethod, RoamingConfig, RoomLevel,
    SendingConfig, TokenConfig, TtlUnit, UnsignedPolicy, Zone,
};

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
    /// The paid store of failed callbacks.
    #[serde(default)]
    pub kept_callbacks: KeptConfig,
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
        check(self.kept_callbacks.max_repeats > 0, "kept_callbacks.max_repeats: must not be zero");
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
