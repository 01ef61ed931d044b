//! What is set aside, and what is to be stored.

use super::{Key, Place};
use crate::ids::Sequence;
use crate::storage::ShardCursor;
use crate::time::Timestamp;

/// Why a conversation is set aside. The names are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Its event failed too often; somebody must redrive it.
    Failed,
    /// Its event failed too often and is tried again ever more slowly.
    Blocked,
    /// It waits for its next try, and others need its room.
    Retrying,
    /// Somebody asked for it again; it is on its way.
    Redriving,
}

impl Why {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Retrying => "retrying",
            Self::Redriving => "redriving",
        }
    }

    /// From a stored word; an unknown one means that somebody must look.
    pub fn from_word(word: &str) -> Self {
        match word {
            "blocked" => Self::Blocked,
            "retrying" => Self::Retrying,
            "redriving" => Self::Redriving,
            _ => Self::Failed,
        }
    }
}

/// A conversation set aside, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Which.
    pub key: Key,
    /// The place of the first event that is not acknowledged, as far as known.
    pub place: Place,
    /// The number of that event; everything from there on is the business of a redrive.
    pub from: Sequence,
    /// Deliveries of that event that failed.
    pub attempts: u32,
    /// Why.
    pub why: Why,
    /// Since when.
    pub since: Timestamp,
}

/// In [`Save::attempts`] and its stored form: the event is acknowledged although an earlier one of its conversation,
/// which is set aside, is not. A redrive leaves it out.
pub const ACKNOWLEDGED: u32 = u32::MAX;

/// What must be stored in one transaction before [`Input::Saved`](super::super::Input::Saved) may be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Save {
    /// Acknowledgements up to here are in it; ascending.
    pub number: u64,
    /// The cursors of the shards.
    pub cursors: Vec<ShardCursor>,
    /// Conversations set aside or changed.
    pub park: Vec<SetAside>,
    /// Conversations taken back.
    pub unpark: Vec<Key>,
    /// Failed deliveries by place; 0 forgets, [`ACKNOWLEDGED`] see there.
    pub attempts: Vec<(Place, u32)>,
}
