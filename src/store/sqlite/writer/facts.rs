//! What the database knows that a batch of events and sends depends on, read in lists before anything is written.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use switchboard_contract::storage::{Draft, LegChange, NewSend};
use switchboard_contract::{App, ConversationId, KeyClass, MessageId, Result, SendId, SendState, TenantId};

use super::Command;
use super::memory::{Head, Memory, Stream};
use crate::store::content;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::{Bulk, Values, unsigned};

/// What makes an event one event: tenant, app, class and the vendor's id.
pub(super) type Key<'a> = (i64, i64, u8, &'a str);

/// A draft with the numbers of its names.
pub(super) struct Item<'a> {
    pub(super) draft: &'a Draft,
    pub(super) tenant: i64,
    pub(super) app: i64,
    /// In [`Facts::streams`].
    pub(super) stream: usize,
    /// In [`Facts::heads`].
    pub(super) head: Option<usize>,
    /// In [`Facts::known`].
    pub(super) key: usize,
}

/// The end of a stream while a batch is planned.
pub(super) struct Tail<'a> {
    pub(super) name: &'a TenantId,
    pub(super) tenant: i64,
    pub(super) end: Stream,
    pub(super) moved: bool,
}

/// The end of a conversation while a batch is planned.
pub(super) struct HeadState<'a> {
    pub(super) tenant: i64,
    pub(super) name: &'a ConversationId,
    pub(super) head: Option<Head>,
    pub(super) fresh: bool,
    pub(super) moved: bool,
}

/// A journalled event, or one that this batch journals.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) place: i64,
    pub(super) sequence: Option<u64>,
    pub(super) digest: u64,
    pub(super) origin: u8,
    pub(super) message: Option<MessageId>,
    /// Among the batch's rows, when it is one of them.
    pub(super) row: Option<usize>,
}

/// A leg that may take a step.
pub(super) struct LegFact {
    pub(super) id: i64,
    pub(super) app: i64,
    pub(super) state: SendState,
}

/// A recall whose message has not come.
pub(super) struct Awaited {
    /// `None` for one of this batch.
    pub(super) id: Option<i64>,
    pub(super) tenant: i64,
    pub(super) app: i64,
    pub(super) vendor: Option<String>,
    pub(super) message: Option<MessageId>,
    pub(super) gone: bool,
}

#[derive(Default)]
pub(super) struct Facts<'a> {
    pub(super) items: Vec<Item<'a>>,
    pub(super) streams: Vec<Tail<'a>>,
    pub(super) heads: Vec<HeadState<'a>>,
    pub(super) keys: HashMap<Key<'a>, usize>,
    pub(super) known: Vec<Option<Known>>,
    pub(super) tenants: HashMap<&'a TenantId, i64>,
    pub(super) legs: HashMap<(i64, MessageId), LegFact>,
    pub(super) clients: HashMap<(i64, String), (SendId, [u8; 32])>,
    /// Our ids of messages that only a send knows by their vendor id.
    pub(super) sent: HashMap<(i64, i64, String), MessageId>,
    /// Messages by our id, as far as a recall asks.
    pub(super) by_id: HashMap<(i64, MessageId), Known>,
    pub(super) recalls: bool,
    pub(super) awaited: Vec<Awaited>,
    pub(super) next_send: i64,
    pub(super) next_leg: i64,
    pub(super) next_conversation: i64,
    /// Apps of sends.
    pub(super) apps: HashMap<&'a App, i64>,
    by_name: HashMap<(i64, &'a str), usize>,
}

static KEYS: Bulk = Bulk::new(
    "SELECT key, place, sequence, digest, origin, message FROM journal WHERE tenant = ? AND app = ? AND class = ? AND key IN (",
    "?",
    ")",
);
static BY_ID: Bulk = Bulk::new(
    "SELECT message, place, sequence, digest, origin, message FROM journal WHERE tenant = ? AND message IN (",
    "?",
    ") ORDER BY place DESC",
);
static HEADS: Bulk = Bulk::new(
    "SELECT c.name, c.id, max(c.last_sequence, coalesce(
         (SELECT max(j.sequence) FROM journal j WHERE j.tenant = c.tenant AND j.conversation = c.id), 0))
     FROM conversations c WHERE c.tenant = ? AND c.name IN (",
    "?",
    ")",
);
static LEGS: Bulk = Bulk::new("SELECT message, id, app, state FROM legs WHERE tenant = ? AND message IN (", "?", ")");
static CLIENTS: Bulk =
    Bulk::new("SELECT client_id, send, digest FROM sends WHERE tenant = ? AND client_id IN (", "?", ")");
static SENT: Bulk = Bulk::new(
    "SELECT vendor, message FROM legs WHERE tenant = ? AND app = ? AND vendor IN (",
    "?",
    ") ORDER BY id DESC",
);
static AWAITED_NAMES: Bulk = Bulk::new(
    "SELECT id, tenant, app, vendor, message FROM awaited WHERE tenant = ? AND app = ? AND vendor IN (",
    "?",
    ")",
);
static AWAITED_IDS: Bulk =
    Bulk::new("SELECT id, tenant, app, vendor, message FROM awaited WHERE tenant = ? AND message IN (", "?", ")");

/// A value of a list.
pub(super) enum Wanted<'a> {
    Text(&'a str),
    Id(MessageId),
}

/// Reads a list: `fixed` first, then the wanted values.
async fn read(
    db: &mut SqliteConnection,
    bulk: &'static Bulk,
    fixed: &[i64],
    wanted: &[Wanted<'_>],
    mut take: impl FnMut(&SqliteRow) -> sqlx::Result<()>,
) -> Result<()> {
    for part in wanted.chunks(1024) {
        let size = Bulk::padded(part.len());
        let mut values = Values::with_capacity(fixed.len() + size);
        fixed.iter().for_each(|value| values.push(*value));
        for at in 0..size {
            match &part[at.min(part.len() - 1)] {
                Wanted::Text(text) => values.push(*text),
                Wanted::Id(id) => values.push(id.as_bytes().as_slice()),
            }
        }
        let rows = values.done().map(|values| sqlx::query_with(bulk.text(size), values));
        let rows = rows.map_err(failed("look_up"))?.fetch_all(&mut *db).await.map_err(failed("look_up"))?;
        rows.iter().try_for_each(&mut take).map_err(failed("look_up"))?;
    }
    Ok(())
}

fn id_of(row: &SqliteRow, at: usize) -> sqlx::Result<Option<MessageId>> {
    let bytes: Option<&[u8]> = row.try_get(at)?;
    Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(MessageId::from_bytes))
}

fn known_of(row: &SqliteRow) -> sqlx::Result<Known> {
    let sequence: Option<i64> = row.try_get(2)?;
    Ok(Known {
        place: row.try_get(1)?,
        sequence: sequence.map(unsigned),
        digest: unsigned(row.try_get(3)?),
        origin: row.try_get(4)?,
        message: id_of(row, 5)?,
        row: None,
    })
}

impl<'a> Facts<'a> {
    pub(super) async fn load(
        db: &mut SqliteConnection,
        memory: &mut Memory,
        batch: &'a [Command],
    ) -> Result<Facts<'a>> {
        let mut facts = Self {
            next_send: memory.next_send,
            next_leg: memory.next_leg,
            next_conversation: memory.next_conversation,
            ..Self::default()
        };
        let (mut changes, mut sends) = (Vec::new(), Vec::new());
        for command in batch {
            match command {
                Command::Commit(commit, _) => {
                    for change in &commit.changes {
                        changes.push(change);
                        facts.name(db, memory, &change.tenant).await?;
                        facts.take(db, memory, &change.drafts).await?;
                    }
                    facts.take(db, memory, &commit.drafts).await?;
                }
                Command::Enqueue(all, _) => {
                    for send in all {
                        sends.push(send);
                        facts.name(db, memory, &send.tenant).await?;
                        if !facts.apps.contains_key(&send.app) {
                            let id = memory.app(db, &send.app).await?;
                            facts.apps.insert(&send.app, id);
                        }
                        facts.take(db, memory, &send.drafts).await?;
                    }
                }
                Command::Errand(_) => {}
            }
        }
        facts.load_keys(db).await?;
        facts.load_heads(db).await?;
        facts.load_legs(db, &changes).await?;
        facts.load_clients(db, &sends).await?;
        facts.load_sent(db).await?;
        facts.load_by_id(db, &changes).await?;
        if memory.awaits {
            facts.load_awaited(db).await?;
        }
        Ok(facts)
    }

    async fn name(&mut self, db: &mut SqliteConnection, memory: &mut Memory, tenant: &'a TenantId) -> Result<i64> {
        if let Some(id) = self.tenants.get(tenant) {
            return Ok(*id);
        }
        let id = memory.tenant(db, tenant).await?;
        self.tenants.insert(tenant, id);
        Ok(id)
    }

    /// Numbers the names of drafts. Whoever comes in a row shares tenant and app, so the last ones are kept at hand.
    async fn take(&mut self, db: &mut SqliteConnection, memory: &mut Memory, drafts: &'a [Draft]) -> Result<()> {
        let mut last: Option<(&TenantId, Option<&App>, i64, i64, usize)> = None;
        for draft in drafts {
            let event = &draft.event;
            let (tenant, app, stream) = match last {
                Some((name, of, tenant, app, stream)) if name == &event.tenant && of == event.app.as_ref() => {
                    (tenant, app, stream)
                }
                _ => {
                    let tenant = self.name(db, memory, &event.tenant).await?;
                    let app = match &event.app {
                        Some(app) => memory.app(db, app).await?,
                        None => 0,
                    };
                    let stream = match self.streams.iter().position(|stream| stream.tenant == tenant) {
                        Some(stream) => stream,
                        None => {
                            let end = memory.stream(db, tenant).await?;
                            self.streams.push(Tail { name: &event.tenant, tenant, end, moved: false });
                            self.streams.len() - 1
                        }
                    };
                    (tenant, app, stream)
                }
            };
            last = Some((&event.tenant, event.app.as_ref(), tenant, app, stream));
            let head = event.conversation.as_ref().map(|name| self.head(memory, tenant, name));
            let key = self.key((tenant, app, draft.key.class.code(), draft.key.id.as_str()));
            if let Some(vendor) = content::target(event).and_then(|target| target.vendor_id.as_ref()) {
                self.key((tenant, app, KeyClass::Message.code(), vendor.as_str()));
            }
            self.recalls |= matches!(event.data, switchboard_contract::EventData::Recall(_));
            self.items.push(Item { draft, tenant, app, stream, head, key });
        }
        Ok(())
    }

    fn key(&mut self, key: Key<'a>) -> usize {
        *self.keys.entry(key).or_insert_with(|| {
            self.known.push(None);
            self.known.len() - 1
        })
    }

    fn head(&mut self, memory: &mut Memory, tenant: i64, name: &'a ConversationId) -> usize {
        *self.by_name.entry((tenant, name.as_str())).or_insert_with(|| {
            let head = memory.heads.get(&(tenant, name.clone()));
            self.heads.push(HeadState { tenant, name, head, fresh: false, moved: false });
            self.heads.len() - 1
        })
    }

    async fn load_keys(&mut self, db: &mut SqliteConnection) -> Result<()> {
        let mut groups: HashMap<(i64, i64, u8), Vec<Wanted<'a>>> = HashMap::new();
        for (tenant, app, class, key) in self.keys.keys() {
            groups.entry((*tenant, *app, *class)).or_default().push(Wanted::Text(key));
        }
        for ((tenant, app, class), wanted) in groups {
            let (keys, known) = (&self.keys, &mut self.known);
            read(db, &KEYS, &[tenant, app, i64::from(class)], &wanted, |row| {
                if let Some(at) = keys.get(&(tenant, app, class, row.try_get(0)?)) {
                    known[*at] = Some(known_of(row)?);
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn load_heads(&mut self, db: &mut SqliteConnection) -> Result<()> {
        let mut groups: HashMap<i64, Vec<Wanted<'a>>> = HashMap::new();
        for state in self.heads.iter().filter(|state| state.head.is_none()) {
            groups.entry(state.tenant).or_default().push(Wanted::Text(state.name.as_str()));
        }
        for (tenant, wanted) in groups {
            let (by_name, heads) = (&self.by_name, &mut self.heads);
            read(db, &HEADS, &[tenant], &wanted, |row| {
                if let Some(at) = by_name.get(&(tenant, row.try_get(0)?)) {
                    heads[*at].head = Some(Head { id: row.try_get(1)?, last: unsigned(row.try_get(2)?) });
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn load_legs(&mut self, db: &mut SqliteConnection, changes: &[&'a LegChange]) -> Result<()> {
        let mut groups: HashMap<i64, Vec<Wanted<'_>>> = HashMap::new();
        for change in changes {
            groups.entry(self.tenants[&change.tenant]).or_default().push(Wanted::Id(change.message_id));
        }
        for (tenant, wanted) in groups {
            let mut impossible = false;
            let legs = &mut self.legs;
            read(db, &LEGS, &[tenant], &wanted, |row| {
                let (id, state) = (id_of(row, 0)?, SendState::from_code(row.try_get(3)?));
                match (id, state) {
                    (Some(message), Some(state)) => {
                        let leg = LegFact { id: row.try_get(1)?, app: row.try_get(2)?, state };
                        legs.insert((tenant, message), leg);
                    }
                    _ => impossible = true,
                }
                Ok(())
            })
            .await?;
            if impossible {
                return Err(damaged("leg"));
            }
        }
        Ok(())
    }

    async fn load_clients(&mut self, db: &mut SqliteConnection, sends: &[&'a NewSend]) -> Result<()> {
        let mut groups: HashMap<i64, Vec<Wanted<'a>>> = HashMap::new();
        for send in sends {
            if let Some(id) = &send.client_message_id {
                groups.entry(self.tenants[&send.tenant]).or_default().push(Wanted::Text(id.as_str()));
            }
        }
        for (tenant, wanted) in groups {
            let clients = &mut self.clients;
            read(db, &CLIENTS, &[tenant], &wanted, |row| {
                let (send, digest): (&[u8], &[u8]) = (row.try_get(1)?, row.try_get(2)?);
                if let (Ok(send), Ok(digest)) = (send.try_into(), digest.try_into()) {
                    clients.insert((tenant, row.try_get(0)?), (SendId::from_bytes(send), digest));
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Targets that no journalled message carries may be sends of ours.
    async fn load_sent(&mut self, db: &mut SqliteConnection) -> Result<()> {
        let mut groups: HashMap<(i64, i64), Vec<Wanted<'a>>> = HashMap::new();
        for item in &self.items {
            let Some(target) = content::target(&item.draft.event) else { continue };
            let Some(vendor) = target.vendor_id.as_ref().filter(|_| target.id.is_none()) else { continue };
            let at = self.keys[&(item.tenant, item.app, KeyClass::Message.code(), vendor.as_str())];
            if self.known[at].is_none() && item.app != 0 {
                groups.entry((item.tenant, item.app)).or_default().push(Wanted::Text(vendor.as_str()));
            }
        }
        for ((tenant, app), wanted) in groups {
            let sent = &mut self.sent;
            read(db, &SENT, &[tenant, app], &wanted, |row| {
                if let Some(message) = id_of(row, 1)? {
                    sent.insert((tenant, app, row.try_get(0)?), message);
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// A recall may know its message by our id alone.
    async fn load_by_id(&mut self, db: &mut SqliteConnection, changes: &[&'a LegChange]) -> Result<()> {
        if !self.recalls {
            return Ok(());
        }
        let mut groups: HashMap<i64, Vec<Wanted<'a>>> = HashMap::new();
        // A step of this batch may be what tells a recall of this batch whose message it names.
        for change in changes.iter().filter(|change| change.vendor_id.is_some()) {
            groups.entry(self.tenants[&change.tenant]).or_default().push(Wanted::Id(change.message_id));
        }
        for item in &self.items {
            let switchboard_contract::EventData::Recall(recall) = &item.draft.event.data else { continue };
            let vendor = recall.target.vendor_id.as_ref().map(|id| (item.tenant, item.app, id.as_str().to_owned()));
            let id = recall.target.id.or_else(|| vendor.and_then(|key| self.sent.get(&key).copied()));
            if let Some(id) = id {
                groups.entry(item.tenant).or_default().push(Wanted::Id(id));
            }
        }
        for (tenant, wanted) in groups {
            let by_id = &mut self.by_id;
            read(db, &BY_ID, &[tenant], &wanted, |row| {
                if let Some(message) = id_of(row, 0)? {
                    by_id.insert((tenant, message), known_of(row)?);
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn load_awaited(&mut self, db: &mut SqliteConnection) -> Result<()> {
        let mut names: HashMap<(i64, i64), Vec<Wanted<'a>>> = HashMap::new();
        let mut ids: HashMap<i64, Vec<Wanted<'a>>> = HashMap::new();
        for item in &self.items {
            let Some(message) = content::message(&item.draft.event) else { continue };
            let wanted = names.entry((item.tenant, item.app)).or_default();
            wanted.extend(content::vendor_names(item.draft).map(Wanted::Text));
            ids.entry(item.tenant).or_default().push(Wanted::Id(message.id));
        }
        let mut found: HashMap<i64, Awaited> = HashMap::new();
        let mut take = |row: &SqliteRow| {
            let id: i64 = row.try_get(0)?;
            let (tenant, app, vendor) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            found.insert(id, Awaited { id: Some(id), tenant, app, vendor, message: id_of(row, 4)?, gone: false });
            Ok(())
        };
        for ((tenant, app), wanted) in names {
            read(db, &AWAITED_NAMES, &[tenant, app], &wanted, &mut take).await?;
        }
        for (tenant, wanted) in ids {
            read(db, &AWAITED_IDS, &[tenant], &wanted, &mut take).await?;
        }
        self.awaited.extend(found.into_values());
        self.awaited.sort_by_key(|awaited| awaited.id);
        Ok(())
    }
}
