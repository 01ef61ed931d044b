//! Huanxin's emulator as a world.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use switchboard::clock::ManualClock;
use switchboard_conformance::{Accepted, Fault, World};
use switchboard_contract::{
    Clock, ConversationKind, Provider, RawCallback, Target, Timestamp, VendorGroupId, VendorMessageId, VendorUserId,
};
use switchboard_emulators::huanxin::{HuanxinEmulator, Target as Place};
use switchboard_emulators::{FaultAction, FaultStep, Faults, Time};
use switchboard_huanxin::HuanxinConfig;

use super::capture::{Capture, flip};
use super::{Twist, twisted};

const APP: &str = "acme#suite";
const SECRET: &str = "callback-secret";
const START: i64 = 1_795_200_000_000;

#[derive(Debug)]
pub(crate) struct HuanxinWorld {
    emulator: HuanxinEmulator,
    clock: ManualClock,
    capture: Capture,
    provider: Arc<dyn Provider>,
    group: VendorGroupId,
    room: VendorGroupId,
}

impl HuanxinWorld {
    pub(crate) async fn start(twist: Twist) -> Self {
        let (capture, url) = Capture::start().await;
        let emulator = HuanxinEmulator::builder()
            .listen("127.0.0.1:0")
            .credentials(APP, "id", "secret")
            .callback_url(&url, SECRET)
            .time(Time::manual(START))
            .start()
            .await
            .unwrap();
        for user in ["alice", "bob", "carol"] {
            emulator.register(user, "password").unwrap();
        }
        let members = ["bob", "carol"];
        let group = emulator.create_group("suite", "alice", &members).unwrap();
        let room = emulator.create_room("suite", "alice", &members).unwrap();
        let clock = ManualClock::new(Timestamp(START));
        let provider = twisted(provider(&emulator, "secret", &clock), twist);
        emulator.wait_idle().await;
        capture.take();
        Self { emulator, clock, capture, provider, group: group.into(), room: room.into() }
    }

    fn place(target: &Target) -> Place {
        match target {
            Target::Users(users) | Target::System(users) => Place::User(users[0].to_string()),
            Target::Group { group, .. } => Place::Group(group.to_string()),
            Target::Room { room } => Place::Room(room.to_string()),
        }
    }
}

fn provider(emulator: &HuanxinEmulator, secret: &str, clock: &ManualClock) -> Arc<dyn Provider> {
    let config: HuanxinConfig = serde_json::from_value(json!({
        "app_key": APP, "client_id": "id", "client_secret": secret, "callback_secret": SECRET,
        "base_url": emulator.base_url(),
    }))
    .unwrap();
    Arc::new(config.build(Arc::new(clock.clone())).unwrap())
}

#[async_trait]
impl World for HuanxinWorld {
    fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    fn stranger(&self) -> Option<Arc<dyn Provider>> {
        Some(provider(&self.emulator, "wrong", &self.clock))
    }

    fn users(&self) -> [VendorUserId; 3] {
        ["alice", "bob", "carol"].map(VendorUserId::from)
    }

    fn group(&self) -> VendorGroupId {
        self.group.clone()
    }

    fn room(&self) -> VendorGroupId {
        self.room.clone()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&self, time: Duration) -> bool {
        self.emulator.time().advance(time);
        self.clock.advance(time);
        true
    }

    async fn accepted(&self) -> Option<Vec<Accepted>> {
        let accepted = self.emulator.ledger().messages().into_iter().map(|message| Accepted {
            id: message.vendor_id.into(),
            kind: match message.kind.as_str() {
                "group" => ConversationKind::Group,
                "room" => ConversationKind::Room,
                _ => ConversationKind::Direct,
            },
            target: message.target,
            recalled: message.recalled,
        });
        Some(accepted.collect())
    }

    async fn client_sends(&self, from: &VendorUserId, to: &Target, text: &str) -> Option<VendorMessageId> {
        self.emulator.time().advance(Duration::from_millis(1));
        self.clock.advance(Duration::from_millis(1));
        let user = self.emulator.user(from.as_str());
        user.send_text(Self::place(to), text).await.ok().map(VendorMessageId::from)
    }

    async fn client_recalls(&self, from: &VendorUserId, message: &VendorMessageId) -> bool {
        self.emulator.user(from.as_str()).recall(message.as_str()).is_ok()
    }

    async fn callbacks(&self) -> Vec<RawCallback> {
        self.emulator.wait_idle().await;
        // `chat_offline` tells of the same messages again; its own key is tested with the fixtures.
        let told = |raw: &RawCallback| !String::from_utf8_lossy(&raw.body).contains("chat_offline");
        self.capture.take().into_iter().filter(told).collect()
    }

    fn with_unknown_field(&self, callback: &RawCallback, name: &str, value: &str) -> RawCallback {
        let mut body: Value = serde_json::from_slice(&callback.body).unwrap();
        body[name] = json!(value);
        RawCallback { body: serde_json::to_vec(&body).unwrap().into(), ..callback.clone() }
    }

    fn with_flipped_signature(&self, callback: &RawCallback) -> RawCallback {
        let body: Value = serde_json::from_slice(&callback.body).unwrap();
        let text = flip(&String::from_utf8_lossy(&callback.body), body["security"].as_str().unwrap());
        RawCallback { body: text.into_bytes().into(), ..callback.clone() }
    }

    fn invented_callback(&self) -> RawCallback {
        let (call_id, timestamp) = ("acme#suite_0-1", START);
        let security = hex::encode(Md5::digest(format!("{call_id}{SECRET}{timestamp}")));
        let body = json!({
            "callId": call_id, "eventType": "holiday", "appkey": APP, "timestamp": timestamp, "security": security,
            "payload": { "beach": true },
        });
        RawCallback {
            path: String::new(),
            query: String::new(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: serde_json::to_vec(&body).unwrap().into(),
            received_at: self.now(),
        }
    }

    async fn break_next(&self, fault: Fault) -> bool {
        let action = match fault {
            Fault::LostAnswer => FaultAction::LostAnswer,
            Fault::RateLimited => FaultAction::RateLimited,
            Fault::HtmlPage => FaultAction::HtmlError,
            Fault::ExpiredToken => {
                self.emulator.expire_tokens();
                return true;
            }
        };
        let script = vec![FaultStep::rest(1, "/messages", action)];
        self.emulator.set_faults(Faults { script, ..Faults::default() });
        true
    }
}
