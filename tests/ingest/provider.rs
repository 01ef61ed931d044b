//! A small vendor of its own: signed JSON callbacks, groups it may name itself, users it wants registered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use switchboard_contract::*;
use tokio::sync::Semaphore;

pub(crate) const SECRET: &str = "secret";
pub(crate) const NOW: Timestamp = Timestamp(1_795_200_000_000);

pub(crate) const SPELLING: Spelling = Spelling {
    allowed: |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'),
    prefix: "x_",
    escape: b'_',
    max_bytes: 64,
};

/// One event on the vendor's wire.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wire {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) room: Option<String>,
    pub(crate) either: Option<String>,
    pub(crate) text: String,
    pub(crate) target: String,
    pub(crate) mark: Option<String>,
    pub(crate) at: i64,
}

pub(crate) fn message(id: &str, from: &str, to: &str, text: &str) -> Wire {
    let (kind, at) = ("message".to_owned(), NOW.0);
    Wire { kind, id: id.into(), from: from.into(), to: Some(to.into()), text: text.into(), at, ..Wire::default() }
}

impl Wire {
    fn place(&self) -> InboundPlace {
        let from = VendorUserId::from(self.from.as_str());
        match (&self.to, &self.group, &self.room, &self.either) {
            (Some(to), ..) => InboundPlace::Direct { from, to: to.as_str().into() },
            (_, Some(group), ..) => InboundPlace::Group { group: group.as_str().into(), channel: None },
            (_, _, Some(room), _) => InboundPlace::Room { room: room.as_str().into() },
            (.., Some(id)) => InboundPlace::GroupOrRoom { id: id.as_str().into() },
            _ => InboundPlace::Nowhere,
        }
    }

    fn message(&self) -> InboundMessage {
        InboundMessage {
            id: self.id.as_str().into(),
            from: self.from.as_str().into(),
            audience: Vec::new(),
            body: Body::text(self.text.as_str()),
            ext: Ext::new(),
            mentions_everyone: false,
            mentions: Vec::new(),
        }
    }

    pub(crate) fn inbound(&self) -> Inbound {
        let raw = Bytes::from(serde_json::to_vec(self).unwrap());
        let id = VendorMessageId::from(self.id.as_str());
        let target = VendorMessageId::from(self.target.as_str());
        let reader = VendorUserId::from(self.from.as_str());
        let (key, data) = match self.kind.as_str() {
            "message" => (EventKey::message(&id), InboundData::Message(self.message())),
            "offline" => {
                let recipient = VendorUserId::from(self.to.as_deref().unwrap_or_default());
                let key = EventKey::new(KeyClass::Offline, format!("{id}/{recipient}"));
                (key, InboundData::Offline { message: Box::new(self.message()), recipient })
            }
            "recall" => {
                let data = InboundData::Recall { target: target.clone(), by: None, reason: None };
                (EventKey::recall(&target), data)
            }
            "read" => {
                let key = EventKey::new(KeyClass::Receipt, format!("read/{target}/{reader}"));
                let (kind, target) = (ReceiptKind::Read, Some(target));
                (key, InboundData::Receipt { kind, reader, target, whole_conversation: false })
            }
            other => {
                let key = EventKey::new(KeyClass::Unrecognised, hex::encode(Sha256::digest(&raw)));
                (key, InboundData::Unrecognised(Unrecognised::keep(other, &raw)))
            }
        };
        let (sort_key, mark) = (self.id.clone(), self.mark.clone());
        Inbound {
            key,
            place: self.place(),
            sent_at: Timestamp(self.at),
            sort_key,
            data,
            mark,
            clues: Clues::default(),
            raw,
        }
    }
}

fn signature(body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(SECRET);
    hasher.update(body);
    hex::encode(hasher.finalize())
}

/// A well-signed callback with these events.
pub(crate) fn callback(items: &[Wire]) -> RawCallback {
    signed(Bytes::from(serde_json::to_vec(items).unwrap()))
}

pub(crate) fn signed(body: Bytes) -> RawCallback {
    RawCallback {
        path: String::new(),
        query: String::new(),
        headers: vec![("x-signature".to_owned(), signature(&body)), ("x-time".to_owned(), NOW.0.to_string())],
        body,
        received_at: NOW,
    }
}

#[derive(Debug)]
struct Codec;

impl CallbackCodec for Codec {
    fn verify(&self, raw: RawCallback, now: Timestamp) -> Result<VerifiedCallback, Box<Refused>> {
        let refuse = |raw, rejection| Err(Box::new(Refused { raw, rejection }));
        if raw.body.first() != Some(&b'[') {
            return refuse(raw, Rejection::Malformed("no list".to_owned()));
        }
        if raw.header("x-signature") != Some(&signature(&raw.body)) {
            return refuse(raw, Rejection::BadSignature);
        }
        let at = raw.header("x-time").and_then(|text| text.parse().ok()).map_or(Timestamp(0), Timestamp);
        if now.since(at).max(at.since(now)).as_secs() > 600 {
            return refuse(raw, Rejection::Stale { signed_at: at });
        }
        Ok(VerifiedCallback::assume_verified(raw, true))
    }

    fn decode(&self, callback: &VerifiedCallback) -> Vec<Inbound> {
        let items: Vec<Wire> = serde_json::from_slice(&callback.raw().body).unwrap();
        items.iter().map(Wire::inbound).collect()
    }

    fn stage(&self, callback: &RawCallback) -> CallbackStage {
        if callback.path == "before" { CallbackStage::Before } else { CallbackStage::After }
    }

    fn accepted(&self) -> CallbackReply {
        CallbackReply { status: 200, content_type: "application/json", body: Bytes::from_static(b"{}") }
    }

    fn verdict(&self, verdict: FixedVerdict) -> Result<CallbackReply, Error> {
        let body = if verdict == FixedVerdict::Pass { &b"pass"[..] } else { &b"reject"[..] };
        Ok(CallbackReply { status: 200, content_type: "text/plain", body: Bytes::from_static(body) })
    }
}

/// What the vendor has and was asked.
#[derive(Debug, Default)]
pub(crate) struct Vendor {
    pub(crate) users: Mutex<HashMap<VendorUserId, usize>>,
    pub(crate) groups: Mutex<Vec<NewGroup>>,
    pub(crate) added: Mutex<Vec<Vec<VendorUserId>>>,
    pub(crate) rooms: Mutex<Vec<VendorGroupId>>,
    pub(crate) lookups: AtomicUsize,
    pub(crate) broken: Mutex<bool>,
    /// Calls wait for a permit while this is set.
    pub(crate) gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Vendor {
    async fn pass(&self) -> Result<()> {
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        match *self.broken.lock() {
            true => Err(Error::new(ErrorKind::Unavailable, "down").with_retry(Retry::Safe { after: None })),
            false => Ok(()),
        }
    }

    /// Calls wait from now on; each permit added lets one go.
    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock() = Some(gate.clone());
        gate
    }
}

#[derive(Debug)]
pub(crate) struct Fake {
    app: App,
    naming: Naming,
    pub(crate) vendor: Arc<Vendor>,
}

impl Fake {
    /// A vendor that names groups itself.
    pub(crate) fn naming_itself() -> Arc<Self> {
        Self::make("app-1", GroupNaming::Vendor)
    }

    /// A vendor that takes the business's group ids.
    pub(crate) fn obedient() -> Arc<Self> {
        Self::make("app-1", GroupNaming::Business(SPELLING))
    }

    /// The same vendor with another app.
    pub(crate) fn of_another_app() -> Arc<Self> {
        Self::make("app-2", GroupNaming::Vendor)
    }

    fn make(app: &str, groups: GroupNaming) -> Arc<Self> {
        let naming = Naming { users: SPELLING, groups, rooms: groups };
        Arc::new(Self { app: App::new("fake", app), naming, vendor: Arc::default() })
    }
}

#[async_trait]
impl Provider for Fake {
    fn app(&self) -> &App {
        &self.app
    }

    fn naming(&self) -> Naming {
        self.naming
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        Some(&Codec)
    }

    fn users(&self) -> Option<&dyn Users> {
        Some(self)
    }

    fn groups(&self) -> Option<&dyn Groups> {
        Some(self)
    }
}

const QUOTA: Quota = Quota { calls: None, units: None, per: std::time::Duration::from_secs(1) };

#[async_trait]
impl Messaging for Fake {
    fn limits(&self) -> MessagingLimits {
        MessagingLimits {
            bodies: vec!["text"],
            targets: vec![ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room],
            max_users: 100,
            max_system_users: 0,
            max_bytes: 5_000,
            quotas: Vec::new(),
            recall_window: None,
            echoes: true,
            receipts: true,
        }
    }

    fn check(&self, _: &OutboundMessage) -> Result<()> {
        Ok(())
    }

    async fn send(&self, _: &OutboundMessage) -> Result<Vec<SentTo>> {
        Err(Error::unsupported("send"))
    }

    async fn recall(&self, _: &RecallRequest) -> Result<()> {
        Err(Error::unsupported("recall"))
    }
}

#[async_trait]
impl Users for Fake {
    fn limits(&self) -> UserLimits {
        UserLimits { kick: false, offline_count: false, push: false, max_ban: None, quota: QUOTA }
    }

    async fn ensure(&self, user: &VendorUserId, _: &UserProfile) -> Result<()> {
        self.vendor.pass().await?;
        *self.vendor.users.lock().entry(user.clone()).or_default() += 1;
        Ok(())
    }

    async fn login_token(&self, _: &VendorUserId, _: &UserProfile) -> Result<LoginToken> {
        Err(Error::unsupported("login_token"))
    }

    async fn kick(&self, _: &VendorUserId) -> Result<()> {
        Err(Error::unsupported("kick"))
    }

    async fn ban(&self, _: &VendorUserId, _: Option<std::time::Duration>) -> Result<()> {
        Err(Error::unsupported("ban"))
    }

    async fn unban(&self, _: &VendorUserId) -> Result<()> {
        Err(Error::unsupported("ban"))
    }

    async fn presence(&self, _: &[VendorUserId]) -> Result<Vec<PresenceState>> {
        Err(Error::unsupported("presence"))
    }

    async fn offline_count(&self, _: &VendorUserId) -> Result<u64> {
        Err(Error::unsupported("offline_count"))
    }
}

#[async_trait]
impl Groups for Fake {
    fn limits(&self) -> GroupLimits {
        let business_ids = matches!(self.naming.groups, GroupNaming::Business(_));
        GroupLimits { business_ids, max_members_per_call: 3, quota: QUOTA }
    }

    async fn create(&self, group: &NewGroup) -> Result<VendorGroupId> {
        let mut groups = self.vendor.groups.lock().clone();
        groups.push(group.clone());
        let id = group.id.clone().unwrap_or_else(|| VendorGroupId::from(format!("{}", 1000 + groups.len())));
        // Made at once; the answer takes its time.
        *self.vendor.groups.lock() = groups;
        self.vendor.pass().await?;
        Ok(id)
    }

    async fn add_members(&self, _: &GroupRef, users: &[VendorUserId]) -> Result<()> {
        assert!(users.len() <= 3, "more members than one call takes");
        self.vendor.added.lock().push(users.to_vec());
        Ok(())
    }

    async fn remove_members(&self, _: &GroupRef, _: &[VendorUserId]) -> Result<()> {
        Ok(())
    }

    async fn members(&self, _: &GroupRef) -> Result<Vec<VendorUserId>> {
        Ok(Vec::new())
    }

    async fn dissolve(&self, _: &GroupRef, _: &VendorUserId) -> Result<()> {
        Ok(())
    }

    async fn kind_of(&self, id: &VendorGroupId) -> Result<Option<ConversationKind>> {
        self.vendor.lookups.fetch_add(1, Ordering::SeqCst);
        self.vendor.pass().await?;
        let room = self.vendor.rooms.lock().contains(id);
        Ok(Some(if room { ConversationKind::Room } else { ConversationKind::Group }))
    }
}
