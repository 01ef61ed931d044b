//! Bindings, the directory and the quarantine.

use rusqlite::{Connection, OptionalExtension as _, params};
use switchboard_contract::storage::{Binding, BindingKind, GroupRecord, Quarantined, UserRecord};
use switchboard_contract::{App, Error, ErrorKind, GroupId, Result, TenantId, UserId};

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;

/// Writes pairs.
pub(crate) struct Bind {
    pub(crate) tenant: TenantId,
    pub(crate) app: App,
    pub(crate) bindings: Vec<Binding>,
}

impl Errand for Bind {
    type Outcome = Vec<Binding>;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<Vec<Binding>> {
        let tenant = memory.tenant(db, &self.tenant)?;
        let app = memory.app(db, &self.app)?;
        let mut in_force = Vec::with_capacity(self.bindings.len());
        for asked in &self.bindings {
            let written = sql::execute(
                db,
                "INSERT OR IGNORE INTO bindings (tenant, app, kind, business, vendor) VALUES (?, ?, ?, ?, ?)",
                params![tenant, app, asked.kind.code(), asked.business.as_str(), asked.vendor.as_str()],
            )
            .map_err(failed("bind"))?;
            if written == 1 {
                in_force.push(asked.clone());
                continue;
            }
            let known: Option<String> = sql::scalar(
                db,
                "SELECT business FROM bindings WHERE tenant = ? AND app = ? AND kind = ? AND vendor = ?",
                params![tenant, app, asked.kind.code(), asked.vendor.as_str()],
            )
            .optional()
            .map_err(failed("bind"))?;
            let Some(business) = known else {
                return Err(Error::new(ErrorKind::Conflict, "the business id is bound to another vendor id"));
            };
            in_force.push(Binding { business, ..asked.clone() });
        }
        Ok(in_force)
    }
}

/// Records or forgets what was made at a vendor.
pub(crate) struct SetProvisioned {
    pub(crate) tenant: TenantId,
    pub(crate) app: App,
    pub(crate) items: Vec<(BindingKind, String, String)>,
    pub(crate) made: bool,
}

impl Errand for SetProvisioned {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let tenant = memory.tenant(db, &self.tenant)?;
        let app = memory.app(db, &self.app)?;
        let sql = if self.made {
            "INSERT OR IGNORE INTO provisioned (tenant, app, kind, business, detail) VALUES (?, ?, ?, ?, ?)"
        } else {
            "DELETE FROM provisioned WHERE tenant = ? AND app = ? AND kind = ? AND business = ? AND detail = ?"
        };
        for (kind, business, detail) in &self.items {
            sql::execute(db, sql, params![tenant, app, kind.code(), business.as_str(), detail.as_str()])
                .map_err(failed("set_provisioned"))?;
        }
        Ok(())
    }
}

/// Writes a user.
pub(crate) struct PutUser(pub(crate) TenantId, pub(crate) UserRecord);

impl Errand for PutUser {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, user) = self;
        let profile = serde_json::to_string(&user.profile)
            .map_err(|error| Error::new(ErrorKind::Internal, "a profile could not be encoded").with_source(error))?;
        sql::execute(
            db,
            "INSERT OR REPLACE INTO users (tenant, user, profile) VALUES (?, ?, ?)",
            params![memory.tenant(db, tenant)?, user.id.as_str(), profile],
        )
        .map(drop)
        .map_err(failed("put_user"))
    }
}

/// Writes a group with its members.
pub(crate) struct PutGroup(pub(crate) TenantId, pub(crate) GroupRecord);

impl Errand for PutGroup {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, group) = self;
        let tenant = memory.tenant(db, tenant)?;
        let id: i64 = sql::scalar(
            db,
            "INSERT INTO groups (tenant, name, room, title, owner) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET title = excluded.title, owner = excluded.owner RETURNING id",
            params![tenant, group.id.as_str(), group.room, group.name.as_str(), group.owner.as_str()],
        )
        .map_err(failed("put_group"))?;
        sql::execute(db, "DELETE FROM members WHERE tenant = ? AND grp = ?", params![tenant, id])
            .map_err(failed("put_group"))?;
        add_members(db, tenant, id, &group.members)
    }
}

fn add_members(db: &Connection, tenant: i64, group: i64, users: &[UserId]) -> Result<()> {
    for user in users {
        sql::execute(
            db,
            "INSERT OR IGNORE INTO members (tenant, grp, user, added) SELECT ?1, ?2, ?3,
             (SELECT coalesce(max(added), 0) + 1 FROM members WHERE tenant = ?1 AND grp = ?2)",
            params![tenant, group, user.as_str()],
        )
        .map_err(failed("members"))?;
    }
    Ok(())
}

fn group_id(db: &Connection, tenant: i64, id: &GroupId, room: bool) -> Result<Option<i64>> {
    sql::scalar(
        db,
        "SELECT id FROM groups WHERE tenant = ? AND name = ? AND room = ?",
        params![tenant, id.as_str(), room],
    )
    .optional()
    .map_err(failed("group"))
}

/// Adds and removes members.
pub(crate) struct ChangeMembers {
    pub(crate) tenant: TenantId,
    pub(crate) id: GroupId,
    pub(crate) room: bool,
    pub(crate) add: Vec<UserId>,
    pub(crate) remove: Vec<UserId>,
}

impl Errand for ChangeMembers {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let tenant = memory.tenant(db, &self.tenant)?;
        let Some(group) = group_id(db, tenant, &self.id, self.room)? else {
            return Err(Error::new(ErrorKind::NotFound, "no such group"));
        };
        for user in &self.remove {
            sql::execute(
                db,
                "DELETE FROM members WHERE tenant = ? AND grp = ? AND user = ?",
                params![tenant, group, user.as_str()],
            )
            .map_err(failed("members"))?;
        }
        add_members(db, tenant, group, &self.add)
    }
}

/// Removes a group.
pub(crate) struct RemoveGroup {
    pub(crate) tenant: TenantId,
    pub(crate) id: GroupId,
    pub(crate) room: bool,
}

impl Errand for RemoveGroup {
    type Outcome = bool;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.tenant)?;
        let Some(group) = group_id(db, tenant, &self.id, self.room)? else { return Ok(false) };
        for sql in
            ["DELETE FROM members WHERE tenant = ? AND grp = ?", "DELETE FROM groups WHERE tenant = ? AND id = ?"]
        {
            sql::execute(db, sql, params![tenant, group]).map_err(failed("remove_group"))?;
        }
        Ok(true)
    }
}

/// Keeps a callback aside, within the bound of its app.
pub(crate) struct PutAside {
    pub(crate) item: Quarantined,
    pub(crate) max_items: u32,
}

impl Errand for PutAside {
    type Outcome = u64;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<u64> {
        let tenant = memory.tenant(db, &self.item.tenant)?;
        let app = memory.app(db, &self.item.app)?;
        keep_aside(db, (tenant, app), &self.item, self.max_items)
    }
}

/// Writes to the quarantine; beyond `max_items` of the app the oldest go.
pub(super) fn keep_aside(
    db: &Connection,
    (tenant, app): (i64, i64),
    item: &Quarantined,
    max_items: u32,
) -> Result<u64> {
    let headers = serde_json::to_string(&item.raw.headers)
        .map_err(|error| Error::new(ErrorKind::Internal, "headers could not be encoded").with_source(error))?;
    let id: i64 = sql::scalar(
        db,
        "INSERT INTO quarantine (tenant, app, reason, path, query, headers, body, received_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        params![
            tenant,
            app,
            item.reason.code(),
            item.raw.path.as_str(),
            item.raw.query.as_str(),
            headers,
            &item.raw.body[..],
            item.raw.received_at.0
        ],
    )
    .map_err(failed("put_aside"))?;
    sql::execute(
        db,
        "DELETE FROM quarantine WHERE tenant = ?1 AND app = ?2 AND id <=
         (SELECT id FROM quarantine WHERE tenant = ?1 AND app = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
        params![tenant, app, max_items],
    )
    .map_err(failed("put_aside"))?;
    Ok(id.cast_unsigned())
}

/// Removes one from the quarantine.
pub(crate) struct Release(pub(crate) TenantId, pub(crate) u64);

impl Errand for Release {
    type Outcome = bool;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<bool> {
        let gone = sql::execute(
            db,
            "DELETE FROM quarantine WHERE tenant = ? AND id = ?",
            params![memory.tenant(db, &self.0)?, self.1.cast_signed()],
        )
        .map_err(failed("release"))?;
        Ok(gone == 1)
    }
}
