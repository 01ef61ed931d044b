//! Bindings, the directory and the quarantine.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{
    Binding, BindingKind, Bindings, Directory, GroupRecord, Quarantine, QuarantineReason, Quarantined, UserRecord,
};
use switchboard_contract::{App, GroupId, RawCallback, Result, TenantId, Timestamp, UserId};

use super::bounded;
use crate::store::content;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::unsigned;
use crate::store::sqlite::writer::{
    Bind, ChangeMembers, PutAside, PutGroup, PutUser, Release, RemoveGroup, SetProvisioned,
};

impl SqliteStore {
    async fn numbers(&self, tenant: &TenantId, app: &App) -> Result<Option<(i64, i64)>> {
        Ok(self.tenant_number(tenant).await?.zip(self.app_number(app).await?))
    }

    async fn bound(
        &self,
        tenant: &TenantId,
        app: &App,
        sql: &'static str,
        wanted: &[(BindingKind, String)],
    ) -> Result<Vec<Option<Binding>>> {
        let Some((tenant, app)) = self.numbers(tenant, app).await? else { return Ok(vec![None; wanted.len()]) };
        let mut found = Vec::with_capacity(wanted.len());
        let mut reader = self.readers()?.acquire().await.map_err(failed("bindings"))?;
        for (kind, id) in wanted {
            let row: Option<(String, String)> = sqlx::query_as(sql)
                .bind(tenant)
                .bind(app)
                .bind(kind.code())
                .bind(id.as_str())
                .fetch_optional(&mut *reader)
                .await
                .map_err(failed("bindings"))?;
            found.push(row.map(|(business, vendor)| Binding { kind: *kind, business, vendor }));
        }
        Ok(found)
    }

    async fn with_members(
        &self,
        (id, name, room, title, owner): (i64, String, bool, String, String),
    ) -> Result<GroupRecord> {
        let members: Vec<String> = sqlx::query_scalar(
            "SELECT m.user FROM groups g JOIN members m ON m.tenant = g.tenant AND m.grp = g.id
             WHERE g.id = ? ORDER BY m.added",
        )
        .bind(id)
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("groups"))?;
        let members = members.into_iter().map(UserId::from).collect();
        Ok(GroupRecord { id: name.into(), room, name: title, owner: owner.into(), members })
    }
}

#[async_trait]
impl Bindings for SqliteStore {
    async fn by_vendor(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String)],
    ) -> Result<Vec<Option<Binding>>> {
        const SQL: &str =
            "SELECT business, vendor FROM bindings WHERE tenant = ? AND app = ? AND kind = ? AND vendor = ?";
        self.bound(tenant, app, SQL, wanted).await
    }

    async fn by_business(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String)],
    ) -> Result<Vec<Option<Binding>>> {
        const SQL: &str =
            "SELECT business, vendor FROM bindings WHERE tenant = ? AND app = ? AND kind = ? AND business = ?";
        self.bound(tenant, app, SQL, wanted).await
    }

    async fn bind(&self, tenant: &TenantId, app: &App, bindings: &[Binding]) -> Result<Vec<Binding>> {
        self.write(Bind { tenant: tenant.clone(), app: app.clone(), bindings: bindings.to_vec() }).await
    }

    async fn bindings(
        &self,
        tenant: &TenantId,
        app: &App,
        after: Option<(BindingKind, String)>,
        limit: usize,
    ) -> Result<Vec<Binding>> {
        let Some((tenant, app)) = self.numbers(tenant, app).await? else { return Ok(Vec::new()) };
        let (kind, business) = after.map_or((-1, String::new()), |(kind, id)| (i64::from(kind.code()), id));
        let rows: Vec<(u8, String, String)> = sqlx::query_as(
            "SELECT kind, business, vendor FROM bindings WHERE tenant = ? AND app = ? AND (kind, business) > (?, ?)
             ORDER BY kind, business LIMIT ? + 0",
        )
        .bind(tenant)
        .bind(app)
        .bind(kind)
        .bind(business)
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("bindings"))?;
        rows.into_iter()
            .map(|(kind, business, vendor)| {
                let kind = BindingKind::from_code(kind).ok_or_else(|| damaged("binding"))?;
                Ok(Binding { kind, business, vendor })
            })
            .collect()
    }

    async fn provisioned(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String, String)],
    ) -> Result<Vec<bool>> {
        let Some((tenant, app)) = self.numbers(tenant, app).await? else { return Ok(vec![false; wanted.len()]) };
        let mut made = Vec::with_capacity(wanted.len());
        let mut reader = self.readers()?.acquire().await.map_err(failed("provisioned"))?;
        for (kind, business, detail) in wanted {
            let found = sqlx::query(
                "SELECT 1 FROM provisioned WHERE tenant = ? AND app = ? AND kind = ? AND business = ? AND detail = ?",
            )
            .bind(tenant)
            .bind(app)
            .bind(kind.code())
            .bind(business.as_str())
            .bind(detail.as_str())
            .fetch_optional(&mut *reader)
            .await
            .map_err(failed("provisioned"))?;
            made.push(found.is_some());
        }
        Ok(made)
    }

    async fn set_provisioned(
        &self,
        tenant: &TenantId,
        app: &App,
        items: &[(BindingKind, String, String)],
        made: bool,
    ) -> Result<()> {
        self.write(SetProvisioned { tenant: tenant.clone(), app: app.clone(), items: items.to_vec(), made }).await
    }
}

#[async_trait]
impl Directory for SqliteStore {
    async fn put_user(&self, tenant: &TenantId, user: &UserRecord) -> Result<()> {
        self.write(PutUser(tenant.clone(), user.clone())).await
    }

    async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<UserRecord>> {
        let profile: Option<String> = sqlx::query_scalar(
            "SELECT profile FROM users WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND user = ?",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("users"))?;
        let profile = profile.map(|text| serde_json::from_str(&text).map_err(|_| damaged("profile"))).transpose()?;
        Ok(profile.map(|profile| UserRecord { id: id.clone(), profile }))
    }

    async fn put_group(&self, tenant: &TenantId, group: &GroupRecord) -> Result<()> {
        self.write(PutGroup(tenant.clone(), group.clone())).await
    }

    async fn group(&self, tenant: &TenantId, id: &GroupId, room: bool) -> Result<Option<GroupRecord>> {
        let group = sqlx::query_as(
            "SELECT id, name, room, title, owner FROM groups
             WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND name = ? AND room = ?",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .bind(room)
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("groups"))?;
        match group {
            Some(group) => self.with_members(group).await.map(Some),
            None => Ok(None),
        }
    }

    async fn groups(&self, tenant: &TenantId, after: Option<&GroupId>, limit: usize) -> Result<Vec<GroupRecord>> {
        let rows = sqlx::query_as(
            "SELECT id, name, room, title, owner FROM groups
             WHERE tenant = (SELECT id FROM tenants WHERE name = ?1) AND (?2 IS NULL OR name > ?2)
             ORDER BY name, room LIMIT ?3 + 0",
        )
        .bind(tenant.as_str())
        .bind(after.map(GroupId::as_str))
        .bind(bounded(limit).saturating_add(1))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("groups"))?;
        let mut groups = Vec::with_capacity(rows.len());
        for row in rows {
            groups.push(self.with_members(row).await?);
        }
        Ok(content::whole_ids(groups, limit))
    }

    async fn change_members(
        &self,
        tenant: &TenantId,
        id: &GroupId,
        room: bool,
        add: &[UserId],
        remove: &[UserId],
    ) -> Result<()> {
        let (tenant, id, add, remove) = (tenant.clone(), id.clone(), add.to_vec(), remove.to_vec());
        self.write(ChangeMembers { tenant, id, room, add, remove }).await
    }

    async fn remove_group(&self, tenant: &TenantId, id: &GroupId, room: bool) -> Result<bool> {
        self.write(RemoveGroup { tenant: tenant.clone(), id: id.clone(), room }).await
    }
}

fn quarantined(row: &SqliteRow, tenant: &TenantId) -> Result<Quarantined> {
    let fail = failed("quarantine");
    let (kind, key): (String, String) = (row.try_get(1).map_err(&fail)?, row.try_get(2).map_err(&fail)?);
    let headers: &str = row.try_get(6).map_err(&fail)?;
    let body: Vec<u8> = row.try_get(7).map_err(&fail)?;
    Ok(Quarantined {
        id: unsigned(row.try_get(0).map_err(&fail)?),
        tenant: tenant.clone(),
        app: App::new(kind, key),
        reason: QuarantineReason::from_code(row.try_get(3).map_err(&fail)?).ok_or_else(|| damaged("reason"))?,
        raw: RawCallback {
            path: row.try_get(4).map_err(&fail)?,
            query: row.try_get(5).map_err(&fail)?,
            headers: serde_json::from_str(headers).map_err(|_| damaged("callback"))?,
            body: body.into(),
            received_at: Timestamp(row.try_get(8).map_err(&fail)?),
        },
    })
}

#[async_trait]
impl Quarantine for SqliteStore {
    async fn put_aside(&self, item: Quarantined, max_items: u32) -> Result<u64> {
        self.write(PutAside { item, max_items }).await
    }

    async fn set_aside(&self, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Quarantined>> {
        let rows = sqlx::query(
            "SELECT q.id, a.kind, a.key, q.reason, q.path, q.query, q.headers, q.body, q.received_at
             FROM quarantine q JOIN apps a ON a.id = q.app
             WHERE q.tenant = (SELECT id FROM tenants WHERE name = ?) AND q.id > ? ORDER BY q.id LIMIT ? + 0",
        )
        .bind(tenant.as_str())
        .bind(bounded(usize::try_from(after).unwrap_or(usize::MAX)))
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("quarantine"))?;
        rows.iter().map(|row| quarantined(row, tenant)).collect()
    }

    async fn release(&self, tenant: &TenantId, id: u64) -> Result<bool> {
        self.write(Release(tenant.clone(), id)).await
    }
}
