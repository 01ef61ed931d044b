//! Groups and rooms: kept here, made at a vendor on first use, and changed there from then on.

use std::collections::BTreeSet;
use std::sync::Arc;

use switchboard_contract::storage::{BindingKind, GroupRecord};
use switchboard_contract::{Error, ErrorKind, GroupId, GroupRef, Groups, Provider, Result, UserId};

use super::Tenant;

impl Tenant {
    /// Writes a group or room. Where it exists at a vendor already, members who came or went are changed there too.
    ///
    /// # Errors
    /// `InvalidInput` without an owner or name; whatever the vendor says; `Storage`.
    pub async fn put_group(&self, mut group: GroupRecord) -> Result<()> {
        if group.name.is_empty() {
            return Err(Error::invalid("name", "is missing"));
        }
        if group.owner.as_str().is_empty() {
            return Err(Error::invalid("owner", "is missing"));
        }
        if !group.members.contains(&group.owner) {
            group.members.insert(0, group.owner.clone());
        }
        let store = self.switchboard.store();
        let before = store.group(&self.id, &group.id, group.room).await?;
        store.put_group(&self.id, &group).await?;
        let Some(before) = before else { return Ok(()) };
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.members.iter().collect(), group.members.iter().collect());
        let added: Vec<UserId> = new.difference(&old).map(|user| (*user).clone()).collect();
        let removed: Vec<UserId> = old.difference(&new).map(|user| (*user).clone()).collect();
        self.change_at_vendors(&group.id, group.room, &added, &removed).await
    }

    /// Adds and removes members, here and at every vendor that has the group.
    ///
    /// # Errors
    /// `NotFound` for an unknown group; whatever the vendor says; `Storage`.
    pub async fn change_members(&self, group: &GroupId, room: bool, add: &[UserId], remove: &[UserId]) -> Result<()> {
        let store = self.switchboard.store();
        store.change_members(&self.id, group, room, add, remove).await?;
        self.change_at_vendors(group, room, add, remove).await
    }

    /// Ends a group, here and at every vendor that has it.
    ///
    /// # Errors
    /// `NotFound` for an unknown group; whatever the vendor says; `Storage`.
    pub async fn remove_group(&self, id: &GroupId, room: bool) -> Result<()> {
        let store = self.switchboard.store();
        let Some(group) = store.group(&self.id, id, room).await? else {
            return Err(Error::new(ErrorKind::NotFound, "no such group"));
        };
        for provider in self.vendors_with(id, room).await? {
            let (groups, there) = self.group_at(&provider, id, room).await?;
            let by = self.switchboard.identity().vendor_user(&self.id, &*provider, &group.owner).await?;
            groups.dissolve(&there, &by).await?;
            let made = (kind_of(room), id.as_str().to_owned(), String::new());
            store.set_provisioned(&self.id, provider.app(), &[made], false).await?;
        }
        store.remove_group(&self.id, id, room).await?;
        Ok(())
    }

    async fn change_at_vendors(&self, id: &GroupId, room: bool, add: &[UserId], remove: &[UserId]) -> Result<()> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        for provider in self.vendors_with(id, room).await? {
            let (groups, there) = self.group_at(&provider, id, room).await?;
            let size = groups.limits().max_members_per_call.max(1) as usize;
            for (users, made) in [(add, true), (remove, false)] {
                for chunk in users.chunks(size) {
                    if made {
                        // A member who was never heard of at this vendor is made there first.
                        self.switchboard.provisioner().users(&self.id, &*provider, chunk).await?;
                    }
                    let mut vendor_users = Vec::with_capacity(chunk.len());
                    for user in chunk {
                        vendor_users.push(self.switchboard.identity().vendor_user(&self.id, &*provider, user).await?);
                    }
                    if made {
                        groups.add_members(&there, &vendor_users).await?;
                    } else {
                        groups.remove_members(&there, &vendor_users).await?;
                    }
                    let items: Vec<_> = chunk
                        .iter()
                        .map(|user| (kind_of(room), id.as_str().to_owned(), user.as_str().to_owned()))
                        .collect();
                    self.switchboard.store().set_provisioned(&self.id, provider.app(), &items, made).await?;
                }
            }
        }
        Ok(())
    }

    /// Providers of this tenant at which the group was made.
    async fn vendors_with(&self, id: &GroupId, room: bool) -> Result<Vec<Arc<dyn Provider>>> {
        let made = [(kind_of(room), id.as_str().to_owned(), String::new())];
        let mut found = Vec::new();
        for (_, one) in self.switchboard.inner.providers.iter().filter(|(_, one)| one.tenant == self.id) {
            if self.switchboard.store().provisioned(&self.id, one.provider.app(), &made).await? == [true] {
                found.push(one.provider.clone());
            }
        }
        Ok(found)
    }

    async fn group_at<'a>(
        &self,
        provider: &'a Arc<dyn Provider>,
        id: &GroupId,
        room: bool,
    ) -> Result<(&'a dyn Groups, GroupRef)> {
        let groups = provider.groups().ok_or_else(|| Error::unsupported("groups"))?;
        let vendor = self.switchboard.identity().vendor_group(&self.id, &**provider, id, room).await?;
        let id = vendor.ok_or_else(|| Error::new(ErrorKind::NotFound, "the vendor does not have this group"))?;
        Ok((groups, GroupRef { id, room }))
    }
}

const fn kind_of(room: bool) -> BindingKind {
    if room { BindingKind::Room } else { BindingKind::Group }
}
