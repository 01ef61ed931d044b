//! The service as a provider: what the engine sees of it, which is what it sees of any vendor.

mod callbacks;
mod calls;
mod codec;
mod config;
mod link;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use switchboard_contract::storage::Timelines;
use switchboard_contract::{
    App, CallbackCodec, Clock, GroupNaming, Groups, Link, Messaging, Naming, Provider, Result, Roaming, Spelling, Users,
};

pub use config::{Listen, SelfHostedConfig};

use crate::gate::Gate;
use crate::service::{Parts, PushHook, Service, TokenVerifier};
use callbacks::Seal;
use link::HubLink;

/// The vendor family's name.
pub const KIND: &str = "selfhosted";

/// Nearly every id is itself.
const SPELLING: Spelling =
    Spelling { allowed: |byte| byte.is_ascii_graphic(), prefix: "~", escape: b'~', max_bytes: 255 };

/// What a provider is made of besides its configuration.
pub struct Surroundings {
    /// Where it writes.
    pub log: Arc<dyn Timelines>,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    /// The secret to use when the configuration names none. Kept by the installation, so that tokens outlive a restart.
    pub secret: Vec<u8>,
    /// The business's own verification of login tokens.
    pub verifier: Option<Arc<dyn TokenVerifier>>,
    /// Who is told of messages that no device has taken.
    pub push: Option<Arc<dyn PushHook>>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("log", &self.log).finish_non_exhaustive()
    }
}

/// The service with its gate, in this process, behind the provider contract.
pub struct SelfHosted {
    app: App,
    service: Service,
    gate: Gate,
    seal: Seal,
    link: HubLink,
}

impl fmt::Debug for SelfHosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfHosted").field("app", &self.app).field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl SelfHosted {
    /// Starts the service and opens its gate.
    ///
    /// # Errors
    /// `Config` for settings that cannot work or an address in use; `Storage`.
    pub async fn start(config: SelfHostedConfig, around: Surroundings) -> Result<Self> {
        let Surroundings { log, clock, secret, verifier, push } = around;
        let app = config.app();
        let (secret, gate) = (config.secret().unwrap_or(secret), config.gate()?);
        let seal = Seal::new(&app, &secret);
        let parts = Parts { app: app.clone(), log, clock, secret, config: config.service(), verifier, push };
        let service = Service::start(parts).await?;
        let gate = match Gate::open(service.clone(), gate).await {
            Ok(gate) => gate,
            Err(error) => {
                service.shutdown().await;
                return Err(error);
            }
        };
        let link = HubLink::new(service.clone(), seal.clone());
        Ok(Self { app, service, gate, seal, link })
    }

    /// The service, for what no vendor has.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The gate, with the addresses it listens at.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    async fn stop(&self) {
        self.gate.shutdown().await;
        self.service.shutdown().await;
    }
}

#[async_trait]
impl Provider for SelfHosted {
    fn app(&self) -> &App {
        &self.app
    }

    fn naming(&self) -> Naming {
        Naming { users: SPELLING, groups: GroupNaming::Business(SPELLING), rooms: GroupNaming::Business(SPELLING) }
    }

    async fn probe(&self) -> Result<()> {
        self.service.log().tail().await.map(drop)
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        Some(&self.seal)
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        Some(self)
    }

    fn users(&self) -> Option<&dyn Users> {
        Some(self)
    }

    fn groups(&self) -> Option<&dyn Groups> {
        Some(self)
    }

    fn link(&self) -> Option<&dyn Link> {
        Some(self)
    }
}

#[async_trait]
impl Link for SelfHosted {
    async fn next(&self) -> Result<Vec<switchboard_contract::RawCallback>> {
        self.link.next().await
    }

    async fn close(&self) {
        self.stop().await;
    }
}
