//! A service in another process, reached through its gate: one long connection that comes back by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng as _;
use switchboard_contract::{
    App, CallbackCodec, Clock, Error, ErrorKind, Groups, Link, Messaging, Naming, Provider, RawCallback, Result, Retry,
    Roaming, Timestamp, UserId, Users,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::callbacks::Seal;
use super::config::SelfHostedConfig;
use super::desk::{Answer, Call, Office};
use super::front::Front;
use crate::client::{Connection, Endpoint};
use crate::frame::{Body, Command};
use crate::proto;
use crate::service::TokenIssuer;

/// How long a token lasts that a login is made with; the next one comes with the next connection.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// To connect and to log in.
const LOGIN_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest look for news; shorter than what networks forget a silent connection after.
const PATIENCE: Duration = Duration::from_secs(20);
/// Repeats of a call that may be repeated, after the first try.
const RETRIES: u32 = 3;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// The service of another process behind the provider contract.
#[derive(Debug)]
pub struct RemoteGate {
    front: Front,
    office: Arc<Remote>,
}

impl RemoteGate {
    /// From settings with a `base_url`. Connects when it is first used.
    ///
    /// # Errors
    /// `Config` for settings that cannot work.
    pub fn build(config: &SelfHostedConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let missing = || Error::new(ErrorKind::Config, "secret: the gate's own is needed with base_url");
        let (app, secret) = (config.app(), config.secret().ok_or_else(missing)?);
        let seal = Seal::new(&app, &secret);
        let office = Arc::new(Remote {
            endpoint: config.endpoint()?,
            issuer: TokenIssuer::new(&secret),
            reader: config.reader.clone(),
            network: config.network.into(),
            clock: clock.clone(),
            line: Mutex::default(),
            failures: AtomicU32::new(0),
        });
        let front = Front {
            app,
            office: office.clone(),
            seal,
            max_content_bytes: config.max_content_bytes,
            clock,
            patience: PATIENCE,
            handed_out: Mutex::new(None),
            closed: CancellationToken::new(),
        };
        Ok(Self { front, office })
    }
}

#[async_trait]
impl Provider for RemoteGate {
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
impl Link for RemoteGate {
    async fn next(&self) -> Result<Vec<RawCallback>> {
        self.front.next().await
    }

    async fn close(&self) {
        self.front.close().await;
        self.office.hang_up().await;
    }
}

struct Remote {
    endpoint: Endpoint,
    issuer: TokenIssuer,
    reader: String,
    network: proto::Network,
    clock: Arc<dyn Clock>,
    line: Mutex<Line>,
    /// Connections in a row that came to nothing.
    failures: AtomicU32,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The connection, and when the next try is due after a failure.
#[derive(Debug, Default)]
struct Line {
    open: Option<Arc<Connection>>,
    not_before: Option<Timestamp>,
}

/// A random part of a wait that doubles: not all come back to a gate at the same moment.
fn jittered(failures: u32) -> Duration {
    let most = RETRY_FIRST.saturating_mul(1 << failures.min(16)).min(RETRY_LONGEST);
    most.mul_f64(rand::rng().random_range(0.5..=1.0))
}

impl Remote {
    /// The connection there is, or a new one. One caller connects, the others wait for it.
    async fn line(&self) -> Result<Arc<Connection>> {
        let mut line = self.line.lock().await;
        if let Some(open) = line.open.take().filter(|open| !open.is_closed()) {
            line.open = Some(open.clone());
            return Ok(open);
        }
        let now = self.clock.now();
        if let Some(due) = line.not_before.filter(|due| *due > now) {
            let wait = Some(due.since(now));
            let error = Error::new(ErrorKind::Unavailable, "the gate was not reached a moment ago");
            return Err(error.with_retry(Retry::Safe { after: wait }));
        }
        let late = || {
            Error::new(ErrorKind::Timeout, "the gate did not let us in in time").with_retry(Retry::Safe { after: None })
        };
        let connecting = tokio::time::timeout(LOGIN_WITHIN, self.connect(now));
        match connecting.await.unwrap_or_else(|_| Err(late())) {
            Ok(open) => {
                self.failures.store(0, Ordering::Relaxed);
                metrics::counter!("switchboard_gate_remote_connects_total", "outcome" => "ok").increment(1);
                (line.open, line.not_before) = (Some(open.clone()), None);
                Ok(open)
            }
            Err(error) => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed);
                line.not_before = Some(now + jittered(failures));
                let outcome = error.kind().as_str();
                metrics::counter!("switchboard_gate_remote_connects_total", "outcome" => outcome).increment(1);
                Err(error)
            }
        }
    }

    async fn connect(&self, now: Timestamp) -> Result<Arc<Connection>> {
        let open = Arc::new(Connection::open(&self.endpoint).await?);
        let login = proto::Login {
            token: self.issuer.issue(&UserId::from(""), now + TOKEN_LIFE),
            device: self.reader.clone(),
            network: self.network.into(),
            ..Default::default()
        };
        // Nothing was asked yet: whatever happens to a login has no effect.
        let safe = |error: Error| match error.retry() {
            Retry::OutcomeUnknown => error.with_retry(Retry::Safe { after: None }),
            _ => error,
        };
        let answer = open.login(login).await.map_err(safe)?;
        let every = Duration::from_millis(answer.heartbeat_ms.max(1).into());
        tokio::spawn(beat(Arc::downgrade(&open), self.clock.clone(), self.network, every));
        Ok(open)
    }

    async fn hang_up(&self) {
        self.line.lock().await.open = None;
    }

    async fn once(&self, call: &Call) -> Result<Answer> {
        let unwritable = |error: serde_json::Error| Error::invalid("call", error);
        let text = serde_json::to_string(call).map_err(unwritable)?;
        let within = match call {
            Call::Next { wait_ms, .. } => ANSWER_WITHIN + Duration::from_millis(*wait_ms),
            _ => ANSWER_WITHIN,
        };
        let body = Body::BusinessCall(proto::BusinessCall { call: text });
        let unexpected = || Error::new(ErrorKind::Decode, "the gate answered with something else");
        let line = self.line().await?;
        let Body::BusinessAnswer(answer) = line.request_within(Command::Business, &body, within).await? else {
            return Err(unexpected());
        };
        let read: Answer = serde_json::from_str(&answer.answer).map_err(|error| unexpected().with_source(error))?;
        Ok(match read {
            Answer::Notice(Some(mut notice)) => {
                notice.body = answer.data;
                Answer::Notice(Some(notice))
            }
            other => other,
        })
    }
}

/// Shows that we are there, as often as the gate wants to see it; over when the connection is.
async fn beat(line: std::sync::Weak<Connection>, clock: Arc<dyn Clock>, network: proto::Network, first: Duration) {
    let mut every = first;
    loop {
        clock.sleep(every).await;
        let Some(open) = line.upgrade().filter(|open| !open.is_closed()) else { return };
        let body = Body::Heartbeat(proto::Heartbeat { network: network.into() });
        match open.request(Command::Heartbeat, &body).await {
            Ok(Body::HeartbeatSeen(seen)) => every = Duration::from_millis(seen.heartbeat_ms.max(1).into()),
            _ => return,
        }
    }
}

#[async_trait]
impl Office for Remote {
    async fn call(&self, call: Call) -> Result<Answer> {
        let mut tries = 0;
        loop {
            let outcome = self.once(&call).await;
            let Err(error) = outcome else { return outcome };
            let again = match error.retry() {
                Retry::Safe { .. } | Retry::OutcomeUnknown => call.is_repeatable() && tries < RETRIES,
                Retry::Never | Retry::Exhausted { .. } => false,
            };
            if !again {
                return Err(error.with_operation(call.name()));
            }
            let wait = match error.retry() {
                Retry::Safe { after: Some(after) } => after,
                _ => jittered(tries),
            };
            tries += 1;
            self.clock.sleep(wait).await;
        }
    }
}
