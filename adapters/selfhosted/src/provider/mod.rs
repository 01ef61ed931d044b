//! The service as a provider: what the engine sees of it, which is what it sees of any vendor. In this process with its
//! gate, or in another, reached through its gate.

mod callbacks;
mod calls;
mod clerk;
mod codec;
mod config;
mod counter;
mod desk;
mod front;
mod remote;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::storage::Timelines;
use switchboard_contract::{
    App, CallbackCodec, Clock, Groups, Link, Messaging, Naming, Provider, Result, Roaming, Users,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use config::{Listen, NetworkClass, SelfHostedConfig};
pub use remote::RemoteGate;

use crate::gate::Gate;
use crate::service::{Parts, PushHook, Service, TokenVerifier};
use callbacks::Seal;
use clerk::Clerk;
use counter::Counter;
use front::Front;

/// The vendor family's name.
pub const KIND: &str = "selfhosted";
/// The longest look for news of a service in the same process.
const PATIENCE: Duration = Duration::from_secs(30);
/// Under which the engine's place in the log is kept: no user has an empty name, and no other reader this one.
const READER: &str = "business";

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
    service: Service,
    gate: Gate,
    front: Front,
}

impl fmt::Debug for SelfHosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfHosted").field("app", &self.front.app).field("gate", &self.gate).finish_non_exhaustive()
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
        let verifier = config.verifier(&clock)?.or(verifier);
        let push = config.push(&clock)?.or(push);
        let parts =
            Parts { app: app.clone(), log, clock: clock.clone(), secret, config: config.service(), verifier, push };
        let service = Service::start(parts).await?;
        let counter = Arc::new(Counter::new(service.clone(), seal.clone()));
        let gate = match Gate::open(service.clone(), gate, Some(counter)).await {
            Ok(gate) => gate,
            Err(error) => {
                service.shutdown().await;
                return Err(error);
            }
        };
        let front = Front {
            app,
            office: Arc::new(Clerk::new(service.clone(), seal.clone(), READER)),
            seal,
            max_content_bytes: service.config().max_content_bytes,
            clock,
            patience: PATIENCE,
            handed_out: Mutex::new(None),
            closed: CancellationToken::new(),
        };
        Ok(Self { service, gate, front })
    }

    /// The service, for what no vendor has.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The gate, with the addresses it listens at.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

#[async_trait]
impl Provider for SelfHosted {
    fn app(&self) -> &App {
        &self.front.app
    }

    fn naming(&self) -> Naming {
        self.front.naming()
    }

    async fn probe(&self) -> Result<()> {
        self.front.probe().await
    }

    fn messaging(&self) -> &dyn Messaging {
        &self.front
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        self.front.callbacks()
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        Some(&self.front)
    }

    fn users(&self) -> Option<&dyn Users> {
        Some(&self.front)
    }

    fn groups(&self) -> Option<&dyn Groups> {
        Some(&self.front)
    }

    fn link(&self) -> Option<&dyn Link> {
        Some(self)
    }
}

#[async_trait]
impl Link for SelfHosted {
    async fn next(&self) -> Result<Vec<switchboard_contract::RawCallback>> {
        self.front.next().await
    }

    async fn close(&self) {
        self.gate.shutdown().await;
        self.service.shutdown().await;
        self.front.close().await;
    }
}
