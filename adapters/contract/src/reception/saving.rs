//! What has changed since the store last heard of it.

use std::collections::{BTreeMap, BTreeSet};

use super::Reception;
use super::types::{Action, Key, Place, Save};
use crate::ids::{Position, Shard};
use crate::storage::ShardCursor;

#[derive(Clone, Debug, Default)]
pub(super) struct Saving {
    /// The number of the last save made.
    made: u64,
    /// The number of the last save confirmed.
    pub(super) saved: u64,
    /// The marks of the save under way.
    under_way: Option<Vec<(Shard, Position)>>,
    pub(super) dirty: bool,
    /// The owner knows that there is something to store.
    told: bool,
    changed: BTreeSet<Key>,
    pub(super) attempts: BTreeMap<Place, u32>,
}

impl Saving {
    /// A conversation was set aside, changed or taken back.
    pub(super) fn change(&mut self, key: Key) {
        self.changed.insert(key);
        self.dirty = true;
    }

    /// The number of the save that holds everything done so far.
    #[inline]
    pub(super) fn ticket(&self) -> u64 {
        self.made + u64::from(self.dirty)
    }
}

impl Reception {
    pub(super) fn collect(&mut self, actions: &mut Vec<Action>) {
        if self.saving.under_way.is_some() || !self.saving.dirty {
            return;
        }
        let cursors: Vec<ShardCursor> = self.lanes.iter().map(|lane| self.cursor(lane)).collect();
        let saving = &mut self.saving;
        saving.made += 1;
        saving.dirty = false;
        let changed = std::mem::take(&mut saving.changed);
        let (parked, unparked): (Vec<Key>, Vec<Key>) =
            changed.into_iter().partition(|key| self.asides.contains_key(key));
        let park = parked.iter().filter_map(|key| self.asides.get(key)).map(|aside| aside.record).collect();
        let attempts = std::mem::take(&mut saving.attempts).into_iter().collect();
        saving.under_way = Some(cursors.iter().map(|cursor| (cursor.shard, cursor.low)).collect());
        let save = Save { number: saving.made, cursors, park, unpark: unparked, attempts };
        if !self.guards.save_before_cursor() {
            self.confirm();
        }
        actions.push(Action::Save(Box::new(save)));
    }

    /// The save under way is durable: only now the cursor moves.
    pub(super) fn saved(&mut self) {
        self.confirm();
        self.saving.under_way = None;
        self.saving.told = false;
    }

    fn confirm(&mut self) {
        let Some(marks) = &self.saving.under_way else { return };
        for (shard, low) in marks {
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.shard == *shard) {
                lane.low = lane.low.max(*low);
            }
        }
        self.saving.saved = self.saving.made;
    }

    /// Asks for a save when there is something to store and none is under way.
    #[inline]
    pub(super) fn ask_for_save(&mut self, actions: &mut Vec<Action>) {
        let saving = &mut self.saving;
        if saving.dirty && !saving.told && saving.under_way.is_none() {
            saving.told = true;
            actions.push(Action::Unsaved);
        }
    }
}
