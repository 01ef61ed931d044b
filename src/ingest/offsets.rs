//! Records of the inbox of which something is still held in memory: the mark must not pass the first of them.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Offsets(BTreeMap<u64, usize>);

impl Offsets {
    /// One more event of the record at `offset` is held.
    pub(super) fn add(&mut self, offset: u64) {
        *self.0.entry(offset).or_default() += 1;
    }

    /// One of them is no longer.
    pub(super) fn remove(&mut self, offset: u64) {
        if let Some(count) = self.0.get_mut(&offset) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&offset);
            }
        }
    }

    /// The first record of which something is held.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.keys().next().copied()
    }
}
