//! Hooks on the way of a send, seen from the vendors: real adapters, real listeners, a real database.

#![cfg(feature = "bin")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use support::callbacks::now_ms;
use support::vendors::Vendors;
use switchboard::config::{Config, ServerConfig};
use switchboard::sending::{SendCall, SendDraft, SendHook, StateChange};
use switchboard::sidecar::Server;
use switchboard::{Body, Error, ErrorKind, Outgoing, Result, Retry, Switchboard, To};
use switchboard_contract::{
    Clues, EventKey, Inbound, InboundData, InboundPlace, KeyClass, Origin, ReceiptKind, SendState, SentTo, TenantId,
    Timestamp, VendorMessageId,
};
use switchboard_emulators::common::RequestRecord;
use switchboard_emulators::{FaultAction, FaultStep, Faults, Ledger};

/// The vendors, and the start of the paths of their sends as fault scripts spell them.
const VENDORS: [(&str, &str); 2] = [("huanxin", "/messages/users"), ("rongcloud", "/message/private/publish.json")];

/// What a test has its hook do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    /// Look on.
    #[default]
    Quiet,
    /// Add a header to every call but the first.
    HeaderFromTheSecondCall,
    /// Add a header to every call.
    Header,
    /// Change text and `ext`.
    Rewrite,
    /// Refuse every send.
    RefuseSend,
    /// Refuse the first call.
    RefuseFirstCall,
    /// Never come back before a call.
    Hang,
    /// Panic while looking on.
    PanicLookingOn,
    /// Panic before a send is built.
    PanicBefore,
}

/// A hook that notes what it sees.
#[derive(Debug, Default)]
struct Spy {
    manner: Manner,
    calls: Mutex<Vec<SendCall>>,
    answers: Mutex<Vec<std::result::Result<usize, (ErrorKind, Retry)>>>,
    changes: Mutex<Vec<StateChange>>,
}

impl Spy {
    fn new(manner: Manner) -> Arc<Self> {
        Arc::new(Self { manner, ..Self::default() })
    }

    fn states(&self) -> Vec<SendState> {
        self.changes.lock().iter().map(|change| change.status.state).collect()
    }
}

#[async_trait]
impl SendHook for Spy {
    fn name(&self) -> &'static str {
        "spy"
    }

    async fn before_build(&self, draft: &mut SendDraft<'_>) -> Result<()> {
        match self.manner {
            Manner::Rewrite => {
                *draft.body_mut() = Body::text("rewritten");
                draft.ext_mut().insert("stamp".to_owned(), serde_json::json!(now_ms()));
            }
            Manner::RefuseSend => return Err(Error::new(ErrorKind::Rejected, "not this one")),
            Manner::PanicBefore => panic!("on purpose"),
            _ => {}
        }
        Ok(())
    }

    async fn before_send(&self, call: &mut SendCall) -> Result<()> {
        let number = {
            let mut calls = self.calls.lock();
            calls.push(call.clone());
            calls.len()
        };
        match self.manner {
            Manner::HeaderFromTheSecondCall if number > 1 => call.header("X-Trace", "one two"),
            Manner::Header => call.header("X-Trace", "one two"),
            Manner::RefuseFirstCall if number == 1 => {
                Err(Error::new(ErrorKind::Conflict, "not now").with_retry(Retry::OutcomeUnknown))
            }
            Manner::Hang => std::future::pending().await,
            _ => Ok(()),
        }
    }

    fn after_answer(&self, _: &SendCall, answer: std::result::Result<&[SentTo], &Error>) {
        self.answers.lock().push(answer.map(<[_]>::len).map_err(|error| (error.kind(), error.retry())));
        assert!(self.manner != Manner::PanicLookingOn, "on purpose");
    }

    fn on_state(&self, change: &StateChange) {
        self.changes.lock().push(change.clone());
        assert!(self.manner != Manner::PanicLookingOn, "on purpose");
    }
}

struct Stage {
    vendor: &'static str,
    vendors: Vendors,
    switchboard: Switchboard,
    _directory: tempfile::TempDir,
}

impl Stage {
    /// The engine before one of the vendors, with these hooks in their order.
    async fn start(vendor: &'static str, hooks: &[&Arc<Spy>]) -> Self {
        let (vendors, directory) = (Vendors::start(3).await, tempfile::tempdir().unwrap());
        let providers = vendors.config().replace("default = \"huanxin\"", &format!("default = \"{vendor}\""));
        let path = directory.path().display();
        let config = Config::parse(&format!(
            "[store]\nurl = \"sqlite://{path}/hooks.db\"\n[ingest.inbox]\npath = \"{path}/inbox\"\n\
             capacity_bytes = 67108864\n[sending]\nhook_within = \"200ms\"\n\
             backoff_min = \"1ms\"\nbackoff_max = \"50ms\"\n{providers}"
        ))
        .unwrap();
        let builder = Switchboard::builder().config(config);
        let builder = hooks.iter().fold(builder, |builder, hook| builder.send_hook((*hook).clone()));
        let switchboard = builder.open().await.unwrap();
        Self { vendor, vendors, switchboard, _directory: directory }
    }

    fn ledger(&self) -> Ledger {
        match self.vendor {
            "huanxin" => self.vendors.huanxin.ledger(),
            _ => self.vendors.rongcloud.ledger(),
        }
    }

    /// The first send at the vendor ends like this.
    fn fail_first(&self, path: &str, action: FaultAction) {
        let faults = Faults { script: vec![FaultStep::rest(1, path, action)], ..Faults::default() };
        match self.vendor {
            "huanxin" => self.vendors.huanxin.set_faults(faults),
            _ => self.vendors.rongcloud.set_faults(faults),
        }
    }

    /// The calls that carried a message, as the vendor saw them.
    fn sends(&self) -> Vec<RequestRecord> {
        let mut requests = self.ledger().requests();
        requests.retain(|request| VENDORS.iter().any(|(_, path)| request.path.contains(path)));
        requests
    }

    /// Texts that the vendor took.
    fn texts(&self) -> Vec<String> {
        let text = |body: &serde_json::Value| body["msg"].as_str().or(body["content"].as_str()).map(str::to_owned);
        self.ledger().messages().iter().map(|message| text(&message.body).unwrap()).collect()
    }

    async fn send(&self, text: &str) {
        self.switchboard.send(Outgoing::text("alice", To::user("bob"), text)).await.unwrap();
    }

    async fn stop(self) {
        self.switchboard.shutdown().await.unwrap();
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_state(spy: &Spy, state: SendState) {
    until(&format!("a message becomes {state}"), || spy.states().contains(&state)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_of_a_hook_reaches_the_vendor_and_the_body_stays_as_it_was() {
    for (vendor, path) in VENDORS {
        let spy = Spy::new(Manner::HeaderFromTheSecondCall);
        let stage = Stage::start(vendor, &[&spy]).await;
        stage.fail_first(path, FaultAction::RateLimited);
        stage.send("hi").await;
        until_state(&spy, SendState::Accepted).await;
        let sends = stage.sends();
        let [without, with] = &sends[..] else { panic!("{vendor}: {} calls", sends.len()) };
        assert_eq!((without.header("x-trace"), with.header("x-trace")), (None, Some("one two")), "{vendor}");
        assert_eq!(with.header("content-type"), without.header("content-type"));
        assert!(!with.body.is_empty() && with.body == without.body, "{vendor}: the header changed the body");
        let calls = spy.calls.lock().clone();
        assert_eq!(calls[0].provider().as_str(), vendor);
        assert_eq!((calls[0].messages().len(), calls[0].messages()), (1, calls[1].messages()));
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_who_calls_cannot_be_changed() {
    let spy = Spy::new(Manner::Quiet);
    let stage = Stage::start("rongcloud", &[&spy]).await;
    stage.send("hi").await;
    until_state(&spy, SendState::Accepted).await;
    let mut call = spy.calls.lock()[0].clone();
    for name in
        ["Authorization", "App-Key", "Nonce", "Timestamp", "Signature", "Content-Type", "Content-Length", "Host"]
    {
        assert_eq!(call.header(name, "x").unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
    assert!(call.headers().is_empty());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendor_gets_what_a_hook_made_of_a_message_and_a_repeat_stays_one() {
    for (vendor, _) in VENDORS {
        let (first, second) = (Spy::new(Manner::Rewrite), Spy::new(Manner::Header));
        let stage = Stage::start(vendor, &[&first, &second]).await;
        let outgoing = || Outgoing::text("alice", To::user("bob"), "hi").client_id("order-1");
        let receipt = stage.switchboard.send(outgoing()).await.unwrap();
        until_state(&first, SendState::Accepted).await;
        // The hook would stamp it with another time now; the caller's message is the same all the same.
        let again = stage.switchboard.send(outgoing()).await.unwrap();
        assert_eq!((again.id, again.repeated), (receipt.id, true));
        let other = stage.switchboard.send(Outgoing::text("alice", To::user("bob"), "rewritten").client_id("order-1"));
        assert_eq!(other.await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(stage.texts(), ["rewritten"], "{vendor}");
        let sends = stage.sends();
        assert_eq!((sends.len(), sends[0].header("x-trace")), (1, Some("one two")), "{vendor}");
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_send_is_neither_stored_nor_sent() {
    for (manner, kind) in [(Manner::RefuseSend, ErrorKind::Rejected), (Manner::PanicBefore, ErrorKind::Internal)] {
        let spy = Spy::new(manner);
        let stage = Stage::start("huanxin", &[&spy]).await;
        let outgoing = Outgoing::text("alice", To::user("bob"), "hi").client_id("order-1");
        assert_eq!(stage.switchboard.send(outgoing).await.unwrap_err().kind(), kind);
        let store = stage.switchboard.store();
        assert_eq!(store.send_by_client_id(&TenantId::default(), &"order-1".into()).await.unwrap(), None);
        assert!(store.open_apps().await.unwrap().is_empty());
        stage.switchboard.sending().idle().await;
        assert!(stage.sends().is_empty() && spy.calls.lock().is_empty());
        stage.stop().await;
        assert!(spy.states().is_empty());
    }
}

/// What the vendor tells of a message that reached its recipient.
fn delivered(id: &VendorMessageId) -> Inbound {
    Inbound {
        key: EventKey::new(KeyClass::Receipt, format!("delivered/{id}/bob")),
        place: InboundPlace::Direct { from: "bob".into(), to: "alice".into() },
        sent_at: Timestamp(now_ms()),
        sort_key: String::new(),
        data: InboundData::Receipt {
            kind: ReceiptKind::Delivered,
            reader: "bob".into(),
            target: Some(id.clone()),
            whole_conversation: false,
        },
        mark: None,
        clues: Clues::default(),
        raw: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_of_a_message_is_told_in_order() {
    let spy = Spy::new(Manner::Quiet);
    let stage = Stage::start("huanxin", &[&spy]).await;
    let config = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() };
    let server = Server::start(&stage.switchboard, &config, &[], None).await.unwrap();
    stage.vendors.call_back(&format!("http://{}", server.address()));
    stage.send("hi").await;
    until_state(&spy, SendState::Accepted).await;
    let id = spy.changes.lock().last().unwrap().status.vendor_id.clone().unwrap();
    // The emulator tells of no delivery; it does of reading.
    let (tenant, alias) = (TenantId::default(), "huanxin".into());
    let receipt = vec![delivered(&id)];
    stage.switchboard.ingest().submit(&tenant, &alias, Origin::Query, receipt).await.unwrap();
    until_state(&spy, SendState::Delivered).await;
    stage.vendors.huanxin.user("bob").read(id.as_str()).unwrap();
    until_state(&spy, SendState::Read).await;
    server.stop().await;
    stage.stop().await;
    let walk = [SendState::Queued, SendState::Dispatched, SendState::Accepted, SendState::Delivered, SendState::Read];
    assert_eq!(spy.states(), walk);
    let changes = spy.changes.lock();
    assert!(changes.iter().all(|change| change.status.message_id == changes[0].status.message_id));
    assert_eq!(*spy.answers.lock(), [Ok(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_came_is_told_as_one() {
    for (vendor, path) in VENDORS {
        let spy = Spy::new(Manner::Quiet);
        let stage = Stage::start(vendor, &[&spy]).await;
        stage.fail_first(path, FaultAction::LostAnswer);
        stage.send("hi").await;
        until_state(&spy, SendState::InDoubt).await;
        let answers = spy.answers.lock().clone();
        assert!(matches!(answers[..], [Err((_, Retry::OutcomeUnknown))]), "{vendor}: {answers:?}");
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_hook_refuses_is_not_made_and_comes_again() {
    let spy = Spy::new(Manner::RefuseFirstCall);
    let stage = Stage::start("huanxin", &[&spy]).await;
    stage.send("hi").await;
    until_state(&spy, SendState::Accepted).await;
    assert_eq!(stage.sends().len(), 1);
    let attempts: Vec<u32> = spy.calls.lock().iter().map(SendCall::attempt).collect();
    assert_eq!((attempts, spy.answers.lock().len()), (vec![1, 2], 1));
    assert!(!spy.states().contains(&SendState::InDoubt), "nothing was sent that could be in doubt");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_hangs_is_cut_off_and_nothing_is_sent() {
    let spy = Spy::new(Manner::Hang);
    let stage = Stage::start("huanxin", &[&spy]).await;
    stage.send("hi").await;
    // Dispatched, and back in the queue.
    until("the message is queued again", || spy.states().len() >= 3).await;
    let back = spy.changes.lock()[2].status.clone();
    assert_eq!((back.state, back.reason.as_deref()), (SendState::Queued, Some("timeout")));
    assert!(stage.sends().is_empty() && spy.answers.lock().is_empty());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_panics_while_it_looks_on_stops_nothing() {
    let (broken, whole) = (Spy::new(Manner::PanicLookingOn), Spy::new(Manner::Quiet));
    let stage = Stage::start("huanxin", &[&broken, &whole]).await;
    stage.send("one").await;
    stage.send("two").await;
    until("both are accepted", || whole.states().iter().filter(|state| **state == SendState::Accepted).count() == 2)
        .await;
    assert_eq!(stage.texts(), ["one", "two"]);
    assert_eq!((whole.answers.lock().len(), broken.answers.lock().len()), (2, 2));
    stage.stop().await;
}
