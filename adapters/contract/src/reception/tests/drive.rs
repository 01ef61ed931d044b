//! One random life of a subscriber: everything that may happen, in any order, and then a quiet end in which
//! everything must arrive.

use std::collections::BTreeSet;

use super::checker::Checker;
use super::world::{Chance, Happened, Journal, Stored};
use crate::ids::{Position, Sequence, Shard};
use crate::reception::guards::Guards;
use crate::reception::*;
use crate::time::Timestamp;

/// A save on its way: first it becomes durable, then the machine hears of it.
#[derive(Debug)]
pub(super) struct Saving {
    pub(super) save: Save,
    pub(super) acked: BTreeSet<Place>,
    pub(super) skipped: BTreeSet<Place>,
    pub(super) written: bool,
}

/// A read on its way: its content is fixed, its arrival is not.
#[derive(Clone, Debug)]
pub(super) enum Read {
    Walk { shard: Shard, after: Position, until: Position, events: Vec<Happened> },
    Aside { key: Key, shard: Shard, from: Sequence, seen: Sequence, events: Vec<Happened> },
    Survey { shard: Shard, until: Position, found: Vec<(Key, Position)>, complete: bool },
}

pub(super) struct Life {
    pub(super) chance: Chance,
    pub(super) settings: Settings,
    pub(super) journal: Journal,
    pub(super) stored: Stored,
    pub(super) machine: Reception,
    pub(super) guards: Guards,
    pub(super) check: Checker,
    pub(super) reads: Vec<Read>,
    pub(super) saving: Option<Saving>,
    pub(super) workers: Vec<Worker>,
    pub(super) next_worker: u32,
    pub(super) lease_base: u64,
    pub(super) old: Vec<Handle>,
    pub(super) history: Vec<(Shard, Position)>,
    pub(super) now: Timestamp,
    pub(super) trouble: bool,
    pub(super) diligent: bool,
    pub(super) state: State,
    pub(super) deliveries: u64,
    pub(super) crashed_in: Vec<State>,
}

impl Life {
    pub(super) fn new(seed: u64, guards: Guards) -> Self {
        let mut chance = Chance(seed);
        let settings = chance.settings();
        let shards = if chance.one_in(4) { 2 } else { 1 };
        let stored = Stored::new(shards);
        let machine = Reception::restore(settings.clone(), stored.restored(Vec::new()), Lease(1), Timestamp(0));
        let mut life = Self {
            machine: machine.with_guards(guards),
            journal: Journal::new(shards),
            check: Checker::new(shards),
            chance,
            settings,
            stored,
            guards,
            reads: Vec::new(),
            saving: None,
            workers: Vec::new(),
            next_worker: 0,
            lease_base: 1,
            old: Vec::new(),
            history: Vec::new(),
            now: Timestamp(0),
            trouble: false,
            diligent: false,
            state: State::Connecting,
            deliveries: 0,
            crashed_in: Vec::new(),
        };
        life.diligent = life.chance.one_in(2);
        for _ in 0..life.chance.below(20) {
            life.journal.append(&mut life.chance);
        }
        life
    }

    /// Lives through `steps` random steps and the end. An error is a broken promise.
    pub(super) fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            self.step()?;
        }
        self.finish()
    }

    pub(super) fn shards(&self) -> Vec<Shard> {
        (0..self.journal.shards.len()).map(|shard| Shard(shard as u16)).collect()
    }

    fn step(&mut self) -> Result<(), String> {
        // Some subscribers do their work, or nobody would ever be online.
        if self.diligent && self.chance.one_in(4) {
            return self.quiet_round().map(drop);
        }
        match self.chance.below(32) {
            0..=3 => {
                if self.journal.all().count() < 40 {
                    self.journal.append(&mut self.chance);
                }
                Ok(())
            }
            4..=6 => self.tell_tail(),
            7 => self.join(),
            8 => self.leave(),
            9..=13 => self.take(),
            14 => self.page(),
            15..=18 => self.some_read(),
            19..=22 => self.ack_something(),
            23 => self.nack_something(),
            24 => self.stale_ack(),
            25 => {
                let seconds = 1 + self.chance.below(20) as u64;
                self.pass_time(seconds)
            }
            26..=28 => self.save(),
            29 => self.odd_thing(),
            30 if self.chance.one_in(3) => self.crash(),
            30 => self.push(),
            _ => self.redrive(),
        }
    }

    pub(super) fn apply(&mut self, input: Input<'_>) -> Result<Vec<Action>, String> {
        let mut actions = Vec::new();
        if std::env::var_os("RECEPTION_TRACE").is_some() {
            eprintln!("{:?} {input:?}", self.now);
        }
        self.machine.apply(self.now, input, &mut actions);
        if std::env::var_os("RECEPTION_TRACE").is_some() {
            eprintln!("    {actions:?}");
        }
        for action in &actions {
            self.carry_out(action)?;
        }
        let (machine, model) = (self.machine.in_flight(), self.check.out.len());
        if machine != model {
            return Err(format!("the machine has {machine} in flight, the workers {model}"));
        }
        if model > self.settings.max_in_flight {
            return Err(format!("{model} in flight"));
        }
        for cursor in &self.stored.cursors {
            if self.machine.low(cursor.shard) > cursor.low {
                return Err("the cursor moved before the store".to_owned());
            }
        }
        for (place, count) in &self.check.failures {
            let key = self.journal.get(*place).head.key;
            let gone = self.check.is_settled(*place) || self.journal.is_trimmed(*place);
            let settled = gone || self.check.aside.contains_key(&key);
            if *count >= self.settings.max_attempts && !settled {
                return Err(format!("{place:?} failed {count} times, and nothing was done"));
            }
        }
        Ok(actions)
    }

    fn deliver(&mut self, dispatch: &Dispatch) -> Result<(), String> {
        self.deliveries += 1;
        self.old.push(dispatch.handle);
        let again = self.check.out.get(&dispatch.handle.place);
        if again.is_some_and(|out| out.dispatch.handle == dispatch.handle) {
            return Ok(());
        }
        let (journal, stored) = (&self.journal, &self.stored);
        self.check.deliver(dispatch, journal, stored, &self.settings, self.state, self.now)
    }

    fn carry_out(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Deliver(_) | Action::DeliverRun(_) => {
                for dispatch in action.dispatches() {
                    self.deliver(&dispatch)?;
                }
            }
            Action::Read { shard, after, until, limit } => {
                let mut events = self.journal.read(*shard, *after, *until);
                let more = events.len() > *limit;
                events.truncate(*limit);
                let end = events.last().map_or(*until, |event| event.head.position);
                let until = if more { end } else { (*until).min(self.journal.tail(*shard)) };
                self.reads.push(Read::Walk { shard: *shard, after: *after, until, events });
            }
            Action::ReadAside { key, shard, from, seen, limit } => {
                let mut events: Vec<_> = self.journal.conversation(*key);
                events.retain(|(place, event)| event.head.sequence >= *from && !self.journal.is_trimmed(*place));
                let events = events.into_iter().map(|(_, event)| event).take(*limit).collect();
                self.reads.push(Read::Aside { key: *key, shard: *shard, from: *from, seen: *seen, events });
            }
            Action::Survey { shard, after, until } => {
                let mut found = std::collections::BTreeMap::new();
                for event in self.journal.read(*shard, *after, *until) {
                    found.insert(event.head.key, event.head.position);
                }
                let complete = !self.chance.one_in(4);
                let found = found.into_iter().collect();
                self.reads.push(Read::Survey { shard: *shard, until: *until, found, complete });
            }
            Action::Save(save) => {
                self.check.save(save, &self.stored, &self.journal)?;
                let (acked, skipped) = (self.check.acked.clone(), self.check.skipped.clone());
                self.saving = Some(Saving { save: (**save).clone(), acked, skipped, written: false });
            }
            Action::State(state) => {
                self.state = *state;
                self.check.state(*state, &self.stored, &self.journal, &self.settings)?;
            }
            Action::Aside(record) => self.check.set_aside(*record),
            Action::Restored(key) => {
                self.check.aside.remove(key);
                let journal = &self.journal;
                self.check.failures.retain(|place, _| journal.get(*place).head.key != *key);
            }
            Action::Skipped { place, .. } => {
                self.check.out.remove(place);
                self.check.skipped.insert(*place);
            }
            Action::Missing { shard, after, until } => self.check.missing.push((shard.0, *after, *until)),
            Action::Acked { .. } | Action::Unsaved => {}
        }
        Ok(())
    }
}
