//! Whose turn it is to be fetched: so many at once, those of the tier with the highest priority first.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::history::{HistoryConfig, Tier};

#[derive(Debug)]
struct State {
    /// Under way, in all tiers and in each.
    running: usize,
    of_tier: [usize; 3],
    /// Waiting, by priority (turned around, so that the highest is first) and arrival.
    waiting: BTreeMap<(u8, u64), (Tier, oneshot::Sender<Pass>)>,
    arrivals: u64,
}

/// The gate of one app. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    state: Arc<Mutex<State>>,
    limit: usize,
    of_tier: [usize; 3],
    priority: [u8; 3],
}

/// A turn; it ends when this goes.
#[derive(Debug)]
pub(super) struct Pass {
    /// `None` once it counts no more.
    gate: Option<Gate>,
    tier: Tier,
}

impl Gate {
    pub(super) fn new(config: &HistoryConfig) -> Self {
        let state = State { running: 0, of_tier: [0; 3], waiting: BTreeMap::new(), arrivals: 0 };
        Self {
            state: Arc::new(Mutex::new(state)),
            limit: config.concurrency,
            of_tier: Tier::ALL.map(|tier| config.tier(tier).concurrency),
            priority: Tier::ALL.map(|tier| config.tier(tier).priority),
        }
    }

    /// Waits for a turn. Whoever stops waiting leaves the line.
    pub(super) async fn pass(&self, tier: Tier) -> Pass {
        loop {
            let turn = {
                let mut state = self.state.lock();
                let arrival = state.arrivals;
                state.arrivals += 1;
                let (tell, turn) = oneshot::channel();
                state.waiting.insert((u8::MAX - self.priority[tier as usize], arrival), (tier, tell));
                self.admit(&mut state);
                turn
            };
            if let Ok(pass) = turn.await {
                return pass;
            }
        }
    }

    /// Gives turns to whoever may go.
    fn admit(&self, state: &mut State) {
        while state.running < self.limit {
            let may_go = |tier: Tier| state.of_tier[tier as usize] < self.of_tier[tier as usize];
            let next = state.waiting.iter().find(|(_, (tier, _))| may_go(*tier)).map(|(key, _)| *key);
            let Some((tier, tell)) = next.and_then(|key| state.waiting.remove(&key)) else { return };
            match tell.send(Pass { gate: Some(self.clone()), tier }) {
                Ok(()) => {
                    state.running += 1;
                    state.of_tier[tier as usize] += 1;
                }
                // Whoever left the line takes no turn.
                Err(mut pass) => pass.gate = None,
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let mut state = gate.state.lock();
        state.running -= 1;
        state.of_tier[self.tier as usize] -= 1;
        gate.admit(&mut state);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_highest_priority_goes_first_and_no_more_than_admitted_go_at_once() {
        let mut config = HistoryConfig { concurrency: 2, ..HistoryConfig::default() };
        config.archive.concurrency = 1;
        let gate = Gate::new(&config);
        let first = gate.pass(Tier::Archive).await;
        let mut second = Box::pin(gate.pass(Tier::Archive));
        assert!(second.as_mut().now_or_never().is_none(), "one of its tier at a time");
        let month = gate.pass(Tier::Month).await;
        let (mut late, mut recent) = (Box::pin(gate.pass(Tier::Month)), Box::pin(gate.pass(Tier::Recent)));
        assert!(late.as_mut().now_or_never().is_none() && recent.as_mut().now_or_never().is_none());
        drop(month);
        let recent = recent.as_mut().now_or_never().unwrap();
        assert!(late.as_mut().now_or_never().is_none());
        drop(second);
        drop((first, recent));
        let late = late.await;
        let _other = gate.pass(Tier::Archive).await;
        drop(late);
    }

    #[tokio::test]
    async fn a_turn_given_to_somebody_who_left_is_not_lost() {
        let gate = Gate::new(&HistoryConfig { concurrency: 1, ..HistoryConfig::default() });
        let first = gate.pass(Tier::Recent).await;
        let mut second = Box::pin(gate.pass(Tier::Recent));
        assert!(second.as_mut().now_or_never().is_none());
        // The turn is given, and nobody looks any more.
        drop(first);
        drop(second);
        let _third = gate.pass(Tier::Recent).now_or_never().unwrap();
    }
}
