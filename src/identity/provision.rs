//! Users, groups and memberships that a vendor must have before a message can go there.
//!
//! Everything is made on first use, remembered in the store, and made once even when many sends want it at the same
//! moment. Nothing is ever removed here: that is the business's decision, taken through the groups of the API.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use moka::sync::Cache;
use parking_lot::Mutex;
use switchboard_contract::storage::{BindingKind, GroupRecord, Recipients, SendPayload, Store};
use switchboard_contract::{
    App, Error, ErrorKind, GroupId, GroupRef, Groups, NewGroup, Provider, Result, Target, TenantId, UserId,
    UserProfile, VendorGroupId, VendorUserId,
};
use tokio::sync::Notify;

use super::Identity;
use super::groups::kind;

/// Users remembered as made, and groups whose members are known to be complete.
const REMEMBERED: u64 = 65_536;
/// Registrations under way at once for one send.
const PARALLEL: usize = 8;
/// Locks for single flight; two users or groups that share one merely wait for each other.
const STRIPES: usize = 64;

/// What a send looks like in the vendor's ids, everything it needs being there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The sender.
    pub from: VendorUserId,
    /// The recipients, in the order given.
    pub target: Target,
    /// Whom it points at.
    pub mentions: Vec<VendorUserId>,
}

/// Single flight, in a bounded number of locks. They are asynchronous and held across the vendor's call on purpose:
/// that wait is what they are for.
struct Flights(Vec<tokio::sync::Mutex<()>>);

impl Default for Flights {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| tokio::sync::Mutex::default()).collect())
    }
}

impl Flights {
    async fn enter(&self, hash: u64) -> tokio::sync::MutexGuard<'_, ()> {
        self.0[(hash % STRIPES as u64) as usize].lock().await
    }
}

type Made = (TenantId, App, BindingKind, String);

/// Makes users, groups and memberships at a vendor on first use.
pub struct Provisioner {
    identity: Arc<Identity>,
    store: Arc<dyn Store>,
    users: Cache<Made, ()>,
    /// The member list of the directory that was last completed at the vendor, as a hash.
    members: Cache<Made, u64>,
    hasher: RandomState,
    user_flights: Flights,
    /// Taken before `user_flights`, never after.
    group_flights: Flights,
    creating: Mutex<HashMap<App, usize>>,
    settled: Notify,
}

impl fmt::Debug for Provisioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisioner").field("creating", &*self.creating.lock()).finish_non_exhaustive()
    }
}

/// One send's surroundings.
#[derive(Clone, Copy)]
struct Scene<'a> {
    tenant: &'a TenantId,
    provider: &'a dyn Provider,
}

impl Provisioner {
    /// A provisioner over the directory in `store`.
    pub fn new(identity: Arc<Identity>, store: Arc<dyn Store>) -> Self {
        Self {
            identity,
            store,
            users: Cache::new(REMEMBERED),
            members: Cache::new(REMEMBERED),
            hasher: RandomState::new(),
            user_flights: Flights::default(),
            group_flights: Flights::default(),
            creating: Mutex::default(),
            settled: Notify::new(),
        }
    }

    /// Makes sure that sender, recipients (`recipients`: the users of the legs packed into this call; empty for
    /// groups and rooms) and the group exist, and spells everything. Repeating it is cheap and harmless.
    ///
    /// # Errors
    /// `NotFound` for a group that neither the vendor nor the directory has; what the vendor answers to the calls
    /// that make things; `Storage`.
    pub async fn prepare(
        &self,
        tenant: &TenantId,
        provider: &dyn Provider,
        payload: &SendPayload,
        recipients: &[UserId],
    ) -> Result<Prepared> {
        let scene = Scene { tenant, provider };
        let mut people = vec![payload.from.clone()];
        people.extend_from_slice(recipients);
        self.ensure_users(scene, &people).await?;
        let from = self.identity.vendor_user(tenant, provider, &payload.from).await?;
        let target = match &payload.to {
            Recipients::User(_) | Recipients::Users(_) => Target::Users(self.spell(scene, recipients).await?),
            Recipients::System(_) => Target::System(self.spell(scene, recipients).await?),
            Recipients::Group(group) => Target::Group {
                group: self.ensure_group(scene, group, false).await?,
                channel: payload.channel.clone(),
                audience: self.spell(scene, &payload.audience).await?,
            },
            Recipients::Room(room) => Target::Room { room: self.ensure_group(scene, room, true).await? },
        };
        let mentioned = payload.mentions.as_ref().map_or(&[][..], |mentions| &mentions.users);
        Ok(Prepared { from, target, mentions: self.spell(scene, mentioned).await? })
    }

    /// Makes sure that these users exist at the vendor.
    ///
    /// # Errors
    /// What the vendor answers; `Storage`.
    pub async fn users(&self, tenant: &TenantId, provider: &dyn Provider, users: &[UserId]) -> Result<()> {
        self.ensure_users(Scene { tenant, provider }, users).await
    }

    /// Makes sure that this group or room exists at the vendor with the members of the directory; returns its id
    /// there.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub async fn group(
        &self,
        tenant: &TenantId,
        provider: &dyn Provider,
        group: &GroupId,
        room: bool,
    ) -> Result<VendorGroupId> {
        self.ensure_group(Scene { tenant, provider }, group, room).await
    }

    /// Whether a group or room is being made on this app at present: one not known may be that one.
    pub fn creating(&self, app: &App) -> bool {
        self.creating.lock().contains_key(app)
    }

    /// Resolves once no group or room is being made on this app.
    pub async fn settled(&self, app: &App) {
        loop {
            let changed = self.settled.notified();
            tokio::pin!(changed);
            // Registered before looking, so that an end between looking and waiting is not missed.
            changed.as_mut().enable();
            if !self.creating(app) {
                return;
            }
            changed.await;
        }
    }

    async fn spell(&self, scene: Scene<'_>, users: &[UserId]) -> Result<Vec<VendorUserId>> {
        let mut spelled = Vec::with_capacity(users.len());
        for user in users {
            spelled.push(self.identity.vendor_user(scene.tenant, scene.provider, user).await?);
        }
        Ok(spelled)
    }

    async fn ensure_users(&self, scene: Scene<'_>, users: &[UserId]) -> Result<()> {
        if scene.provider.users().is_none() {
            return Ok(());
        }
        let mut missing: Vec<&UserId> =
            users.iter().filter(|user| !self.users.contains_key(&made_user(scene, user))).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let wanted: Vec<_> = missing.iter().map(|user| user_item(user)).collect();
        let recorded = self.store.provisioned(scene.tenant, scene.provider.app(), &wanted).await?;
        let (known, unknown): (Vec<_>, Vec<_>) = missing.into_iter().zip(recorded).partition(|(_, made)| *made);
        for (user, _) in known {
            self.users.insert(made_user(scene, user), ());
        }
        // Owned: a stream of borrowed users would not be `Send` for every lifetime.
        let unknown: Vec<UserId> = unknown.into_iter().map(|(user, _)| user.clone()).collect();
        stream::iter(unknown)
            .map(|user| self.make_user(scene, user))
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await
    }

    async fn make_user(&self, scene: Scene<'_>, user: UserId) -> Result<()> {
        let Some(users) = scene.provider.users() else { return Ok(()) };
        let key = made_user(scene, &user);
        let _flight = self.user_flights.enter(self.hasher.hash_one(&key)).await;
        if self.users.contains_key(&key) {
            return Ok(());
        }
        let profile =
            self.store.user(scene.tenant, &user).await?.map_or_else(UserProfile::default, |known| known.profile);
        let vendor = self.identity.vendor_user(scene.tenant, scene.provider, &user).await?;
        users.ensure(&vendor, &profile).await?;
        self.store.set_provisioned(scene.tenant, scene.provider.app(), &[user_item(&user)], true).await?;
        self.users.insert(key, ());
        Ok(())
    }

    async fn ensure_group(&self, scene: Scene<'_>, group: &GroupId, room: bool) -> Result<VendorGroupId> {
        let known = self.identity.vendor_group(scene.tenant, scene.provider, group, room).await?;
        let record = self.store.group(scene.tenant, group, room).await?;
        let (Some(groups), Some(record)) = (scene.provider.groups(), record) else {
            // Not the business's to make: seen at the vendor, or for the vendor to say whether it exists.
            return known.ok_or_else(|| not_found(group, room));
        };
        let key: Made = (scene.tenant.clone(), scene.provider.app().clone(), kind(room), group.as_str().to_owned());
        let state = self.hasher.hash_one(&record);
        if let Some(known) = &known
            && self.members.get(&key) == Some(state)
        {
            return Ok(known.clone());
        }
        let _flight = self.group_flights.enter(self.hasher.hash_one(&key)).await;
        let known = self.identity.vendor_group(scene.tenant, scene.provider, group, room).await?;
        if let Some(known) = &known
            && self.members.get(&key) == Some(state)
        {
            return Ok(known.clone());
        }
        let vendor = self.complete_group(scene, groups, &record, known).await?;
        self.members.insert(key, state);
        Ok(vendor)
    }

    /// Makes the group unless that is recorded, then adds the members that are not recorded.
    async fn complete_group(
        &self,
        scene: Scene<'_>,
        groups: &dyn Groups,
        record: &GroupRecord,
        known: Option<VendorGroupId>,
    ) -> Result<VendorGroupId> {
        let mut people = vec![record.owner.clone()];
        people.extend(record.members.iter().filter(|member| **member != record.owner).cloned());
        self.ensure_users(scene, &people).await?;
        let app = scene.provider.app();
        let made = group_item(record, "");
        let exists = match &known {
            // A vendor's id is bound only once the group is there; an id of the business's choice says nothing.
            Some(_) if !groups.limits().business_ids => true,
            Some(_) => self.store.provisioned(scene.tenant, app, std::slice::from_ref(&made)).await? == [true],
            None => false,
        };
        let chunk = groups.limits().max_members_per_call.max(1) as usize;
        let (vendor, mut present) = match (exists, known) {
            (true, Some(vendor)) => (vendor, 0),
            (_, known) => {
                (self.create_group(scene, groups, record, known, &people, chunk).await?, chunk.min(people.len()))
            }
        };
        if present > 0 {
            let mut items = vec![made];
            items.extend(people[..present].iter().map(|member| group_item(record, member.as_str())));
            self.store.set_provisioned(scene.tenant, app, &items, true).await?;
        } else {
            // The owner came with the group, whoever made it.
            present = 1;
        }
        self.add_members(scene, groups, record, &vendor, &people[present..], chunk).await?;
        Ok(vendor)
    }

    async fn create_group(
        &self,
        scene: Scene<'_>,
        groups: &dyn Groups,
        record: &GroupRecord,
        id: Option<VendorGroupId>,
        people: &[UserId],
        chunk: usize,
    ) -> Result<VendorGroupId> {
        let mut spelled = self.spell(scene, &people[..chunk.min(people.len())]).await?;
        let new =
            NewGroup { id, room: record.room, name: record.name.clone(), owner: spelled.remove(0), members: spelled };
        let app = scene.provider.app();
        let _creating = Creating::begin(self, app);
        let vendor = groups.create(&new).await?;
        if new.id.as_ref() != Some(&vendor) {
            // Before the create counts as ended, so that whoever waits for it finds the binding.
            self.identity.bind_group(scene.tenant, app, &record.id, record.room, &vendor).await?;
        }
        Ok(vendor)
    }

    async fn add_members(
        &self,
        scene: Scene<'_>,
        groups: &dyn Groups,
        record: &GroupRecord,
        vendor: &VendorGroupId,
        members: &[UserId],
        chunk: usize,
    ) -> Result<()> {
        let app = scene.provider.app();
        let items: Vec<_> = members.iter().map(|member| group_item(record, member.as_str())).collect();
        let recorded = self.store.provisioned(scene.tenant, app, &items).await?;
        let missing: Vec<&UserId> =
            members.iter().zip(recorded).filter_map(|(member, made)| (!made).then_some(member)).collect();
        let group = GroupRef { id: vendor.clone(), room: record.room };
        for part in missing.chunks(chunk) {
            let part: Vec<UserId> = part.iter().map(|member| (*member).clone()).collect();
            match groups.add_members(&group, &self.spell(scene, &part).await?).await {
                // A room that only clients enter fills itself.
                Err(error) if record.room && error.kind() == ErrorKind::Unsupported => {}
                outcome => outcome?,
            }
            let items: Vec<_> = part.iter().map(|member| group_item(record, member.as_str())).collect();
            self.store.set_provisioned(scene.tenant, app, &items, true).await?;
        }
        Ok(())
    }
}

/// Counts as a create in flight while it lives, also when the caller leaves in the middle.
struct Creating<'a> {
    provisioner: &'a Provisioner,
    app: &'a App,
}

impl<'a> Creating<'a> {
    fn begin(provisioner: &'a Provisioner, app: &'a App) -> Self {
        *provisioner.creating.lock().entry(app.clone()).or_default() += 1;
        Self { provisioner, app }
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        let mut creating = self.provisioner.creating.lock();
        if let Some(count) = creating.get_mut(self.app) {
            *count -= 1;
            if *count == 0 {
                creating.remove(self.app);
            }
        }
        drop(creating);
        self.provisioner.settled.notify_waiters();
    }
}

fn made_user(scene: Scene<'_>, user: &UserId) -> Made {
    (scene.tenant.clone(), scene.provider.app().clone(), BindingKind::User, user.as_str().to_owned())
}

fn user_item(user: &UserId) -> (BindingKind, String, String) {
    (BindingKind::User, user.as_str().to_owned(), String::new())
}

fn group_item(record: &GroupRecord, member: &str) -> (BindingKind, String, String) {
    (kind(record.room), record.id.as_str().to_owned(), member.to_owned())
}

fn not_found(group: &GroupId, room: bool) -> Error {
    let what = if room { "room" } else { "group" };
    Error::new(ErrorKind::NotFound, format!("{what} {group}: neither known at the vendor nor defined here"))
}
