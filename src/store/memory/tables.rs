//! Bindings, the directory and the quarantine.

use std::ops::Bound;

use async_trait::async_trait;
use switchboard_contract::storage::{
    Binding, BindingKind, Bindings, Directory, GroupRecord, Quarantine, Quarantined, UserRecord,
};
use switchboard_contract::{App, Error, ErrorKind, GroupId, Result, TenantId, UserId};

use super::MemoryStore;

fn group_key(tenant: &TenantId, id: &GroupId, room: bool) -> (TenantId, String, bool) {
    (tenant.clone(), id.as_str().to_owned(), room)
}

#[async_trait]
impl Bindings for MemoryStore {
    async fn by_vendor(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String)],
    ) -> Result<Vec<Option<Binding>>> {
        let state = self.state()?;
        let bound = state.bindings.get(&(tenant.clone(), app.clone()));
        Ok(wanted.iter().map(|key| bound.and_then(|bound| bound.by_vendor.get(key)).cloned()).collect())
    }

    async fn by_business(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String)],
    ) -> Result<Vec<Option<Binding>>> {
        let state = self.state()?;
        let bound = state.bindings.get(&(tenant.clone(), app.clone()));
        Ok(wanted.iter().map(|key| bound.and_then(|bound| bound.by_business.get(key)).cloned()).collect())
    }

    async fn bind(&self, tenant: &TenantId, app: &App, bindings: &[Binding]) -> Result<Vec<Binding>> {
        let mut state = self.state()?;
        let bound = state.bindings.entry((tenant.clone(), app.clone())).or_default();
        let (mut in_force, mut fresh): (Vec<Binding>, Vec<Binding>) = (Vec::new(), Vec::new());
        for asked in bindings {
            let known = bound.by_vendor.get(&(asked.kind, asked.vendor.clone()));
            let same = |known: &&Binding| known.kind == asked.kind && known.vendor == asked.vendor;
            if let Some(known) = known.or_else(|| fresh.iter().find(same)) {
                in_force.push(known.clone());
                continue;
            }
            let taken = bound.by_business.contains_key(&(asked.kind, asked.business.clone()))
                || fresh.iter().any(|new| new.kind == asked.kind && new.business == asked.business);
            if taken {
                return Err(Error::new(ErrorKind::Conflict, "the business id is bound to another vendor id"));
            }
            in_force.push(asked.clone());
            fresh.push(asked.clone());
        }
        for new in fresh {
            bound.by_vendor.insert((new.kind, new.vendor.clone()), new.clone());
            bound.by_business.insert((new.kind, new.business.clone()), new);
        }
        Ok(in_force)
    }

    async fn bindings(
        &self,
        tenant: &TenantId,
        app: &App,
        after: Option<(BindingKind, String)>,
        limit: usize,
    ) -> Result<Vec<Binding>> {
        let state = self.state()?;
        let Some(bound) = state.bindings.get(&(tenant.clone(), app.clone())) else { return Ok(Vec::new()) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = bound.by_business.range((from, Bound::Unbounded));
        Ok(range.take(limit).map(|(_, binding)| binding.clone()).collect())
    }

    async fn provisioned(
        &self,
        tenant: &TenantId,
        app: &App,
        wanted: &[(BindingKind, String, String)],
    ) -> Result<Vec<bool>> {
        let state = self.state()?;
        let made = |(kind, business, detail): &(BindingKind, String, String)| {
            state.provisioned.contains(&(tenant.clone(), app.clone(), *kind, business.clone(), detail.clone()))
        };
        Ok(wanted.iter().map(made).collect())
    }

    async fn set_provisioned(
        &self,
        tenant: &TenantId,
        app: &App,
        items: &[(BindingKind, String, String)],
        made: bool,
    ) -> Result<()> {
        let mut state = self.state()?;
        for (kind, business, detail) in items {
            let key = (tenant.clone(), app.clone(), *kind, business.clone(), detail.clone());
            if made {
                state.provisioned.insert(key);
            } else {
                state.provisioned.remove(&key);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Directory for MemoryStore {
    async fn put_user(&self, tenant: &TenantId, user: &UserRecord) -> Result<()> {
        self.state()?.users.insert((tenant.clone(), user.id.as_str().to_owned()), user.clone());
        Ok(())
    }

    async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<UserRecord>> {
        Ok(self.state()?.users.get(&(tenant.clone(), id.as_str().to_owned())).cloned())
    }

    async fn put_group(&self, tenant: &TenantId, group: &GroupRecord) -> Result<()> {
        let mut group = group.clone();
        let mut seen = std::collections::HashSet::new();
        group.members.retain(|member| seen.insert(member.clone()));
        self.state()?.groups.insert(group_key(tenant, &group.id, group.room), group);
        Ok(())
    }

    async fn group(&self, tenant: &TenantId, id: &GroupId, room: bool) -> Result<Option<GroupRecord>> {
        Ok(self.state()?.groups.get(&group_key(tenant, id, room)).cloned())
    }

    async fn groups(&self, tenant: &TenantId, after: Option<&GroupId>, limit: usize) -> Result<Vec<GroupRecord>> {
        let state = self.state()?;
        let own = state
            .groups
            .iter()
            .filter(|((owner, id, _), _)| owner == tenant && after.is_none_or(|after| id.as_str() > after.as_str()));
        Ok(crate::store::content::whole_ids(own.map(|(_, group)| group.clone()).take(limit + 1).collect(), limit))
    }

    async fn change_members(
        &self,
        tenant: &TenantId,
        id: &GroupId,
        room: bool,
        add: &[UserId],
        remove: &[UserId],
    ) -> Result<()> {
        let mut state = self.state()?;
        let Some(group) = state.groups.get_mut(&group_key(tenant, id, room)) else {
            return Err(Error::new(ErrorKind::NotFound, "no such group"));
        };
        group.members.retain(|member| !remove.contains(member));
        for user in add {
            if !group.members.contains(user) {
                group.members.push(user.clone());
            }
        }
        Ok(())
    }

    async fn remove_group(&self, tenant: &TenantId, id: &GroupId, room: bool) -> Result<bool> {
        Ok(self.state()?.groups.remove(&group_key(tenant, id, room)).is_some())
    }
}

#[async_trait]
impl Quarantine for MemoryStore {
    async fn put_aside(&self, item: Quarantined, max_items: u32) -> Result<u64> {
        Ok(self.state()?.keep_aside(item, max_items))
    }

    async fn set_aside(&self, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Quarantined>> {
        let state = self.state()?;
        let kept = state.quarantine.range(after.saturating_add(1)..).map(|(_, item)| item);
        Ok(kept.filter(|item| item.tenant == *tenant).take(limit).cloned().collect())
    }

    async fn release(&self, tenant: &TenantId, id: u64) -> Result<bool> {
        let mut state = self.state()?;
        let own = state.quarantine.get(&id).is_some_and(|item| item.tenant == *tenant);
        Ok(own && state.quarantine.remove(&id).is_some())
    }
}
