//! Groups and rooms in both directions.

use switchboard_contract::storage::{Binding, BindingKind};
use switchboard_contract::{App, Error, ErrorKind, GroupId, GroupNaming, Provider, Result, TenantId, VendorGroupId};

use super::Identity;
use super::map::AppMap;
use super::users::{is_table_form, table_form};

pub(super) const fn kind(room: bool) -> BindingKind {
    if room { BindingKind::Room } else { BindingKind::Group }
}

fn naming(provider: &dyn Provider, room: bool) -> GroupNaming {
    let naming = provider.naming();
    if room { naming.rooms } else { naming.groups }
}

/// A group or room seen at a vendor that nothing knows yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeenGroup {
    /// The vendor's id.
    pub vendor: VendorGroupId,
    /// It is a room.
    pub room: bool,
}

impl Identity {
    /// The vendor's id of a group or room: its binding, else its spelling. `None` where the vendor chooses ids and
    /// it is not bound: it must be made there first.
    ///
    /// # Errors
    /// `Storage`; `InvalidInput` for an id this vendor cannot express at all.
    pub async fn vendor_group(
        &self,
        tenant: &TenantId,
        provider: &dyn Provider,
        group: &GroupId,
        room: bool,
    ) -> Result<Option<VendorGroupId>> {
        let (app, map) = (provider.app(), self.app(tenant, provider.app()));
        let name = (group.clone(), room);
        if let Some(known) = map.groups_out.get(&name) {
            return Ok(Some(known));
        }
        let generation = map.generation();
        let found = match self.bound_to(tenant, app, kind(room), group.as_str()).await? {
            Some(bound) => VendorGroupId::from(bound),
            None => {
                let GroupNaming::Business(spelling) = naming(provider, room) else { return Ok(None) };
                match spelling.encode(group.as_str()) {
                    Some(spelled) if self.bound_from(tenant, app, kind(room), &spelled).await?.is_none() => {
                        VendorGroupId::from(spelled)
                    }
                    _ => {
                        let vendor = VendorGroupId::from(table_form(&spelling, group.as_str())?);
                        self.bind_group(tenant, app, group, room, &vendor).await?;
                        return Ok(Some(vendor));
                    }
                }
            }
        };
        map.remember(generation, |map| map.groups_out.insert(name, found.clone()));
        Ok(Some(found))
    }

    /// Records the vendor's id of a group or room. Repeating it is harmless.
    ///
    /// # Errors
    /// `Storage`; `Conflict` when either side is bound to something else.
    pub async fn bind_group(
        &self,
        tenant: &TenantId,
        app: &App,
        group: &GroupId,
        room: bool,
        vendor: &VendorGroupId,
    ) -> Result<()> {
        let map = self.app(tenant, app);
        let in_force = self.write_group(&map, tenant, app, group, room, vendor).await?;
        if in_force == *group {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Conflict, "the vendor's id of this group belongs to another group"))
        }
    }

    /// The business id of a vendor's group (or room): its binding, else what it spells. `None` where the vendor
    /// chooses ids and nothing binds this one.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn business_group(
        &self,
        tenant: &TenantId,
        provider: &dyn Provider,
        vendor: &VendorGroupId,
        room: bool,
    ) -> Result<Option<GroupId>> {
        let map = self.app(tenant, provider.app());
        if let Some((group, known_room)) = map.groups_in.get(vendor)
            && known_room == room
        {
            return Ok(Some(group));
        }
        let generation = map.generation();
        let app = provider.app();
        let found = match self.bound_from(tenant, app, kind(room), vendor.as_str()).await? {
            Some(bound) => GroupId::from(bound),
            None => {
                let rule = naming(provider, room);
                let GroupNaming::Business(spelling) = rule else { return Ok(None) };
                let spelled = rule.decode(vendor);
                if is_table_form(&spelling, vendor.as_str())
                    || self.bound_to(tenant, app, kind(room), spelled.as_str()).await?.is_none()
                {
                    spelled
                } else {
                    // The name it spells belongs to another group by the table: this one gets a name of its own.
                    self.write_group(&map, tenant, app, &own_name(app, vendor), room, vendor).await?
                }
            }
        };
        map.remember(generation, |map| map.groups_in.insert(vendor.clone(), (found.clone(), room)));
        Ok(Some(found))
    }

    /// Whether the table knows this vendor id as a group or as a room, and its business id.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn known_group(
        &self,
        tenant: &TenantId,
        app: &App,
        vendor: &VendorGroupId,
    ) -> Result<Option<(GroupId, bool)>> {
        let map = self.app(tenant, app);
        if let Some(known) = map.groups_in.get(vendor) {
            return Ok(Some(known));
        }
        let generation = map.generation();
        let id = vendor.as_str().to_owned();
        let wanted = [(BindingKind::Group, id.clone()), (BindingKind::Room, id)];
        let found = self.store.by_vendor(tenant, app, &wanted).await?.into_iter().flatten().next();
        let found = found.map(|binding| (GroupId::from(binding.business), binding.kind == BindingKind::Room));
        if let Some(known) = &found {
            map.remember(generation, |map| map.groups_in.insert(vendor.clone(), known.clone()));
        }
        Ok(found)
    }

    /// Binds a group or room at first sight and returns its business id: the vendor's own id as a name where the
    /// vendor chooses ids, what it spells elsewhere, and a name of its own where that one is taken. Whoever bound it
    /// first wins.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn bind_seen(&self, tenant: &TenantId, provider: &dyn Provider, seen: &SeenGroup) -> Result<GroupId> {
        let (app, map) = (provider.app(), self.app(tenant, provider.app()));
        let name = naming(provider, seen.room).decode(&seen.vendor);
        let chosen_by_vendor = matches!(naming(provider, seen.room), GroupNaming::Vendor);
        // A group the business defined under the same name, and not yet made here, is another group.
        let taken = chosen_by_vendor && self.store.group(tenant, &name, seen.room).await?.is_some();
        if !taken {
            match self.write_group(&map, tenant, app, &name, seen.room, &seen.vendor).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                outcome => return outcome,
            }
        }
        self.write_group(&map, tenant, app, &own_name(app, &seen.vendor), seen.room, &seen.vendor).await
    }

    /// Writes a pair and returns the business id in force for its vendor id.
    async fn write_group(
        &self,
        map: &AppMap,
        tenant: &TenantId,
        app: &App,
        group: &GroupId,
        room: bool,
        vendor: &VendorGroupId,
    ) -> Result<GroupId> {
        let pair =
            Binding { kind: kind(room), business: group.as_str().to_owned(), vendor: vendor.as_str().to_owned() };
        let in_force = self.store.bind(tenant, app, std::slice::from_ref(&pair)).await?;
        map.group_bound();
        let name = in_force.into_iter().next().map_or_else(|| group.clone(), |pair| GroupId::from(pair.business));
        map.groups_in.insert(vendor.clone(), (name.clone(), room));
        map.groups_out.insert((name.clone(), room), vendor.clone());
        Ok(name)
    }
}

fn own_name(app: &App, vendor: &VendorGroupId) -> GroupId {
    GroupId::from(format!("{}:{vendor}", app.kind))
}
