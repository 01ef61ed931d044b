//! A vendor whose history can be asked for, and that fails as it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use switchboard::clock::ManualClock;
use switchboard_contract::*;

const SPELLING: Spelling = Spelling {
    allowed: |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(),
    prefix: "x",
    escape: b'_',
    max_bytes: 64,
};

#[derive(Debug, Default)]
struct State {
    said: Vec<Inbound>,
    down: bool,
    /// How many more queries of each peer fail by their own fault.
    ill: BTreeMap<String, usize>,
    /// How often each peer was asked for, while it was up.
    asked: BTreeMap<String, usize>,
    /// Bodies are refused for good.
    refuses: bool,
    sent: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Vendor {
    app: App,
    clock: ManualClock,
    state: Mutex<State>,
}

impl Vendor {
    pub(crate) fn new(clock: &ManualClock) -> Arc<Self> {
        Arc::new(Self { app: App::new("scripted", "org#app"), clock: clock.clone(), state: Mutex::default() })
    }

    /// `peer` writes to the shop.
    pub(crate) fn says(&self, peer: &str, text: &str) -> Inbound {
        let mut state = self.state.lock();
        let id = VendorMessageId::from(format!("v{:06}", state.said.len()));
        let (from, to) = (VendorUserId::from(peer), VendorUserId::from("shop"));
        let item = Inbound {
            key: EventKey::message(&id),
            place: InboundPlace::Direct { from: from.clone(), to },
            sent_at: self.clock.now(),
            sort_key: id.to_string(),
            data: InboundData::Message(InboundMessage {
                id,
                from,
                audience: Vec::new(),
                body: Body::text(text),
                ext: Ext::new(),
                mentions_everyone: false,
                mentions: Vec::new(),
            }),
            mark: None,
            clues: Clues::default(),
            raw: Bytes::new(),
        };
        state.said.push(item.clone());
        item
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().down = down;
    }

    /// The next so many queries of `peer` fail by their own fault.
    pub(crate) fn set_ill(&self, peer: &str, queries: usize) {
        self.state.lock().ill.insert(peer.to_owned(), queries);
    }

    pub(crate) fn set_refuses(&self, refuses: bool) {
        self.state.lock().refuses = refuses;
    }

    pub(crate) fn asked(&self, peer: &str) -> usize {
        self.state.lock().asked.get(peer).copied().unwrap_or(0)
    }

    pub(crate) fn sent(&self) -> Vec<String> {
        self.state.lock().sent.clone()
    }

    fn is_up(&self) -> Result<()> {
        let down = || Error::new(ErrorKind::Unavailable, "it is down").with_retry(Retry::Safe { after: None });
        if self.state.lock().down { Err(down()) } else { Ok(()) }
    }
}

#[async_trait]
impl Provider for Vendor {
    fn app(&self) -> &App {
        &self.app
    }
    fn naming(&self) -> Naming {
        Naming { users: SPELLING, groups: GroupNaming::Business(SPELLING), rooms: GroupNaming::Business(SPELLING) }
    }
    async fn probe(&self) -> Result<()> {
        self.is_up()
    }
    fn messaging(&self) -> &dyn Messaging {
        self
    }
    fn roaming(&self) -> Option<&dyn Roaming> {
        Some(self)
    }
}

#[async_trait]
impl Messaging for Vendor {
    fn limits(&self) -> MessagingLimits {
        MessagingLimits {
            bodies: vec!["text"],
            targets: vec![ConversationKind::Direct],
            max_users: 1,
            max_system_users: 0,
            max_bytes: 5000,
            quotas: Vec::new(),
            recall_window: None,
            echoes: false,
            receipts: false,
        }
    }

    fn check(&self, _: &OutboundMessage) -> Result<()> {
        Ok(())
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        self.is_up()?;
        let mut state = self.state.lock();
        if state.refuses {
            return Err(Error::new(ErrorKind::Rejected, "not this").with_vendor_code("1301"));
        }
        let (Target::Users(users), Body::Text(text)) = (&message.target, &message.body) else {
            return Err(Error::unsupported("it"));
        };
        state.sent.push(text.text.clone());
        let id = VendorMessageId::from(format!("s{:06}", state.sent.len()));
        Ok(users.iter().map(|user| SentTo { user: Some(user.clone()), id: Some(id.clone()) }).collect())
    }

    async fn recall(&self, _: &RecallRequest) -> Result<()> {
        self.is_up()
    }
}

#[async_trait]
impl Roaming for Vendor {
    fn limits(&self) -> RoamingLimits {
        RoamingLimits {
            max_page: 50,
            depth: None,
            max_span: None,
            own_sends_after: None,
            targets: vec![ConversationKind::Direct],
            quota: Quota { calls: Some(100), units: None, per: Duration::from_secs(1) },
        }
    }

    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        self.is_up()?;
        let mut state = self.state.lock();
        let Target::Users(users) = &query.target else { return Err(Error::unsupported("it")) };
        let peer = [&query.viewer, &users[0]].into_iter().find(|user| user.as_str() != "shop").unwrap().to_string();
        *state.asked.entry(peer.clone()).or_default() += 1;
        if let Some(left) = state.ill.get_mut(&peer).filter(|left| **left > 0) {
            *left -= 1;
            return Err(Error::new(ErrorKind::Internal, "it fails").with_retry(Retry::Safe { after: None }));
        }
        let of_peer = |item: &&Inbound| match &item.place {
            InboundPlace::Direct { from, .. } => from.as_str() == peer,
            _ => false,
        };
        let within = |item: &&Inbound| (query.since..=query.until).contains(&item.sent_at);
        let items = state.said.iter().filter(of_peer).filter(within).cloned().collect();
        Ok(RoamingPage { items, next: None })
    }
}
