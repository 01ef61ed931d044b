//! Recovery from outside: fetches that wait over restarts and outages, dead letters through the API.

#![allow(clippy::unwrap_used, reason = "tests")]

mod vendor;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use switchboard::clock::ManualClock;
use switchboard::config::{Scope, ServerConfig, TokenConfig};
use switchboard::sidecar::Server;
use switchboard::store::sqlite::{SqliteOptions, SqliteStore};
use switchboard::{Config, DeadLetter, DeadLetterFilter, EventData, Outgoing, Switchboard, To, Topic};
use switchboard_contract::storage::SetbackKind;
use switchboard_contract::{Clock, Notice, Origin, Position, ProviderId, Shard, TenantId, Timestamp};
use tempfile::TempDir;

use vendor::Vendor;

const START: Timestamp = Timestamp(1_795_201_200_000);
const TOKEN: &str = "a-token-for-tests-only";
const MINUTE: Duration = Duration::from_secs(60);

/// What outlives a run of the sidecar.
struct Stage {
    vendor: Arc<Vendor>,
    clock: ManualClock,
    directory: TempDir,
}

struct Run {
    switchboard: Switchboard,
    server: Server,
}

impl Stage {
    fn new() -> Self {
        let clock = ManualClock::new(START);
        Self { vendor: Vendor::new(&clock), clock, directory: tempfile::tempdir().unwrap() }
    }

    async fn run(&self) -> Run {
        let mut config = Config::default();
        config.ingest.inbox.path = self.directory.path().join("inbox");
        config.ingest.inbox.segment_bytes = 4 << 20;
        config.ingest.inbox.capacity_bytes = 32 << 20;
        (config.sending.seed, config.recovery.seed) = (Some(7), Some(7));
        // Only the walk asks here: how often is what is counted.
        (config.history.automatic.enabled, config.history.hints.enabled) = (false, false);
        let store = SqliteStore::open(SqliteOptions::at(self.directory.path().join("store.db"))).await.unwrap();
        let switchboard = Switchboard::builder()
            .config(config)
            .store(Arc::new(store))
            .clock(Arc::new(self.clock.clone()))
            .provider("main", self.vendor.clone())
            .open()
            .await
            .unwrap();
        let listen = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() };
        let tokens = [TokenConfig {
            name: "test".to_owned(),
            secret: TOKEN.into(),
            scopes: [Scope::Messages, Scope::Subscribe, Scope::Admin].into(),
            tenant: TenantId::default(),
        }];
        let server = Server::start(&switchboard, &listen, &tokens, None).await.unwrap();
        Run { switchboard, server }
    }

    /// Moves the clock by seconds until `done` holds.
    async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        for _ in 0..3_000 {
            if done().await {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{what} does not happen");
    }

    /// Lets time pass, and everything that falls due in it be done.
    async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Run {
    async fn letters(&self, waiting: bool) -> Vec<DeadLetter> {
        let filter = DeadLetterFilter { waiting, ..DeadLetterFilter::default() };
        self.switchboard.tenant("default").dead_letters(&filter, None, 1000).await.unwrap().letters
    }

    /// The texts journalled.
    async fn texts(&self) -> BTreeSet<String> {
        let mut texts = BTreeSet::new();
        for data in self.events().await {
            if let EventData::Message(message) = data
                && let Some(switchboard::Body::Text(text)) = message.body
            {
                assert!(texts.insert(text.text.clone()), "{} twice", text.text);
            }
        }
        texts
    }

    async fn events(&self) -> Vec<EventData> {
        let tenant = TenantId::default();
        let entries = self.switchboard.store().read(&tenant, Shard(0), Position::START, usize::MAX).await.unwrap();
        entries.into_iter().map(|entry| entry.event().unwrap().data).collect()
    }

    async fn alerts(&self) -> Vec<Notice> {
        let alert = |data| match data {
            EventData::Notice(notice) if notice.topic == Topic::DeadLetters => Some(notice),
            _ => None,
        };
        self.events().await.into_iter().filter_map(alert).collect()
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}{path}", self.server.address());
        let mut request = reqwest::Client::new().request(method, url).bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, bytes) = (response.status().as_u16(), response.bytes().await.unwrap());
        (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
    }

    async fn stop(self) {
        self.server.stop().await;
        self.switchboard.shutdown().await.unwrap();
    }
}

/// A run in which each peer said something, after which nobody was there while each said more.
async fn away(stage: &Stage, peers: &[String]) -> BTreeSet<String> {
    let run = stage.run().await;
    stage.until("the first walk", async || online(&run).await).await;
    let first: Vec<_> = peers.iter().map(|peer| stage.vendor.says(peer, &format!("{peer} first"))).collect();
    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    run.switchboard.ingest().submit(&tenant, &alias, Origin::Query, first).await.unwrap();
    stage.pass(Duration::from_secs(30)).await;
    run.stop().await;
    stage.clock.advance(10 * MINUTE);
    peers.iter().for_each(|peer| drop(stage.vendor.says(peer, &format!("{peer} second"))));
    stage.clock.advance(10 * MINUTE);
    peers.iter().flat_map(|peer| [format!("{peer} first"), format!("{peer} second")]).collect()
}

async fn online(run: &Run) -> bool {
    let views = run.switchboard.providers().await.unwrap();
    serde_json::to_value(&views).unwrap()[0]["state"] == "online"
}

fn peers(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("peer{number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_wait_out_an_outage_over_a_restart_and_spend_nothing_on_it() {
    let (stage, peers) = (Stage::new(), peers(30));
    let said = away(&stage, &peers).await;
    stage.vendor.set_down(true);
    let run = stage.run().await;
    stage.until("the walk in the outage", async || online(&run).await).await;
    let waiting = run.letters(true).await;
    assert_eq!(waiting.len(), 30, "what could not be asked for waits");
    assert!(waiting.iter().all(|one| one.kind == SetbackKind::Query && one.next_try_at.is_some()), "{waiting:?}");
    stage.pass(5 * MINUTE).await;
    run.stop().await;
    let run = stage.run().await;
    stage.pass(5 * MINUTE).await;
    let waiting = run.letters(true).await;
    assert_eq!(waiting.len(), 30);
    assert!(waiting.iter().all(|one| one.attempts == 0), "an attempt was spent on the outage: {waiting:?}");
    assert_eq!(run.texts().await.len(), 30, "nothing came meanwhile");
    stage.vendor.set_down(false);
    let back = stage.clock.now();
    stage.until("everything that waited", async || run.letters(true).await.is_empty()).await;
    let took = stage.clock.now().since(back);
    assert!(took <= MINUTE, "{took:?} after the vendor was back");
    assert_eq!(run.texts().await, said);
    assert!(run.letters(false).await.is_empty() && run.alerts().await.is_empty());
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_always_fails_is_one_dead_letter_after_four_attempts_and_is_redriven() {
    let (stage, peers) = (Stage::new(), peers(3));
    let said = away(&stage, &peers).await;
    stage.vendor.set_ill("peer1", usize::MAX);
    let before = stage.vendor.asked("peer1");
    let run = stage.run().await;
    stage.until("the dead letter", async || !run.letters(false).await.is_empty()).await;
    stage.pass(MINUTE).await;
    assert_eq!(stage.vendor.asked("peer1") - before, 4, "three retries after the first try");
    let dead = run.letters(false).await;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].kind, dead[0].attempts, dead[0].reason.as_str()), (SetbackKind::Query, 4, "internal"));
    assert_eq!(dead[0].history.as_slice().len(), 4);
    assert_eq!(dead[0].provider.as_ref().unwrap().as_str(), "main");
    assert_eq!(run.alerts().await.len(), 1, "one alert");
    assert_eq!(run.texts().await.len(), said.len() - 1, "the others are there");
    run.stop().await;

    // Over a restart it is still one, and the cause is gone.
    stage.vendor.set_ill("peer1", 0);
    let run = stage.run().await;
    let id = run.letters(false).await[0].id.clone();
    let (status, _) = run.call(Method::POST, &format!("/v1/dead-letters/{id}/redrive"), None).await;
    assert_eq!(status, 202);
    stage.until("the redrive", async || run.texts().await == said).await;
    stage.until("its end", async || run.letters(true).await.is_empty()).await;
    assert!(run.letters(false).await.is_empty());
    let (status, _) = run.call(Method::POST, &format!("/v1/dead-letters/{id}/redrive"), None).await;
    assert_eq!(status, 404);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_fails_twice_succeeds_by_the_third_attempt() {
    let (stage, peers) = (Stage::new(), peers(2));
    let said = away(&stage, &peers).await;
    stage.vendor.set_ill("peer0", 2);
    let before = stage.vendor.asked("peer0");
    let run = stage.run().await;
    stage.until("everything", async || run.texts().await == said).await;
    assert_eq!(stage.vendor.asked("peer0") - before, 3);
    stage.until("the end of it", async || run.letters(true).await.is_empty()).await;
    assert!(run.letters(false).await.is_empty() && run.alerts().await.is_empty());
    run.stop().await;
}

/// The whole API: pages, filters, one letter, many, the conversation in order, and what cannot be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_redriven_and_dropped_through_the_api() {
    let stage = Stage::new();
    let run = stage.run().await;
    stage.vendor.set_refuses(true);
    for number in 0..5 {
        for peer in ["bob", "eve"] {
            run.switchboard.send(Outgoing::text("shop", To::user(peer), format!("{peer} {number}"))).await.unwrap();
        }
    }
    stage.until("ten dead letters", async || run.letters(false).await.len() == 10).await;
    let get = async |path: &str| run.call(Method::GET, path, None).await;
    let (_, page) = get("/v1/dead-letters?limit=4").await;
    assert_eq!(page["letters"].as_array().unwrap().len(), 4);
    let (mut all, mut next) = (page["letters"].as_array().unwrap().clone(), page["next"].clone());
    while let Some(cursor) = next.as_str() {
        let (_, page) = get(&format!("/v1/dead-letters?limit=4&cursor={cursor}")).await;
        all.extend(page["letters"].as_array().unwrap().iter().cloned());
        next = page["next"].clone();
    }
    let ids: BTreeSet<&str> = all.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    assert_eq!((all.len(), ids.len()), (10, 10), "each once");
    let (_, of_bob) = get("/v1/dead-letters?conversation=direct~bob~shop&kind=send&reason=rejected").await;
    assert_eq!(of_bob["letters"].as_array().unwrap().len(), 5);
    let (_, none) = get("/v1/dead-letters?reason=timeout").await;
    assert_eq!(none["letters"], json!([]));
    let (status, problem) = get("/v1/dead-letters?cursor=nonsense").await;
    assert_eq!(status, 400, "{problem}");
    let first = of_bob["letters"][0].clone();
    let path = format!("/v1/dead-letters/{}", first["id"].as_str().unwrap());
    let (_, shown) = get(&path).await;
    assert_eq!(shown, first);
    assert_eq!((&shown["attempts"], &shown["history"][0]["code"]), (&json!(1), &json!("1301")));
    assert_eq!(get("/v1/dead-letters/send~nobody").await.0, 404);

    let many =
        async |act: &str, body: Value| run.call(Method::POST, &format!("/v1/dead-letters/{act}"), Some(body)).await;
    assert_eq!(many("redrive", json!({})).await.0, 400, "everything must be said");
    stage.vendor.set_refuses(false);
    let (status, done) = many("redrive", json!({ "conversation": "direct~bob~shop" })).await;
    assert_eq!((status, &done), (202, &json!({ "done": 5, "refused": [] })));
    stage.until("bob's five", async || stage.vendor.sent().len() == 5).await;
    assert_eq!(stage.vendor.sent(), (0..5).map(|number| format!("bob {number}")).collect::<Vec<_>>(), "in order");
    let (_, rest) = get("/v1/dead-letters").await;
    let rest = rest["letters"].as_array().unwrap().clone();
    assert_eq!(rest.len(), 5);
    let path = format!("/v1/dead-letters/{}", rest[0]["id"].as_str().unwrap());
    assert_eq!(run.call(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(run.call(Method::DELETE, &path, None).await.0, 404);
    assert_eq!(many("drop", json!({ "all": true })).await.1["done"], 4);
    assert!(run.letters(false).await.is_empty());
    assert_eq!(stage.vendor.sent().len(), 5, "what is dropped is not sent");
    assert_eq!(run.alerts().await.len(), 10, "one alert each");
    run.stop().await;
}

/// A parked conversation of a subscriber is a dead letter like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_conversation_is_listed_redriven_and_its_event_dropped() {
    let stage = Stage::new();
    let run = stage.run().await;
    let spec = json!({ "topics": ["messages"], "max_attempts": 1 });
    assert_eq!(run.call(Method::PUT, "/v1/subscribers/orders", Some(spec)).await.0, 201);
    let items = ["one", "two", "three"].map(|text| stage.vendor.says("bob", text)).to_vec();
    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    run.switchboard.ingest().submit(&tenant, &alias, Origin::Query, items).await.unwrap();
    let pull = async || run.call(Method::GET, "/v1/subscribers/orders/events?limit=1&wait=5", None).await.1;
    let refuse = async |page: &Value| {
        let ids = json!({ "ids": [page["deliveries"][0]["id"]], "reason": "no_such_order" });
        run.call(Method::POST, "/v1/subscribers/orders/nack", Some(ids)).await
    };
    let page = pull().await;
    assert_eq!(page["deliveries"][0]["event"]["data"]["body"]["text"], "one", "{page}");
    refuse(&page).await;
    stage.until("a parked conversation", async || !run.letters(false).await.is_empty()).await;
    let letter = run.letters(false).await.remove(0);
    assert_eq!(letter.id, "delivery~orders~direct~bob~shop");
    assert_eq!(
        (letter.kind, letter.reason.as_str(), &letter.about["sequence"]),
        (SetbackKind::Delivery, "no_such_order", &json!(1))
    );
    let path = format!("/v1/dead-letters/{}", letter.id);
    assert_eq!(run.call(Method::GET, &path, None).await.1["id"], json!(letter.id));
    let (_, page) = run.call(Method::GET, "/v1/dead-letters?kind=delivery&subscriber=orders&limit=1", None).await;
    assert_eq!(page["letters"].as_array().unwrap().len(), 1);

    // Redriven, it comes again and is refused again; dropped, its conversation goes on behind it.
    assert_eq!(run.call(Method::POST, &format!("{path}/redrive"), None).await.0, 202);
    let page = pull().await;
    assert_eq!(page["deliveries"][0]["event"]["data"]["body"]["text"], "one");
    refuse(&page).await;
    stage.until("it is parked again", async || !run.letters(false).await.is_empty()).await;
    assert_eq!(run.call(Method::DELETE, &path, None).await.0, 204);
    let page = pull().await;
    assert_eq!(page["deliveries"][0]["event"]["data"]["body"]["text"], "two", "{page}");
    assert!(run.letters(false).await.is_empty());
    run.stop().await;
}

/// Whoever looks sees an app that cannot be reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_cannot_be_reached_is_shown_with_its_provider() {
    let stage = Stage::new();
    let run = stage.run().await;
    stage.vendor.set_down(true);
    run.switchboard.send(Outgoing::text("shop", To::user("bob"), "hi")).await.unwrap();
    let breaker = async || run.call(Method::GET, "/v1/providers", None).await.1["providers"][0]["breaker"].clone();
    stage.until("the pause", async || breaker().await["trips"].as_u64().unwrap() >= 2).await;
    let shown = breaker().await;
    assert_eq!(shown["reason"], "unavailable", "{shown}");
    assert!(shown["since"].as_i64().unwrap() >= START.0 && shown["state"] != "closed", "{shown}");
    stage.vendor.set_down(false);
    stage.until("the end of it", async || breaker().await["state"] == "closed").await;
    stage.until("the message", async || stage.vendor.sent() == ["hi"]).await;
    run.stop().await;
}
