//! Repair: a file of an hour compared with a journal that lacks nothing, and the past of a conversation fetched.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{BackfillScope, BackfillState};
use switchboard_contract::{
    App, Body, Clock, Clues, ConversationId, ConversationKind, Error, EventKey, Ext, GroupNaming, Inbound, InboundData,
    InboundMessage, InboundPlace, Messaging, MessagingLimits, Naming, OutboundMessage, Provider, ProviderId, Quota,
    RecallRequest, Result, Roaming, RoamingLimits, RoamingPage, RoamingQuery, SentTo, Spelling, TenantId, Timestamp,
    UserId, VendorMessageId,
};

use super::append::{FILE, options};
use crate::backfill::{BackfillConfig, BackfillRequest};
use crate::cli::bench::callbacks::{APP, BODY, SECRET};
use crate::cli::bench::events::{EPOCH, TEXT};
use crate::cli::bench::measure::{Figure, failed};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::store::sqlite::SqliteStore;
use crate::switchboard::Switchboard;

const HOUR_MS: i64 = 3_600_000;

/// Resident memory of this process in KiB: now, and at its highest.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// Compares the file with the store of `dir`; lines a second, and by how much the memory grew.
pub(in crate::cli::bench) async fn reconcile(dir: &Path, file: &Path) -> Result<Figure> {
    let text = format!(
        "[store]\nurl = 'sqlite://{0}/{FILE}'\n[ingest.inbox]\npath = '{0}/inbox'\n[silence]\nenabled = false\n\
         [providers.main]\nkind = 'huanxin'\napp_key = '{APP}'\nclient_id = 'c'\nclient_secret = 'c'\n\
         callback_secret = '{SECRET}'\nbase_url = 'http://127.0.0.1:9'\n",
        dir.display()
    );
    let hour = Timestamp(EPOCH.div_euclid(HOUR_MS) * HOUR_MS);
    // Long enough after, and standing still, so that nothing else falls due.
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(hour + Duration::from_secs(2 * 3600)));
    let mut config = Config::parse(&text)?;
    config.reconcile.enabled = false;
    let switchboard = Switchboard::builder().config(config).clock(clock).open().await?;
    let file = File::open(file).map_err(failed("the file of an hour cannot be opened"))?;
    let (before, _) = memory();
    let begun = Instant::now();
    let report =
        switchboard.reconciler().read_file(&TenantId::default(), &ProviderId::from("main"), hour, file).await?;
    let took = begun.elapsed();
    let (_, highest) = memory();
    switchboard.store().close().await;
    let lines = report.hours.iter().map(|hour| hour.lines).sum();
    let faults = report.hours.iter().map(|hour| hour.repaired + hour.history + hour.skipped).sum();
    Ok(Figure { faults, rss_kib: highest.saturating_sub(before), ..Figure::of(lines, took) })
}

/// Which past to fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Past {
    /// Where the store shall be.
    pub(in crate::cli::bench) dir: PathBuf,
    /// Messages of the conversation.
    pub(in crate::cli::bench) messages: u64,
    /// Messages of a page.
    pub(in crate::cli::bench) page: u64,
}

/// Runs a whole job; messages a second.
pub(in crate::cli::bench) async fn backfill(past: Past) -> Result<Figure> {
    let (one, other) = (UserId::from("u1"), UserId::from("u2"));
    let vendor = Arc::new(Archive::new(past.messages, past.page));
    let mut config = Config::default();
    config.ingest.inbox.path = past.dir.join("inbox");
    config.ingest.inbox.capacity_bytes = 64 << 20;
    config.silence.enabled = false;
    config.backfill = BackfillConfig { pages_per_second: 1e9, ..BackfillConfig::default() };
    let store = Arc::new(SqliteStore::open(options(&past.dir)).await?);
    let switchboard = Switchboard::builder().config(config).store(store).provider("main", vendor).open().await?;
    switchboard.catchup().online().await;
    let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
    let scope = BackfillScope::Conversation(ConversationId::direct(&one, &other));
    let begun = Instant::now();
    let job = switchboard.backfill().start(&tenant, &alias, BackfillRequest::of(scope)).await?;
    switchboard.backfill().idle().await;
    let took = begun.elapsed();
    let job = switchboard.backfill().get(&tenant, job.job.id).await?.job;
    switchboard.store().close().await;
    let faults = past.messages.abs_diff(job.inserted) + u64::from(job.state != BackfillState::Done);
    Ok(Figure { faults, ..Figure::of(job.messages, took) })
}

/// A vendor in this process that has one conversation and answers at once: what is measured is what we do with it.
#[derive(Debug)]
struct Archive {
    app: App,
    messages: u64,
    page: u64,
    text: String,
    raw: bytes::Bytes,
}

impl Archive {
    fn new(messages: u64, page: u64) -> Self {
        let raw = bytes::Bytes::from(vec![b'x'; BODY]);
        Self { app: App::new("archive", APP), messages, page, text: "x".repeat(TEXT), raw }
    }

    fn message(&self, number: u64) -> Inbound {
        let id = VendorMessageId::from((1_400_000_000_000_000_000 + number).to_string());
        Inbound {
            key: EventKey::message(&id),
            sent_at: Timestamp(EPOCH + number.cast_signed()),
            sort_key: id.as_str().to_owned(),
            place: InboundPlace::Direct { from: "u1".into(), to: "u2".into() },
            data: InboundData::Message(InboundMessage {
                id,
                from: "u1".into(),
                audience: Vec::new(),
                body: Body::text(self.text.clone()),
                ext: Ext::new(),
                mentions_everyone: false,
                mentions: Vec::new(),
            }),
            mark: None,
            clues: Clues::default(),
            raw: self.raw.clone(),
        }
    }
}

#[async_trait]
impl Provider for Archive {
    fn app(&self) -> &App {
        &self.app
    }

    fn naming(&self) -> Naming {
        let users = Spelling { allowed: |_| true, prefix: "x_", escape: b'_', max_bytes: 64 };
        Naming { users, groups: GroupNaming::Vendor, rooms: GroupNaming::Vendor }
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        Some(self)
    }
}

#[async_trait]
impl Messaging for Archive {
    fn limits(&self) -> MessagingLimits {
        MessagingLimits {
            targets: Vec::new(),
            bodies: Vec::new(),
            max_users: 1,
            max_system_users: 0,
            max_bytes: 1,
            recall_window: None,
            echoes: false,
            receipts: false,
            quotas: Vec::new(),
        }
    }

    fn check(&self, _: &OutboundMessage) -> Result<()> {
        Err(Error::unsupported("sending into the past"))
    }

    async fn send(&self, _: &OutboundMessage) -> Result<Vec<SentTo>> {
        Err(Error::unsupported("sending into the past"))
    }

    async fn recall(&self, _: &RecallRequest) -> Result<()> {
        Err(Error::unsupported("recalling the past"))
    }
}

#[async_trait]
impl Roaming for Archive {
    fn limits(&self) -> RoamingLimits {
        RoamingLimits {
            max_page: u32::try_from(self.page).unwrap_or(u32::MAX),
            depth: None,
            max_span: None,
            own_sends_after: None,
            targets: vec![ConversationKind::Direct],
            quota: Quota { calls: None, units: None, per: Duration::from_secs(1) },
        }
    }

    /// Newest first.
    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        let end = query.cursor.as_ref().and_then(|cursor| cursor.parse().ok()).unwrap_or(self.messages);
        let first = end.saturating_sub(self.page);
        let items = (first..end).rev().map(|number| self.message(number)).collect();
        Ok(RoamingPage { items, next: (first > 0).then(|| first.to_string()) })
    }
}
