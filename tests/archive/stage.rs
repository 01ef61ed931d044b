//! An engine over a real database with an archive beside it, and messages of long ago.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use switchboard::archive::ArchiveConfig;
use switchboard::clock::ManualClock;
use switchboard::history::HistoryCursor;
use switchboard::store::sqlite::{SqliteOptions, SqliteStore};
use switchboard::{Config, Switchboard};
use switchboard_contract::storage::{Appended, Commit, Draft, Entry, PageDirection, Store};
use switchboard_contract::{
    App, Body, ConversationId, Event, EventData, EventId, EventKey, GroupId, KeyClass, Message, MessageId, MessageRef,
    Origin, Recall, Shard, TenantId, Timestamp, UserId, VendorMessageId,
};
use tempfile::TempDir;

/// 2026-11-20T19:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_201_200_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const SHARD: Shard = Shard(0);

pub(crate) fn tenant() -> TenantId {
    TenantId::default()
}

pub(crate) fn app() -> App {
    App::new("huanxin", "org#app")
}

/// Two users, or a group when the number is odd.
pub(crate) fn conversation(number: u32) -> ConversationId {
    if number.is_multiple_of(2) {
        ConversationId::direct(&UserId::from("alice"), &UserId::from(format!("peer{number}")))
    } else {
        ConversationId::group(&GroupId::from(format!("group{number}")))
    }
}

/// Message `number` of a conversation; the same for the same number.
pub(crate) fn message(number: u32, of: u32, sent_at: Timestamp) -> Draft {
    let from = if number.is_multiple_of(3) { "alice".to_owned() } else { format!("peer{of}") };
    let vendor = format!("{:012}", u64::from(number) * 1000 + u64::from(of));
    let mut id = [0_u8; 16];
    id[..8].copy_from_slice(&(sent_at.0.cast_unsigned() << 16).to_be_bytes());
    id[6] = 0x70;
    id[8] = 0x80;
    id[12..].copy_from_slice(&(number * 1000 + of).to_be_bytes());
    // What people write repeats less than a test would.
    let words: Vec<String> =
        (0..8_u32).map(|word| format!("{:x}", (number * 31 + of * 7 + word).wrapping_mul(2_654_435_761))).collect();
    let text = format!("message {number} of {of}, which says 你好 \"{}\"", words.join(" "));
    let event = Event {
        id: EventId::from_bytes(id),
        tenant: tenant(),
        app: Some(app()),
        conversation: Some(conversation(of)),
        sent_at,
        received_at: sent_at + Duration::from_millis(20),
        origin: Origin::Callback,
        late: false,
        data: EventData::Message(Message {
            id: MessageId::from_bytes(id),
            vendor_id: Some(VendorMessageId::from(vendor.clone())),
            from: UserId::from(from),
            audience: Vec::new(),
            body: Some(Body::text(text)),
            ext: serde_json::from_str(r#"{"n":1.5}"#).unwrap(),
            mentions: None,
            client_message_id: None,
            recalled: false,
        }),
    };
    Draft {
        event,
        key: EventKey { class: KeyClass::Message, id: vendor.clone() },
        sort_key: vendor.clone(),
        digest: u64::from(number) << 20 | u64::from(of),
        raw: Some(format!("raw bytes of {vendor}").into()),
    }
}

/// The recall of such a message.
pub(crate) fn recall(of: &Draft, at: Timestamp) -> Draft {
    let vendor = VendorMessageId::from(of.key.id.as_str());
    let event = Event {
        id: EventId::generate(),
        sent_at: at,
        received_at: at,
        data: EventData::Recall(Recall { target: MessageRef::vendor(vendor.clone()), by: None, reason: None }),
        ..of.event.clone()
    };
    Draft { event, key: EventKey::recall(&vendor), sort_key: String::new(), digest: 1, raw: None }
}

/// The files of an installation, which outlive its runs.
pub(crate) struct Stage {
    directory: TempDir,
    pub(crate) clock: ManualClock,
    pub(crate) archive: ArchiveConfig,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let location = directory.path().join("archive").to_string_lossy().into_owned();
        // By hand: a test says when.
        let archive = ArchiveConfig { location: Some(location), every: Duration::ZERO, ..ArchiveConfig::default() };
        Self { directory, clock: ManualClock::new(NOW), archive }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("store.db")
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(SqliteOptions::at(self.database())).await.unwrap())
    }

    pub(crate) async fn open(&self) -> Switchboard {
        let mut config = Config { archive: self.archive.clone(), ..Config::default() };
        config.ingest.inbox.path = self.path().join("inbox");
        config.ingest.inbox.capacity_bytes = 64 << 20;
        Switchboard::builder()
            .config(config)
            .store(self.store().await)
            .clock(Arc::new(self.clock.clone()))
            .open()
            .await
            .unwrap()
    }

    /// The Parquet files.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.path().join("archive"), &mut found);
        found.sort();
        found
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.push(path);
        }
    }
}

/// Stops an engine and lets go of its files.
pub(crate) async fn close(switchboard: Switchboard) {
    switchboard.shutdown().await.unwrap();
}

pub(crate) async fn append(store: &dyn Store, drafts: Vec<Draft>) -> Vec<Appended> {
    let mut outcome = Vec::new();
    for part in drafts.chunks(500) {
        let commit = Commit { drafts: part.to_vec(), ..Commit::default() };
        outcome.extend(store.commit(commit).await.unwrap().drafts);
    }
    outcome
}

/// `count` messages in each of `conversations`, one a minute from `from` on.
pub(crate) fn past(conversations: u32, count: u32, from: Timestamp) -> Vec<Draft> {
    let each =
        |number: u32| (0..conversations).map(move |of| message(number, of, from + Duration::from_secs(60) * number));
    (0..count).flat_map(each).collect()
}

/// The whole history of a conversation, page by page; bytes and sequences.
pub(crate) async fn walk(
    switchboard: &Switchboard,
    conversation: &ConversationId,
    direction: PageDirection,
    limit: usize,
) -> Vec<Entry> {
    let (mut found, mut cursor): (Vec<Entry>, Option<HistoryCursor>) = (Vec::new(), None);
    loop {
        let mut request = switchboard.history(conversation).direction(direction).limit(limit);
        if let Some(cursor) = cursor {
            request = request.cursor(cursor);
        }
        let page = request.page().await.unwrap();
        found.extend(page.entries);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

/// How many rows of a table fulfil a condition, read by another program: the engine may have the file open.
pub(crate) fn count(database: &Path, sql: &str) -> u64 {
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); print(c.execute(sys.argv[2]).fetchone()[0])";
    let output = std::process::Command::new("python3").args(["-c", script]).arg(database).arg(sql).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}
