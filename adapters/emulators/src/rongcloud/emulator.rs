//! Starting the emulator and the handle to it.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

use super::{
    app::App,
    callback::{self, RawCallback},
    callback_settings::CallbackUrls,
    client::EndUser,
    control, server,
    settings::RongCloudSettings,
    state::{Core, Event},
};
use crate::common::{ActionError, Controlled, Domains, FaultEngine, Faults, Ledger, StartError, Time};

/// How an emulator will start.
#[derive(Clone)]
pub struct RongCloudBuilder {
    listen: String,
    app_key: String,
    app_secret: String,
    settings: RongCloudSettings,
    seed: u64,
    faults: Faults,
    time: Time,
}

impl std::fmt::Debug for RongCloudBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RongCloudBuilder")
            .field("listen", &self.listen)
            .field("app_key", &self.app_key)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Default for RongCloudBuilder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            app_key: "demoappkey01".to_owned(),
            app_secret: "demosecret01".to_owned(),
            settings: RongCloudSettings::default(),
            seed: 1,
            faults: Faults::default(),
            time: Time::system(),
        }
    }
}

impl RongCloudBuilder {
    /// Address of the first listener; port 0 picks a free one. Default `127.0.0.1:0`.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// App Key and App Secret. Default `demoappkey01` and `demosecret01`.
    #[must_use]
    pub fn credentials(mut self, app_key: &str, app_secret: &str) -> Self {
        app_key.clone_into(&mut self.app_key);
        app_secret.clone_into(&mut self.app_secret);
        self
    }

    /// The same address for every asynchronous callback; use [`RongCloudBuilder::callback_urls`] to tell them apart or to
    /// set the pre-send hook. Callbacks are signed with the App Secret.
    #[must_use]
    pub fn callback_url(self, url: &str) -> Self {
        self.callback_urls(CallbackUrls::all(url))
    }

    /// Addresses per callback. Call after [`RongCloudBuilder::settings`], which holds them too.
    #[must_use]
    pub fn callback_urls(mut self, urls: CallbackUrls) -> Self {
        self.settings.callbacks.urls = urls;
        self
    }

    /// Every knob. Replaces callback addresses set before.
    #[must_use]
    pub fn settings(mut self, settings: RongCloudSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Seed of the one random generator.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Faults in force from the start.
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

    /// Starts listening.
    ///
    /// # Errors
    /// [`StartError`] when the address cannot be bound or the callback client cannot be built.
    pub async fn start(self) -> Result<RongCloudEmulator, StartError> {
        if self.app_key.is_empty() || self.app_secret.is_empty() {
            return Err(StartError::Settings("app key and app secret must not be empty".to_owned()));
        }
        let faults = Arc::new(FaultEngine::new(self.seed, self.faults, self.time.clone()));
        let credentials = (self.app_key.as_str(), self.app_secret.as_str());
        let app = Arc::new(App::new(credentials, self.settings, self.time, Arc::clone(&faults))?);
        let domains = Domains::new(faults);
        let emulator = RongCloudEmulator { app, domains };
        let address = emulator.domains.open(&self.listen, emulator.router()).await?;
        emulator.app.spawn_sweeper();
        tracing::info!(%address, seed = self.seed, "RongCloud emulator listening");
        Ok(emulator)
    }
}

/// A running emulator. Clones are handles to the same one.
#[derive(Clone)]
pub struct RongCloudEmulator {
    app: Arc<App>,
    domains: Domains,
}

impl std::fmt::Debug for RongCloudEmulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RongCloudEmulator").field("base_urls", &self.domains.base_urls()).finish_non_exhaustive()
    }
}

impl RongCloudEmulator {
    /// A builder with the documented defaults.
    #[must_use]
    pub fn builder() -> RongCloudBuilder {
        RongCloudBuilder::default()
    }

    fn router(&self) -> axum::Router {
        server::router(&self.app, Arc::new(Controls(Arc::clone(&self.app))))
    }

    /// `http://host:port` of the first domain.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.domains.base_urls().into_iter().next().unwrap_or_default()
    }

    /// `http://host:port` of every domain, the first one first.
    #[must_use]
    pub fn base_urls(&self) -> Vec<String> {
        self.domains.base_urls()
    }

    /// Opens a second (third, …) domain on the same app, as the vendor's backup domains.
    ///
    /// # Errors
    /// [`StartError::Listen`] when no port is free.
    pub async fn start_extra_domain(&self) -> Result<SocketAddr, StartError> {
        self.domains.open("127.0.0.1:0", self.router()).await
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

    /// App key and secret in force.
    #[must_use]
    pub fn credentials(&self) -> (String, String) {
        (self.app.app_key.to_string(), self.app.app_secret.to_string())
    }

    /// An end user; the account need not exist.
    #[must_use]
    pub fn user(&self, id: &str) -> EndUser {
        EndUser { app: Arc::clone(&self.app), id: id.to_owned() }
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Faults) {
        self.app.faults.set(faults);
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.app.faults.faults()
    }

    /// Sends every asynchronous callback to one address from now on.
    pub fn set_callback_url(&self, url: &str) {
        self.app.set_callback_url(url);
    }

    /// Replaces the callback addresses.
    pub fn set_callback_urls(&self, urls: CallbackUrls) {
        self.update_settings(|settings| settings.callbacks.urls = urls);
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> RongCloudSettings {
        RongCloudSettings::clone(&self.app.core.lock().settings)
    }

    /// Changes settings while running. Delivery rules of callbacks (timeout, attempts, concurrency, pause) and ledger bounds
    /// were fixed at the start.
    pub fn update_settings(&self, change: impl FnOnce(&mut RongCloudSettings)) {
        self.app.update_settings(change);
    }

    /// Lets the moderation service judge a message: sends the audit callback. `false` when the message is unknown.
    pub fn audit(&self, uid: &str, passed: bool, provider: &str, detail: &str) -> bool {
        self.app.change(|core, _| audit(core, uid, passed, provider, detail))
    }

    /// Sends any body, signed, under the delivery rules of all callbacks: for kinds whose trigger lies outside this emulator
    /// (hosted groups, bots, kinds not invented yet) and for replaying recorded ones.
    pub fn send_raw_callback(&self, callback: RawCallback<'_>) {
        let settings = Arc::clone(&self.app.core.lock().settings);
        self.app.sender.submit(self.app.signer.raw_job(callback, &settings.callbacks));
    }

    /// Resolves when no callback is queued or in flight. Collected status events leave first.
    pub async fn wait_idle(&self) {
        self.app.wait_idle().await;
    }

    /// Stops listening, gives up what is queued, and waits for everything to end.
    pub async fn shutdown(&self) {
        self.app.stop.cancel();
        self.app.sender.shutdown().await;
        self.domains.close().await;
        self.app.tasks.close();
        self.app.tasks.wait().await;
    }
}

pub(crate) fn audit(core: &mut Core, uid: &str, passed: bool, provider: &str, detail: &str) -> bool {
    let Some(message) = core.messages.get(uid) else { return false };
    let body = callback::audit_body(&core.app_key, message, passed, provider, detail);
    core.emit(Event::Audit { uid: uid.to_owned(), body });
    true
}

struct Controls(Arc<App>);

#[async_trait]
impl Controlled for Controls {
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
        let user = EndUser { app: Arc::clone(&self.0), id: user.to_owned() };
        control::act(&user, action, arguments).await
    }

    fn set_callback_url(&self, url: &str, _secret: Option<&str>) -> Result<(), ActionError> {
        self.0.set_callback_url(url);
        Ok(())
    }

    async fn wait_idle(&self) {
        self.0.wait_idle().await;
    }
}
