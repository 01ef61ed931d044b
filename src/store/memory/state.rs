//! What the store holds, and the one way an event gets into it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use switchboard_contract::storage::{
    Appended, BackfillItem, BackfillJob, Binding, BindingKind, CommitListener, CoveredRange, CursorState, Draft,
    EarlyReceipt, Entry, GroupRecord, HistoryKey, HourCoverage, Leg, QuarantineReason, Quarantined, RepairWindow,
    TrafficHour, UserRecord, Variant,
};
use switchboard_contract::{
    App, BackfillId, ClientMessageId, ConversationId, EventData, EventKey, KeyClass, MessageId, MessageRef, Origin,
    Position, RawCallback, Result, SendId, Sequence, Shard, SubscriberName, TenantId, Timestamp,
};

use super::setbacks::Failures;
use super::timelines::Log;
use crate::store::content;

/// The only shard there is without configuration.
pub(super) const SHARD: Shard = Shard(0);

#[derive(Default)]
pub(super) struct State {
    pub(super) closed: bool,
    pub(super) streams: HashMap<TenantId, Stream>,
    pub(super) consumed: HashMap<String, u64>,
    pub(super) legs: Legs,
    pub(super) early: BTreeMap<u64, EarlyReceipt>,
    pub(super) noted: u64,
    pub(super) setbacks: Failures,
    pub(super) subscribers: BTreeMap<(TenantId, SubscriberName), CursorState>,
    pub(super) bindings: BTreeMap<(TenantId, App), AppBindings>,
    pub(super) provisioned: BTreeSet<(TenantId, App, BindingKind, String, String)>,
    pub(super) users: HashMap<(TenantId, String), UserRecord>,
    pub(super) groups: BTreeMap<(TenantId, String, bool), GroupRecord>,
    pub(super) hours: BTreeMap<(TenantId, App), BTreeMap<Timestamp, HourCoverage>>,
    pub(super) ranges: BTreeMap<(TenantId, App), BTreeMap<ConversationId, Vec<CoveredRange>>>,
    pub(super) alive: BTreeMap<(TenantId, App), Timestamp>,
    pub(super) windows: BTreeMap<u64, ((TenantId, App), RepairWindow)>,
    pub(super) backfills: BTreeMap<(TenantId, BackfillId), BackfillJob>,
    pub(super) backfill_items: BTreeMap<(TenantId, BackfillId, String), BackfillItem>,
    pub(super) traffic: BTreeMap<(TenantId, App), BTreeMap<Timestamp, TrafficHour>>,
    pub(super) quarantine: BTreeMap<u64, Quarantined>,
    pub(super) quarantined: u64,
    pub(super) settings: HashMap<String, Vec<u8>>,
    pub(super) timelines: HashMap<(TenantId, App), Arc<Mutex<Log>>>,
    pub(super) listeners: Vec<Arc<dyn CommitListener>>,
}

/// Pairs of one app, by either side.
#[derive(Default)]
pub(super) struct AppBindings {
    pub(super) by_vendor: HashMap<(BindingKind, String), Binding>,
    pub(super) by_business: BTreeMap<(BindingKind, String), Binding>,
}

/// The sends.
#[derive(Default)]
pub(super) struct Legs {
    pub(super) by_order: BTreeMap<u64, Leg>,
    pub(super) by_message: HashMap<(TenantId, MessageId), u64>,
    pub(super) by_send: HashMap<(TenantId, SendId), Vec<u64>>,
    pub(super) by_client: HashMap<(TenantId, ClientMessageId), (SendId, [u8; 32])>,
    pub(super) by_vendor: HashMap<(TenantId, App, String), u64>,
}

/// One tenant's journal.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) tail: u64,
    pub(super) trimmed: u64,
    pub(super) keys: HashMap<(Option<App>, EventKey), u64>,
    pub(super) messages: HashMap<MessageId, u64>,
    pub(super) conversations: BTreeMap<ConversationId, Conversation>,
    /// Recalls whose message has not come.
    pub(super) awaited: Vec<Awaited>,
}

pub(super) struct Awaited {
    app: Option<App>,
    vendor: Option<String>,
    message: Option<MessageId>,
}

#[derive(Default)]
pub(super) struct Conversation {
    pub(super) last_sequence: u64,
    pub(super) last_at: Timestamp,
    pub(super) places: BTreeMap<u64, u64>,
    pub(super) history: BTreeMap<HistoryKey, u64>,
}

pub(super) struct Row {
    pub(super) entry: Entry,
    pub(super) key: (Option<App>, EventKey),
    pub(super) history: Option<HistoryKey>,
    pub(super) digest: u64,
    pub(super) origin: Origin,
    pub(super) raw: Option<Bytes>,
    pub(super) sender: Option<String>,
    pub(super) body: Option<&'static str>,
    /// Other contents seen under its key.
    pub(super) variants: Vec<Variant>,
}

/// The places journalled by one transaction, in order.
pub(super) type Fresh = Vec<(TenantId, u64)>;

impl State {
    /// Journals one draft, or finds it journalled, where other content leaves a trace unless it is `quiet`.
    pub(super) fn append(&mut self, draft: &Draft, quiet: bool, fresh: &mut Fresh) -> Result<Appended> {
        let event = &draft.event;
        let key = (event.app.clone(), draft.key.clone());
        if let Some(&at) = self.stream(&event.tenant).keys.get(&key) {
            return Ok(self.repeat(draft, at, quiet));
        }
        let target = content::target(event).and_then(|target| self.resolve(&event.tenant, event.app.as_ref(), target));
        let mut event = content::with_target(event, target);
        let stream = self.streams.entry(draft.event.tenant.clone()).or_default();
        let mut raw = draft.raw.clone();
        if let Some(id) = stream.take_awaited(draft) {
            event = std::borrow::Cow::Owned(content::buried(&event, id));
            raw = None;
        }
        let at = stream.tail + 1;
        let sequence = event.conversation.as_ref().map(|id| {
            let last = stream.conversations.get(id).map_or(0, |conversation| conversation.last_sequence);
            Sequence(last + 1)
        });
        let message = content::message(&event);
        let row = Row {
            entry: Entry {
                shard: SHARD,
                position: Position(at),
                sequence,
                topic: event.topic(),
                conversation: event.conversation.clone(),
                app: event.app.clone().map(Arc::new),
                message_id: message.map(|message| message.id),
                sent_at: event.sent_at,
                received_at: event.received_at,
                late: event.late,
                json: event.encode(Position(at), sequence)?,
            },
            key,
            history: message.map(|message| HistoryKey {
                sent_at: event.sent_at,
                sort_key: draft.sort_key.clone(),
                message_id: message.id,
            }),
            digest: draft.digest,
            origin: event.origin,
            raw,
            sender: message.map(|message| message.from.as_str().to_owned()),
            body: message.and_then(|message| message.body.as_ref()).map(switchboard_contract::Body::kind),
            variants: Vec::new(),
        };
        stream.insert(row);
        fresh.push((event.tenant.clone(), at));
        if let EventData::Recall(recall) = &event.data {
            stream.recall(event.app.as_ref(), &recall.target)?;
        }
        Ok(Appended::Fresh { position: Position(at), sequence })
    }

    fn repeat(&mut self, draft: &Draft, at: u64, quiet: bool) -> Appended {
        let event = &draft.event;
        let stream = self.streams.entry(event.tenant.clone()).or_default();
        let Some(row) = stream.rows.get_mut(&at) else { return Appended::Conflict { position: Position(at) } };
        let (position, sequence) = (row.entry.position, row.entry.sequence);
        if quiet || row.digest == draft.digest {
            return Appended::Known { position, sequence };
        }
        let news = row.variants.iter().all(|known| known.digest != draft.digest);
        if news {
            let kept = row.entry.message_id.is_none() || row.body.is_some();
            row.variants.push(Variant {
                digest: draft.digest,
                origin: event.origin,
                received_at: event.received_at,
                raw: draft.raw.clone().filter(|_| kept),
            });
        }
        if !content::contradicts(row.origin, event) {
            return Appended::Variant { position, sequence };
        }
        if let (true, Some(app)) = (news, &event.app) {
            let raw = RawCallback {
                path: String::new(),
                query: String::new(),
                headers: Vec::new(),
                body: draft.raw.clone().unwrap_or_default(),
                received_at: event.received_at,
            };
            let (tenant, app) = (event.tenant.clone(), app.clone());
            let item = Quarantined { id: 0, tenant, app, reason: QuarantineReason::Conflict, raw };
            self.keep_aside(item, content::CONFLICTS_KEPT);
        }
        Appended::Conflict { position }
    }

    pub(super) fn keep_aside(&mut self, mut item: Quarantined, max_items: u32) -> u64 {
        self.quarantined += 1;
        let id = self.quarantined;
        item.id = id;
        let (tenant, app) = (item.tenant.clone(), item.app.clone());
        self.quarantine.insert(id, item);
        let of_app = |kept: &&Quarantined| kept.tenant == tenant && kept.app == app;
        let surplus = self.quarantine.values().filter(of_app).count().saturating_sub(max_items as usize);
        let oldest: Vec<u64> = self.quarantine.values().filter(of_app).take(surplus).map(|kept| kept.id).collect();
        for id in oldest {
            self.quarantine.remove(&id);
        }
        id
    }

    fn stream(&mut self, tenant: &TenantId) -> &Stream {
        self.streams.entry(tenant.clone()).or_default()
    }

    /// Our id of what an event is about.
    fn resolve(&self, tenant: &TenantId, app: Option<&App>, target: &MessageRef) -> Option<MessageId> {
        if target.id.is_some() {
            return target.id;
        }
        let vendor = target.vendor_id.as_ref()?;
        let stream = self.streams.get(tenant)?;
        stream.row_of(app, vendor.as_str()).and_then(|row| row.entry.message_id).or_else(|| {
            let key = (tenant.clone(), app?.clone(), vendor.as_str().to_owned());
            let order = self.legs.by_vendor.get(&key)?;
            self.legs.by_order.get(order).map(|leg| leg.message_id)
        })
    }
}

impl Stream {
    fn row_of(&self, app: Option<&App>, vendor: &str) -> Option<&Row> {
        let key = (app.cloned(), EventKey::new(KeyClass::Message, vendor));
        self.keys.get(&key).and_then(|at| self.rows.get(at))
    }

    /// Whether the message was recalled before it came, and the id the recall gave it.
    fn take_awaited(&mut self, draft: &Draft) -> Option<Option<MessageId>> {
        let message = content::message(&draft.event)?;
        let mut found = None;
        self.awaited.retain(|awaited| {
            let by_name = awaited.app == draft.event.app
                && content::vendor_names(draft).any(|name| awaited.vendor.as_deref() == Some(name));
            let ours = by_name || awaited.message == Some(message.id);
            if ours {
                found = Some(found.flatten().or(awaited.message));
            }
            !ours
        });
        found
    }

    fn insert(&mut self, row: Row) {
        let at = row.entry.position.0;
        self.tail = at;
        self.keys.insert(row.key.clone(), at);
        if let Some(id) = row.entry.message_id {
            self.messages.entry(id).or_insert(at);
        }
        if let (Some(id), Some(sequence)) = (&row.entry.conversation, row.entry.sequence) {
            let conversation = self.conversations.entry(id.clone()).or_default();
            conversation.last_sequence = sequence.0;
            conversation.last_at = row.entry.sent_at;
            conversation.places.insert(sequence.0, at);
            if let Some(key) = &row.history {
                conversation.history.insert(key.clone(), at);
            }
        }
        self.rows.insert(at, row);
    }

    /// Buries the target, or remembers that it must be buried when it comes.
    fn recall(&mut self, app: Option<&App>, target: &MessageRef) -> Result<()> {
        let by_name = target
            .vendor_id
            .as_ref()
            .and_then(|vendor| self.row_of(app, vendor.as_str()))
            .filter(|row| row.entry.message_id.is_some());
        let at = by_name
            .map(|row| row.entry.position.0)
            .or_else(|| target.id.and_then(|id| self.messages.get(&id).copied()));
        let Some(row) = at.and_then(|at| self.rows.get_mut(&at)) else {
            self.awaited.push(Awaited {
                app: app.cloned(),
                vendor: target.vendor_id.as_ref().map(|id| id.as_str().to_owned()),
                message: target.id,
            });
            return Ok(());
        };
        let mut event = row.entry.event()?;
        content::bury(&mut event);
        row.entry.json = event.encode(row.entry.position, row.entry.sequence)?;
        row.raw = None;
        row.variants.iter_mut().for_each(|variant| variant.raw = None);
        row.body = None;
        Ok(())
    }

    pub(super) fn trim(&mut self, until: u64) -> u64 {
        let until = until.min(self.tail);
        if until <= self.trimmed {
            return 0;
        }
        self.trimmed = until;
        let kept = self.rows.split_off(&(until + 1));
        let gone = std::mem::replace(&mut self.rows, kept);
        for (at, row) in &gone {
            self.keys.remove(&row.key);
            if let Some(id) = row.entry.message_id
                && self.messages.get(&id) == Some(at)
            {
                self.messages.remove(&id);
            }
            let id = row.entry.conversation.as_ref();
            if let Some(conversation) = id.and_then(|id| self.conversations.get_mut(id)) {
                row.entry.sequence.map(|sequence| conversation.places.remove(&sequence.0));
                row.history.as_ref().map(|key| conversation.history.remove(key));
            }
        }
        gone.len() as u64
    }
}
