//! A run of journalled events, read or committed once and shared by everybody who delivers them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use switchboard_contract::reception::{Head, Key};
use switchboard_contract::storage::Entry;
use switchboard_contract::{ConversationId, Position, Sequence, Topic};

/// Turns conversations into keys, with a secret of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    pub(super) fn conversation(&self, id: &ConversationId) -> Key {
        Key(self.0.hash_one(id.as_str()))
    }

    fn of(&self, entry: &Entry) -> Key {
        match &entry.conversation {
            Some(id) => self.conversation(id),
            None => Key(self.0.hash_one((entry.shard.0, entry.position.0))),
        }
    }
}

/// A set of topics, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Topics(u32);

impl Topics {
    pub(super) fn of(topics: &[Topic]) -> Self {
        Self(topics.iter().fold(0, |set, topic| set | 1 << topic.code()))
    }

    pub(super) fn has(self, topic: Topic) -> bool {
        self.0 & 1 << topic.code() != 0
    }

    pub(super) fn has_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

/// Events of one shard, ascending. Covers `after < position ≤ until` completely, unless it is `sparse`.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) after: Position,
    pub(super) until: Position,
    /// Shared with the machines it is fed to.
    pub(super) heads: Arc<[Head]>,
    pub(super) entries: Box<[Entry]>,
    pub(super) topics: Topics,
    pub(super) bytes: usize,
}

/// What an entry costs beside its JSON, roughly.
const OVERHEAD: usize = 320;

impl Chunk {
    /// Of events read from the store. Events were encoded from text and are UTF-8; a damaged one must not end the streams it
    /// goes out on.
    pub(super) fn read(keys: &Keys, after: Position, until: Position, mut entries: Vec<Entry>) -> Self {
        for entry in &mut entries {
            if std::str::from_utf8(&entry.json).is_err() {
                entry.json = String::from_utf8_lossy(&entry.json).into_owned().into();
            }
        }
        Self::new(keys, after, until, entries)
    }

    pub(super) fn new(keys: &Keys, after: Position, until: Position, entries: Vec<Entry>) -> Self {
        let head = |entry: &Entry| Head {
            position: entry.position,
            sequence: entry.conversation.as_ref().and(entry.sequence).unwrap_or(Sequence(0)),
            key: keys.of(entry),
        };
        let topics = entries.iter().fold(0, |set, entry| set | 1 << entry.topic.code());
        Self {
            after,
            until,
            heads: entries.iter().map(head).collect(),
            topics: Topics(topics),
            bytes: entries.iter().map(|entry| entry.json.len() + OVERHEAD).sum(),
            entries: entries.into(),
        }
    }

    /// The index of the event at this position.
    #[inline]
    pub(super) fn find(&self, position: Position) -> Option<usize> {
        let first = self.heads.first()?.position;
        let guess = usize::try_from(position.0.checked_sub(first.0)?).ok()?;
        if self.heads.get(guess).is_some_and(|head| head.position == position) {
            return Some(guess);
        }
        self.heads.binary_search_by_key(&position, |head| head.position).ok()
    }
}
