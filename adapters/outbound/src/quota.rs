//! The vendor's quotas, shared by all clones of a client.
//!
//! Vendors count calls (and recipients) in windows, so each group keeps the calls of its last window and lets a new one
//! pass when the vendor would. A token bucket would not do: full, it admits nearly twice the quota within one window.
//!
//! The vendor counts a call some time between its start and its answer. A call therefore leaves its window when the
//! answer would: a slow call and a quick one behind it must not meet in one window of the vendor's. In short windows,
//! where that would cost much of the quota, by a part of the window at most.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::{Clock, Quota, Timestamp};

/// Quotas by group name. A group may have several, such as calls in a second and recipients in a minute; all hold.
#[derive(Clone, Debug, Default)]
pub struct Quotas(HashMap<&'static str, Vec<Quota>>);

impl Quotas {
    /// No quota at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a quota to a group.
    #[must_use]
    pub fn with(mut self, group: &'static str, quota: Quota) -> Self {
        self.0.entry(group).or_default().push(quota);
        self
    }
}

/// Windows at least this long count a call from its answer.
const LONG: Duration = Duration::from_secs(10);
/// The part of a shorter window by which a call's answer moves it.
const SHARE: u32 = 20;

pub(crate) struct Limiter {
    groups: HashMap<&'static str, Group>,
    clock: Arc<dyn Clock>,
}

struct Group {
    /// Held while waiting, so that waiters pass in the order they came.
    turn: tokio::sync::Mutex<()>,
    windows: Mutex<State>,
}

struct State {
    windows: Vec<Window>,
    /// The vendor said to stay away until then.
    paused_until: Option<Timestamp>,
}

struct Window {
    calls: Option<u64>,
    units: Option<u64>,
    per: Duration,
    spent: VecDeque<(Timestamp, u32)>,
    units_spent: u64,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("groups", &self.groups.keys()).finish_non_exhaustive()
    }
}

impl Limiter {
    pub(crate) fn new(quotas: &Quotas, share: f64, clock: Arc<dyn Clock>) -> Self {
        // At least one: a quota of which a small share is taken still lets calls pass.
        let part = |whole: u32| ((f64::from(whole) * share).floor() as u64).max(1);
        let groups = quotas.0.iter().map(|(name, quotas)| {
            let windows = quotas.iter().map(|quota| Window {
                calls: quota.calls.map(part),
                units: quota.units.map(part),
                per: quota.per,
                spent: VecDeque::new(),
                units_spent: 0,
            });
            let state = State { windows: windows.collect(), paused_until: None };
            (*name, Group { turn: tokio::sync::Mutex::new(()), windows: Mutex::new(state) })
        });
        Self { groups: groups.collect(), clock }
    }

    /// Waits until one call with `units` fits into every window of its group, and spends it. Dropping the future gives
    /// the place in the queue away and spends nothing. What it returns is to be kept until the call is answered.
    pub(crate) async fn acquire(&self, group: &str, units: u32) -> Spent<'_> {
        let came = self.clock.now();
        let Some(group) = self.groups.get(group) else { return Spent { limiter: self, group: None, at: came, came } };
        let _turn = group.turn.lock().await;
        loop {
            let now = self.clock.now();
            let tried = group.windows.lock().try_spend(now, units);
            let Err(wait) = tried else { return Spent { limiter: self, group: Some(group), at: now, came } };
            self.clock.sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Every group but `except` counts as used up by calls made until `ended`, which may be those of another process.
    pub(crate) fn charge(&self, ended: Timestamp, except: &[&str]) {
        for (name, group) in &self.groups {
            if except.contains(name) {
                continue;
            }
            let mut state = group.windows.lock();
            let longest = state.windows.iter().map(|window| window.per).max().unwrap_or_default();
            state.paused_until = state.paused_until.max(Some(ended + longest));
        }
    }

    /// The vendor asked for a wait: the whole group stays away that long.
    pub(crate) fn pause(&self, group: &str, wait: Duration) {
        if let Some(group) = self.groups.get(group) {
            let until = self.clock.now() + wait;
            let mut state = group.windows.lock();
            state.paused_until = state.paused_until.max(Some(until));
        }
    }
}

/// A call that is under way. When it is dropped, the call was answered, or given up.
pub(crate) struct Spent<'a> {
    limiter: &'a Limiter,
    group: Option<&'a Group>,
    came: Timestamp,
    at: Timestamp,
}

impl Spent<'_> {
    /// How long it had to wait.
    pub(crate) fn waited(&self) -> Duration {
        self.at.since(self.came)
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            group.windows.lock().answered(self.at, self.limiter.clock.now());
        }
    }
}

impl State {
    /// A call that was spent at `at` is over.
    fn answered(&mut self, at: Timestamp, now: Timestamp) {
        for window in &mut self.windows {
            window.answered(at, now);
        }
    }

    fn try_spend(&mut self, now: Timestamp, units: u32) -> Result<(), Duration> {
        let mut wait = Duration::ZERO;
        if let Some(until) = self.paused_until {
            if until > now {
                wait = until.since(now);
            } else {
                self.paused_until = None;
            }
        }
        for window in &mut self.windows {
            wait = wait.max(window.wait(now, units));
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        for window in &mut self.windows {
            window.spent.push_back((now, units));
            window.units_spent += u64::from(units);
        }
        Ok(())
    }
}

impl Window {
    fn answered(&mut self, at: Timestamp, now: Timestamp) {
        let counted = if self.per < LONG { now.min(at + self.per / SHARE) } else { now };
        let Some(place) = self.spent.iter().rposition(|(spent, _)| *spent == at).filter(|_| counted > at) else {
            return;
        };
        if let Some((_, units)) = self.spent.remove(place) {
            let behind = self.spent.partition_point(|(spent, _)| *spent <= counted);
            self.spent.insert(behind, (counted, units));
        }
    }

    fn wait(&mut self, now: Timestamp, units: u32) -> Duration {
        // A clock set back must not keep callers out until it has caught up.
        if self.spent.back().is_some_and(|(at, _)| *at > now) {
            for entry in &mut self.spent {
                entry.0 = entry.0.min(now);
            }
        }
        while let Some((at, spent)) = self.spent.front().copied() {
            if now.since(at) < self.per {
                break;
            }
            self.spent.pop_front();
            self.units_spent -= u64::from(spent);
        }
        let mut calls = self.spent.len() as u64;
        let mut spent_units = self.units_spent;
        // A call larger than the whole quota passes alone: the vendor is the one to refuse it.
        let units = u64::from(units);
        let fits = |calls: u64, spent: u64| {
            self.calls.is_none_or(|limit| calls < limit)
                && self.units.is_none_or(|limit| spent + units.min(limit) <= limit)
        };
        if fits(calls, spent_units) {
            return Duration::ZERO;
        }
        for (at, spent) in &self.spent {
            calls -= 1;
            spent_units -= u64::from(*spent);
            if fits(calls, spent_units) {
                return self.per.saturating_sub(now.since(*at));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(calls: Option<u64>, units: Option<u64>) -> State {
        let window = Window { calls, units, per: Duration::from_secs(1), spent: VecDeque::new(), units_spent: 0 };
        State { windows: vec![window], paused_until: None }
    }

    #[test]
    fn no_window_of_any_start_holds_more_than_the_quota() {
        let mut state = window(Some(3), None);
        let mut passed = Vec::new();
        let mut now = Timestamp(0);
        for _ in 0..20 {
            while let Err(wait) = state.try_spend(now, 1) {
                now = now + wait;
            }
            passed.push(now.0);
            now = now + Duration::from_millis(90);
        }
        for pair in passed.windows(4) {
            assert!(pair[3] - pair[0] >= 1_000, "{passed:?}");
        }
        assert!(passed[19] <= 6_100, "no slower than the quota: {passed:?}");
    }

    #[test]
    fn a_slow_call_and_a_quick_one_behind_it_never_meet_in_one_window_of_the_vendors() {
        let mut state = window(Some(1), None);
        state.windows[0].per = Duration::from_secs(60);
        assert_eq!(state.try_spend(Timestamp(0), 1), Ok(()));
        // The vendor may have counted it only just now.
        state.answered(Timestamp(0), Timestamp(7_000));
        assert_eq!(state.try_spend(Timestamp(60_000), 1), Err(Duration::from_secs(7)));
        assert_eq!(state.try_spend(Timestamp(67_000), 1), Ok(()));
        // In a short window no call takes away more than a part of it.
        let mut state = window(Some(1), None);
        assert_eq!(state.try_spend(Timestamp(0), 1), Ok(()));
        state.answered(Timestamp(0), Timestamp(900));
        assert_eq!(state.try_spend(Timestamp(1_000), 1), Err(Duration::from_millis(50)));
    }

    #[test]
    fn calls_that_are_answered_in_another_order_keep_their_windows_in_order() {
        let mut state = window(Some(3), Some(100));
        state.windows[0].per = Duration::from_secs(60);
        for at in [0, 10, 20] {
            assert_eq!(state.try_spend(Timestamp(at), at as u32), Ok(()));
        }
        state.answered(Timestamp(0), Timestamp(5_000));
        state.answered(Timestamp(20), Timestamp(100));
        let spent: Vec<_> = state.windows[0].spent.iter().map(|(at, units)| (at.0, *units)).collect();
        assert_eq!(spent, [(10, 10), (100, 20), (5_000, 0)]);
        assert_eq!(state.try_spend(Timestamp(60_010), 1), Ok(()));
    }

    #[test]
    fn units_count_beside_calls_and_a_giant_passes_alone() {
        let mut state = window(None, Some(10));
        assert_eq!(state.try_spend(Timestamp(0), 6), Ok(()));
        assert_eq!(state.try_spend(Timestamp(100), 5), Err(Duration::from_millis(900)));
        assert_eq!(state.try_spend(Timestamp(100), 4), Ok(()));
        assert_eq!(state.try_spend(Timestamp(1_100), 50), Ok(()));
        assert_eq!(state.try_spend(Timestamp(1_200), 1), Err(Duration::from_millis(900)));
    }

    #[test]
    fn a_clock_set_back_delays_by_one_window_at_most() {
        let mut state = window(Some(1), None);
        assert_eq!(state.try_spend(Timestamp(1_000_000), 1), Ok(()));
        assert_eq!(state.try_spend(Timestamp(5_000), 1), Err(Duration::from_secs(1)));
        assert_eq!(state.try_spend(Timestamp(6_000), 1), Ok(()));
    }

    /// It stands still.
    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp(10_000)
        }

        fn sleep(&self, _: Duration) -> switchboard_contract::Sleep {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn calls_of_an_earlier_life_count_for_as_long_as_the_vendor_counts_them() {
        let quota = |calls, seconds| Quota { calls: Some(calls), units: None, per: Duration::from_secs(seconds) };
        let quotas =
            Quotas::new().with("files", quota(10, 60)).with("recall", quota(100, 1)).with("send", quota(1, 60));
        let limiter = Limiter::new(&quotas, 1.0, Arc::new(Still));
        limiter.charge(Timestamp(9_500), &["send"]);
        let spend = |group: &str, at: i64| limiter.groups[group].windows.lock().try_spend(Timestamp(at), 1);
        assert_eq!(spend("files", 10_000), Err(Duration::from_millis(59_500)));
        assert_eq!(spend("recall", 10_000), Err(Duration::from_millis(500)));
        assert_eq!(spend("send", 10_000), Ok(()), "what is known need not be guessed");
        assert_eq!((spend("files", 69_500), spend("recall", 10_500)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_pause_named_by_the_vendor_holds() {
        let mut state = window(Some(100), None);
        state.paused_until = Some(Timestamp(500));
        assert_eq!(state.try_spend(Timestamp(100), 1), Err(Duration::from_millis(400)));
        assert_eq!(state.try_spend(Timestamp(500), 1), Ok(()));
    }
}
