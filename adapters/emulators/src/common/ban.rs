//! When a vendor stops calling a receiver that fails too often. Pure: the caller brings the time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What happens to events while a ban lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanAction {
    /// They are given up.
    Drop,
    /// They wait for its end.
    Hold,
}

/// The vendor's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanPolicy {
    /// This many failed attempts …
    pub failures: usize,
    /// … within this time start a ban.
    pub window: Duration,
    /// Lengths of the 1st, 2nd, … ban; the last one repeats.
    pub ladder: Vec<Duration>,
    /// How long an earlier ban counts for the ladder.
    pub memory: Duration,
    /// What happens to events meanwhile.
    pub action: BanAction,
}

/// The state per receiver scope.
#[derive(Debug)]
pub(crate) struct Bans {
    policy: Option<BanPolicy>,
    scopes: HashMap<String, Scope>,
}

#[derive(Debug, Default)]
struct Scope {
    failures: VecDeque<i64>,
    bans: Vec<i64>,
    until_ms: i64,
}

impl Bans {
    pub(crate) fn new(policy: Option<BanPolicy>) -> Self {
        Self { policy, scopes: HashMap::new() }
    }

    pub(crate) fn action(&self) -> Option<BanAction> {
        self.policy.as_ref().map(|policy| policy.action)
    }

    /// End of the ban in force, Unix milliseconds.
    pub(crate) fn until(&self, scope: &str, now_ms: i64) -> Option<i64> {
        self.scopes.get(scope).map(|scope| scope.until_ms).filter(|until| *until > now_ms)
    }

    /// Lifts the ban of every scope and forgets their failures.
    pub(crate) fn lift(&mut self) {
        self.scopes.clear();
    }

    /// Notes a failed attempt; true when it starts a ban.
    pub(crate) fn fail(&mut self, scope: &str, now_ms: i64) -> bool {
        let Some(policy) = &self.policy else {
            return false;
        };
        let state = self.scopes.entry(scope.to_owned()).or_default();
        if state.until_ms > now_ms {
            // Attempts already on their way when the ban began do not lengthen it.
            return false;
        }
        let oldest = now_ms - millis(policy.window);
        while state.failures.front().is_some_and(|at| *at <= oldest) {
            state.failures.pop_front();
        }
        state.failures.push_back(now_ms);
        if state.failures.len() < policy.failures {
            return false;
        }
        state.failures.clear();
        let forgotten = now_ms - millis(policy.memory);
        state.bans.retain(|at| *at > forgotten);
        let step = state.bans.len().min(policy.ladder.len().saturating_sub(1));
        let length = policy.ladder.get(step).copied().unwrap_or_default();
        state.bans.push(now_ms);
        state.until_ms = now_ms + millis(length);
        true
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn huanxin_like() -> Bans {
        Bans::new(Some(BanPolicy {
            failures: 90,
            window: Duration::from_secs(30),
            ladder: [5, 10, 15, 20, 25].map(|minutes| Duration::from_secs(minutes * 60)).to_vec(),
            memory: Duration::from_secs(24 * 3600),
            action: BanAction::Drop,
        }))
    }

    fn burst(bans: &mut Bans, now_ms: i64) -> Option<i64> {
        for _ in 0..90 {
            bans.fail("app", now_ms);
        }
        bans.until("app", now_ms).map(|until| (until - now_ms) / MINUTE)
    }

    #[test]
    fn the_ladder_climbs_and_stays_at_its_top() {
        let mut bans = huanxin_like();
        let mut now = 0;
        let mut lengths = Vec::new();
        for _ in 0..6 {
            let minutes = burst(&mut bans, now).unwrap_or(0);
            lengths.push(minutes);
            now += minutes * MINUTE;
        }
        assert_eq!(lengths, [5, 10, 15, 20, 25, 25]);
        now += 25 * 3600 * 1000;
        assert_eq!(burst(&mut bans, now), Some(5));
    }

    #[test]
    fn failures_outside_the_window_do_not_add_up() {
        let mut bans = huanxin_like();
        for step in 0..1_000 {
            // 89 failures fit into any 30 seconds.
            assert!(!bans.fail("app", step * 338));
        }
        assert_eq!(bans.until("app", 338_000), None);
    }
}
