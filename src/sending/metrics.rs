//! The figures of sending, by provider alias.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use switchboard_contract::{ProviderId, SendState};

use crate::recovery::AppHealth;

/// The figures of one app.
#[derive(Debug)]
pub(crate) struct AppMetrics {
    provider: String,
}

impl AppMetrics {
    pub(crate) fn new(alias: &ProviderId) -> Self {
        Self { provider: alias.as_str().to_owned() }
    }

    fn provider(&self) -> String {
        self.provider.clone()
    }

    pub(crate) fn publish(&self, open: u64, waiting: usize, calls: usize, in_doubt: usize, health: &AppHealth) {
        gauge!("switchboard_sending_open", "provider" => self.provider()).set(open as f64);
        gauge!("switchboard_sending_waiting", "provider" => self.provider()).set(waiting as f64);
        gauge!("switchboard_sending_calls", "provider" => self.provider()).set(calls as f64);
        gauge!("switchboard_sending_in_doubt", "provider" => self.provider()).set(in_doubt as f64);
        let paused = !health.is_reachable();
        gauge!("switchboard_sending_paused", "provider" => self.provider()).set(f64::from(u8::from(paused)));
        gauge!("switchboard_sending_pauses_in_a_row", "provider" => self.provider()).set(f64::from(health.trips));
    }

    pub(crate) fn oldest_doubt(&self, age: Duration) {
        gauge!("switchboard_sending_oldest_doubt_seconds", "provider" => self.provider()).set(age.as_secs_f64());
    }

    pub(crate) fn state(&self, state: SendState) {
        counter!("switchboard_sending_states_total", "provider" => self.provider(), "state" => state.as_str())
            .increment(1);
    }

    pub(crate) fn accepted(&self, after: Duration) {
        histogram!("switchboard_sending_accepted_seconds", "provider" => self.provider()).record(after.as_secs_f64());
    }

    pub(crate) fn attempt(&self, outcome: &'static str) {
        counter!("switchboard_sending_attempts_total", "provider" => self.provider(), "outcome" => outcome)
            .increment(1);
    }

    pub(crate) fn look(&self, source: &'static str) {
        counter!("switchboard_sending_looks_total", "provider" => self.provider(), "source" => source).increment(1);
    }

    pub(crate) fn tripped(&self) {
        counter!("switchboard_sending_pauses_total", "provider" => self.provider()).increment(1);
    }

    pub(crate) fn rate_limited(&self) {
        counter!("switchboard_sending_rate_limited_total", "provider" => self.provider()).increment(1);
    }
}

/// A mark that was not ours, or stood in a message that is not the one it names.
pub(crate) fn forged_mark(app: &switchboard_contract::App) {
    counter!("switchboard_sending_forged_marks_total", "vendor" => app.kind.as_str().to_owned()).increment(1);
}

/// Failed messages were queued again.
pub(crate) fn redriven(app: &switchboard_contract::App, messages: u64) {
    counter!("switchboard_sending_redriven_total", "vendor" => app.kind.as_str().to_owned()).increment(messages);
}

/// A hook panicked or took too long.
pub(crate) fn hook_failed(hook: &'static str, stage: &'static str) {
    counter!("switchboard_send_hook_failures_total", "hook" => hook, "stage" => stage).increment(1);
}

/// Hooks were so far behind that a change of state was not told.
pub(crate) fn hook_missed() {
    counter!("switchboard_send_hook_missed_total").increment(1);
}

/// An echo of an own send came in.
pub(crate) fn echo(app: &switchboard_contract::App) {
    counter!("switchboard_sending_echoes_total", "vendor" => app.kind.as_str().to_owned()).increment(1);
}
