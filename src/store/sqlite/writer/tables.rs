//! Bindings, the directory and the quarantine.

use async_trait::async_trait;
use sqlx::{Row as _, SqliteConnection};
use switchboard_contract::storage::{Binding, BindingKind, GroupRecord, Quarantined, UserRecord};
use switchboard_contract::{App, Error, ErrorKind, GroupId, Result, TenantId, UserId};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;

/// Writes pairs.
pub(crate) struct Bind {
    pub(crate) tenant: TenantId,
    pub(crate) app: App,
    pub(crate) bindings: Vec<Binding>,
}

#[async_trait]
impl Errand for Bind {
    type Outcome = Vec<Binding>;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<Vec<Binding>> {
        let tenant = memory.tenant(db, &self.tenant).await?;
        let app = memory.app(db, &self.app).await?;
        let mut in_force = Vec::with_capacity(self.bindings.len());
        for asked in &self.bindings {
            let written = sqlx::query(
                "INSERT OR IGNORE INTO bindings (tenant, app, kind, business, vendor) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(tenant)
            .bind(app)
            .bind(asked.kind.code())
            .bind(asked.business.as_str())
            .bind(asked.vendor.as_str())
            .execute(&mut *db)
            .await
            .map_err(failed("bind"))?;
            if written.rows_affected() == 1 {
                in_force.push(asked.clone());
                continue;
            }
            let known: Option<String> = sqlx::query_scalar(
                "SELECT business FROM bindings WHERE tenant = ? AND app = ? AND kind = ? AND vendor = ?",
            )
            .bind(tenant)
            .bind(app)
            .bind(asked.kind.code())
            .bind(asked.vendor.as_str())
            .fetch_optional(&mut *db)
            .await
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

#[async_trait]
impl Errand for SetProvisioned {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let tenant = memory.tenant(db, &self.tenant).await?;
        let app = memory.app(db, &self.app).await?;
        let sql = if self.made {
            "INSERT OR IGNORE INTO provisioned (tenant, app, kind, business, detail) VALUES (?, ?, ?, ?, ?)"
        } else {
            "DELETE FROM provisioned WHERE tenant = ? AND app = ? AND kind = ? AND business = ? AND detail = ?"
        };
        for (kind, business, detail) in &self.items {
            sqlx::query(sql)
                .bind(tenant)
                .bind(app)
                .bind(kind.code())
                .bind(business.as_str())
                .bind(detail.as_str())
                .execute(&mut *db)
                .await
                .map_err(failed("set_provisioned"))?;
        }
        Ok(())
    }
}

/// Writes a user.
pub(crate) struct PutUser(pub(crate) TenantId, pub(crate) UserRecord);

#[async_trait]
impl Errand for PutUser {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, user) = self;
        let profile = serde_json::to_string(&user.profile)
            .map_err(|error| Error::new(ErrorKind::Internal, "a profile could not be encoded").with_source(error))?;
        sqlx::query("INSERT OR REPLACE INTO users (tenant, user, profile) VALUES (?, ?, ?)")
            .bind(memory.tenant(db, tenant).await?)
            .bind(user.id.as_str())
            .bind(profile)
            .execute(db)
            .await
            .map(drop)
            .map_err(failed("put_user"))
    }
}

/// Writes a group with its members.
pub(crate) struct PutGroup(pub(crate) TenantId, pub(crate) GroupRecord);

#[async_trait]
impl Errand for PutGroup {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let Self(tenant, group) = self;
        let tenant = memory.tenant(db, tenant).await?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO groups (tenant, name, room, title, owner) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET title = excluded.title, owner = excluded.owner RETURNING id",
        )
        .bind(tenant)
        .bind(group.id.as_str())
        .bind(group.room)
        .bind(group.name.as_str())
        .bind(group.owner.as_str())
        .fetch_one(&mut *db)
        .await
        .map_err(failed("put_group"))?;
        sqlx::query("DELETE FROM members WHERE tenant = ? AND grp = ?")
            .bind(tenant)
            .bind(id)
            .execute(&mut *db)
            .await
            .map_err(failed("put_group"))?;
        add_members(db, tenant, id, &group.members).await
    }
}

async fn add_members(db: &mut SqliteConnection, tenant: i64, group: i64, users: &[UserId]) -> Result<()> {
    for user in users {
        sqlx::query(
            "INSERT OR IGNORE INTO members (tenant, grp, user, added) SELECT ?1, ?2, ?3,
             (SELECT coalesce(max(added), 0) + 1 FROM members WHERE tenant = ?1 AND grp = ?2)",
        )
        .bind(tenant)
        .bind(group)
        .bind(user.as_str())
        .execute(&mut *db)
        .await
        .map_err(failed("members"))?;
    }
    Ok(())
}

async fn group_id(db: &mut SqliteConnection, tenant: i64, id: &GroupId, room: bool) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT id FROM groups WHERE tenant = ? AND name = ? AND room = ?")
        .bind(tenant)
        .bind(id.as_str())
        .bind(room)
        .fetch_optional(db)
        .await
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

#[async_trait]
impl Errand for ChangeMembers {
    type Outcome = ();

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<()> {
        let tenant = memory.tenant(db, &self.tenant).await?;
        let Some(group) = group_id(db, tenant, &self.id, self.room).await? else {
            return Err(Error::new(ErrorKind::NotFound, "no such group"));
        };
        for user in &self.remove {
            sqlx::query("DELETE FROM members WHERE tenant = ? AND grp = ? AND user = ?")
                .bind(tenant)
                .bind(group)
                .bind(user.as_str())
                .execute(&mut *db)
                .await
                .map_err(failed("members"))?;
        }
        add_members(db, tenant, group, &self.add).await
    }
}

/// Removes a group.
pub(crate) struct RemoveGroup {
    pub(crate) tenant: TenantId,
    pub(crate) id: GroupId,
    pub(crate) room: bool,
}

#[async_trait]
impl Errand for RemoveGroup {
    type Outcome = bool;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<bool> {
        let tenant = memory.tenant(db, &self.tenant).await?;
        let Some(group) = group_id(db, tenant, &self.id, self.room).await? else { return Ok(false) };
        for sql in
            ["DELETE FROM members WHERE tenant = ? AND grp = ?", "DELETE FROM groups WHERE tenant = ? AND id = ?"]
        {
            sqlx::query(sql).bind(tenant).bind(group).execute(&mut *db).await.map_err(failed("remove_group"))?;
        }
        Ok(true)
    }
}

/// Keeps a callback aside, within the bound of its app.
pub(crate) struct PutAside {
    pub(crate) item: Quarantined,
    pub(crate) max_items: u32,
}

#[async_trait]
impl Errand for PutAside {
    type Outcome = u64;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<u64> {
        let tenant = memory.tenant(db, &self.item.tenant).await?;
        let app = memory.app(db, &self.item.app).await?;
        keep_aside(db, (tenant, app), &self.item, self.max_items).await
    }
}

/// Writes to the quarantine; beyond `max_items` of the app the oldest go.
pub(super) async fn keep_aside(
    db: &mut SqliteConnection,
    (tenant, app): (i64, i64),
    item: &Quarantined,
    max_items: u32,
) -> Result<u64> {
    let headers = serde_json::to_string(&item.raw.headers)
        .map_err(|error| Error::new(ErrorKind::Internal, "headers could not be encoded").with_source(error))?;
    let id: i64 = sqlx::query(
        "INSERT INTO quarantine (tenant, app, reason, path, query, headers, body, received_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(tenant)
    .bind(app)
    .bind(item.reason.code())
    .bind(item.raw.path.as_str())
    .bind(item.raw.query.as_str())
    .bind(headers)
    .bind(item.raw.body.as_ref())
    .bind(item.raw.received_at.0)
    .fetch_one(&mut *db)
    .await
    .map_err(failed("put_aside"))?
    .get(0);
    sqlx::query(
        "DELETE FROM quarantine WHERE tenant = ?1 AND app = ?2 AND id <=
         (SELECT id FROM quarantine WHERE tenant = ?1 AND app = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
    )
    .bind(tenant)
    .bind(app)
    .bind(max_items)
    .execute(db)
    .await
    .map_err(failed("put_aside"))?;
    Ok(id.cast_unsigned())
}

/// Removes one from the quarantine.
pub(crate) struct Release(pub(crate) TenantId, pub(crate) u64);

#[async_trait]
impl Errand for Release {
    type Outcome = bool;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<bool> {
        let gone = sqlx::query("DELETE FROM quarantine WHERE tenant = ? AND id = ?")
            .bind(memory.tenant(db, &self.0).await?)
            .bind(self.1.cast_signed())
            .execute(db)
            .await
            .map_err(failed("release"))?;
        Ok(gone.rows_affected() == 1)
    }
}
