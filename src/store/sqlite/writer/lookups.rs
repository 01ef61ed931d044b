//! The look-ups behind [`Facts`]: each reads one kind of thing for the whole batch, in lists.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use switchboard_contract::storage::{LegChange, LegGuard, NewSend};
use switchboard_contract::{EventData, KeyClass, MessageId, Origin, Result, SendId, SendState};

use super::facts::{Awaited, Facts, Known, LegFact};
use super::index::Index;
use super::memory::{Head, Memory};
use crate::store::content;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::{Bulk, Values, unsigned};

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
         (SELECT max(t.sequence) FROM threads t WHERE t.tenant = c.tenant AND t.conversation = c.id), 0))
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
enum Wanted<'a> {
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

fn origin_of(row: &SqliteRow, at: usize) -> sqlx::Result<Origin> {
    let unknown = || sqlx::Error::Decode("an impossible origin".into());
    Origin::from_code(row.try_get(at)?).ok_or_else(unknown)
}

fn known_of(row: &SqliteRow) -> sqlx::Result<Known> {
    let sequence: Option<i64> = row.try_get(2)?;
    Ok(Known {
        place: row.try_get(1)?,
        sequence: sequence.map(unsigned),
        digest: unsigned(row.try_get(3)?),
        origin: origin_of(row, 4)?,
        message: id_of(row, 5)?,
        row: None,
    })
}

/// The greatest key journalled; the empty one when there is none.
async fn newest(db: &mut SqliteConnection, memory: &mut Memory, group: (i64, i64, u8)) -> Result<String> {
    if let Some(newest) = memory.newest.get(&group) {
        return Ok(newest);
    }
    let newest: Option<String> =
        sqlx::query_scalar("SELECT max(key) FROM journal WHERE tenant = ? AND app = ? AND class = ?")
            .bind(group.0)
            .bind(group.1)
            .bind(group.2)
            .fetch_one(db)
            .await
            .map_err(failed("look_up"))?;
    let newest = newest.unwrap_or_default();
    memory.newest.insert(group, newest.clone());
    Ok(newest)
}

impl<'a> Facts<'a> {
    /// Vendors number their events upwards, so nearly all keys are greater than any journalled, which one look tells.
    pub(super) async fn load_keys(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let mut groups: HashMap<(i64, i64, u8), Vec<Wanted<'a>>> = HashMap::new();
        for (tenant, app, class, key) in self.keys.keys() {
            groups.entry((*tenant, *app, *class)).or_default().push(Wanted::Text(key));
        }
        for (group, mut wanted) in groups {
            let (tenant, app, class) = group;
            let newest = newest(db, memory, group).await?;
            wanted.retain(|key| !matches!(key, Wanted::Text(key) if *key > newest.as_str()));
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

    pub(super) async fn load_heads(&mut self, db: &mut SqliteConnection, index: &Index) -> Result<()> {
        let mut groups: HashMap<i64, Vec<Wanted<'a>>> = HashMap::new();
        for state in self.heads.iter().filter(|state| state.head.is_none()) {
            groups.entry(state.tenant).or_default().push(Wanted::Text(state.name.as_str()));
        }
        for (tenant, wanted) in groups {
            let (by_name, heads) = (&self.by_name, &mut self.heads);
            read(db, &HEADS, &[tenant], &wanted, |row| {
                if let Some(at) = by_name.get(&(tenant, row.try_get(0)?)) {
                    let (id, last): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
                    // What retention removed may be newer than what waits.
                    let last = index.last((tenant, id)).map_or(last, |waiting| waiting.max(last));
                    heads[*at].head = Some(Head { id, last: unsigned(last) });
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    pub(super) async fn load_legs(
        &mut self,
        db: &mut SqliteConnection,
        changes: &[&'a LegChange],
        guards: &[&'a LegGuard],
    ) -> Result<()> {
        let mut groups: HashMap<i64, Vec<Wanted<'_>>> = HashMap::new();
        let changed = changes.iter().map(|change| (&change.tenant, change.message_id));
        for (tenant, message) in changed.chain(guards.iter().map(|guard| (&guard.tenant, guard.message_id))) {
            groups.entry(self.tenants[tenant]).or_default().push(Wanted::Id(message));
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

    pub(super) async fn load_clients(&mut self, db: &mut SqliteConnection, sends: &[&'a NewSend]) -> Result<()> {
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
    pub(super) async fn load_sent(&mut self, db: &mut SqliteConnection) -> Result<()> {
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
    pub(super) async fn load_by_id(&mut self, db: &mut SqliteConnection, changes: &[&'a LegChange]) -> Result<()> {
        if !self.recalls {
            return Ok(());
        }
        let mut groups: HashMap<i64, Vec<Wanted<'a>>> = HashMap::new();
        // A step of this batch may be what tells a recall of this batch whose message it names.
        for change in changes.iter().filter(|change| change.vendor_id.is_some()) {
            groups.entry(self.tenants[&change.tenant]).or_default().push(Wanted::Id(change.message_id));
        }
        for item in &self.items {
            let EventData::Recall(recall) = &item.draft.event.data else { continue };
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

    pub(super) async fn load_awaited(&mut self, db: &mut SqliteConnection) -> Result<()> {
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
