//! RongCloud's emulator as a world.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sha1::{Digest, Sha1};
use switchboard::clock::ManualClock;
use switchboard_conformance::{Accepted, Fault, World};
use switchboard_contract::{
    Clock, ConversationKind, GroupRef, NewGroup, Provider, RawCallback, Target, Timestamp, UserProfile, VendorGroupId,
    VendorMessageId, VendorUserId,
};
use switchboard_emulators::rongcloud::{ClientMessage, RongCloudEmulator, RongCloudSettings, Target as Place};
use switchboard_emulators::{FaultAction, FaultStep, Faults, Time};
use switchboard_rongcloud::RongCloudConfig;

use super::capture::{Capture, flip};
use super::{Twist, twisted};

const APP: &str = "suiteappkey";
const SECRET: &str = "suite-secret";
const START: i64 = 1_795_200_000_000;

#[derive(Debug)]
pub(crate) struct RongCloudWorld {
    emulator: RongCloudEmulator,
    clock: ManualClock,
    capture: Capture,
    provider: Arc<dyn Provider>,
}

impl RongCloudWorld {
    pub(crate) async fn start(twist: Twist) -> Self {
        let (capture, url) = Capture::start().await;
        let mut settings = RongCloudSettings::default();
        // The console's switch without which own sends are not routed, and a client that types fast.
        settings.routing.server_api = true;
        settings.messages.client_per_second = 100_000;
        let emulator = RongCloudEmulator::builder()
            .listen("127.0.0.1:0")
            .credentials(APP, SECRET)
            .settings(settings)
            .callback_url(&url)
            .time(Time::manual(START))
            .start()
            .await
            .unwrap();
        let clock = ManualClock::new(Timestamp(START));
        let real = provider(&emulator, SECRET, &clock);
        populate(&real).await;
        for user in ["alice", "bob", "carol"] {
            emulator.user(user).join_room("suite-room").unwrap();
        }
        emulator.wait_idle().await;
        capture.take();
        Self { emulator, clock, capture, provider: twisted(real, twist) }
    }

    fn place(target: &Target) -> Place {
        match target {
            Target::Users(users) | Target::System(users) => Place::User(users[0].to_string()),
            Target::Group { group, .. } => Place::Group(group.to_string()),
            Target::Room { room } => Place::Room(room.to_string()),
        }
    }
}

/// Users, a group and a room, made through the provider itself.
async fn populate(provider: &Arc<dyn Provider>) {
    let users = ["alice", "bob", "carol"].map(VendorUserId::from);
    for user in &users {
        provider.users().unwrap().ensure(user, &UserProfile::default()).await.unwrap();
    }
    let [owner, members @ ..] = users;
    for room in [false, true] {
        let id = Some(VendorGroupId::from(if room { "suite-room" } else { "suite-team" }));
        // Users enter a room by themselves at this vendor.
        let members = if room { Vec::new() } else { members.to_vec() };
        let new = NewGroup { id, room, name: "suite".to_owned(), owner: owner.clone(), members };
        let id = provider.groups().unwrap().create(&new).await.unwrap();
        if !room {
            let there = GroupRef { id, room };
            assert_eq!(provider.groups().unwrap().members(&there).await.unwrap().len(), 3);
        }
    }
}

fn provider(emulator: &RongCloudEmulator, secret: &str, clock: &ManualClock) -> Arc<dyn Provider> {
    let config: RongCloudConfig = serde_json::from_value(json!({
        "app_key": APP, "app_secret": secret, "base_url": emulator.base_url(),
        "callbacks": { "server_messages": true },
    }))
    .unwrap();
    Arc::new(config.build(Arc::new(clock.clone())).unwrap())
}

#[async_trait]
impl World for RongCloudWorld {
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
        "suite-team".into()
    }

    fn room(&self) -> VendorGroupId {
        "suite-room".into()
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
        let accepted = self.emulator.ledger().messages().into_iter().filter(|one| one.message_type != "RC:RcCmd");
        let accepted = accepted.map(|message| Accepted {
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
        user.send(ClientMessage::text(Self::place(to), text)).await.ok().map(|sent| sent.uid.into())
    }

    async fn client_recalls(&self, from: &VendorUserId, message: &VendorMessageId) -> bool {
        self.emulator.user(from.as_str()).recall(message.as_str()).is_ok()
    }

    async fn callbacks(&self) -> Vec<RawCallback> {
        self.emulator.wait_idle().await;
        self.capture.take()
    }

    fn with_unknown_field(&self, callback: &RawCallback, name: &str, value: &str) -> RawCallback {
        let body = format!("{}&{name}={value}", String::from_utf8_lossy(&callback.body));
        RawCallback { body: body.into_bytes().into(), ..callback.clone() }
    }

    fn with_flipped_signature(&self, callback: &RawCallback) -> RawCallback {
        let signature = callback.query.split('&').find_map(|pair| pair.strip_prefix("signature=")).unwrap();
        RawCallback { query: flip(&callback.query, signature), ..callback.clone() }
    }

    fn invented_callback(&self) -> RawCallback {
        let timestamp = self.now().0;
        let signature = hex::encode(Sha1::digest(format!("{SECRET}7{timestamp}")));
        RawCallback {
            path: String::new(),
            query: format!("appKey={APP}&timestamp={timestamp}&nonce=7&signature={signature}"),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: json!({ "holiday": true, "beach": "sunny" }).to_string().into_bytes().into(),
            received_at: self.now(),
        }
    }

    async fn break_next(&self, fault: Fault) -> bool {
        let action = match fault {
            Fault::LostAnswer => FaultAction::LostAnswer,
            Fault::RateLimited => FaultAction::RateLimited,
            Fault::HtmlPage => FaultAction::HtmlError,
            // The vendor signs each call; there is no token to expire.
            Fault::ExpiredToken => return false,
        };
        let script = vec![FaultStep::rest(1, "/message", action)];
        self.emulator.set_faults(Faults { script, ..Faults::default() });
        true
    }
}
