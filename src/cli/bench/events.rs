//! Events as the way in makes them of callbacks: what the store and the hub are measured with.

use bytes::Bytes;
use switchboard_contract::storage::{Commit, Draft};
use switchboard_contract::{
    App, Body, ConversationId, Event, EventData, EventId, EventKey, Message, MessageId, Origin, TenantId, Timestamp,
    UserId, VendorMessageId,
};

use super::callbacks::{APP, BODY};

/// Characters of a message's text, so that its event is about as large as one made of a callback here.
pub(super) const TEXT: usize = 200;
/// Milliseconds at which the first message was sent.
pub(super) const EPOCH: i64 = 1_795_000_000_000;

/// The conversation of one of the pairs of users.
pub(super) fn conversation(pair: u64) -> ConversationId {
    let (from, to) = pair_of(pair);
    ConversationId::direct(&from, &to)
}

fn pair_of(pair: u64) -> (UserId, UserId) {
    (UserId::from(format!("u{:07}", pair * 2)), UserId::from(format!("u{:07}", pair * 2 + 1)))
}

/// Makes messages with ids and times that rise, spread evenly over conversations.
#[derive(Debug)]
pub(super) struct Events {
    tenant: TenantId,
    app: App,
    users: u64,
    text: String,
    raw: Bytes,
    next: u64,
}

impl Events {
    /// Starts with the message numbered `first`, in `conversations` conversations.
    pub(super) fn new(first: u64, conversations: u64) -> Self {
        Self {
            tenant: TenantId::default(),
            app: App::new("huanxin", APP),
            users: conversations.max(1),
            text: "x".repeat(TEXT),
            raw: Bytes::from(vec![b'x'; BODY]),
            next: first,
        }
    }

    /// With texts of so many characters.
    pub(super) fn with_text(mut self, characters: usize) -> Self {
        self.text = "x".repeat(characters);
        self
    }

    /// The next `size` messages, to be written at once.
    pub(super) fn commit(&mut self, size: usize) -> Commit {
        Commit { drafts: (0..size).map(|_| self.draft()).collect(), ..Commit::default() }
    }

    /// The next message.
    pub(super) fn draft(&mut self) -> Draft {
        let number = self.next;
        self.next += 1;
        // A step that shares no factor with any likely number of conversations visits all of them before it comes
        // back to one, as traffic does.
        let pair = number.wrapping_mul(7_919) % self.users;
        let (from, to) = pair_of(pair);
        // Below those of callbacks, which may be journalled in the same store.
        let vendor_id = VendorMessageId::from((1_400_000_000_000_000_000 + number).to_string());
        let at = Timestamp(EPOCH + i64::try_from(number).unwrap_or(0));
        Draft {
            key: EventKey::message(&vendor_id),
            sort_key: vendor_id.as_str().to_owned(),
            digest: number,
            raw: Some(self.raw.clone()),
            event: Event {
                id: EventId::generate(),
                tenant: self.tenant.clone(),
                app: Some(self.app.clone()),
                conversation: Some(ConversationId::direct(&from, &to)),
                sent_at: at,
                received_at: at,
                origin: Origin::Callback,
                late: false,
                data: EventData::Message(Message {
                    id: MessageId::generate(),
                    vendor_id: Some(vendor_id),
                    from,
                    audience: Vec::new(),
                    body: Some(Body::text(self.text.clone())),
                    ext: serde_json::Map::new(),
                    mentions: None,
                    client_message_id: None,
                    recalled: false,
                }),
            },
        }
    }
}
