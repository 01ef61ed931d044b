//! How many callbacks to expect. Pure.
//!
//! People talk by the clock and by the day of the week: the rate of an hour is taken from the same hour of the weeks
//! before, and between the middles of two hours it runs straight from one to the other. What the last quarter of an
//! hour was like bounds it, so that a holiday is not taken for a fault; alone it counts only while nothing is learnt.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use switchboard_contract::Timestamp;
use switchboard_contract::storage::TrafficHour;

use crate::reconcile::{HOUR, hour_of};

/// Weeks that are looked back.
const WEEKS: u32 = 4;
/// Weeks without which nothing is learnt.
const LEARNT: usize = 2;
/// An hour watched shorter than this says nothing.
const LEAST_WATCHED: Duration = Duration::from_secs(1800);
/// The present rate is that of this long.
const RECENT: Duration = Duration::from_secs(900);
/// With fewer callbacks than this, or in a shorter time, there is no present rate.
const LEAST: (u64, Duration) = (20, Duration::from_secs(60));
/// The expectation is not above the present rate times this.
const LIKE_NOW: f64 = 3.0;

/// How long hours are kept.
pub(super) const KEPT: Duration = Duration::from_secs((WEEKS as u64 * 7 + 1) * 24 * 3600);

/// What to expect now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expectation {
    /// Callbacks a second.
    pub(super) rate: f64,
    /// Callbacks that should have come since the last one: the gaps that have passed.
    pub(super) due: f64,
    /// The longest wait in the same hours of the weeks before.
    pub(super) longest_gap: Duration,
    /// It comes from weeks before, not from the last minutes alone.
    pub(super) learnt: bool,
}

/// The hours before, and the last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    hours: BTreeMap<Timestamp, TrafficHour>,
    /// Callbacks accepted up to each time at which somebody looked.
    recent: VecDeque<(Timestamp, u64)>,
}

impl Model {
    pub(super) fn new(hours: Vec<TrafficHour>) -> Self {
        let hours = hours.into_iter().map(|hour| (hour.hour, hour)).collect();
        Self { hours, recent: VecDeque::new() }
    }

    /// What is known of an hour.
    pub(super) fn hour(&self, hour: Timestamp) -> Option<TrafficHour> {
        self.hours.get(&hour).copied()
    }

    pub(super) fn put(&mut self, hour: TrafficHour) {
        self.hours.insert(hour.hour, hour);
        self.hours = self.hours.split_off(&(hour.hour - KEPT));
    }

    /// Somebody looked: so many callbacks had been accepted up to `last`, the time of the last of them.
    pub(super) fn saw(&mut self, last: Timestamp, accepted: u64) {
        if self.recent.back().is_none_or(|(_, known)| *known < accepted) {
            self.recent.push_back((last, accepted));
        }
        // The one before the stretch stays, as its beginning.
        while self.recent.len() > 2 && last.since(self.recent[1].0) >= RECENT {
            self.recent.pop_front();
        }
    }

    /// Nothing of before counts as present any more.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// The present rate, up to the last callback: a silence does not lower it.
    fn present(&self) -> Option<f64> {
        let ((first, before), (last, now)) = (self.recent.front()?, self.recent.back()?);
        let (callbacks, time) = (now - before, last.since(*first));
        (callbacks >= LEAST.0 && time >= LEAST.1).then(|| callbacks as f64 / time.as_secs_f64())
    }

    /// The rate of an hour by the weeks before it, and the longest wait in them.
    fn learnt(&self, hour: Timestamp) -> Option<(f64, Duration)> {
        let weeks = (1..=WEEKS).filter_map(|week| self.hours.get(&(hour - week * 7 * 24 * HOUR)));
        let known: Vec<_> = weeks.filter(|hour| hour.watched >= LEAST_WATCHED).collect();
        if known.len() < LEARNT {
            return None;
        }
        let sum: f64 = known.iter().map(|hour| hour.callbacks as f64 / hour.watched.as_secs_f64()).sum();
        let longest = known.iter().map(|hour| hour.longest_gap).max().unwrap_or_default();
        Some((sum / known.len() as f64, longest))
    }

    /// The rate of a moment by the weeks before it, and the longest wait in them.
    fn by_week(&self, at: Timestamp) -> Option<(f64, Duration)> {
        let hour = hour_of(at);
        let (here, longest) = self.learnt(hour)?;
        // From the middle of this hour towards the nearer neighbour.
        let from_middle = at.since(hour).as_secs_f64() / HOUR.as_secs_f64() - 0.5;
        let neighbour = if from_middle < 0.0 { hour - HOUR } else { hour + HOUR };
        let (there, longest_there) = self.learnt(neighbour).unwrap_or((here, longest));
        let share = from_middle.abs();
        Some((here * (1.0 - share) + there * share, longest.max(longest_there)))
    }

    /// What to expect at a moment when no callback came since `since`; `None` while nothing tells.
    pub(super) fn expect(&self, since: Timestamp, now: Timestamp) -> Option<Expectation> {
        let present = self.present();
        let Some((by_week, longest_gap)) = self.by_week(now) else {
            let due = |rate: f64| rate * now.since(since).as_secs_f64();
            return present.map(|rate| Expectation {
                rate,
                due: due(rate),
                longest_gap: Duration::ZERO,
                learnt: false,
            });
        };
        let bounded = |rate: f64| present.map_or(rate, |present| rate.min(present * LIKE_NOW));
        let rate = bounded(by_week);
        // Half an hour runs straight, so its middle stands for it.
        let (mut due, mut from) = (0.0, since.max(now - KEPT));
        while from < now {
            let until = (hour_of(from) + if from.since(hour_of(from)) < HOUR / 2 { HOUR / 2 } else { HOUR }).min(now);
            let length = until.since(from);
            let there = self.by_week(from + length / 2).map_or(rate, |(there, _)| bounded(there));
            due += there * length.as_secs_f64();
            from = until;
        }
        Some(Expectation { rate, due, longest_gap, learnt: true })
    }
}
