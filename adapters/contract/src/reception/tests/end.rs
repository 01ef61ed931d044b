//! The quiet end of a life: nobody fails any more, and everything must arrive.

use super::deeds::expect_acked;
use super::drive::Life;
use crate::ids::Position;
use crate::reception::*;

impl Life {
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.settle_down()?;
        for (place, event) in self.journal.all().filter(|(_, event)| event.wanted) {
            let failed = self.check.aside.get(&event.head.key).is_some_and(|record| record.why == Why::Failed);
            self.must_be_settled(place, event.head.key, failed)?;
        }
        if self.machine.state() != State::Online {
            return Err(format!("everything is acknowledged, and the state is {}", self.machine.state()));
        }
        for key in self.check.aside.keys().copied().collect::<Vec<_>>() {
            self.apply(Input::Redrive(key))?;
        }
        self.settle_down()?;
        if let Some(record) = self.check.aside.values().next() {
            return Err(format!("redriven, and not whole: {record:?}"));
        }
        for (place, event) in self.journal.all().filter(|(_, event)| event.wanted) {
            self.must_be_settled(place, event.head.key, false)?;
        }
        self.apply(Input::Flush)?;
        self.save_all()?;
        for cursor in &self.stored.cursors {
            let tail = self.journal.tail(cursor.shard);
            if cursor.low != tail || !cursor.acked.is_empty() {
                return Err(format!("at the end {tail} the cursor is {cursor:?}"));
            }
        }
        if !self.stored.attempts.is_empty() {
            return Err(format!("attempts are kept for nothing: {:?}", self.stored.attempts));
        }
        Ok(())
    }

    fn must_be_settled(&self, place: Place, key: Key, aside: bool) -> Result<(), String> {
        // Retention takes from what is set aside without a word to the walk, which has passed it.
        let removed = self.journal.is_trimmed(place) && self.check.was_set_aside(key);
        if aside || removed || self.check.is_settled(place) {
            return Ok(());
        }
        Err(format!("{place:?} of {key:?} never arrived"))
    }

    /// Until nothing happens any more, whatever time passes.
    fn settle_down(&mut self) -> Result<(), String> {
        self.apply(Input::Trouble(false))?;
        let mut idle = 0;
        for _ in 0..600 {
            if self.workers.is_empty() {
                self.join()?;
            }
            if self.quiet_round()? {
                idle = 0;
            } else {
                idle += 1;
                self.pass_time(31)?;
            }
            if idle > 12 {
                return Ok(());
            }
        }
        Err("it goes on for ever".to_owned())
    }

    pub(super) fn quiet_round(&mut self) -> Result<bool, String> {
        let before: Vec<Position> = self.stored.cursors.iter().map(|cursor| cursor.low).collect();
        let lag = self.machine.lag();
        for shard in self.shards() {
            self.apply(Input::Tail(shard, self.journal.tail(shard)))?;
        }
        let mut given = false;
        for worker in self.workers.clone() {
            let actions = self.apply(Input::Take(worker, 10))?;
            let handles: Vec<Handle> =
                actions.iter().flat_map(Action::dispatches).map(|dispatch| dispatch.handle).collect();
            given |= !handles.is_empty();
            let places: Vec<Place> = handles.iter().map(|handle| handle.place).collect();
            self.acknowledge(&places);
            let actions = self.apply(Input::Ack(&handles))?;
            expect_acked(&actions, handles.len())?;
        }
        for read in std::mem::take(&mut self.reads) {
            self.arrive(&read)?;
        }
        self.save_all()?;
        let moved = self.stored.cursors.iter().zip(before).any(|(cursor, low)| cursor.low != low);
        Ok(given || moved || self.machine.lag() != lag)
    }

    fn save_all(&mut self) -> Result<(), String> {
        for _ in 0..6 {
            self.save()?;
        }
        Ok(())
    }
}
