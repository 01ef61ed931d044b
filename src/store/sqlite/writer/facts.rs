//! What the database knows that a batch of events and sends depends on, read in lists before anything is written.

use foldhash::HashMap;
use rusqlite::Connection;
use switchboard_contract::storage::Draft;
use switchboard_contract::{
    App, ConversationId, EventData, KeyClass, MessageId, Origin, Result, SendId, SendState, TenantId,
};

use super::Command;
use super::memory::{Head, Memory, Stream};
use crate::store::content;

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
    pub(super) origin: Origin,
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
    pub(super) by_name: HashMap<(i64, &'a str), usize>,
}

impl<'a> Facts<'a> {
    pub(super) fn load(db: &Connection, memory: &mut Memory, batch: &'a [Command]) -> Result<Facts<'a>> {
        let mut facts = Self {
            next_send: memory.next_send,
            next_leg: memory.next_leg,
            next_conversation: memory.next_conversation,
            ..Self::default()
        };
        let (mut changes, mut guards, mut sends) = (Vec::new(), Vec::new(), Vec::new());
        for command in batch {
            match command {
                Command::Commit(commit, _) => {
                    for guard in &commit.only_if {
                        guards.push(guard);
                        facts.name(db, memory, &guard.tenant)?;
                    }
                    for change in &commit.changes {
                        changes.push(change);
                        facts.name(db, memory, &change.tenant)?;
                        facts.take(db, memory, &change.drafts)?;
                    }
                    facts.take(db, memory, &commit.drafts)?;
                }
                Command::Enqueue(all, _) => {
                    for send in all {
                        sends.push(send);
                        facts.name(db, memory, &send.tenant)?;
                        if !facts.apps.contains_key(&send.app) {
                            let id = memory.app(db, &send.app)?;
                            facts.apps.insert(&send.app, id);
                        }
                        facts.take(db, memory, &send.drafts)?;
                    }
                }
                Command::Errand(_) => {}
            }
        }
        facts.load_keys(db, memory)?;
        facts.load_heads(db, &memory.index)?;
        facts.load_legs(db, &changes, &guards)?;
        facts.load_clients(db, &sends)?;
        facts.load_sent(db)?;
        facts.load_by_id(db, &changes)?;
        if memory.awaits {
            facts.load_awaited(db)?;
        }
        Ok(facts)
    }

    fn name(&mut self, db: &Connection, memory: &mut Memory, tenant: &'a TenantId) -> Result<i64> {
        if let Some(id) = self.tenants.get(tenant) {
            return Ok(*id);
        }
        let id = memory.tenant(db, tenant)?;
        self.tenants.insert(tenant, id);
        Ok(id)
    }

    /// Numbers the names of drafts. Whoever comes in a row shares tenant and app, so the last ones are kept at hand.
    fn take(&mut self, db: &Connection, memory: &mut Memory, drafts: &'a [Draft]) -> Result<()> {
        let mut last: Option<(&TenantId, Option<&App>, i64, i64, usize)> = None;
        for draft in drafts {
            let event = &draft.event;
            let (tenant, app, stream) = match last {
                Some((name, of, tenant, app, stream)) if name == &event.tenant && of == event.app.as_ref() => {
                    (tenant, app, stream)
                }
                _ => {
                    let tenant = self.name(db, memory, &event.tenant)?;
                    let app = match &event.app {
                        Some(app) => memory.app(db, app)?,
                        None => 0,
                    };
                    let stream = match self.streams.iter().position(|stream| stream.tenant == tenant) {
                        Some(stream) => stream,
                        None => {
                            let end = memory.stream(db, tenant)?;
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
            self.recalls |= matches!(event.data, EventData::Recall(_));
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
}
