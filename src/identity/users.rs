//! Users in both directions.

use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::{Binding, BindingKind};
use switchboard_contract::{App, Error, ErrorKind, Provider, Result, Spelling, TenantId, UserId, VendorUserId};

use super::Identity;
use super::map::AppMap;

/// Between prefix and digest of an id that only the table explains. No hex digit, so no spelling looks like it.
const TABLE: char = 't';
const DIGEST_BYTES: usize = 20;

/// The vendor id of a business id without a usable spelling: the same on every node, explained by the table alone.
pub(super) fn table_form(spelling: &Spelling, id: &str) -> Result<String> {
    let mut form = format!("{}{}{TABLE}", spelling.prefix, char::from(spelling.escape));
    let room = spelling.max_bytes.saturating_sub(form.len()).min(2 * DIGEST_BYTES);
    if room < 16 {
        return Err(Error::new(ErrorKind::InvalidInput, "id: has no spelling at this vendor"));
    }
    let digest = hex::encode(&Sha256::digest(id.as_bytes())[..DIGEST_BYTES]);
    form.push_str(&digest[..room]);
    Ok(form)
}

pub(super) fn is_table_form(spelling: &Spelling, spelled: &str) -> bool {
    spelled
        .strip_prefix(spelling.prefix)
        .and_then(|rest| rest.strip_prefix(char::from(spelling.escape)))
        .is_some_and(|rest| rest.starts_with(TABLE))
}

impl Identity {
    /// The vendor's id of a business user: its binding, else its spelling, else a binding made now.
    ///
    /// # Errors
    /// `Storage`; `InvalidInput` for an id this vendor cannot express at all.
    pub async fn vendor_user(&self, tenant: &TenantId, provider: &dyn Provider, user: &UserId) -> Result<VendorUserId> {
        let map = self.app(tenant, provider.app());
        if let Some(known) = map.users_out.get(user) {
            return Ok(known);
        }
        let generation = map.generation();
        let found = self.find_vendor_user(&map, tenant, provider, user).await?;
        map.remember(generation, |map| map.users_out.insert(user.clone(), found.clone()));
        Ok(found)
    }

    /// The business user behind a vendor's id. An id that nothing binds is the user it spells.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn business_user(
        &self,
        tenant: &TenantId,
        provider: &dyn Provider,
        user: &VendorUserId,
    ) -> Result<UserId> {
        let map = self.app(tenant, provider.app());
        if let Some(known) = map.users_in.get(user) {
            return Ok(known);
        }
        let generation = map.generation();
        let found = self.find_business_user(&map, tenant, provider, user).await?;
        map.remember(generation, |map| map.users_in.insert(user.clone(), found.clone()));
        Ok(found)
    }

    async fn find_vendor_user(
        &self,
        map: &AppMap,
        tenant: &TenantId,
        provider: &dyn Provider,
        user: &UserId,
    ) -> Result<VendorUserId> {
        let (app, spelling) = (provider.app(), provider.naming().users);
        let spelled = spelling.encode(user.as_str());
        if let Some(spelled) = &spelled
            && !self.any_user_bound(map, tenant, app).await?
        {
            return Ok(VendorUserId::from(spelled.as_str()));
        }
        if let Some(bound) = self.bound_to(tenant, app, BindingKind::User, user.as_str()).await? {
            return Ok(VendorUserId::from(bound));
        }
        if let Some(spelled) = spelled
            && self.bound_from(tenant, app, BindingKind::User, &spelled).await?.is_none()
        {
            return Ok(VendorUserId::from(spelled));
        }
        let vendor = table_form(&spelling, user.as_str())?;
        self.bind_user(map, tenant, app, user.as_str(), &vendor).await?;
        Ok(VendorUserId::from(vendor))
    }

    async fn find_business_user(
        &self,
        map: &AppMap,
        tenant: &TenantId,
        provider: &dyn Provider,
        user: &VendorUserId,
    ) -> Result<UserId> {
        let (app, naming) = (provider.app(), provider.naming());
        let spelled = naming.decode_user(user);
        let tabled = is_table_form(&naming.users, user.as_str());
        if !tabled && !self.any_user_bound(map, tenant, app).await? {
            return Ok(spelled);
        }
        if let Some(bound) = self.bound_from(tenant, app, BindingKind::User, user.as_str()).await? {
            return Ok(UserId::from(bound));
        }
        if self.bound_to(tenant, app, BindingKind::User, spelled.as_str()).await?.is_none() {
            return Ok(spelled);
        }
        // The name it spells belongs to another vendor user by the table: this one gets a name of its own.
        let own = format!("{}:{user}", app.kind);
        self.bind_user(map, tenant, app, &own, user.as_str()).await?;
        Ok(UserId::from(own))
    }

    async fn any_user_bound(&self, map: &AppMap, tenant: &TenantId, app: &App) -> Result<bool> {
        if let Some(known) = map.users_bound() {
            return Ok(known);
        }
        let generation = map.generation();
        // Users come first in the order of the table.
        let first = self.store.bindings(tenant, app, None, 1).await?;
        let bound = first.first().is_some_and(|binding| binding.kind == BindingKind::User);
        map.set_users_bound(generation, bound);
        Ok(bound)
    }

    async fn bind_user(&self, map: &AppMap, tenant: &TenantId, app: &App, business: &str, vendor: &str) -> Result<()> {
        let binding = Binding { kind: BindingKind::User, business: business.to_owned(), vendor: vendor.to_owned() };
        let in_force = self.store.bind(tenant, app, std::slice::from_ref(&binding)).await?;
        map.user_bound();
        match in_force.first() {
            Some(pair) if pair.business == business => Ok(()),
            _ => Err(Error::new(ErrorKind::Conflict, "the vendor's id of this user belongs to another user")),
        }
    }

    /// The vendor id that the table binds to this business id.
    pub(super) async fn bound_to(
        &self,
        tenant: &TenantId,
        app: &App,
        kind: BindingKind,
        business: &str,
    ) -> Result<Option<String>> {
        let found = self.store.by_business(tenant, app, &[(kind, business.to_owned())]).await?;
        Ok(found.into_iter().next().flatten().map(|binding| binding.vendor))
    }

    /// The business id that the table binds to this vendor id.
    pub(super) async fn bound_from(
        &self,
        tenant: &TenantId,
        app: &App,
        kind: BindingKind,
        vendor: &str,
    ) -> Result<Option<String>> {
        let found = self.store.by_vendor(tenant, app, &[(kind, vendor.to_owned())]).await?;
        Ok(found.into_iter().next().flatten().map(|binding| binding.business))
    }
}
