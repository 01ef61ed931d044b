//! Events of groups that are not settled yet: they wait by group, in order, and hold the inbox where they stand.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::settle::WaitKey;
use super::work::Item;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: HashMap<WaitKey, VecDeque<Item>>,
    /// Waiting events by the offset of their record.
    records: BTreeMap<u64, usize>,
    events: usize,
}

impl Waiting {
    /// Whether events of this group wait: later ones must join them.
    pub(super) fn holds(&self, key: &WaitKey) -> bool {
        self.groups.contains_key(key)
    }

    pub(super) fn add(&mut self, key: WaitKey, item: Item) {
        *self.records.entry(item.parcel.offset).or_default() += 1;
        self.events += 1;
        self.groups.entry(key).or_default().push_back(item);
    }

    /// Takes out what waited for this group, in order.
    pub(super) fn take(&mut self, key: &WaitKey) -> VecDeque<Item> {
        let items = self.groups.remove(key).unwrap_or_default();
        for item in &items {
            if let Some(count) = self.records.get_mut(&item.parcel.offset) {
                *count -= 1;
                if *count == 0 {
                    self.records.remove(&item.parcel.offset);
                }
            }
        }
        self.events -= items.len();
        items
    }

    /// The first record of which something waits.
    pub(super) fn low_water(&self) -> Option<u64> {
        self.records.keys().next().copied()
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }
}
