//! Stores to test and things to put into them.

use std::path::PathBuf;
use std::sync::Arc;

use switchboard::store::memory::MemoryStore;
use switchboard::store::sqlite::{SqliteOptions, SqliteStore};
use switchboard_contract::storage::{Appended, Commit, Draft, Entry, Store};
use switchboard_contract::{
    App, Body, ConversationId, Event, EventData, EventId, EventKey, KeyClass, Message, MessageId, MessageRef, Origin,
    Position, Recall, Sequence, Shard, TenantId, Timestamp, UserId, VendorMessageId,
};
use tempfile::TempDir;

pub(crate) type AnyStore = Arc<dyn Store>;

pub(crate) const SHARD: Shard = Shard(0);

pub(crate) fn memory() -> AnyStore {
    Arc::new(MemoryStore::new())
}

/// A place for a database.
pub(crate) struct File {
    dir: TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store.db")
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        SqliteOptions::at(self.path())
    }

    pub(crate) async fn sqlite(&self) -> SqliteStore {
        SqliteStore::open(self.options()).await.unwrap()
    }

    pub(crate) async fn open(&self) -> AnyStore {
        Arc::new(self.sqlite().await)
    }

    /// With so many events that may wait for their indexes.
    pub(crate) async fn open_behind(&self, index_behind: usize) -> AnyStore {
        Arc::new(SqliteStore::open(SqliteOptions { index_behind, ..self.options() }).await.unwrap())
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::default()
}

pub(crate) fn app() -> App {
    App::new("huanxin", "org#app")
}

pub(crate) fn direct(peer: &str) -> ConversationId {
    ConversationId::direct(&UserId::from("alice"), &UserId::from(peer))
}

/// A draft of a message `id` with this text: from a callback, unless changed.
pub(crate) fn message(conversation: &ConversationId, id: &str, text: &str) -> Draft {
    Draft {
        event: Event {
            id: EventId::generate(),
            tenant: tenant(),
            app: Some(app()),
            conversation: Some(conversation.clone()),
            sent_at: Timestamp(1_000),
            received_at: Timestamp(2_000),
            origin: Origin::Callback,
            late: false,
            data: EventData::Message(Message {
                id: MessageId::generate(),
                vendor_id: Some(VendorMessageId::from(id)),
                from: UserId::from("alice"),
                audience: Vec::new(),
                body: Some(Body::text(text)),
                ext: serde_json::from_str(r#"{"order":7}"#).unwrap(),
                mentions: None,
                client_message_id: None,
                recalled: false,
            }),
        },
        key: EventKey::message(&VendorMessageId::from(id)),
        sort_key: id.to_owned(),
        digest: digest(text),
        raw: Some(format!("raw {text}").into_bytes().into()),
    }
}

pub(crate) fn digest(text: &str) -> u64 {
    // The top bit set, as a real digest has it half of the time.
    text.bytes().fold(1 << 63, |sum: u64, byte| sum.rotate_left(7) ^ u64::from(byte))
}

/// A draft of the recall of `target`.
pub(crate) fn recall(conversation: &ConversationId, target: MessageRef) -> Draft {
    let name = match (&target.vendor_id, &target.id) {
        (Some(vendor), _) => vendor.as_str().to_owned(),
        (None, id) => id.unwrap().to_string(),
    };
    let mut draft = message(conversation, &name, "recall");
    draft.key = EventKey::new(KeyClass::Recall, name);
    draft.event.data = EventData::Recall(Recall { target, by: None, reason: None });
    draft
}

pub(crate) fn vendor(id: &str) -> MessageRef {
    MessageRef::vendor(VendorMessageId::from(id))
}

pub(crate) fn id_of(draft: &Draft) -> MessageId {
    let EventData::Message(message) = &draft.event.data else { panic!("a message") };
    message.id
}

pub(crate) async fn append(store: &AnyStore, drafts: Vec<Draft>) -> Vec<Appended> {
    store.commit(Commit { drafts, ..Commit::default() }).await.unwrap().drafts
}

pub(crate) async fn all(store: &AnyStore) -> Vec<Entry> {
    store.read(&tenant(), SHARD, Position::START, usize::MAX).await.unwrap()
}

pub(crate) fn fresh(position: u64, sequence: u64) -> Appended {
    Appended::Fresh { position: Position(position), sequence: Some(Sequence(sequence)) }
}

/// The message in an entry.
pub(crate) fn said(entry: &Entry) -> Message {
    match entry.event().unwrap().data {
        EventData::Message(message) => message,
        other => panic!("a message, not {}", other.type_name()),
    }
}
