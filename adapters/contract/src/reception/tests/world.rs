//! What surrounds the machine: a journal, a store, workers that fail, and a seeded source of chance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{Position, Sequence, Shard};
use crate::reception::*;
use crate::storage::{Backlog, PoisonPolicy, Reception as Mode, ShardCursor};

/// SplitMix64: the same choices for the same seed, everywhere.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn settings(&mut self) -> Settings {
        Settings {
            reception: if self.one_in(3) { Mode::Concurrent } else { Mode::AckOnline },
            backlog: if self.one_in(3) { Backlog::NewestFirst } else { Backlog::OldestFirst },
            max_in_flight: 1 + self.below(8),
            page_size: 1 + self.below(4),
            ack_deadline: Duration::from_secs(30),
            max_attempts: 1 + self.below(3) as u32,
            poison: [PoisonPolicy::Park, PoisonPolicy::Block, PoisonPolicy::Skip][self.below(3)],
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(8),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Happened {
    pub(super) head: Head,
    pub(super) wanted: bool,
}

/// What happened, in order; also what retention has left of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    pub(super) shards: Vec<Vec<Happened>>,
    pub(super) trimmed: Vec<Position>,
    last: BTreeMap<Key, u64>,
}

impl Journal {
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: vec![Vec::new(); shards], trimmed: vec![Position::START; shards], last: BTreeMap::new() }
    }

    pub(super) fn append(&mut self, chance: &mut Chance) {
        let shard = chance.below(self.shards.len());
        let position = Position(self.shards[shard].len() as u64 + 1);
        let head = if chance.one_in(8) {
            Head { position, sequence: Sequence(0), key: Key(1_000_000 + position.0 * 16 + shard as u64) }
        } else {
            let key = Key(1 + (shard * 3 + chance.below(3)) as u64);
            let last = self.last.entry(key).or_default();
            *last += 1;
            Head { position, sequence: Sequence(*last), key }
        };
        self.shards[shard].push(Happened { head, wanted: !chance.one_in(6) });
    }

    pub(super) fn tail(&self, shard: Shard) -> Position {
        Position(self.shards[usize::from(shard.0)].len() as u64)
    }

    pub(super) fn get(&self, place: Place) -> Happened {
        self.shards[usize::from(place.shard.0)][place.position.0 as usize - 1]
    }

    pub(super) fn is_trimmed(&self, place: Place) -> bool {
        place.position <= self.trimmed[usize::from(place.shard.0)]
    }

    /// Every place with its event, by shard and position.
    pub(super) fn all(&self) -> impl Iterator<Item = (Place, Happened)> + '_ {
        self.shards.iter().enumerate().flat_map(|(shard, events)| {
            let place = move |head: &Head| Place { shard: Shard(shard as u16), position: head.position };
            events.iter().map(move |event| (place(&event.head), *event))
        })
    }

    /// The events of a conversation, by sequence.
    pub(super) fn conversation(&self, key: Key) -> Vec<(Place, Happened)> {
        self.all().filter(|(_, event)| event.head.key == key).collect()
    }

    pub(super) fn read(&self, shard: Shard, after: Position, until: Position) -> Vec<Happened> {
        let events = &self.shards[usize::from(shard.0)];
        let trimmed = self.trimmed[usize::from(shard.0)];
        let inside = |event: &&Happened| event.head.position > after.max(trimmed) && event.head.position <= until;
        events.iter().filter(inside).copied().collect()
    }
}

/// What is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) cursors: Vec<ShardCursor>,
    pub(super) aside: BTreeMap<Key, SetAside>,
    pub(super) attempts: BTreeMap<Place, u32>,
    /// Not stored by anybody: the truth about what the consumer was told is acknowledged.
    pub(super) acked: BTreeSet<Place>,
    pub(super) skipped: BTreeSet<Place>,
}

impl Stored {
    pub(super) fn new(shards: usize) -> Self {
        let cursor = |shard| ShardCursor { shard: Shard(shard as u16), low: Position::START, acked: Vec::new() };
        Self { cursors: (0..shards).map(cursor).collect(), ..Self::default() }
    }

    pub(super) fn write(&mut self, save: &Save) -> Result<(), String> {
        for cursor in &save.cursors {
            let old = &mut self.cursors[usize::from(cursor.shard.0)];
            if cursor.low < old.low {
                return Err(format!("the cursor went back from {} to {}", old.low, cursor.low));
            }
            *old = cursor.clone();
        }
        for record in &save.park {
            self.aside.insert(record.key, *record);
        }
        for key in &save.unpark {
            self.aside.remove(key);
        }
        for (place, count) in &save.attempts {
            if *count == 0 {
                self.attempts.remove(place)
            } else {
                self.attempts.insert(*place, *count)
            };
        }
        Ok(())
    }

    pub(super) fn restored(&self, history: Vec<(Shard, Position)>) -> Restored {
        Restored {
            cursors: self.cursors.clone(),
            history,
            aside: self.aside.values().copied().collect(),
            attempts: self.attempts.iter().map(|(place, count)| (*place, *count)).collect(),
        }
    }

    pub(super) fn covers(&self, place: Place) -> bool {
        let cursor = &self.cursors[usize::from(place.shard.0)];
        let inside = |range: &(Position, Position)| range.0 <= place.position && place.position <= range.1;
        place.position <= cursor.low || cursor.acked.iter().any(inside)
    }
}
