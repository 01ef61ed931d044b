//! Events of groups that are not settled yet: they wait by group, in order, and hold the inbox where they stand.

use std::collections::{HashMap, VecDeque};

use switchboard_contract::TenantId;
use tokio_util::sync::CancellationToken;

use super::offsets::Offsets;
use super::settle::WaitKey;
use super::work::Item;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: HashMap<WaitKey, VecDeque<Item>>,
    /// Only tenants of whom something waits.
    tenants: HashMap<TenantId, Share>,
}

/// What waits of one tenant.
#[derive(Debug, Default)]
struct Share {
    records: Offsets,
    events: usize,
    /// Ends the look-ups of the tenant that are under way.
    hurry: CancellationToken,
}

impl Waiting {
    /// Whether events of this group wait: later ones must join them.
    pub(super) fn holds(&self, key: &WaitKey) -> bool {
        self.groups.contains_key(key)
    }

    pub(super) fn add(&mut self, key: WaitKey, item: Item) {
        let share = self.tenants.entry(key.tenant().clone()).or_default();
        share.records.add(item.parcel.offset);
        share.events += 1;
        self.groups.entry(key).or_default().push_back(item);
    }

    /// Takes out what waited for this group, in order.
    pub(super) fn take(&mut self, key: &WaitKey) -> VecDeque<Item> {
        let items = self.groups.remove(key).unwrap_or_default();
        if let Some(share) = self.tenants.get_mut(key.tenant()) {
            items.iter().for_each(|item| share.records.remove(item.parcel.offset));
            share.events -= items.len();
            if share.events == 0 {
                self.tenants.remove(key.tenant());
            }
        }
        items
    }

    /// The first record of which something waits.
    pub(super) fn low_water(&self) -> Option<u64> {
        self.tenants.values().filter_map(|share| share.records.first()).min()
    }

    /// How many events of this tenant wait.
    pub(super) fn events_of(&self, tenant: &TenantId) -> usize {
        self.tenants.get(tenant).map_or(0, |share| share.events)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Cancelled when look-ups of this tenant must end now.
    pub(super) fn hurry(&mut self, tenant: &TenantId) -> CancellationToken {
        self.tenants.entry(tenant.clone()).or_default().hurry.clone()
    }

    /// Ends the look-ups of every tenant whose first waiting record stands before `offset`, and names them.
    pub(super) fn hurry_before(&mut self, offset: u64) -> Vec<TenantId> {
        let mut hurried = Vec::new();
        for (tenant, share) in &mut self.tenants {
            if share.records.first().is_some_and(|first| first < offset) {
                std::mem::take(&mut share.hurry).cancel();
                hurried.push(tenant.clone());
            }
        }
        hurried
    }
}
