//! Huanxin (环信, Easemob) as the network shows it.
//!
//! REST, callbacks, hourly history files and roaming after the vendor's server documentation; where that is silent or
//! contradicts itself, a knob in [`HuanxinSettings`] chooses. End users act through [`EndUser`] or over HTTP under
//! `/_emulator`, or with the vendor's own web SDK over the few frames of its long connection that it needs.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use switchboard_emulators::huanxin::{HuanxinEmulator, Target};
//!
//! let vendor = HuanxinEmulator::builder()
//!     .credentials("acme-im#bridge", "client-id", "client-secret")
//!     .callback_url("http://127.0.0.1:8080/callbacks/main", "callback-secret")
//!     .start()
//!     .await?;
//! vendor.user("lin").login("android")?;
//! vendor.user("lin").send_text(Target::User("wei".into()), "hi").await?;
//! vendor.wait_idle().await;
//! assert_eq!(vendor.ledger().counters().messages_total, 1);
//! vendor.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod api;
mod app;
mod bodies;
mod data;
mod devices;
mod dispatch;
mod endusers;
mod error;
mod events;
mod groups;
mod history;
mod messages;
mod model;
mod msync;
mod presend;
mod quotas;
mod rules;
mod settings;
mod storage;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use serde_json::Value;

pub use endusers::{EndUser, LoginDevice, Outgoing, Received, Target};
pub use model::{ChatType, EventFamily};
pub use rules::{CallbackRule, FailurePolicy, PayloadForm, PreSendRule};
pub use settings::{
    CallIdForm, CallbackSettings, EmptyHour, FileSettings, HistorySettings, HuanxinSettings, MessageSettings,
    QuotaSettings, Rate, RoamingSettings, TokenSettings, TtlUnit, UserSettings, Zone,
};

use crate::common::{ActionError, Controlled, Domains, FaultEngine, Faults, Ledger, StartError, Time, control_router};
use app::{App, Identity};

/// How an emulator starts. See [`HuanxinEmulator::builder`].
#[derive(Clone)]
pub struct HuanxinBuilder {
    listen: String,
    app_key: String,
    client_id: String,
    client_secret: String,
    application: Option<String>,
    deploy_name: String,
    seed: u64,
    faults: Faults,
    time: Time,
    settings: HuanxinSettings,
}

impl std::fmt::Debug for HuanxinBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HuanxinBuilder")
            .field("listen", &self.listen)
            .field("app_key", &self.app_key)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl HuanxinBuilder {
    /// Where to listen; `127.0.0.1:0`, the default, picks a port.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// AppKey (`org#app`) and the app's credentials.
    #[must_use]
    pub fn credentials(
        mut self,
        app_key: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> Self {
        self.app_key = app_key.into();
        self.client_id = client_id.into();
        self.client_secret = client_secret.into();
        self
    }

    /// The app's UUID, which most answers name. Without it, one drawn at the start.
    #[must_use]
    pub fn application(mut self, uuid: impl Into<String>) -> Self {
        self.application = Some(uuid.into());
        self
    }

    /// What host discovery calls this deployment.
    #[must_use]
    pub fn deploy_name(mut self, name: impl Into<String>) -> Self {
        self.deploy_name = name.into();
        self
    }

    /// Adds a rule that reports everything to `url`.
    #[must_use]
    pub fn callback_url(self, url: impl AsRef<str>, secret: impl AsRef<str>) -> Self {
        let name = format!("rule{}", self.settings.callbacks.rules.len() + 1);
        self.callback_rule(CallbackRule::everything(&name, url.as_ref(), secret.as_ref()))
    }

    /// Adds a post-send rule.
    #[must_use]
    pub fn callback_rule(mut self, rule: CallbackRule) -> Self {
        self.settings.callbacks.rules.push(rule);
        self
    }

    /// Adds a pre-send rule.
    #[must_use]
    pub fn pre_send_rule(mut self, rule: PreSendRule) -> Self {
        self.settings.callbacks.pre_send.push(rule);
        self
    }

    /// Seeds everything random but ids of files and tokens.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Faults from the start.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The vendor's clock.
    #[must_use]
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// All knobs, keeping the rules added before.
    #[must_use]
    pub fn settings(mut self, mut settings: HuanxinSettings) -> Self {
        let mut rules = std::mem::take(&mut self.settings.callbacks.rules);
        rules.append(&mut settings.callbacks.rules);
        settings.callbacks.rules = rules;
        let mut questions = std::mem::take(&mut self.settings.callbacks.pre_send);
        questions.append(&mut settings.callbacks.pre_send);
        settings.callbacks.pre_send = questions;
        self.settings = settings;
        self
    }

    /// Listens and serves until [`HuanxinEmulator::shutdown`].
    ///
    /// # Errors
    /// [`StartError`] when the address is taken, the AppKey is no `org#app`, or there are more rules than the
    /// contract allows.
    pub async fn start(self) -> Result<HuanxinEmulator, StartError> {
        let (org, name) = self
            .app_key
            .split_once('#')
            .filter(|(org, name)| !org.is_empty() && !name.is_empty())
            .ok_or_else(|| StartError::Settings(format!("AppKey {:?} is not org#app", self.app_key)))?;
        check_rules(&self.settings)?;
        let id = Identity {
            org: org.to_owned(),
            app: name.to_owned(),
            uuid: self.application.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            deploy_name: self.deploy_name,
            client_id: self.client_id,
            client_secret: self.client_secret,
        };
        tracing::info!(seed = self.seed, app_key = %self.app_key, "huanxin emulator starts");
        let faults = Arc::new(FaultEngine::new(self.seed, self.faults, self.time.clone()));
        let domains = Domains::new(Arc::clone(&faults));
        let app = Arc::new(App::new(id, self.settings, self.time, faults)?);
        // Set once, here, before anything can read it.
        let _ = app.domains.set(domains.clone());
        let control = control_router(Arc::new(Control(Arc::clone(&app))));
        let router = control.merge(api::vendor_router(&app));
        domains.open(&self.listen, router.clone()).await?;
        Ok(HuanxinEmulator { app, domains, router })
    }
}

fn check_rules(settings: &HuanxinSettings) -> Result<(), StartError> {
    let callbacks = &settings.callbacks;
    let rules = callbacks.rules.len() + callbacks.pre_send.len();
    if rules > callbacks.max_rules {
        return Err(StartError::Settings(format!("{rules} rules, {} allowed", callbacks.max_rules)));
    }
    let names = callbacks.rules.iter().map(|rule| &rule.name);
    let bad = |name: &&String| !name.is_ascii() || name.len() > 32;
    match names.chain(callbacks.pre_send.iter().map(|rule| &rule.name)).find(bad) {
        Some(name) => Err(StartError::Settings(format!("rule name {name:?} is not ASCII of at most 32"))),
        None => Ok(()),
    }
}

/// A running emulator. Clones share it.
#[derive(Clone)]
pub struct HuanxinEmulator {
    app: Arc<App>,
    domains: Domains,
    router: Router,
}

impl std::fmt::Debug for HuanxinEmulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HuanxinEmulator")
            .field("app_key", &self.app.app_key)
            .field("domains", &self.domains.base_urls())
            .finish_non_exhaustive()
    }
}

impl HuanxinEmulator {
    /// AppKey `emulator#demo`, a port of its own, the system's clock, no faults.
    #[must_use]
    pub fn builder() -> HuanxinBuilder {
        HuanxinBuilder {
            listen: "127.0.0.1:0".to_owned(),
            app_key: "emulator#demo".to_owned(),
            client_id: "emulator-client".to_owned(),
            client_secret: "emulator-secret".to_owned(),
            application: None,
            deploy_name: "emulator".to_owned(),
            seed: 1,
            faults: Faults::default(),
            time: Time::system(),
            settings: HuanxinSettings::default(),
        }
    }

    /// `http://host:port` of the first domain.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.domains.base_urls().into_iter().next().unwrap_or_default()
    }

    /// Opens another listener on the same state, as the vendor's second domain, and returns its base URL. To kill a
    /// domain, name its `host:port` in [`Faults::dead_domains`].
    ///
    /// # Errors
    /// [`StartError::Listen`] when no port is free.
    pub async fn start_extra_domain(&self) -> Result<String, StartError> {
        let address = self.domains.open("127.0.0.1:0", self.router.clone()).await?;
        Ok(format!("http://{address}"))
    }

    /// The ground truth.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.app.ledger.clone()
    }

    /// The vendor's clock.
    #[must_use]
    pub fn time(&self) -> Time {
        self.app.time.clone()
    }

    /// Acts as an end user.
    #[must_use]
    pub fn user(&self, id: &str) -> EndUser {
        EndUser::new(Arc::clone(&self.app), id)
    }

    /// Registers a user as the console would, without a call being counted.
    ///
    /// # Errors
    /// When the id is not legal or taken.
    pub fn register(&self, id: &str, password: &str) -> Result<(), ActionError> {
        self.app.register_directly(id, password)
    }

    /// Creates a group as the console would, and returns its id.
    ///
    /// # Errors
    /// When owner or members are not registered.
    pub fn create_group(&self, name: &str, owner: &str, members: &[&str]) -> Result<String, ActionError> {
        self.app.create_directly(false, name, owner, members)
    }

    /// Creates a room as the console would, and returns its id.
    ///
    /// # Errors
    /// When owner or members are not registered.
    pub fn create_room(&self, name: &str, owner: &str, members: &[&str]) -> Result<String, ActionError> {
        self.app.create_directly(true, name, owner, members)
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Faults) {
        self.app.faults.set(faults);
    }

    /// Replaces all rules by one that reports everything to `url`.
    pub fn set_callback_url(&self, url: &str, secret: &str) {
        self.app.set_callback_url(url, secret);
    }

    /// Changes knobs at run time. Delivery rules (timeout, concurrency, bans) are read at the start only.
    pub fn change_settings(&self, change: impl FnOnce(&mut HuanxinSettings)) {
        self.app.change_settings(change);
    }

    /// Ends every issued token at once, as the vendor may at any time.
    pub fn expire_tokens(&self) {
        self.app.tokens.lock().expire_all();
    }

    /// End of the ban in force on the app's callbacks, Unix milliseconds.
    #[must_use]
    pub fn banned_until_ms(&self) -> Option<i64> {
        self.app.sender.banned_until(&self.app.app_key)
    }

    /// The name of the history hour that holds a moment, in the cluster's zone.
    #[must_use]
    pub fn history_hour(&self, at_ms: i64) -> String {
        history::hour_name(at_ms, self.app.settings().history.zone)
    }

    /// Resolves when no callback is queued or in flight.
    pub async fn wait_idle(&self) {
        self.app.sender.wait_idle().await;
    }

    /// Stops listening, gives up queued callbacks and waits for everything in flight.
    pub async fn shutdown(&self) {
        self.domains.close().await;
        self.app.sender.shutdown().await;
    }
}

struct Control(Arc<App>);

#[async_trait]
impl Controlled for Control {
    fn faults(&self) -> &FaultEngine {
        &self.0.faults
    }

    fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    fn time(&self) -> &Time {
        &self.0.time
    }

    fn describe(&self) -> Value {
        self.0.describe()
    }

    async fn act(&self, user: &str, action: &str, arguments: Value) -> Result<Value, ActionError> {
        self.0.act(user, action, arguments).await
    }

    fn set_callback_url(&self, url: &str, secret: Option<&str>) -> Result<(), ActionError> {
        let secret = secret.ok_or_else(|| ActionError("`secret` is missing: each rule has its own".to_owned()))?;
        self.0.set_callback_url(url, secret);
        Ok(())
    }

    async fn wait_idle(&self) {
        self.0.sender.wait_idle().await;
    }
}
