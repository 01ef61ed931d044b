//! The service of our own as a world: a vendor without a network, whose notices come over a link.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use switchboard::clock::ManualClock;
use switchboard::store::memory::MemoryStore;
use switchboard_conformance::{Accepted, Fault, World};
use switchboard_contract::storage::{LineKind, Store, Timelines};
use switchboard_contract::{
    App, Body, CallHeaders, Clock, ConversationKind, Ext, NewGroup, OutboundMessage, Position, Provider, RawCallback,
    RecallRequest, SendOptions, Target, TenantId, Timestamp, UserProfile, VendorGroupId, VendorMessageId, VendorUserId,
};
use switchboard_selfhosted::{SelfHosted, SelfHostedConfig, Surroundings};

use super::capture::flip;
use super::{Twist, twisted};

pub(crate) const SECRET: &str = "the-secret-of-the-suite";
const START: i64 = 1_795_200_000_000;

#[derive(Debug)]
pub(crate) struct SelfHostedWorld {
    clock: ManualClock,
    log: Arc<dyn Timelines>,
    real: Arc<dyn Provider>,
    provider: Arc<dyn Provider>,
}

impl SelfHostedWorld {
    pub(crate) async fn start(twist: Twist) -> Self {
        Self::open(twist, "off").await.0
    }

    /// With a gate that listens for WebSocket connections; where.
    pub(crate) async fn open(twist: Twist, websocket: &str) -> (Self, Option<SocketAddr>) {
        let clock = ManualClock::new(Timestamp(START));
        let store = MemoryStore::new();
        let log = store.timelines(&TenantId::default(), &App::new("selfhosted", "main")).await.unwrap();
        let config: SelfHostedConfig =
            serde_json::from_value(json!({ "websocket": websocket, "tcp": "off", "secret": SECRET })).unwrap();
        let around = Surroundings {
            log: log.clone(),
            clock: Arc::new(clock.clone()),
            secret: Vec::new(),
            verifier: None,
            push: None,
        };
        let own = SelfHosted::start(config, around).await.unwrap();
        let gate = own.gate().websocket();
        let real: Arc<dyn Provider> = Arc::new(own);
        let users = ["alice", "bob", "carol"].map(VendorUserId::from);
        for user in &users {
            real.users().unwrap().ensure(user, &UserProfile::default()).await.unwrap();
        }
        let [owner, members @ ..] = users;
        for room in [false, true] {
            let id = Some(VendorGroupId::from(if room { "suite-room" } else { "suite-team" }));
            let new = NewGroup { id, room, name: "suite".to_owned(), owner: owner.clone(), members: members.to_vec() };
            real.groups().unwrap().create(&new).await.unwrap();
        }
        let world = Self { clock, log, provider: twisted(real.clone(), twist), real };
        world.callbacks().await;
        (world, gate)
    }

    pub(crate) fn clock(&self) -> ManualClock {
        self.clock.clone()
    }

    pub(crate) async fn tail(&self) -> u64 {
        self.log.tail().await.unwrap().0
    }

    fn sealed(&self, body: &Value) -> RawCallback {
        use hmac::{Hmac, KeyInit, Mac};
        // Written out once more: a misreading in the adapter must not be repeated here.
        let mac = |key: &[u8], parts: &[&[u8]]| {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
            parts.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes()
        };
        let key = mac(SECRET.as_bytes(), &[b"notices to the business"]);
        let (text, time) = (body.to_string(), self.now().0.to_string());
        let seal = mac(&key, &[b"main\n", time.as_bytes(), b"\n", text.as_bytes()]);
        let headers = [
            ("switchboard-app", "main".to_owned()),
            ("switchboard-time", time),
            ("switchboard-seal", hex::encode(seal)),
        ];
        RawCallback {
            path: String::new(),
            query: String::new(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body: text.into_bytes().into(),
            received_at: self.now(),
        }
    }
}

#[async_trait]
impl World for SelfHostedWorld {
    fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    // In one process there are no credentials to be wrong.
    fn stranger(&self) -> Option<Arc<dyn Provider>> {
        None
    }

    fn users(&self) -> [VendorUserId; 3] {
        ["alice", "bob", "carol"].map(VendorUserId::from)
    }

    fn group(&self) -> VendorGroupId {
        "suite-team".into()
    }

    fn room(&self) -> VendorGroupId {
        "suite-room".into()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&self, time: Duration) -> bool {
        self.clock.advance(time);
        true
    }

    async fn accepted(&self) -> Option<Vec<Accepted>> {
        let lines = self.log.log(Position::START, usize::MAX >> 1).await.unwrap();
        let messages = lines.into_iter().filter(|line| line.kind == LineKind::Message);
        let accepted = messages.map(|line| {
            let conversation = line.conversation.unwrap();
            let kind = conversation.kind();
            let target = match kind {
                ConversationKind::Direct => conversation.peer_of(&line.by).unwrap().as_str().to_owned(),
                _ => conversation.parts().pop().unwrap(),
            };
            Accepted { id: line.id.to_string().into(), kind, target, recalled: line.recalled }
        });
        Some(accepted.collect())
    }

    async fn client_sends(&self, from: &VendorUserId, to: &Target, text: &str) -> Option<VendorMessageId> {
        self.clock.advance(Duration::from_millis(1));
        let message = OutboundMessage {
            from: from.clone(),
            target: to.clone(),
            body: Body::text(text),
            ext: Ext::new(),
            mark: None,
            mentions_everyone: false,
            mentions: Vec::new(),
            options: SendOptions::default(),
            headers: CallHeaders::new(),
        };
        self.real.messaging().send(&message).await.ok()?.pop()?.id
    }

    async fn client_recalls(&self, from: &VendorUserId, message: &VendorMessageId) -> bool {
        let target = Target::Users(vec!["bob".into()]);
        let recall = RecallRequest { id: message.clone(), from: from.clone(), target, sent_at: self.now() };
        self.real.messaging().recall(&recall).await.is_ok()
    }

    async fn callbacks(&self) -> Vec<RawCallback> {
        let (mut found, mut seen) = (Vec::new(), 0);
        let tail = self.tail().await;
        let stored = self.log.devices(&"".into()).await.unwrap();
        let acked = stored.iter().find(|device| device.device == "business").map_or(0, |device| device.low.0);
        let link = self.real.link().unwrap();
        // What was handed out last time is acknowledged by this look, so the engine's place is known after it.
        while acked.max(seen) < tail {
            let Ok(notices) = tokio::time::timeout(Duration::from_millis(200), link.next()).await else { break };
            for notice in notices.unwrap() {
                let body: Value = serde_json::from_slice(&notice.body).unwrap();
                let last = body["events"].as_array().unwrap().last().unwrap();
                seen = last["entry"]["position"].as_str().unwrap().parse().unwrap();
                found.push(notice);
            }
        }
        found
    }

    fn with_unknown_field(&self, callback: &RawCallback, name: &str, value: &str) -> RawCallback {
        let mut body: Value = serde_json::from_slice(&callback.body).unwrap();
        for event in body["events"].as_array_mut().unwrap() {
            event["entry"][name] = json!(value);
        }
        self.sealed(&body)
    }

    fn with_flipped_signature(&self, callback: &RawCallback) -> RawCallback {
        let mut flipped = callback.clone();
        for (name, value) in &mut flipped.headers {
            if name == "switchboard-seal" {
                *value = flip(value, value);
            }
        }
        flipped
    }

    fn invented_callback(&self) -> RawCallback {
        self.sealed(&json!({ "events": [{ "weather": { "sky": "grey" } }] }))
    }

    // Nothing stands between the engine and a service in its own process.
    async fn break_next(&self, _: Fault) -> bool {
        false
    }
}
