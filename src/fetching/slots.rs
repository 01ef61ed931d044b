//! Any number of triggers, one fetch that runs and at most one that waits, for each subject. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use switchboard_contract::Timestamp;

/// What is fetched for a subject.
pub(super) trait Request {
    /// One fetch for both. The newer one counts where they contradict each other.
    fn merge(self, newer: Self) -> Self;
}

/// What became of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Triggered {
    /// It waits for its turn.
    Waits,
    /// It goes with one that waited already.
    Joined,
    /// Too many subjects wait.
    Refused,
}

/// What a look for work found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn<K, R> {
    /// This one runs from now on, until [`Slots::ended`].
    Run(K, R),
    /// This one waited too long and is dropped.
    Stale(K, R),
    /// Nothing can run now.
    Nothing,
}

/// The fetches of all subjects.
#[derive(Debug)]
pub(super) struct Slots<K, R> {
    running: BTreeSet<K>,
    /// With the time of the last trigger.
    waiting: BTreeMap<K, (R, Timestamp)>,
    order: VecDeque<K>,
    max_waiting: usize,
    stale_after: Duration,
}

impl<K: Ord + Clone, R: Request> Slots<K, R> {
    pub(super) fn new(max_waiting: usize, stale_after: Duration) -> Self {
        let (running, waiting, order) = (BTreeSet::new(), BTreeMap::new(), VecDeque::new());
        Self { running, waiting, order, max_waiting, stale_after }
    }

    pub(super) fn trigger(&mut self, key: K, request: R, now: Timestamp) -> Triggered {
        if let Some((before, _)) = self.waiting.remove(&key) {
            self.waiting.insert(key, (before.merge(request), now));
            return Triggered::Joined;
        }
        if self.waiting.len() >= self.max_waiting {
            return Triggered::Refused;
        }
        self.waiting.insert(key.clone(), (request, now));
        self.order.push_back(key);
        Triggered::Waits
    }

    /// The next fetch whose subject is not being fetched, the one that waits longest first.
    pub(super) fn turn(&mut self, now: Timestamp) -> Turn<K, R> {
        let free = self.order.iter().position(|key| !self.running.contains(key));
        let Some(key) = free.and_then(|at| self.order.remove(at)) else { return Turn::Nothing };
        let Some((request, since)) = self.waiting.remove(&key) else { return Turn::Nothing };
        if now.since(since) > self.stale_after {
            return Turn::Stale(key, request);
        }
        self.running.insert(key.clone());
        Turn::Run(key, request)
    }

    pub(super) fn ended(&mut self, key: &K) {
        self.running.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Sum(u64);

    impl Request for Sum {
        fn merge(self, newer: Self) -> Self {
            Self(self.0 + newer.0)
        }
    }

    fn slots() -> Slots<u8, Sum> {
        Slots::new(3, Duration::from_secs(10))
    }

    const NOW: Timestamp = Timestamp(0);

    #[test]
    fn a_thousand_triggers_during_a_fetch_are_one_more() {
        let mut slots = slots();
        slots.trigger(1, Sum(1), NOW);
        assert_eq!(slots.turn(NOW), Turn::Run(1, Sum(1)));
        for _ in 0..1000 {
            slots.trigger(1, Sum(1), NOW);
        }
        assert_eq!(slots.turn(NOW), Turn::Nothing, "it waits while the first one runs");
        slots.ended(&1);
        assert_eq!(slots.turn(NOW), Turn::Run(1, Sum(1000)));
        slots.ended(&1);
        assert_eq!(slots.turn(NOW), Turn::Nothing);
    }

    #[test]
    fn what_waited_too_long_is_dropped_and_what_is_too_much_refused() {
        let mut slots = slots();
        for key in 0..3 {
            assert_eq!(slots.trigger(key, Sum(1), NOW), Triggered::Waits);
        }
        assert_eq!(slots.trigger(3, Sum(1), NOW), Triggered::Refused);
        let later = NOW + Duration::from_secs(9);
        assert_eq!(slots.trigger(1, Sum(1), later), Triggered::Joined);
        let late = NOW + Duration::from_secs(11);
        assert_eq!(slots.turn(late), Turn::Stale(0, Sum(1)));
        assert_eq!(slots.turn(late), Turn::Run(1, Sum(2)), "somebody still wanted it");
        assert_eq!(slots.turn(late), Turn::Stale(2, Sum(1)));
    }

    proptest! {
        #[test]
        fn nothing_triggered_is_lost_and_no_subject_is_fetched_twice_at_once(
            acts in prop::collection::vec((0_u8..3, 0_u8..4), 0..200)
        ) {
            let mut slots = slots();
            let (mut running, mut asked, mut served) = (BTreeSet::new(), 0, 0);
            for (act, key) in acts {
                match act {
                    0 => if slots.trigger(key % 3, Sum(1), NOW) != Triggered::Refused { asked += 1 },
                    1 => match slots.turn(NOW) {
                        Turn::Run(key, Sum(count)) => {
                            prop_assert!(running.insert(key));
                            served += count;
                        }
                        Turn::Stale(..) => prop_assert!(false, "no time passes"),
                        Turn::Nothing => {}
                    },
                    _ => {
                        slots.ended(&(key % 3));
                        running.remove(&(key % 3));
                    }
                }
            }
            loop {
                running.iter().for_each(|key| slots.ended(key));
                running.clear();
                match slots.turn(NOW) {
                    Turn::Run(key, Sum(count)) => {
                        running.insert(key);
                        served += count;
                    }
                    _ => break,
                }
            }
            prop_assert_eq!(asked, served);
        }
    }
}
