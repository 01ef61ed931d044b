//! A vendor, a sidecar on a real listener and a real database, and two clocks that move together.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard::backfill::BackfillConfig;
use switchboard::catchup::CatchupConfig;
use switchboard::clock::ManualClock;
use switchboard::config::{Scope, ServerConfig, TokenConfig};
use switchboard::history::HistoryConfig;
use switchboard::reconcile::{AppCoverage, ReconcileConfig};
use switchboard::sidecar::{Bound, Server};
use switchboard::silence::SilenceConfig;
use switchboard::store::sqlite::{SqliteOptions, SqliteStore};
use switchboard::{Config, EventData, Switchboard};
use switchboard_contract::storage::{Archive, Entry, Store};
use switchboard_contract::{Clock, Origin, Position, Provider, ProviderId, Shard, TenantId, Timestamp};
use switchboard_emulators::huanxin::{HuanxinEmulator, HuanxinSettings, Target};
use switchboard_emulators::rongcloud::{ClientMessage, RongCloudEmulator, RongCloudSettings, Target as RongTarget};
use switchboard_emulators::{Faults, Ledger, Time};
use switchboard_huanxin::HuanxinConfig;
use switchboard_rongcloud::RongCloudConfig;
use tempfile::TempDir;

/// 2026-11-20T19:00:00Z.
pub(crate) const START: Timestamp = Timestamp(1_795_201_200_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
const HUANXIN_APP: &str = "acme#files";
const RONGCLOUD_APP: &str = "filesappkey";
/// The bearer token of the API.
pub(crate) const TOKEN: &str = "a-token-for-tests-only";
const SECRET: &str = "a-callback-secret";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Huanxin,
    RongCloud,
}

#[derive(Clone, Debug)]
enum Emulator {
    Huanxin(HuanxinEmulator),
    RongCloud(RongCloudEmulator),
}

impl Emulator {
    async fn start(vendor: Vendor, seed: u64, time: Time) -> Self {
        match vendor {
            Vendor::Huanxin => {
                let mut settings = HuanxinSettings::default();
                settings.ledger.callbacks = 1_000_000;
                settings.messages.retention_days = 180;
                // Bought where a test is about it.
                settings.callbacks.storage = false;
                let builder = HuanxinEmulator::builder().listen("127.0.0.1:0").credentials(HUANXIN_APP, "id", SECRET);
                Self::Huanxin(builder.settings(settings).seed(seed).time(time).start().await.unwrap())
            }
            Vendor::RongCloud => {
                let mut settings = RongCloudSettings::default();
                settings.messages.client_per_second = u32::MAX;
                settings.ledger.callbacks = 1_000_000;
                let builder = RongCloudEmulator::builder().listen("127.0.0.1:0").credentials(RONGCLOUD_APP, SECRET);
                Self::RongCloud(builder.settings(settings).seed(seed).time(time).start().await.unwrap())
            }
        }
    }

    pub(crate) fn provider(&self, clock: &ManualClock) -> Arc<dyn Provider> {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        match self {
            Self::Huanxin(emulator) => {
                let config: HuanxinConfig = serde_json::from_value(json!({
                    "app_key": HUANXIN_APP, "client_id": "id", "client_secret": SECRET, "callback_secret": SECRET,
                    "base_url": emulator.base_url(),
                }))
                .unwrap();
                Arc::new(config.build(clock).unwrap())
            }
            Self::RongCloud(emulator) => {
                let config: RongCloudConfig = serde_json::from_value(json!({
                    "app_key": RONGCLOUD_APP, "app_secret": SECRET, "base_url": emulator.base_url(),
                }))
                .unwrap();
                Arc::new(config.build(clock).unwrap())
            }
        }
    }

    fn call_back(&self, url: &str) {
        let url = format!("{url}/callbacks/main");
        match self {
            Self::Huanxin(emulator) => emulator.set_callback_url(&url, SECRET),
            Self::RongCloud(emulator) => emulator.set_callback_url(&url),
        }
    }
}

/// Everything that outlives one run of the sidecar.
#[derive(Debug)]
pub(crate) struct Stage {
    emulator: Emulator,
    time: Time,
    pub(crate) clock: ManualClock,
    directory: TempDir,
    /// Whether a start asks the vendor for what was missed; without it only files bring anything.
    pub(crate) queries: bool,
    /// How far the clocks move at a time while something waits for them.
    pub(crate) step: Duration,
    /// How long catching up takes at most.
    pub(crate) catchup_within: Duration,
    /// Whether silence is watched. Most tests let hours pass in leaps, in which nothing can come.
    pub(crate) watched: bool,
    /// Holds up the lines of files.
    pub(crate) gate: Option<crate::gated::Gate>,
    /// Nothing is fetched by itself here unless a test wants it.
    pub(crate) history: HistoryConfig,
    pub(crate) archive: Option<Arc<dyn Archive>>,
}

/// One run of the sidecar.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) switchboard: Switchboard,
    server: Server,
}

impl Stage {
    /// A vendor whose clock is `skew` ahead of ours (negative: behind), in milliseconds.
    pub(crate) async fn new(vendor: Vendor, seed: u64) -> Self {
        let time = Time::manual(START.0);
        let emulator = Emulator::start(vendor, seed, time.clone()).await;
        let mut history = HistoryConfig::default();
        (history.automatic.enabled, history.hints.enabled) = (false, false);
        Self {
            emulator,
            time,
            clock: ManualClock::new(START),
            directory: tempfile::tempdir().unwrap(),
            queries: true,
            step: Duration::from_secs(1),
            catchup_within: CatchupConfig::default().within,
            watched: false,
            gate: None,
            history,
            archive: None,
        }
    }

    /// A start asks the vendor for nothing.
    pub(crate) async fn without_queries(vendor: Vendor) -> Self {
        Self { queries: false, ..Self::new(vendor, 1).await }
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.directory.path().join("store.db")
    }

    pub(crate) async fn run(&self) -> Run {
        self.run_with(ReconcileConfig::default()).await
    }

    pub(crate) async fn run_with(&self, reconcile: ReconcileConfig) -> Run {
        // The clocks run a thousand times faster than callbacks do.
        let send_again_within = Duration::from_secs(600);
        let (queries, within) = (self.queries, self.catchup_within);
        let catchup = CatchupConfig { queries, within, send_again_within, ..CatchupConfig::default() };
        let silence = SilenceConfig { enabled: self.watched, ..SilenceConfig::default() };
        let backfill = BackfillConfig { tell_every: Duration::from_millis(1), ..BackfillConfig::default() };
        let history = self.history.clone();
        let mut config = Config { reconcile, catchup, silence, backfill, history, ..Config::default() };
        config.ingest.inbox.path = self.directory.path().join("inbox");
        config.ingest.inbox.capacity_bytes = 64 << 20;
        // The vendor knows where to call before a start can ask it for anything.
        let listen = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() };
        let bound = Bound::bind(&listen).await.unwrap();
        self.emulator.call_back(&format!("http://{}", bound.address()));
        let store = SqliteStore::open(SqliteOptions::at(self.database())).await.unwrap();
        let mut builder = Switchboard::builder();
        if let Some(archive) = &self.archive {
            builder = builder.archive(archive.clone());
        }
        let switchboard = builder
            .config(config)
            .store(Arc::new(store))
            .clock(Arc::new(self.clock.clone()))
            .provider("main", self.wrap(self.emulator.provider(&self.clock)))
            .open()
            .await
            .unwrap();
        let tokens = [TokenConfig {
            name: "test".to_owned(),
            secret: TOKEN.into(),
            scopes: [Scope::History, Scope::Admin].into(),
            tenant: TenantId::default(),
        }];
        let server = bound.serve(&switchboard, &listen, &tokens, None);
        Run { switchboard, server }
    }

    /// The provider, as a run has it.
    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        self.emulator.provider(&self.clock)
    }

    /// Waits until no callback is on its way.
    pub(crate) async fn still(&self) {
        let idle = async {
            match &self.emulator {
                Emulator::Huanxin(emulator) => emulator.wait_idle().await,
                Emulator::RongCloud(emulator) => emulator.wait_idle().await,
            }
        };
        tokio::time::timeout(Duration::from_secs(60), idle).await.unwrap();
    }

    fn wrap(&self, provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        match &self.gate {
            Some(gate) => Arc::new(crate::gated::Gated::new(provider, gate.clone())),
            None => provider,
        }
    }

    /// The emulated Huanxin app.
    pub(crate) fn huanxin(&self) -> &HuanxinEmulator {
        match &self.emulator {
            Emulator::Huanxin(emulator) => emulator,
            Emulator::RongCloud(_) => panic!("the vendor is another one"),
        }
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        match &self.emulator {
            Emulator::Huanxin(emulator) => emulator.set_faults(faults),
            Emulator::RongCloud(emulator) => emulator.set_faults(faults),
        }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        match &self.emulator {
            Emulator::Huanxin(emulator) => emulator.ledger(),
            Emulator::RongCloud(emulator) => emulator.ledger(),
        }
    }

    /// The vendor's name of the hour that begins `hours` after the start: both data centres write Beijing time.
    pub(crate) fn hour_name(hours: u32) -> String {
        let hour = START + hours * HOUR + 8 * HOUR;
        hour.to_rfc3339()[..13].replace(['-', 'T'], "")
    }

    /// A customer writes; the vendor's id.
    pub(crate) async fn say(&self, from: &str, to: &str, text: &str) -> String {
        match &self.emulator {
            Emulator::Huanxin(emulator) => {
                emulator.user(from).send_text(Target::User(to.to_owned()), text).await.unwrap()
            }
            Emulator::RongCloud(emulator) => {
                let message = ClientMessage::text(RongTarget::User(to.to_owned()), text);
                emulator.user(from).send(message).await.unwrap().uid
            }
        }
    }

    /// RongCloud's end user.
    pub(crate) fn rong(&self, user: &str) -> switchboard_emulators::rongcloud::EndUser {
        let Emulator::RongCloud(emulator) = &self.emulator else { panic!("another vendor") };
        emulator.user(user)
    }

    /// Removes the rows of messages as somebody with the database's own shell would.
    pub(crate) async fn remove_rows(&self, ids: &[String]) {
        use sqlx::ConnectOptions as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.database());
        let mut connection = options.connect().await.unwrap();
        for id in ids {
            let gone =
                sqlx::query("DELETE FROM journal WHERE class = 0 AND key = ?").bind(id).execute(&mut connection).await;
            assert_eq!(gone.unwrap().rows_affected(), 1);
        }
        sqlx::Connection::close(connection).await.unwrap();
    }

    /// How often the vendor was asked for a conversation's history.
    pub(crate) fn queries_asked(&self) -> usize {
        let query = |path: &str| path.contains("/query.json") || path.contains("/roaming/");
        self.ledger().requests().iter().filter(|request| query(&request.path)).count()
    }

    /// Waits, moving the clocks, until `count` notices of this kind are journalled.
    pub(crate) async fn until_told(&self, run: &Run, kind: &str, count: usize) -> Vec<Value> {
        let told = async {
            loop {
                let notices = run.notices(kind).await;
                if notices.len() >= count {
                    return notices;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        self.drive(told).await
    }

    /// Logs these users in, so that the vendor tells of no offline recipient.
    pub(crate) fn log_in(&self, users: &[&str]) {
        for user in users {
            match &self.emulator {
                Emulator::Huanxin(emulator) => drop(emulator.user(user).login("android").unwrap()),
                Emulator::RongCloud(emulator) => drop(emulator.user(user).login("Android").unwrap()),
            }
        }
    }

    /// Moves both clocks.
    pub(crate) fn advance(&self, by: Duration) {
        self.time.advance(by);
        self.clock.advance(by);
    }

    /// Waits, moving the clocks step by step while something waits for them, until `done` is.
    pub(crate) async fn drive<T>(&self, done: impl Future<Output = T>) -> T {
        let mut done = std::pin::pin!(done);
        for _ in 0..60_000 {
            match tokio::time::timeout(Duration::from_millis(3), &mut done).await {
                Ok(answer) => return answer,
                Err(_) => self.advance(self.step),
            }
        }
        panic!("it does not end");
    }

    /// Waits until no callback is on its way and all that came is journalled.
    pub(crate) async fn quiet(&self, run: &Run) {
        self.still().await;
        run.switchboard.ingest().idle().await;
    }

    /// Lets hours pass, half an hour at a time, and everything that falls due in them be done.
    pub(crate) async fn pass(&self, run: &Run, hours: u32) {
        let until = self.clock.now() + hours * HOUR;
        while self.clock.now() < until {
            self.advance(HOUR / 2);
            self.drive(run.switchboard.reconciler().settled()).await;
        }
    }

    /// Vendor ids of the messages that no callback brought.
    pub(crate) fn dropped(&self) -> BTreeSet<String> {
        let brought: BTreeSet<String> =
            self.ledger().callbacks().into_iter().filter(|one| one.delivered).map(|one| one.key).collect();
        self.sent().into_iter().filter(|id| !brought.contains(id)).collect()
    }

    /// Vendor ids of all messages.
    pub(crate) fn sent(&self) -> BTreeSet<String> {
        self.ledger().messages().into_iter().map(|message| message.vendor_id).collect()
    }

    /// File calls the vendor refused for their number.
    pub(crate) fn rate_errors(&self) -> u64 {
        self.ledger().counters().rate_errors
    }
}

impl Run {
    /// A call of the API: the status and the answer.
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.server.address());
        let mut request = reqwest::Client::new().request(method, url).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let store = self.switchboard.store();
        store.read(&TenantId::default(), Shard(0), Position::START, usize::MAX).await.unwrap()
    }

    /// Journalled messages by vendor id: how each came, and whether it is marked late.
    pub(crate) async fn messages(&self) -> Vec<(String, Origin, bool)> {
        let mut found = Vec::new();
        for entry in self.entries().await {
            let event = entry.event().unwrap();
            if let EventData::Message(message) = event.data {
                found.push((message.vendor_id.unwrap().to_string(), event.origin, event.late));
            }
        }
        found
    }

    /// Notices journalled so far, by kind.
    pub(crate) async fn notices(&self, kind: &str) -> Vec<serde_json::Value> {
        let events = self.entries().await.into_iter().map(|entry| entry.event().unwrap().data);
        events
            .filter_map(|data| match data {
                EventData::Notice(notice) if notice.kind == kind => Some(notice.detail),
                _ => None,
            })
            .collect()
    }

    pub(crate) async fn coverage(&self) -> AppCoverage {
        let now = self.switchboard.clock().now();
        self.coverage_between(START, now).await
    }

    pub(crate) async fn coverage_between(&self, from: Timestamp, until: Timestamp) -> AppCoverage {
        let reconciler = self.switchboard.reconciler();
        let alias = ProviderId::from("main");
        let mut report = reconciler.coverage(&TenantId::default(), Some(&alias), from, until, true).await.unwrap();
        report.apps.remove(0)
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
        let switchboard = self.switchboard;
        switchboard.shutdown().await.unwrap();
    }
}

/// The store below a run, for questions no other way answers.
pub(crate) fn store(run: &Run) -> &Arc<dyn Store> {
    run.switchboard.store()
}
