//! The vendor is changed by configuration while a thousand sends are in flight and some are in doubt, in both
//! directions: each send reaches one vendor once and in order, and what the old vendor still tells is kept and delivered.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::consumer::{metric_is, series_of, subscribe, until};
use support::sidecar::Sidecar;
use support::vendors::Vendors;
use switchboard_emulators::common::{CallbackFaults, RestFaults};
use switchboard_emulators::common::{LedgerMessage, Source};
use switchboard_emulators::{Faults, Ledger};

const SENDS: usize = 1_000;
const CONVERSATIONS: usize = 50;
const CUSTOMERS: usize = 60;
/// The old vendor's callbacks come this late: after the change. The change must be done by then.
const LATE: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    Huanxin,
    RongCloud,
}

impl Vendor {
    fn name(self) -> &'static str {
        match self {
            Self::Huanxin => "huanxin",
            Self::RongCloud => "rongcloud",
        }
    }
}

struct Stage {
    vendors: Vendors,
    directory: tempfile::TempDir,
}

impl Stage {
    fn ledger(&self, vendor: Vendor) -> Ledger {
        match vendor {
            Vendor::Huanxin => self.vendors.huanxin.ledger(),
            Vendor::RongCloud => self.vendors.rongcloud.ledger(),
        }
    }

    fn set_faults(&self, vendor: Vendor, faults: Faults) {
        match vendor {
            Vendor::Huanxin => self.vendors.huanxin.set_faults(faults),
            Vendor::RongCloud => self.vendors.rongcloud.set_faults(faults),
        }
    }

    async fn customer_writes(&self, vendor: Vendor, number: usize) -> String {
        let (from, text) = (format!("customer{}", number % 7), format!("from a customer, {number}"));
        match vendor {
            Vendor::Huanxin => self.vendors.on_huanxin(&from, "shop", &text).await,
            Vendor::RongCloud => self.vendors.on_rongcloud(&from, "shop", &text).await,
        }
    }

    /// Starts the sidecar with one vendor for new sends. The two configurations differ in nothing else.
    fn start(&self, active: Vendor, listen: &str) -> Sidecar {
        let mut command = Sidecar::command(
            self.directory.path(),
            &format!(
                "[store]\nurl = \"sqlite://swap.db\"\n[ingest.inbox]\npath = \"inbox\"\ncapacity_bytes = 67108864\n\
                 [sending]\necho_wait = \"1s\"\n{}",
                self.vendors.config()
            ),
        );
        let old = if active == Vendor::Huanxin { "RONGCLOUD" } else { "HUANXIN" };
        command
            .env("SWITCHBOARD__SERVER__LISTEN", listen)
            .env("SWITCHBOARD__ROUTING__DEFAULT", active.name())
            .env(format!("SWITCHBOARD__PROVIDERS__{old}__RECEIVE_ONLY"), "true");
        Sidecar::spawn(command)
    }

    /// Texts that a vendor took from us, in the order it took them.
    fn taken(&self, vendor: Vendor) -> Vec<LedgerMessage> {
        let ours = |message: &LedgerMessage| message.source == Source::Rest;
        self.ledger(vendor).messages().into_iter().filter(ours).collect()
    }
}

/// What one message says, whichever vendor keeps it.
fn text_of(message: &LedgerMessage) -> String {
    let body = &message.body;
    let text = body["msg"].as_str().or_else(|| body["content"].as_str());
    text.unwrap_or_else(|| panic!("no text in {body}")).to_owned()
}

/// Asks for all sends: those of one conversation one after another, all conversations at once.
async fn ask_for_sends(sidecar: &Sidecar) {
    let mut conversations = tokio::task::JoinSet::new();
    for conversation in 0..CONVERSATIONS {
        let (http, url) = (sidecar.http.clone(), format!("{}/v1/messages", sidecar.url));
        conversations.spawn(async move {
            for number in 0..SENDS / CONVERSATIONS {
                let body = json!({
                    "from": "shop", "to": { "user": format!("customer{conversation}") },
                    "body": { "type": "text", "text": format!("send {conversation}/{number:03}") },
                    "client_message_id": format!("{conversation}/{number}"),
                });
                let request = http.post(&url).bearer_auth(support::sidecar::TOKEN).json(&body);
                assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
            }
        });
    }
    conversations.join_all().await;
}

/// Everything a subscriber gets until `enough`; each event once.
async fn drain(sidecar: &Sidecar, name: &str, count: usize) -> Vec<Value> {
    let (mut events, mut seen, mut cursor) = (Vec::new(), BTreeSet::new(), String::new());
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let page = sidecar.get(&format!("/v1/subscribers/{name}/events?limit=500&wait=2{cursor}")).await;
        let deliveries = page["deliveries"].as_array().unwrap();
        for delivery in deliveries {
            let id = delivery["event"]["id"].as_str().unwrap().to_owned();
            assert!(seen.insert(id.clone()), "{id} came twice");
            events.push(delivery["event"].clone());
        }
        if deliveries.is_empty() && events.len() >= count {
            return events;
        }
        assert!(Instant::now() < deadline, "{} of {count} events came", events.len());
        cursor = format!("&cursor={}", page["cursor"].as_str().unwrap());
    }
}

async fn swap(old: Vendor, new: Vendor) {
    let stage = Stage { vendors: Vendors::start(5).await, directory: tempfile::tempdir().unwrap() };
    let mut sidecar = stage.start(old, "127.0.0.1:0");
    let listen = sidecar.url.trim_start_matches("http://").to_owned();
    stage.vendors.call_back(&sidecar.url);
    subscribe(&sidecar, "all", &["messages"]).await;
    subscribe(&sidecar, "status", &["send_status"]).await;

    // The old vendor answers slowly, loses every tenth answer, and calls back late.
    let late = LATE.as_millis() as u64;
    let rest = RestFaults { lost_answer: 0.1, slow_ms: 50, ..RestFaults::default() };
    let callbacks = CallbackFaults { delay_ms: Some((late, late + 2_000)), ..CallbackFaults::default() };
    stage.set_faults(old, Faults { rest, callbacks, ..Faults::default() });
    let began = Instant::now();
    ask_for_sends(&sidecar).await;
    let mut late_ones = BTreeSet::new();
    for number in 0..CUSTOMERS {
        late_ones.insert(stage.customer_writes(old, number).await);
    }
    until("a good part has left", async || stage.taken(old).len() >= SENDS / 5).await;
    let doubts = "switchboard_sending_states_total{state=\"in_doubt\"}";
    until("some are in doubt", async || series_of(&sidecar, doubts).await >= 5.0).await;
    assert!(stage.taken(old).len() < SENDS, "everything had left before the change");

    assert!(sidecar.terminate().success());
    let before = stage.taken(old).len();
    let sidecar = stage.start(new, &listen);
    assert!(began.elapsed() < LATE, "this machine is too slow: the change took {:?}", began.elapsed());
    println!("{old:?} to {new:?}: {before} sends had left; the change was done after {:?}", began.elapsed());

    // What the old vendor has been told and has not told us is late; nothing is lost, and nothing is done twice.
    stage.set_faults(old, Faults::default());
    stage.vendors.idle().await;
    let open = async || {
        let providers = sidecar.get("/v1/providers").await["providers"].clone();
        providers.as_array().unwrap().iter().map(|one| one["open_sends"].as_u64().unwrap()).sum::<u64>()
    };
    until("no send is open", async || open().await == 0).await;
    stage.vendors.idle().await;
    let (at_old, at_new) = (stage.taken(old), stage.taken(new));
    println!("{} sends at the old vendor, {} at the new", at_old.len(), at_new.len());
    check_vendors(&at_old, &at_new);
    check_consumer(&stage, &sidecar, [old, new], &late_ones).await;
    metric_is(&sidecar, "switchboard_sending_open", 0.0).await;
}

/// Each send once over both vendors, and those of a conversation in their order.
fn check_vendors(at_old: &[LedgerMessage], at_new: &[LedgerMessage]) {
    assert!(!at_old.is_empty() && !at_new.is_empty(), "the change divided nothing");
    let texts: Vec<String> = at_old.iter().chain(at_new).map(text_of).collect();
    let distinct: BTreeSet<&String> = texts.iter().collect();
    assert_eq!(texts.len(), distinct.len(), "{} sends were made twice", texts.len() - distinct.len());
    assert_eq!(texts.len(), SENDS);
    let mut last = BTreeMap::new();
    for text in &texts {
        let (conversation, number) = text.split_once('/').unwrap();
        let before = last.insert(conversation, number);
        assert!(before.is_none_or(|before| before < number), "{text} left after {before:?}");
    }
}

/// The subscriber has every send and every late callback once, without a hole in any conversation.
async fn check_consumer(stage: &Stage, sidecar: &Sidecar, vendors: [Vendor; 2], late: &BTreeSet<String>) {
    let events = drain(sidecar, "all", SENDS + late.len()).await;
    assert_eq!(events.len(), SENDS + late.len());
    let at_vendors: BTreeSet<String> =
        vendors.iter().flat_map(|vendor| stage.ledger(*vendor).messages()).map(|message| message.vendor_id).collect();
    let delivered: BTreeSet<String> =
        events.iter().map(|event| event["data"]["vendor_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(delivered, at_vendors);
    assert!(delivered.is_superset(late), "a late callback was lost");
    let mut last = BTreeMap::<&str, u64>::new();
    for event in &events {
        let (subject, sequence) = (event["subject"].as_str().unwrap(), event["sequence"].as_str().unwrap());
        let before = last.insert(subject, sequence.parse().unwrap());
        assert!(before < last.get(subject).copied(), "{subject}: {sequence} came after {before:?}");
    }
    let database = rusqlite::Connection::open(stage.directory.path().join("swap.db")).unwrap();
    let holes = "SELECT count(*) FROM (SELECT conversation FROM journal WHERE conversation IS NOT NULL
                 GROUP BY conversation HAVING max(sequence) <> count(*))";
    let holes: i64 = database.query_row(holes, [], |row| row.get(0)).unwrap();
    assert_eq!(holes, 0, "a conversation has a hole or a repeat");

    let mut states = BTreeMap::<String, Vec<String>>::new();
    for event in drain(sidecar, "status", SENDS * 3).await {
        let field = |name: &str| event["data"][name].as_str().unwrap().to_owned();
        states.entry(field("message_id")).or_default().push(field("state"));
    }
    let ended = states.values().filter(|walk| walk.last().is_some_and(|state| state == "accepted")).count();
    let doubted = states.values().filter(|walk| walk.iter().any(|state| state == "in_doubt")).count();
    println!("{doubted} sends were in doubt on their way");
    assert_eq!((states.len(), ended), (SENDS, SENDS));
    assert!(doubted >= 5, "only {doubted} were ever in doubt");
    let body = json!({
        "from": "shop", "to": { "user": "customer0" }, "client_message_id": "0/0",
        "body": { "type": "text", "text": "send 0/000" },
    });
    let repeated = sidecar.send(Method::POST, "/v1/messages", &body).await;
    assert_eq!(repeated["repeated"], true, "the change forgot a client's key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i07_huanxin_to_rongcloud() {
    swap(Vendor::Huanxin, Vendor::RongCloud).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i07_rongcloud_to_huanxin() {
    swap(Vendor::RongCloud, Vendor::Huanxin).await;
}
