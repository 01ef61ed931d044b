//! Settings. Every one has a default: `kind = "selfhosted"` is enough to start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use switchboard_contract::{App, Clock, Error, ErrorKind, Result};

use super::KIND;
use crate::ServerTls;
use crate::client::Endpoint;
use crate::gate::{CadenceConfig, GateConfig};
use crate::hooks::{self, Webhook};
use crate::proto::Network;
use crate::service::{PushHook, ServiceConfig, TokenVerifier};

/// Where to listen: an address with a port (0 takes a free one), or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| serde::de::Error::custom("must be address:port or off"))?;
        Ok(Self(Some(address)))
    }
}

/// The network between a business and its gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkClass {
    /// One that keeps idle connections for long.
    #[default]
    Wifi,
    /// One whose gateways forget idle connections soon.
    Cellular,
}

impl From<NetworkClass> for Network {
    fn from(class: NetworkClass) -> Self {
        match class {
            NetworkClass::Wifi => Self::Wifi,
            NetworkClass::Cellular => Self::Cellular,
        }
    }
}

/// `[providers.x]` with `kind = "selfhosted"`. Durations are written as `30s`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfHostedConfig {
    /// Tells several services of one installation apart.
    pub app_key: String,
    /// Signs tokens and notices, at least 16 characters. By default one that the installation makes and keeps.
    pub secret: Option<SecretString>,
    /// A gate in another process: `ws://host:port`, `wss://…`, `tcp://…` or `tls://…`. Then nothing is started here,
    /// and `secret` is that gate's.
    pub base_url: Option<String>,
    /// With `base_url`: the certificates that vouch for the gate, PEM; needed for `wss` and `tls`.
    pub trusted: Option<PathBuf>,
    /// With `base_url`: under which name the gate keeps how far this installation has read its log.
    pub reader: String,
    /// With `base_url`: the class of the network in between, which bounds how rarely signs of life are sent.
    pub network: NetworkClass,
    /// Where phones are woken: told of each message that no device has taken for `push_after`.
    pub push_url: Option<String>,
    /// Where the business says whether a login token is good; without, tokens are the service's own.
    pub verify_url: Option<String>,
    /// Signs what is sent to these addresses, at least 16 characters.
    pub webhook_secret: Option<SecretString>,
    /// How long such a call may take with its retries; a login waits for it.
    #[serde(with = "humantime_serde")]
    pub webhook_deadline: Duration,
    /// WebSocket, for browsers and others.
    pub websocket: Listen,
    /// Plain TCP.
    pub tcp: Listen,
    /// The certificate chain, PEM. With `tls_key` both listeners speak TLS.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
    /// The largest body with `ext`.
    pub max_content_bytes: usize,
    /// Groups of at most so many members get a row for each member and message.
    pub write_diffusion_up_to: usize,
    /// The most members of a group.
    pub max_members: usize,
    /// How long a sender may take a message back or change it.
    #[serde(with = "humantime_serde")]
    pub recall_within: Duration,
    /// How long a login token is good.
    #[serde(with = "humantime_serde")]
    pub token_ttl: Duration,
    /// How long a message may stay untaken before a phone is woken.
    #[serde(with = "humantime_serde")]
    pub push_after: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections that have not logged in.
    pub max_strangers: usize,
    /// How long a connection may take to log in.
    #[serde(with = "humantime_serde")]
    pub login_within: Duration,
    /// Entries sent to a device and not acknowledged.
    pub max_in_flight: u32,
    /// Their bytes, from which on no more are sent.
    pub max_unacked_bytes: usize,
    /// How often entries go out to one device at most, and messages of a large group are written; what comes meanwhile goes
    /// together.
    #[serde(with = "humantime_serde")]
    pub flush_every: Duration,
    /// Writes of one connection in each second.
    pub writes_per_second: u32,
    /// How often a new device must be heard of.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
}

impl Default for SelfHostedConfig {
    fn default() -> Self {
        let (service, gate) = (ServiceConfig::default(), GateConfig::default());
        Self {
            app_key: "main".to_owned(),
            secret: None,
            base_url: None,
            trusted: None,
            reader: "switchboard".to_owned(),
            network: NetworkClass::Wifi,
            push_url: None,
            verify_url: None,
            webhook_secret: None,
            webhook_deadline: Duration::from_secs(5),
            websocket: Listen(gate.websocket),
            tcp: Listen(gate.tcp),
            tls_certificate: None,
            tls_key: None,
            max_content_bytes: service.max_content_bytes,
            write_diffusion_up_to: service.write_diffusion_up_to,
            max_members: service.max_members,
            recall_within: service.recall_within,
            token_ttl: service.token_ttl,
            push_after: service.push_after,
            max_connections: gate.max_connections,
            max_strangers: gate.max_strangers,
            login_within: gate.login_within,
            max_in_flight: gate.max_in_flight,
            max_unacked_bytes: gate.max_unacked_bytes,
            flush_every: gate.flush_every,
            writes_per_second: gate.writes_per_second,
            heartbeat: gate.heartbeat.start,
        }
    }
}

impl SelfHostedConfig {
    /// The app it names.
    pub fn app(&self) -> App {
        App::new(KIND, self.app_key.as_str())
    }

    pub(super) fn secret(&self) -> Option<Vec<u8>> {
        self.secret.as_ref().map(|secret| secret.expose_secret().as_bytes().to_vec())
    }

    /// What is wrong between the settings, each as `field: problem`.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: &str| {
            if !good {
                faults.push(fault.to_owned());
            }
        };
        let long =
            |secret: &Option<SecretString>| secret.as_ref().is_none_or(|secret| secret.expose_secret().len() >= 16);
        check(long(&self.secret), "secret: must have at least 16 characters");
        check(long(&self.webhook_secret), "webhook_secret: must have at least 16 characters");
        check(!self.app_key.is_empty(), "app_key: must not be empty");
        check((1..=128).contains(&self.reader.len()), "reader: must have 1 to 128 bytes");
        let hooks = self.push_url.is_some() || self.verify_url.is_some();
        check(!hooks || self.webhook_secret.is_some(), "webhook_secret: is needed with push_url and verify_url");
        check(!self.webhook_deadline.is_zero(), "webhook_deadline: must not be zero");
        for (field, url) in [("push_url", &self.push_url), ("verify_url", &self.verify_url)] {
            if let Some(Err(error)) = url.as_deref().map(hooks::address) {
                check(false, &format!("{field}: {}", error.message()));
            }
        }
        if self.base_url.is_some() {
            check(self.secret.is_some(), "secret: the gate's own is needed with base_url");
            if let Err(error) = self.endpoint() {
                check(false, error.message());
            }
            check(!hooks, "base_url: push_url and verify_url belong to the process that has the gate");
        }
        let tls = self.tls_certificate.is_some() == self.tls_key.is_some();
        check(tls, "tls_certificate: goes together with tls_key");
        check(self.max_content_bytes > 0, "max_content_bytes: must not be zero");
        check(self.max_members > 0, "max_members: must not be zero");
        check(self.max_connections > 0, "max_connections: must not be zero");
        check(self.max_strangers > 0, "max_strangers: must not be zero");
        check(self.max_in_flight > 0, "max_in_flight: must not be zero");
        check(self.max_unacked_bytes > 0, "max_unacked_bytes: must not be zero");
        check(self.writes_per_second > 0, "writes_per_second: must not be zero");
        check(self.flush_every <= Duration::from_secs(1), "flush_every: must be at most 1s");
        check(!self.heartbeat.is_zero(), "heartbeat: must not be zero");
        check(!self.login_within.is_zero(), "login_within: must not be zero");
        check(!self.token_ttl.is_zero(), "token_ttl: must not be zero");
        faults
    }

    /// Where the gate of another process is.
    ///
    /// # Errors
    /// `Config` for an address that is none.
    pub(super) fn endpoint(&self) -> Result<Endpoint> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, format!("base_url: {why}"));
        let url = self.base_url.as_deref().unwrap_or_default();
        let form = || wrong("must be ws://, wss://, tcp:// or tls:// with host:port");
        let (scheme, rest) = url.split_once("://").ok_or_else(form)?;
        let address = rest.trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
        if host.is_empty() || port.parse::<u16>().is_err() || address.contains(['/', '?', '#', '@']) {
            return Err(form());
        }
        let endpoint = match scheme {
            "ws" | "wss" => Endpoint::websocket(address),
            "tcp" | "tls" => Endpoint::tcp(address),
            _ => return Err(form()),
        };
        if matches!(scheme, "ws" | "tcp") {
            return Ok(endpoint);
        }
        let trusted = self.trusted.as_ref().ok_or_else(|| wrong("wss and tls need `trusted` certificates"))?;
        Ok(endpoint.secured(host.trim_matches(['[', ']']), trusted))
    }

    fn webhook(&self, url: &str, clock: &Arc<dyn Clock>) -> Result<Webhook> {
        let missing = || Error::new(ErrorKind::Config, "webhook_secret: is needed with push_url and verify_url");
        let secret = self.webhook_secret.as_ref().ok_or_else(missing)?;
        Webhook::new(&self.app(), url, secret.clone(), self.webhook_deadline, clock.clone())
    }

    pub(super) fn verifier(&self, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn TokenVerifier>>> {
        let hook = self.verify_url.as_deref().map(|url| self.webhook(url, clock)).transpose()?;
        Ok(hook.map(|hook| Arc::new(hook) as Arc<dyn TokenVerifier>))
    }

    pub(super) fn push(&self, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn PushHook>>> {
        let hook = self.push_url.as_deref().map(|url| self.webhook(url, clock)).transpose()?;
        Ok(hook.map(|hook| Arc::new(hook) as Arc<dyn PushHook>))
    }

    pub(super) fn service(&self) -> ServiceConfig {
        ServiceConfig {
            max_content_bytes: self.max_content_bytes,
            write_diffusion_up_to: self.write_diffusion_up_to,
            max_members: self.max_members,
            recall_within: self.recall_within,
            token_ttl: self.token_ttl,
            push_after: self.push_after,
            flush_every: self.flush_every,
            ..ServiceConfig::default()
        }
    }

    /// # Errors
    /// `Config` for a certificate without a key or the other way round, or files that cannot be used.
    pub(super) fn gate(&self) -> Result<GateConfig> {
        let tls = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(ServerTls::from_files(certificate, key)?),
            (None, None) => None,
            _ => return Err(Error::new(ErrorKind::Config, "tls_certificate and tls_key go together")),
        };
        let packet = u32::try_from(self.max_content_bytes).unwrap_or(u32::MAX).saturating_mul(2);
        let heartbeat = CadenceConfig::default();
        Ok(GateConfig {
            websocket: self.websocket.0,
            tcp: self.tcp.0,
            tls,
            login_within: self.login_within,
            max_connections: self.max_connections,
            max_strangers: self.max_strangers,
            max_packet_bytes: packet.max(64 << 10),
            max_in_flight: self.max_in_flight,
            max_unacked_bytes: self.max_unacked_bytes,
            flush_every: self.flush_every,
            writes_per_second: self.writes_per_second,
            heartbeat: CadenceConfig {
                start: self.heartbeat,
                least: heartbeat.least.min(self.heartbeat),
                most: heartbeat.most.max(self.heartbeat),
                most_cellular: heartbeat.most_cellular.max(self.heartbeat),
                ..heartbeat
            },
            ..GateConfig::default()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_needs_to_be_set() {
        let config: SelfHostedConfig = serde_json::from_value(json!({})).unwrap();
        assert_eq!((config.app(), config.secret()), (App::new("selfhosted", "main"), None));
        let config: SelfHostedConfig =
            serde_json::from_value(json!({ "tcp": "off", "websocket": "0.0.0.0:0", "heartbeat": "2s" })).unwrap();
        let gate = config.gate().unwrap();
        assert_eq!((gate.tcp, gate.websocket.unwrap().port()), (None, 0));
        assert_eq!(gate.heartbeat.least, Duration::from_secs(2));
        assert_eq!(config.faults(), Vec::<String>::new());
        let wrong = json!({
            "secret": "short", "base_url": "http://x", "push_url": "ftp://x", "tls_key": "k", "max_in_flight": 0,
        });
        let faults = serde_json::from_value::<SelfHostedConfig>(wrong).unwrap().faults().join("\n");
        for field in ["secret", "base_url", "push_url", "tls_certificate", "max_in_flight", "webhook_secret"] {
            assert!(faults.contains(field), "{field} is missing in {faults}");
        }
        for wrong in [json!({ "tcp": "on" }), json!({ "no_such": 1 }), json!({ "token_ttl": "soon" })] {
            assert!(serde_json::from_value::<SelfHostedConfig>(wrong).is_err());
        }
    }
}
