//! A service on a real file and real ports, and users with devices.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard::clock::SystemClock;
use switchboard::store::sqlite::{SqliteOptions, SqliteStore};
use switchboard_contract::storage::{Store, Timelines};
use switchboard_contract::{Link, Provider, TenantId, UserId, UserProfile};
use switchboard_selfhosted::client::{Connection, Endpoint, Told};
use switchboard_selfhosted::frame::{Body, Command};
use switchboard_selfhosted::service::PushHook;
use switchboard_selfhosted::{SelfHosted, SelfHostedConfig, Surroundings, proto};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    dir: Arc<TempDir>,
    settings: Value,
    pub(crate) store: SqliteStore,
    pub(crate) own: SelfHosted,
}

impl Stage {
    pub(crate) async fn open() -> Self {
        Self::with(json!({})).await
    }

    pub(crate) async fn with(settings: Value) -> Self {
        Self::hooked(settings, None).await
    }

    pub(crate) async fn hooked(settings: Value, push: Option<Arc<dyn PushHook>>) -> Self {
        let stage = Self::at(Arc::new(tempfile::tempdir().unwrap()), settings, push, |log| log).await;
        stage.peopled().await
    }

    /// With something between the service and its store.
    pub(crate) async fn over(wrap: impl FnOnce(Arc<dyn Timelines>) -> Arc<dyn Timelines>) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), json!({}), None, wrap).await.peopled().await
    }

    async fn peopled(self) -> Self {
        let stage = self;
        for user in ["alice", "bob", "carol", "dave", "eve"] {
            stage.own.service().ensure(&user.into(), &UserProfile::default()).await.unwrap();
        }
        stage
    }

    async fn at(
        dir: Arc<TempDir>,
        settings: Value,
        push: Option<Arc<dyn PushHook>>,
        wrap: impl FnOnce(Arc<dyn Timelines>) -> Arc<dyn Timelines>,
    ) -> Self {
        let store = SqliteStore::open(SqliteOptions::at(dir.path().join("gate.db"))).await.unwrap();
        let mut whole = json!({ "websocket": "127.0.0.1:0", "tcp": "127.0.0.1:0", "secret": "a secret for tests", "writes_per_second": 100_000 });
        for (name, value) in settings.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let config: SelfHostedConfig = serde_json::from_value(whole).unwrap();
        let log = wrap(store.timelines(&TenantId::default(), &config.app()).await.unwrap());
        let around = Surroundings { log, clock: Arc::new(SystemClock), secret: Vec::new(), verifier: None, push };
        let own = SelfHosted::start(config, around).await.unwrap();
        Self { dir, settings, store, own }
    }

    /// Stops everything and starts it again on the same file.
    pub(crate) async fn again(self) -> Self {
        self.own.close().await;
        self.store.close().await;
        let (dir, settings) = (self.dir.clone(), self.settings.clone());
        drop(self);
        Self::at(dir, settings, None, |log| log).await
    }

    pub(crate) async fn log(&self) -> Arc<dyn Timelines> {
        self.store.timelines(&TenantId::default(), self.own.app()).await.unwrap()
    }

    pub(crate) fn tcp(&self) -> Endpoint {
        Endpoint::tcp(self.own.gate().tcp().unwrap().to_string())
    }

    pub(crate) fn websocket(&self) -> Endpoint {
        Endpoint::websocket(self.own.gate().websocket().unwrap().to_string())
    }

    pub(crate) async fn login(&self, user: &str, device: &str, class: proto::DeviceClass) -> proto::Login {
        let (token, _) = self.own.service().token(&UserId::from(user)).await.unwrap();
        proto::Login {
            user: user.to_owned(),
            token,
            device: device.to_owned(),
            device_class: class.into(),
            ..Default::default()
        }
    }

    /// A device that is logged in and has pulled nothing yet.
    pub(crate) async fn device(&self, user: &str, device: &str, class: proto::DeviceClass) -> Device {
        let connection = Connection::open(&self.tcp()).await.unwrap();
        let answer = connection.login(self.login(user, device, class).await).await.unwrap();
        Device { connection, answer }
    }

    /// A phone that is online.
    pub(crate) async fn phone(&self, user: &str) -> Device {
        let mut device = self.device(user, "phone", proto::DeviceClass::Phone).await;
        device.catch_up().await;
        device
    }

    /// Everything the business is told, until nothing is left.
    pub(crate) async fn told(&self) -> Vec<Value> {
        let (log, mut found) = (self.log().await, Vec::new());
        let mut seen = 0;
        while seen < log.tail().await.unwrap().0 {
            for notice in tokio::time::timeout(PATIENCE, self.own.next()).await.unwrap().unwrap() {
                let body: Value = serde_json::from_slice(&notice.body).unwrap();
                found.extend(body["events"].as_array().unwrap().iter().map(|event| event["entry"].clone()));
                seen = found.last().unwrap()["position"].as_str().unwrap().parse().unwrap();
            }
        }
        found
    }
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) connection: Connection,
    pub(crate) answer: proto::LoggedIn,
}

pub(crate) fn user(name: &str) -> Option<proto::Target> {
    Some(proto::Target { to: Some(proto::target::To::User(name.to_owned())) })
}

pub(crate) fn group(id: &str) -> Option<proto::Target> {
    Some(proto::Target { to: Some(proto::target::To::Group(id.to_owned())) })
}

pub(crate) fn text(text: &str) -> Option<proto::Content> {
    Some(proto::Content { body: json!({ "type": "text", "text": text }).to_string(), ..Default::default() })
}

/// What a message says, `-` once it was recalled.
pub(crate) fn said(entry: &proto::Entry) -> Option<String> {
    let Some(proto::entry::Event::Message(message)) = &entry.event else { return None };
    let Some(content) = &message.content else { return Some("-".to_owned()) };
    let body: Value = serde_json::from_str(&content.body).unwrap();
    Some(body["text"].as_str().unwrap().to_owned())
}

impl Device {
    pub(crate) async fn ask(&self, command: Command, body: Body) -> switchboard_contract::Result<Body> {
        self.connection.request(command, &body).await
    }

    pub(crate) async fn says(&self, to: Option<proto::Target>, words: &str) -> proto::Sent {
        self.connection.send(proto::Send { to, content: text(words), client_id: String::new() }).await.unwrap()
    }

    /// Pulls until the empty page, and returns what came.
    pub(crate) async fn catch_up(&mut self) -> Vec<proto::Entry> {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let page = self.connection.pull(after, 0).await.unwrap();
            if page.entries.is_empty() {
                return found;
            }
            after = page.cursor;
            found.extend(page.entries);
        }
    }

    pub(crate) async fn told(&mut self) -> Option<Told> {
        tokio::time::timeout(PATIENCE, self.connection.next()).await.expect("nothing was told in time")
    }

    /// The next entry, acknowledged.
    pub(crate) async fn entry(&mut self) -> proto::Entry {
        loop {
            match self.told().await {
                Some(Told::Entry(entry)) => {
                    self.connection.acknowledge(entry.position).await.unwrap();
                    return entry;
                }
                Some(Told::Marks(_)) => {}
                other => panic!("not an entry: {other:?}"),
            }
        }
    }

    /// The next message's text.
    pub(crate) async fn hears(&mut self) -> String {
        loop {
            if let Some(words) = said(&self.entry().await) {
                return words;
            }
        }
    }

    /// The next marks, entries passed over.
    pub(crate) async fn marks(&mut self) -> proto::Marks {
        loop {
            match self.told().await {
                Some(Told::Entry(entry)) => self.connection.acknowledge(entry.position).await.unwrap(),
                Some(Told::Marks(marks)) => return marks,
                other => panic!("not marks: {other:?}"),
            }
        }
    }
}

/// Waits for something that becomes true by itself.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !check().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
