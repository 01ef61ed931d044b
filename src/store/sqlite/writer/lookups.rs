//! The look-ups behind [`Facts`]: each reads one kind of thing for the whole batch.

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt as _};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, Row, params};
use switchboard_contract::storage::{LegChange, LegGuard, NewSend};
use switchboard_contract::{EventData, KeyClass, MessageId, Origin, Result, SendId, SendState};

use super::facts::{Awaited, Facts, Known, LegFact};
use super::index::Index;
use super::memory::{Head, Memory};
use super::sql;
use crate::store::content;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::unsigned;

const KEY: &str = "
    SELECT place, sequence, digest, origin, message FROM journal
    WHERE tenant = ? AND app = ? AND class = ? AND key = ?";
const BY_ID: &str = "
    SELECT place, sequence, digest, origin, message FROM journal WHERE tenant = ? AND message = ? ORDER BY place LIMIT 1";
const HEAD: &str = "
    SELECT c.id, max(c.last_sequence, coalesce(
        (SELECT max(t.sequence) FROM threads t WHERE t.tenant = c.tenant AND t.conversation = c.id), 0))
    FROM conversations c WHERE c.tenant = ? AND c.name = ?";
const LEG: &str = "SELECT id, app, state FROM legs WHERE tenant = ? AND message = ?";
const CLIENT: &str = "SELECT send, digest FROM sends WHERE tenant = ? AND client_id = ?";
const SENT: &str = "SELECT message FROM legs WHERE tenant = ? AND app = ? AND vendor = ? ORDER BY id LIMIT 1";
const AWAITED_NAME: &str =
    "SELECT id, tenant, app, vendor, message FROM awaited WHERE tenant = ? AND app = ? AND vendor = ?";
const AWAITED_ID: &str = "SELECT id, tenant, app, vendor, message FROM awaited WHERE tenant = ? AND message = ?";

fn prepare<'db>(db: &'db Connection, sql: &str) -> Result<CachedStatement<'db>> {
    db.prepare_cached(sql).map_err(failed("look_up"))
}

/// The row that a statement finds, if any.
fn find<T>(
    statement: &mut CachedStatement<'_>,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    statement.query_row(values, read).optional().map_err(failed("look_up"))
}

fn known_of(row: &Row<'_>) -> rusqlite::Result<Known> {
    let (sequence, digest, origin): (Option<i64>, i64, u8) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let impossible = || rusqlite::Error::IntegralValueOutOfRange(3, origin.into());
    Ok(Known {
        place: row.get(0)?,
        sequence: sequence.map(unsigned),
        digest: unsigned(digest),
        origin: Origin::from_code(origin).ok_or_else(impossible)?,
        message: row.get::<_, Option<[u8; 16]>>(4)?.map(MessageId::from_bytes),
        row: None,
    })
}

fn awaited_of(row: &Row<'_>) -> rusqlite::Result<Awaited> {
    let message: Option<[u8; 16]> = row.get(4)?;
    Ok(Awaited {
        id: Some(row.get(0)?),
        tenant: row.get(1)?,
        app: row.get(2)?,
        vendor: row.get(3)?,
        message: message.map(MessageId::from_bytes),
        gone: false,
    })
}

/// The greatest key journalled; the empty one when there is none.
fn newest(db: &Connection, memory: &mut Memory, group: (i64, i64, u8)) -> Result<String> {
    if let Some(newest) = memory.newest.get(&group) {
        return Ok(newest);
    }
    let newest: Option<String> = sql::scalar(
        db,
        "SELECT max(key) FROM journal WHERE tenant = ? AND app = ? AND class = ?",
        params![group.0, group.1, group.2],
    )
    .map_err(failed("look_up"))?;
    let newest = newest.unwrap_or_default();
    memory.newest.insert(group, newest.clone());
    Ok(newest)
}

impl<'a> Facts<'a> {
    /// Vendors number their events upwards, so nearly all keys are greater than any journalled, which one look tells.
    pub(super) fn load_keys(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let mut statement = prepare(db, KEY)?;
        let mut greatest: HashMap<(i64, i64, u8), String> = HashMap::new();
        for ((tenant, app, class, key), at) in &self.keys {
            let newest = match greatest.entry((*tenant, *app, *class)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(missing) => missing.insert(newest(db, memory, (*tenant, *app, *class))?),
            };
            if *key <= newest.as_str() {
                self.known[*at] = find(&mut statement, params![tenant, app, class, key], known_of)?;
            }
        }
        Ok(())
    }

    pub(super) fn load_heads(&mut self, db: &Connection, index: &Index) -> Result<()> {
        let mut statement = prepare(db, HEAD)?;
        for state in self.heads.iter_mut().filter(|state| state.head.is_none()) {
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
            if let Some((id, last)) = find(&mut statement, params![state.tenant, state.name.as_str()], read)? {
                // What retention removed may be newer than what waits.
                let last = index.last((state.tenant, id)).map_or(last, |waiting| waiting.max(last));
                state.head = Some(Head { id, last: unsigned(last) });
            }
        }
        Ok(())
    }

    pub(super) fn load_legs(
        &mut self,
        db: &Connection,
        changes: &[&'a LegChange],
        guards: &[&'a LegGuard],
    ) -> Result<()> {
        let mut statement = prepare(db, LEG)?;
        let changed = changes.iter().map(|change| (&change.tenant, change.message_id));
        for (tenant, message) in changed.chain(guards.iter().map(|guard| (&guard.tenant, guard.message_id))) {
            let tenant = self.tenants[tenant];
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            if let Some((id, app, state)) = find(&mut statement, params![tenant, message.as_bytes()], read)? {
                let state = SendState::from_code(state).ok_or_else(|| damaged("leg"))?;
                self.legs.insert((tenant, message), LegFact { id, app, state });
            }
        }
        Ok(())
    }

    pub(super) fn load_clients(&mut self, db: &Connection, sends: &[&'a NewSend]) -> Result<()> {
        let mut statement = prepare(db, CLIENT)?;
        for send in sends {
            let Some(id) = &send.client_message_id else { continue };
            let tenant = self.tenants[&send.tenant];
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            if let Some((send, digest)) = find(&mut statement, params![tenant, id.as_str()], read)? {
                self.clients.insert((tenant, id.as_str().to_owned()), (SendId::from_bytes(send), digest));
            }
        }
        Ok(())
    }

    /// Targets that no journalled message carries may be sends of ours.
    pub(super) fn load_sent(&mut self, db: &Connection) -> Result<()> {
        let mut statement = prepare(db, SENT)?;
        for item in &self.items {
            let Some(target) = content::target(&item.draft.event) else { continue };
            let Some(vendor) = target.vendor_id.as_ref().filter(|_| target.id.is_none()) else { continue };
            let at = self.keys[&(item.tenant, item.app, KeyClass::Message.code(), vendor.as_str())];
            if self.known[at].is_none() && item.app != 0 {
                let read = |row: &Row<'_>| row.get::<_, Option<[u8; 16]>>(0);
                let values = params![item.tenant, item.app, vendor.as_str()];
                if let Some(message) = find(&mut statement, values, read)?.flatten() {
                    let key = (item.tenant, item.app, vendor.as_str().to_owned());
                    self.sent.insert(key, MessageId::from_bytes(message));
                }
            }
        }
        Ok(())
    }

    /// A recall may know its message by our id alone.
    pub(super) fn load_by_id(&mut self, db: &Connection, changes: &[&'a LegChange]) -> Result<()> {
        if !self.recalls {
            return Ok(());
        }
        // A step of this batch may be what tells a recall of this batch whose message it names.
        let changed = changes.iter().filter(|change| change.vendor_id.is_some());
        let mut wanted: Vec<(i64, MessageId)> =
            changed.map(|change| (self.tenants[&change.tenant], change.message_id)).collect();
        for item in &self.items {
            let EventData::Recall(recall) = &item.draft.event.data else { continue };
            let vendor = recall.target.vendor_id.as_ref().map(|id| (item.tenant, item.app, id.as_str().to_owned()));
            let id = recall.target.id.or_else(|| vendor.and_then(|key| self.sent.get(&key).copied()));
            wanted.extend(id.map(|id| (item.tenant, id)));
        }
        let mut statement = prepare(db, BY_ID)?;
        for (tenant, message) in wanted {
            if let Some(known) = find(&mut statement, params![tenant, message.as_bytes()], known_of)? {
                self.by_id.insert((tenant, message), known);
            }
        }
        Ok(())
    }

    pub(super) fn load_awaited(&mut self, db: &Connection) -> Result<()> {
        let (mut by_name, mut by_id) = (prepare(db, AWAITED_NAME)?, prepare(db, AWAITED_ID)?);
        let mut found: HashMap<i64, Awaited> = HashMap::new();
        let fail = failed("look_up");
        for item in &self.items {
            let Some(message) = content::message(&item.draft.event) else { continue };
            for name in content::vendor_names(item.draft) {
                for awaited in by_name.query_map(params![item.tenant, item.app, name], awaited_of).map_err(&fail)? {
                    let awaited = awaited.map_err(&fail)?;
                    found.extend(awaited.id.map(|id| (id, awaited)));
                }
            }
            for awaited in by_id.query_map(params![item.tenant, message.id.as_bytes()], awaited_of).map_err(&fail)? {
                let awaited = awaited.map_err(&fail)?;
                found.extend(awaited.id.map(|id| (id, awaited)));
            }
        }
        self.awaited.extend(found.into_values());
        self.awaited.sort_by_key(|awaited| awaited.id);
        Ok(())
    }
}
