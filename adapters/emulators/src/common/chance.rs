//! Decides, call by call and event by event, which fault happens: first the script, then one seeded generator.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::faults::{FaultAction, Faults, Trigger};
use super::time::Time;

/// What happens to one REST call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestPlan {
    /// The fault, if any.
    pub fault: Option<FaultAction>,
    /// Milliseconds to wait before the answer.
    pub slow_ms: u64,
}

/// What happens to one callback event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallbackPlan {
    /// No attempt is made.
    pub drop: bool,
    /// The first attempt counts as failed without being made.
    pub drop_first_attempt: bool,
    /// Delivered a second time.
    pub duplicate: bool,
    /// Sent after this many later events.
    pub behind: Option<u32>,
    /// Milliseconds before the first attempt.
    pub delay_ms: u64,
    /// The signature is spoiled.
    pub corrupt_signature: bool,
}

/// The faults in force, the script's counters and the generator.
#[derive(Debug)]
pub struct FaultEngine {
    seed: u64,
    time: Time,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    matched: Vec<u64>,
    rng: StdRng,
}

impl FaultEngine {
    /// An engine whose every draw follows from `seed`. The clock's skew is set from the faults.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, time: Time) -> Self {
        time.set_skew(faults.clock_skew_ms);
        let matched = vec![0; faults.script.len()];
        let state = State { faults, matched, rng: StdRng::seed_from_u64(seed) };
        Self { seed, time, state: Mutex::new(state) }
    }

    /// The seed, for reproducing a run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Replaces all faults. The script counts from zero; the generator goes on where it is.
    pub fn set(&self, faults: Faults) {
        let mut state = self.state.lock();
        self.time.set_skew(faults.clock_skew_ms);
        state.matched = vec![0; faults.script.len()];
        state.faults = faults;
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.state.lock().faults.clone()
    }

    /// Reads one thing from the faults without copying them all.
    pub fn with<T>(&self, read: impl FnOnce(&Faults) -> T) -> T {
        read(&self.state.lock().faults)
    }

    /// Whether connections of this domain (`host:port`) are closed unanswered.
    #[must_use]
    pub fn is_dead(&self, domain: &str) -> bool {
        let state = self.state.lock();
        state.faults.outage || state.faults.dead_domains.iter().any(|dead| dead.trim_start_matches("http://") == domain)
    }

    /// Draws the fate of a REST call. `path` is the vendor's path as scripts spell it; `is_send` says whether the
    /// message limit can apply; `has_credentials` whether a 401 would make sense.
    pub fn rest(&self, path: &str, is_send: bool, has_credentials: bool) -> RestPlan {
        let mut state = self.state.lock();
        let slow_ms = state.faults.rest.slow_ms;
        let scripted = state.scripted(|on| match on {
            Trigger::Rest { path_prefix } => path.starts_with(path_prefix.as_str()),
            Trigger::Callback { .. } => false,
        });
        if scripted.is_some() {
            return RestPlan { fault: scripted, slow_ms };
        }
        if has_credentials && state.faults.rest.unauthorized_once {
            state.faults.rest.unauthorized_once = false;
            return RestPlan { fault: Some(FaultAction::Unauthorized), slow_ms };
        }
        let rest = &state.faults.rest;
        let odds = [
            (rest.lost_request, FaultAction::LostRequest),
            (rest.lost_answer, FaultAction::LostAnswer),
            (rest.timeout_answer, FaultAction::TimeoutAnswer),
            (rest.rate_limited, FaultAction::RateLimited),
            (if is_send { rest.message_limit } else { 0.0 }, FaultAction::MessageLimit),
            (rest.server_error, FaultAction::ServerError),
            (rest.html_error, FaultAction::HtmlError),
        ];
        let fault = odds.into_iter().find_map(|(odds, action)| state.hit(odds).then_some(action));
        RestPlan { fault, slow_ms }
    }

    /// Draws the fate of a callback event with this label.
    pub fn callback(&self, label: &str) -> CallbackPlan {
        let mut state = self.state.lock();
        let scripted = state.scripted(|on| match on {
            Trigger::Callback { label_prefix } => label.starts_with(label_prefix.as_str()),
            Trigger::Rest { .. } => false,
        });
        let odds = state.faults.callbacks.clone();
        let delay_ms = odds.delay_ms.map_or(0, |(low, high)| state.rng.random_range(low..=high.max(low)));
        let mut decide = |odds: f64, action: FaultAction| scripted == Some(action) || state.hit(odds);
        let drop = decide(odds.drop, FaultAction::Drop);
        let drop_first_attempt = decide(odds.drop_first_attempt, FaultAction::DropFirstAttempt);
        let duplicate = decide(odds.duplicate, FaultAction::Duplicate);
        let reorder = decide(odds.reorder, FaultAction::Reorder);
        let corrupt_signature = decide(odds.corrupt_signature, FaultAction::CorruptSignature);
        let behind = reorder.then(|| state.rng.random_range(1..=3));
        CallbackPlan { drop, drop_first_attempt, duplicate, behind, delay_ms, corrupt_signature }
    }

    /// A number from the same generator, for whatever else must follow the seed.
    pub fn draw(&self, range: std::ops::Range<u64>) -> u64 {
        self.state.lock().rng.random_range(range)
    }
}

impl State {
    /// No draw is made for impossible events, so adding a fault that stays at zero does not change a run.
    fn hit(&mut self, odds: f64) -> bool {
        odds > 0.0 && self.rng.random::<f64>() < odds
    }

    /// Counts the match on every step and answers with the first step that is due.
    fn scripted(&mut self, matches: impl Fn(&Trigger) -> bool) -> Option<FaultAction> {
        let mut due = None;
        for (step, count) in self.faults.script.iter().zip(&mut self.matched) {
            if matches(&step.on) {
                *count += 1;
                if *count == step.nth {
                    due = due.or(Some(step.action));
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{CallbackFaults, FaultStep, RestFaults};
    use super::*;

    fn engine(seed: u64, faults: Faults) -> FaultEngine {
        FaultEngine::new(seed, faults, Time::manual(0))
    }

    #[test]
    fn a_script_counts_only_what_it_names() {
        let script = vec![FaultStep::rest(2, "/messages", FaultAction::LostAnswer)];
        let engine = engine(1, Faults { script, ..Faults::default() });
        let fates: Vec<_> = ["/messages/users", "/users", "/messages/users", "/messages/users"]
            .map(|path| engine.rest(path, true, true).fault)
            .to_vec();
        assert_eq!(fates, [None, None, Some(FaultAction::LostAnswer), None]);
    }

    #[test]
    fn the_same_seed_fails_alike() {
        let faults = Faults {
            rest: RestFaults { lost_answer: 0.3, html_error: 0.2, ..RestFaults::default() },
            callbacks: CallbackFaults { reorder: 0.5, duplicate: 0.5, ..CallbackFaults::default() },
            ..Faults::default()
        };
        let run = |seed| {
            let engine = engine(seed, faults.clone());
            (0..200).map(|_| (engine.rest("/x", false, true), engine.callback("chat"))).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn unauthorized_once_is_once() {
        let rest = RestFaults { unauthorized_once: true, ..RestFaults::default() };
        let engine = engine(1, Faults { rest, ..Faults::default() });
        assert_eq!(engine.rest("/token", false, false).fault, None);
        assert_eq!(engine.rest("/users", false, true).fault, Some(FaultAction::Unauthorized));
        assert_eq!(engine.rest("/users", false, true).fault, None);
    }
}
