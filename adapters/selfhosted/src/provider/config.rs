//! Settings. Every one has a default: `kind = "selfhosted"` is enough to start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use switchboard_contract::{App, Error, ErrorKind, Result};

use super::KIND;
use crate::ServerTls;
use crate::gate::{CadenceConfig, GateConfig};
use crate::service::ServiceConfig;

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

/// `[providers.x]` with `kind = "selfhosted"`. Durations are written as `30s`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfHostedConfig {
    /// Tells several services of one installation apart.
    pub app_key: String,
    /// Signs tokens and notices, at least 16 characters. By default one that the installation makes and keeps.
    pub secret: Option<SecretString>,
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

    pub(super) fn service(&self) -> ServiceConfig {
        ServiceConfig {
            max_content_bytes: self.max_content_bytes,
            write_diffusion_up_to: self.write_diffusion_up_to,
            max_members: self.max_members,
            recall_within: self.recall_within,
            token_ttl: self.token_ttl,
            push_after: self.push_after,
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
        for wrong in [json!({ "tcp": "on" }), json!({ "no_such": 1 }), json!({ "token_ttl": "soon" })] {
            assert!(serde_json::from_value::<SelfHostedConfig>(wrong).is_err());
        }
    }
}
