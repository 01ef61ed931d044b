//! What an input to a subscriber's machine leads to.

use switchboard_contract::reception::{Key, Place, Save, SetAside};
use switchboard_contract::{Position, Sequence, Shard};

/// What an input led to, apart from what the core sees to by itself and what goes out.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) acked: usize,
    pub(super) stale: usize,
    pub(super) save: Option<Box<Save>>,
}

/// Something to read from the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Walk { shard: Shard, after: Position, until: Position, limit: usize },
    Aside { key: Key, place: Place, from: Sequence, seen: Sequence, limit: usize },
    Survey { shard: Shard, after: Position, until: Position },
}

/// Something worth a notice.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Aside(SetAside),
    Skipped { place: Place, attempts: u32 },
    Restored(Key),
}
