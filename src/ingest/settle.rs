//! Unknown groups: bound at first sight, after finding out whether they are rooms and whether we are just making
//! them ourselves.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard_contract::storage::Store;
use switchboard_contract::{
    App, Clock, ConversationKind, ErrorKind, GroupNaming, InboundPlace, Result, Retry, TenantId, VendorGroupId,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::retry::{Backoff, is_transient};
use super::source::Source;
use crate::identity::{Identity, Provisioner, SeenGroup};
use crate::recovery::verdict::{self, Verdict};

/// Look-ups of one tenant at its vendors under way at once.
const PARALLEL: usize = 8;

/// What names a group that has to wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WaitKey {
    tenant: TenantId,
    app: App,
    group: VendorGroupId,
}

impl WaitKey {
    /// The group of a place, if it has one.
    pub(super) fn of(source: &Source, place: &InboundPlace) -> Option<Self> {
        let (InboundPlace::Group { group, .. }
        | InboundPlace::Room { room: group }
        | InboundPlace::GroupOrRoom { id: group }) = place
        else {
            return None;
        };
        let (tenant, app) = (source.address.tenant.clone(), source.address.app.clone());
        Some(Self { tenant, app, group: group.clone() })
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// Settles unknown groups.
#[derive(Clone, Debug)]
pub(super) struct Settler {
    identity: Arc<Identity>,
    provisioner: Arc<Provisioner>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    within: std::time::Duration,
    /// By tenant: nobody waits for another's vendor.
    slots: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
}

impl Settler {
    pub(super) fn new(
        identity: Arc<Identity>,
        provisioner: Arc<Provisioner>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        backoff: Backoff,
        within: std::time::Duration,
    ) -> Self {
        Self { identity, provisioner, store, clock, backoff, within, slots: Arc::default() }
    }

    /// Settles what needs no waiting. `false`: it must wait for [`settle`](Self::settle).
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn settle_now(&self, source: &Source, place: &InboundPlace) -> Result<bool> {
        let (vendor, room) = match place {
            InboundPlace::Group { group, .. } => (group, false),
            InboundPlace::Room { room } => (room, true),
            InboundPlace::GroupOrRoom { id } => {
                let address = &source.address;
                return Ok(self.identity.known_group(&address.tenant, &address.app, id).await?.is_some());
            }
            _ => return Ok(true),
        };
        let (tenant, provider) = (&source.address.tenant, source.provider.as_ref());
        if self.identity.business_group(tenant, provider, vendor, room).await?.is_some() {
            return Ok(true);
        }
        if self.provisioner.creating(&source.address.app) {
            return Ok(false);
        }
        self.identity.bind_seen(tenant, provider, &SeenGroup { vendor: vendor.clone(), room }).await?;
        Ok(true)
    }

    /// Settles a place, by asking if need be, within the bound or until `hurry` is cancelled. Ends without a result
    /// only when it is dropped: a store that fails is tried for ever.
    pub(super) async fn settle(&self, source: &Source, place: &InboundPlace, hurry: &CancellationToken) {
        let (vendor, known_kind) = match place {
            InboundPlace::Group { group, .. } => (group, Some(false)),
            InboundPlace::Room { room } => (room, Some(true)),
            InboundPlace::GroupOrRoom { id } => (id, None),
            _ => return,
        };
        let mut left = self.clock.sleep(self.within);
        if chosen_by_vendor(source) {
            tokio::select! {
                () = self.provisioner.settled(&source.address.app) => {}
                () = &mut left => left = self.clock.sleep(std::time::Duration::ZERO),
                () = hurry.cancelled() => {}
            }
        }
        let room = match known_kind {
            Some(room) => room,
            None => match self.known(source, vendor).await {
                true => return,
                false => tokio::select! {
                    biased;
                    room = self.ask(source, vendor) => room.unwrap_or_else(|| unsettled(source)),
                    () = hurry.cancelled() => unsettled(source),
                    () = left => unsettled(source),
                },
            },
        };
        let seen = SeenGroup { vendor: vendor.clone(), room };
        let mut waits = self.backoff.waits();
        while let Err(error) = self.identity.bind_seen(&source.address.tenant, source.provider.as_ref(), &seen).await {
            tracing::warn!(provider = %source.alias(), op = "bind_group", %error, "a group could not be bound");
            self.clock.sleep(waits.next()).await;
        }
    }

    async fn known(&self, source: &Source, vendor: &VendorGroupId) -> bool {
        let address = &source.address;
        let known = self.identity.known_group(&address.tenant, &address.app, vendor).await;
        known.is_ok_and(|known| known.is_some())
    }

    /// Whether it is a room: by the directory, else by the vendor, who is asked until he answers. `None` when he
    /// refuses to say.
    async fn ask(&self, source: &Source, vendor: &VendorGroupId) -> Option<bool> {
        if let Some(room) = self.defined(source, vendor).await {
            return Some(room);
        }
        let Some(groups) = source.provider.groups() else { return Some(false) };
        let slots = self.slots.lock().entry(source.address.tenant.clone()).or_insert_with(slots).clone();
        // A closed semaphore is impossible: nobody closes it.
        let _slot = slots.acquire().await;
        let mut waits = self.backoff.waits();
        loop {
            match groups.kind_of(vendor).await {
                Ok(kind) => return Some(kind == Some(ConversationKind::Room)),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
                    return Some(false);
                }
                Err(error) if is_transient(&error) || verdict::of_repeatable(&error) != Verdict::Fail => {
                    // A wait the vendor named is kept.
                    let named = match error.retry() {
                        Retry::Safe { after } => after.unwrap_or_default(),
                        _ => std::time::Duration::ZERO,
                    };
                    self.clock.sleep(waits.next().max(named)).await;
                }
                Err(error) => {
                    tracing::warn!(provider = %source.alias(), op = "kind_of", %error, "the vendor does not say");
                    return None;
                }
            }
        }
    }

    /// What the business itself said, where it chooses the ids.
    async fn defined(&self, source: &Source, vendor: &VendorGroupId) -> Option<bool> {
        let naming = source.provider.naming();
        for (rule, room) in [(naming.groups, false), (naming.rooms, true)] {
            if matches!(rule, GroupNaming::Vendor) {
                continue;
            }
            // A failing store is no reason to wait here: the vendor can be asked instead.
            let found = self.store.group(&source.address.tenant, &rule.decode(vendor), room).await;
            if matches!(found, Ok(Some(_))) {
                return Some(room);
            }
        }
        None
    }
}

fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PARALLEL))
}

/// Nobody knew in time: what is not known to be a room counts as a group.
fn unsettled(source: &Source) -> bool {
    tracing::warn!(provider = %source.alias(), op = "kind_of", "taken for a group");
    let alias = source.alias().as_str().to_owned();
    metrics::counter!("switchboard_ingest_unsettled_total", "provider" => alias).increment(1);
    false
}

fn chosen_by_vendor(source: &Source) -> bool {
    let naming = source.provider.naming();
    matches!(naming.groups, GroupNaming::Vendor) || matches!(naming.rooms, GroupNaming::Vendor)
}
