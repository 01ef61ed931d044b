//! One message from every source at once is one row and one delivery: through real adapters, a real listener and a real
//! database.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "conformance/capture.rs"]
#[allow(dead_code, reason = "shared with the conformance suite")]
mod capture;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use capture::Capture;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use support::callbacks::now_ms;
use support::vendors::{HUANXIN_APP, HUANXIN_SECRET, RONGCLOUD_APP, RONGCLOUD_SECRET};
use switchboard::config::{Config, ServerConfig};
use switchboard::sidecar::Server;
use switchboard::{Subscriber, Switchboard};
use switchboard_contract::storage::Appended;
use switchboard_contract::{
    HistoryFile, Inbound, InboundData, Origin, Provider, ProviderId, RawCallback, RoamingQuery, Target, TenantId,
    Timestamp, Topic,
};
use switchboard_emulators::huanxin::{HuanxinEmulator, Target as HuanxinTarget};
use switchboard_emulators::rongcloud::{ClientMessage, RongCloudEmulator, RongCloudSettings, Target as RongTarget};
use switchboard_emulators::{Ledger, Time};

const MESSAGES: usize = 1_000;
const THREADS: usize = 16;
const PAIRS: usize = 25;
const HOUR: i64 = 3_600_000;

/// Who writes message `number`, and to whom.
fn pair(number: usize) -> (String, String) {
    let (one, other) = (format!("user{}", number % PAIRS), format!("peer{}", number % PAIRS));
    if (number / PAIRS).is_multiple_of(2) { (one, other) } else { (other, one) }
}

/// A vendor, and what it tells of the same messages in its three ways.
struct Vendor {
    alias: ProviderId,
    ledger: Ledger,
    callbacks: BTreeMap<String, Vec<RawCallback>>,
    lines: BTreeMap<String, Inbound>,
    found: BTreeMap<String, Inbound>,
}

fn message_id(inbound: &Inbound) -> Option<String> {
    match &inbound.data {
        InboundData::Message(message) => Some(message.id.to_string()),
        InboundData::Offline { message, .. } => Some(message.id.to_string()),
        _ => None,
    }
}

async fn query(provider: &dyn Provider, since: Timestamp, until: Timestamp) -> BTreeMap<String, Inbound> {
    let roaming = provider.roaming().unwrap();
    let mut found = BTreeMap::new();
    for number in 0..PAIRS {
        let (one, other) = pair(number);
        let mut query = RoamingQuery {
            viewer: one.as_str().into(),
            target: Target::Users(vec![other.as_str().into()]),
            since,
            until,
            limit: 100,
            cursor: None,
        };
        loop {
            let page = roaming.page(&query).await.unwrap();
            found.extend(page.items.into_iter().filter_map(|item| Some((message_id(&item)?, item))));
            let Some(next) = page.next else { break };
            query.cursor = Some(next);
        }
    }
    found
}

async fn files(provider: &dyn Provider, since: Timestamp, until: Timestamp) -> BTreeMap<String, Inbound> {
    let mut lines = BTreeMap::new();
    // A test that runs over the full hour has two files.
    for hour in BTreeSet::from([since.0 / HOUR * HOUR, until.0 / HOUR * HOUR]) {
        if let HistoryFile::Ready(file) = provider.history_files().unwrap().fetch(Timestamp(hour)).await.unwrap() {
            lines.extend(file.events().map(Result::unwrap).filter_map(|item| Some((message_id(&item)?, item))));
        }
    }
    lines
}

/// Callbacks by the message they tell of.
fn by_message(provider: &dyn Provider, raws: Vec<RawCallback>) -> BTreeMap<String, Vec<RawCallback>> {
    let mut found = BTreeMap::<String, Vec<RawCallback>>::new();
    for raw in raws {
        let verified = provider.callbacks().unwrap().verify(raw.clone(), Timestamp(now_ms())).unwrap();
        let items = provider.callbacks().unwrap().decode(&verified);
        let id = items.iter().find_map(message_id).unwrap_or_else(|| panic!("no message in {items:?}"));
        found.entry(id).or_default().push(raw);
    }
    found
}

async fn collect(
    switchboard: &Switchboard,
    alias: &str,
    ledger: Ledger,
    time: &Time,
    since: Timestamp,
    raws: Vec<RawCallback>,
) -> Vendor {
    let provider = switchboard.provider(&alias.into()).unwrap();
    let until = Timestamp(time.now_ms() + 1);
    let callbacks = by_message(&*provider, raws);
    let found = query(&*provider, since, until).await;
    // Until the files of the hour are written for good.
    let wait = provider.history_files().unwrap().limits().final_after;
    time.advance(wait + Duration::from_millis(HOUR as u64));
    let lines = files(&*provider, since, until).await;
    let written: BTreeSet<String> = ledger.messages().into_iter().map(|message| message.vendor_id).collect();
    for (source, ids) in [
        ("callbacks", callbacks.keys().cloned().collect::<BTreeSet<_>>()),
        ("files", lines.keys().cloned().collect()),
        ("queries", found.keys().cloned().collect()),
    ] {
        assert!(ids == written, "{alias}: {source} tell of {} of {} messages", ids.len(), written.len());
    }
    Vendor { alias: alias.into(), ledger, callbacks, lines, found }
}

fn configuration(directory: &std::path::Path, huanxin: &str, rongcloud: &str) -> Config {
    let directory = directory.display();
    Config::parse(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"sqlite://{directory}/same.db\"\n\
         [ingest.inbox]\npath = \"{directory}/inbox\"\ncapacity_bytes = 67108864\n\
         [providers.huanxin]\nkind = \"huanxin\"\napp_key = \"{HUANXIN_APP}\"\nclient_id = \"id\"\n\
         client_secret = \"secret\"\ncallback_secret = \"{HUANXIN_SECRET}\"\nbase_url = \"{huanxin}\"\n\
         [providers.rongcloud]\nkind = \"rongcloud\"\napp_key = \"{RONGCLOUD_APP}\"\n\
         app_secret = \"{RONGCLOUD_SECRET}\"\nbase_url = \"{rongcloud}\"\n[routing]\ndefault = \"huanxin\"\n"
    ))
    .unwrap()
}

/// One of those who tell of everything, in an order and by ways of its own.
async fn tell(switchboard: Switchboard, url: String, vendor: Arc<Vendor>, thread: usize, seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed ^ thread as u64);
    let mut ids: Vec<&String> = vendor.callbacks.keys().collect();
    ids.shuffle(&mut random);
    let (http, tenant, mut fresh) = (reqwest::Client::new(), TenantId::default(), 0);
    for chunk in ids.chunks(8) {
        // The first three keep to one way each; the others choose.
        let way = if thread < 3 { thread } else { random.random_range(0..3) };
        let (origin, source) = match way {
            0 => {
                for raw in chunk.iter().flat_map(|id| &vendor.callbacks[*id]) {
                    let address = format!("{url}/callbacks/{}/{}?{}", vendor.alias, raw.path, raw.query);
                    let mut request = http.post(address.replace("/?", "?")).body(raw.body.clone());
                    for (name, value) in raw.headers.iter().filter(|(name, _)| name.starts_with("content-type")) {
                        request = request.header(name, value);
                    }
                    assert_eq!(request.send().await.unwrap().status(), 200);
                }
                continue;
            }
            1 => (Origin::File, &vendor.lines),
            _ => (Origin::Query, &vendor.found),
        };
        let items: Vec<Inbound> = chunk.iter().map(|id| source[*id].clone()).collect();
        let answers = switchboard.ingest().submit(&tenant, &vendor.alias, origin, items).await.unwrap();
        assert_eq!(answers.len(), chunk.len());
        fresh += answers.iter().filter(|answer| matches!(answer, Appended::Fresh { .. })).count();
    }
    fresh
}

/// Everything a subscriber gets, until `count` messages came and nothing more does.
async fn delivered(switchboard: &Switchboard, count: usize) -> Vec<Value> {
    let subscriber = Subscriber::named("all").topics([Topic::Messages]);
    let mut subscription = switchboard.subscribe(subscriber).await.unwrap();
    let mut deliveries = Vec::new();
    loop {
        let wait = Duration::from_secs(if deliveries.len() < count { 60 } else { 2 });
        let Ok(Some(delivery)) = tokio::time::timeout(wait, subscription.next()).await else { break };
        deliveries.push(serde_json::from_slice(&delivery.to_json()).unwrap());
        delivery.ack().await.unwrap();
    }
    deliveries
}

fn rows(directory: &std::path::Path, sql: &str) -> i64 {
    let database = rusqlite::Connection::open(directory.join("same.db")).unwrap();
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

async fn check(switchboard: &Switchboard, directory: &std::path::Path, vendor: &Vendor) {
    let deliveries = delivered(switchboard, MESSAGES).await;
    let mut sequences = BTreeMap::<String, Vec<u64>>::new();
    let mut ids = BTreeSet::new();
    for delivery in &deliveries {
        let event = &delivery["event"];
        assert!(ids.insert(event["data"]["vendor_id"].as_str().unwrap().to_owned()), "{event} was delivered twice");
        let sequence = event["sequence"].as_str().unwrap().parse().unwrap();
        sequences.entry(event["subject"].as_str().unwrap().to_owned()).or_default().push(sequence);
    }
    let written: BTreeSet<String> = vendor.ledger.messages().into_iter().map(|message| message.vendor_id).collect();
    assert_eq!((ids.len(), deliveries.len()), (MESSAGES, MESSAGES));
    assert!(ids == written);
    assert_eq!(sequences.len(), PAIRS);
    for (conversation, sequences) in sequences {
        // A recipient found offline stands between messages, in the same numbers.
        assert!(sequences.is_sorted_by(|one, other| one < other), "{conversation}: {sequences:?}");
    }
    assert_eq!(rows(directory, "SELECT count(*) FROM journal WHERE message IS NOT NULL"), MESSAGES as i64);
    let holes = "SELECT count(*) FROM (SELECT conversation FROM journal WHERE conversation IS NOT NULL
                 GROUP BY conversation HAVING max(sequence) <> count(*))";
    assert_eq!(rows(directory, holes), 0, "a conversation has a hole or a repeat");
    assert_eq!(rows(directory, "SELECT count(*) FROM conversations"), PAIRS as i64);
    assert_eq!(rows(directory, "SELECT count(*) FROM quarantine"), 0);
    assert_eq!(rows(directory, "SELECT count(*) FROM variants"), 0, "sources tell the same message differently");
}

async fn from_all_sides(switchboard: Switchboard, directory: &std::path::Path, vendor: Vendor) {
    let seed: u64 = std::env::var("SWITCHBOARD_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("SWITCHBOARD_SEED={seed}, {} callbacks", vendor.callbacks.values().map(Vec::len).sum::<usize>());
    let server = Server::start(&switchboard, &loopback(), &[], None).await.unwrap();
    let (vendor, url) = (Arc::new(vendor), format!("http://{}", server.address()));
    let mut threads = tokio::task::JoinSet::new();
    for thread in 0..THREADS {
        threads.spawn(tell(switchboard.clone(), url.clone(), vendor.clone(), thread, seed));
    }
    let fresh: usize = threads.join_all().await.into_iter().sum();
    switchboard.ingest().idle().await;
    println!("{fresh} of {MESSAGES} messages came by a file or a query first");
    check(&switchboard, directory, &vendor).await;
    assert!((1..MESSAGES).contains(&fresh), "one way was always first: the race was none");
    server.stop().await;
    switchboard.shutdown().await.unwrap();
}

fn loopback() -> ServerConfig {
    ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn i05_a_message_of_huanxin_from_all_sides_is_one_event() {
    let (capture, url) = Capture::start().await;
    let since = now_ms();
    let time = Time::manual(since);
    let emulator = HuanxinEmulator::builder()
        .listen("127.0.0.1:0")
        .credentials(HUANXIN_APP, "id", "secret")
        .callback_url(&url, HUANXIN_SECRET)
        .time(time.clone())
        .start()
        .await
        .unwrap();
    for number in 0..MESSAGES {
        let (from, to) = pair(number);
        emulator.user(&from).send_text(HuanxinTarget::User(to), &format!("message {number}")).await.unwrap();
        time.advance(Duration::from_millis(1));
    }
    emulator.wait_idle().await;
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), &emulator.base_url(), "http://127.0.0.1:9");
    let switchboard = Switchboard::open(config).await.unwrap();
    let raws = capture.take();
    let vendor = collect(&switchboard, "huanxin", emulator.ledger(), &time, Timestamp(since), raws).await;
    from_all_sides(switchboard, directory.path(), vendor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn i05_a_message_of_rongcloud_from_all_sides_is_one_event() {
    let (capture, url) = Capture::start().await;
    let since = now_ms();
    let time = Time::manual(since);
    let mut settings = RongCloudSettings::default();
    settings.messages.client_per_second = u32::MAX;
    let emulator = RongCloudEmulator::builder()
        .listen("127.0.0.1:0")
        .credentials(RONGCLOUD_APP, RONGCLOUD_SECRET)
        .settings(settings)
        .callback_url(&url)
        .time(time.clone())
        .start()
        .await
        .unwrap();
    for number in 0..MESSAGES {
        let (from, to) = pair(number);
        let message = ClientMessage::text(RongTarget::User(to), &format!("message {number}"));
        emulator.user(&from).send(message).await.unwrap();
        time.advance(Duration::from_millis(1));
    }
    emulator.wait_idle().await;
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), "http://127.0.0.1:9", &emulator.base_url());
    let switchboard = Switchboard::open(config).await.unwrap();
    let raws = capture.take();
    let vendor = collect(&switchboard, "rongcloud", emulator.ledger(), &time, Timestamp(since), raws).await;
    from_all_sides(switchboard, directory.path(), vendor).await;
}
