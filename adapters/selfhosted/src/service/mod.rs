//! The messaging service behind the gate: what users, devices and the business may do, in order and durably.
//!
//! One task writes (`writer`). What it has written it hands to the devices that are online (`routes`); everybody
//! else finds it in their timeline. A message is acknowledged to its sender only after it is stored.

mod acts;
mod delivered;
mod gathering;
mod groups;
mod outlet;
mod prepare;
mod push;
mod reads;
mod routes;
mod run;
#[cfg(test)]
mod sample;
mod saver;
mod tokens;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::storage::{Account, Timelines};
use switchboard_contract::{App, Clock, Error, ErrorKind, Position, Result, Timestamp, UserId, UserProfile};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use acts::{Act, GroupAct, Place, Posted};
pub(crate) use outlet::{Outlet, rests_until};
pub use push::{PushHint, PushHook};
pub(crate) use routes::{Route, RouteKick, Routes};
pub(crate) use run::{Piece, Run, entry_bytes};
pub use tokens::{TokenIssuer, TokenVerifier, Verified};

use crate::proto;
use delivered::Delivered;
use saver::Saver;
use writer::WriterHandle;

/// How often stale routes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How the service behaves. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The largest body with `ext`, or sealed payload.
    pub max_content_bytes: usize,
    /// Groups of at most so many members get a row for each member; larger ones none.
    pub write_diffusion_up_to: usize,
    /// The most members of a group.
    pub max_members: usize,
    /// How long after sending a sender may take a message back or change it; the business may at any time.
    pub recall_within: Duration,
    /// How long a message may stay without the acknowledgement of any device before the push hook is told.
    pub push_after: Duration,
    /// How long messages to a group that has many devices online wait for one another, to be written and handed out
    /// together.
    pub flush_every: Duration,
    /// How often delivered marks are written.
    pub marks_every: Duration,
    /// How long a login token is good.
    pub token_ttl: Duration,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            max_content_bytes: 64 << 10,
            write_diffusion_up_to: 200,
            max_members: 5_000,
            recall_within: Duration::from_secs(120),
            push_after: Duration::from_secs(5),
            // Timers of whole milliseconds end one or two later: it is ten in truth.
            flush_every: Duration::from_millis(9),
            marks_every: Duration::from_millis(200),
            token_ttl: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What a service is made of.
pub struct Parts {
    /// Its app, as the engine knows it.
    pub app: App,
    /// Where it writes.
    pub log: Arc<dyn Timelines>,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    /// Signs tokens and notices. At least 16 bytes.
    pub secret: Vec<u8>,
    /// How it behaves.
    pub config: ServiceConfig,
    /// Who says that a token is good; `None` for the service's own tokens alone.
    pub verifier: Option<Arc<dyn TokenVerifier>>,
    /// Who is told of messages that no device has taken; `None` for nobody.
    pub push: Option<Arc<dyn PushHook>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("app", &self.app).finish_non_exhaustive()
    }
}

/// A running service. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    app: App,
    log: Arc<dyn Timelines>,
    clock: Arc<dyn Clock>,
    config: ServiceConfig,
    issuer: TokenIssuer,
    verifier: Option<Arc<dyn TokenVerifier>>,
    routes: Routes,
    writer: WriterHandle,
    saver: Saver,
    delivered: Delivered,
    tail: watch::Receiver<u64>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("app", &self.0.app).finish_non_exhaustive()
    }
}

impl Service {
    /// Starts it on its log.
    ///
    /// # Errors
    /// `Config` for a secret that is too short; `Storage`.
    pub async fn start(parts: Parts) -> Result<Self> {
        let Parts { app, log, clock, secret, config, verifier, push } = parts;
        if secret.len() < 16 {
            return Err(Error::new(ErrorKind::Config, "secret: must have at least 16 bytes"));
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (announce, tail) = watch::channel(log.tail().await?.0);
        let routes = Routes::default();
        let sources = push::Sources { clock: clock.clone(), log: log.clone(), routes: routes.clone() };
        let pushes = push::start(push, &tasks, sources, config.push_after, stop.clone());
        let writer =
            writer::start(&tasks, log.clone(), clock.clone(), config.clone(), routes.clone(), announce, pushes);
        let saver = saver::start(&tasks, clock.clone(), log.clone());
        let delivered =
            delivered::start(&tasks, clock.clone(), config.marks_every, writer.clone(), log.clone(), stop.clone());
        tasks.spawn(sweep(routes.clone(), clock.clone(), stop.clone()));
        let issuer = TokenIssuer::new(&secret);
        let inner =
            Inner { app, log, clock, config, issuer, verifier, routes, writer, saver, delivered, tail, tasks, stop };
        Ok(Self(Arc::new(inner)))
    }

    /// Writes out what was accepted and stops. Devices must be gone by now; further calls answer `Closed`.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.delivered.flush().await;
        self.0.writer.close().await;
        self.0.saver.close().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(crate) fn log(&self) -> &Arc<dyn Timelines> {
        &self.0.log
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(crate) fn config(&self) -> &ServiceConfig {
        &self.0.config
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.0.routes
    }

    pub(crate) fn saver(&self) -> &Saver {
        &self.0.saver
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// The last position written, and news of it.
    pub(crate) fn tail(&self) -> watch::Receiver<u64> {
        self.0.tail.clone()
    }

    /// A device has this run.
    pub(crate) fn delivered(&self, user: &UserId, run: &Run) {
        for (conversation, through, last) in run.reaches(user) {
            self.0.delivered.raise(user, conversation, through, last);
        }
    }

    /// Queues an act; acts of one caller are done in the order in which they are queued.
    pub(crate) async fn submit(&self, act: Act) -> Result<writer::Answer> {
        self.0.writer.submit(act).await
    }

    /// Queues an act and waits until it is done.
    pub(crate) async fn act(&self, act: Act) -> Result<Posted> {
        self.submit(act).await?.wait().await
    }

    /// Makes sure that the user exists.
    ///
    /// # Errors
    /// `InvalidInput` for an id that cannot be one; `Storage`.
    pub async fn ensure(&self, user: &UserId, profile: &UserProfile) -> Result<()> {
        if user.as_str().is_empty() || user.as_str().len() > 255 {
            return Err(Error::invalid("user", "must have 1 to 255 bytes"));
        }
        let known = self.0.log.account(user).await?;
        let mut account = known.clone().unwrap_or_else(|| Account {
            user: user.clone(),
            profile: UserProfile::default(),
            banned_until: None,
        });
        // What is not given leaves what is there.
        account.profile.name = profile.name.clone().or(account.profile.name);
        account.profile.avatar = profile.avatar.clone().or(account.profile.avatar);
        if known.as_ref() != Some(&account) {
            self.0.log.put_account(&account).await?;
        }
        self.0.writer.know(user).await
    }

    /// A token with which the user's devices log in, and when it ends.
    ///
    /// # Errors
    /// `NotFound` for an unknown user, `Forbidden` for a banned one; `Storage`.
    pub async fn token(&self, user: &UserId) -> Result<(String, Timestamp)> {
        self.admitted(user).await?;
        let until = self.0.clock.now() + self.0.config.token_ttl;
        Ok((self.0.issuer.issue(user, until), until))
    }

    async fn admitted(&self, user: &UserId) -> Result<()> {
        let account = self.0.log.account(user).await?.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such user"))?;
        if account.banned_until.is_some_and(|until| until > self.0.clock.now()) {
            return Err(Error::new(ErrorKind::Forbidden, "the user is banned"));
        }
        Ok(())
    }

    /// Whether this token lets the user in, and when it ends.
    ///
    /// # Errors
    /// `Unauthorized` for a token that is not good, `Forbidden` for a banned user; `Storage`, or what the business's
    /// own verification says.
    pub(crate) async fn verify(&self, user: &UserId, token: &str) -> Result<Verified> {
        let now = self.0.clock.now();
        let verified = match &self.0.verifier {
            Some(verifier) => verifier.verify(user, token, now).await?,
            None => self.0.issuer.verify(user, token, now).await?,
        };
        // Whom the business vouches for is a user.
        self.ensure(user, &UserProfile::default()).await?;
        self.admitted(user).await?;
        Ok(verified)
    }

    /// Whether this token is a business's: one that the service's own secret has signed for nobody.
    ///
    /// # Errors
    /// `Unauthorized`.
    pub(crate) async fn verify_business(&self, token: &str) -> Result<Verified> {
        self.0.issuer.verify(&UserId::from(""), token, self.0.clock.now()).await
    }

    /// Forbids logins until then and forces the user off.
    ///
    /// # Errors
    /// `NotFound` for an unknown user; `Storage`.
    pub async fn ban(&self, user: &UserId, until: Timestamp) -> Result<()> {
        self.set_ban(user, Some(until)).await?;
        self.0.routes.kick_user(user, RouteKick::new(proto::kicked::Reason::Banned));
        Ok(())
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// `NotFound` for an unknown user; `Storage`.
    pub async fn unban(&self, user: &UserId) -> Result<()> {
        self.set_ban(user, None).await
    }

    async fn set_ban(&self, user: &UserId, until: Option<Timestamp>) -> Result<()> {
        let mut account =
            self.0.log.account(user).await?.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such user"))?;
        account.banned_until = until;
        self.0.log.put_account(&account).await
    }

    /// Forces the user off every device.
    pub fn kick(&self, user: &UserId) {
        self.0.routes.kick_user(user, RouteKick::new(proto::kicked::Reason::Forced));
    }

    /// Shows something to the user's devices that are online now; nobody else ever sees it. Returns how many there
    /// were.
    pub fn push(&self, user: &UserId, push: &proto::Push) -> usize {
        self.0.routes.push(user, push)
    }

    /// Messages that wait for the user's next login.
    pub(crate) async fn waiting(&self, user: &UserId) -> Result<u64> {
        let devices = self.0.log.devices(user).await?;
        let mut after = devices.iter().map(|device| device.low).max().unwrap_or(Position::START);
        let (until, mut count) = (Position(*self.0.tail.borrow()), 0);
        loop {
            let page = self.0.log.timeline(user, after, until, 512).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after = last.position;
            let waits = |line: &&switchboard_contract::storage::Line| {
                line.kind == switchboard_contract::storage::LineKind::Message && line.by != *user
            };
            count += page.iter().filter(waits).count() as u64;
        }
    }
}

/// Looks for routes that are gone without a word, often enough that none outlives two heartbeats by much.
async fn sweep(routes: Routes, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(SWEEP_EVERY) => {}
        }
        let swept = routes.sweep(clock.now());
        if swept > 0 {
            metrics::counter!("switchboard_gate_stale_routes_total").increment(swept as u64);
        }
    }
}
