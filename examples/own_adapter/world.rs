//! Where the adapter is tried: a Pigeon Post of its own for each case, with hands on the vendor's side.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_conformance::{Accepted, Fault, World};
use switchboard_contract::{
    ConversationKind, Provider, RawCallback, Target, Timestamp, VendorGroupId, VendorMessageId, VendorUserId,
};

use crate::adapter::Pigeon;
use crate::vendor::{Address, Breakage, Notice, PigeonPost};

const LOFT: &str = "loft-7";
const SECRET: &str = "coo-coo-coo";
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const FLOCK: &str = "night-shift";
const SQUARE: &str = "market";

#[derive(Debug)]
pub(crate) struct PigeonWorld {
    post: Arc<PigeonPost>,
    provider: Arc<Pigeon>,
}

impl PigeonWorld {
    pub(crate) fn new() -> Self {
        let post = Arc::new(PigeonPost::open(LOFT, SECRET, &USERS, FLOCK, SQUARE));
        let provider = Arc::new(Pigeon::new(LOFT, SECRET, Arc::clone(&post)));
        Self { post, provider }
    }

    fn arrived(&self, notice: Notice) -> RawCallback {
        RawCallback {
            path: String::new(),
            query: String::new(),
            headers: notice.headers,
            body: notice.body,
            received_at: self.now(),
        }
    }

    fn sealed(&self, body: &Value) -> RawCallback {
        self.arrived(self.post.seal(Bytes::from(body.to_string())))
    }
}

#[async_trait]
impl World for PigeonWorld {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider) as _
    }

    fn stranger(&self) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(Pigeon::new(LOFT, "moo-moo-moo", Arc::clone(&self.post))))
    }

    fn users(&self) -> [VendorUserId; 3] {
        USERS.map(VendorUserId::from)
    }

    fn group(&self) -> VendorGroupId {
        FLOCK.into()
    }

    fn room(&self) -> VendorGroupId {
        SQUARE.into()
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.post.now())
    }

    async fn pass(&self, time: Duration) -> bool {
        self.post.pass(time);
        true
    }

    async fn accepted(&self) -> Option<Vec<Accepted>> {
        let accepted = self.post.letters().into_iter().map(|letter| {
            let (kind, target) = match letter.to {
                Address::User(id) => (ConversationKind::Direct, id),
                Address::Flock(id) => (ConversationKind::Group, id),
                Address::Square(id) => (ConversationKind::Room, id),
            };
            Accepted { id: letter.id.into(), kind, target, recalled: letter.recalled }
        });
        Some(accepted.collect())
    }

    async fn client_sends(&self, from: &VendorUserId, to: &Target, text: &str) -> Option<VendorMessageId> {
        let to = match to {
            Target::Users(users) => json!({ "users": users }),
            Target::Group { group, .. } => json!({ "flock": group }),
            Target::Room { room } => json!({ "square": room }),
            Target::System(_) => return None,
        };
        self.post.client_sends(from.as_str(), &to, text).map(VendorMessageId::from)
    }

    async fn client_recalls(&self, from: &VendorUserId, message: &VendorMessageId) -> bool {
        self.post.client_recalls(from.as_str(), message.as_str())
    }

    async fn callbacks(&self) -> Vec<RawCallback> {
        self.post.notices().into_iter().map(|notice| self.arrived(notice)).collect()
    }

    fn with_unknown_field(&self, callback: &RawCallback, name: &str, value: &str) -> RawCallback {
        let mut body: Value = serde_json::from_slice(&callback.body).expect("the vendor writes JSON");
        for event in body["events"].as_array_mut().expect("a notice has events") {
            event["letter"][name] = json!(value);
        }
        self.sealed(&body)
    }

    fn with_flipped_signature(&self, callback: &RawCallback) -> RawCallback {
        let mut flipped = callback.clone();
        for (name, value) in &mut flipped.headers {
            if name == "pigeon-seal" {
                let mut seal = hex::decode(&*value).expect("the vendor writes seals in hex");
                seal[0] ^= 1;
                *value = hex::encode(seal);
            }
        }
        flipped
    }

    fn invented_callback(&self) -> RawCallback {
        self.sealed(&json!({ "events": [{ "kind": "weather.changed", "sky": "grey" }] }))
    }

    async fn break_next(&self, fault: Fault) -> bool {
        match fault {
            Fault::LostAnswer => self.post.break_next(Breakage::LosesTheAnswer),
            Fault::RateLimited => self.post.break_next(Breakage::TooFast),
            Fault::HtmlPage => self.post.break_next(Breakage::ProxyPage),
            Fault::ExpiredToken => self.post.end_sessions(),
        }
        true
    }
}
