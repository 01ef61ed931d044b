//! Whether an app can be reached, for those who look.

use serde::Serialize;
use switchboard_contract::{ErrorKind, Timestamp};
use tokio::sync::watch;

use super::breaker::{Breaker, Gate};

/// What an app's breaker is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    #[default]
    Closed,
    /// Nothing is called: the app is paused.
    Open,
    /// The pause is over: one harmless call, then one call, decide.
    HalfOpen,
}

impl BreakerState {
    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Whether an app can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AppHealth {
    /// What its breaker is at.
    pub state: BreakerState,
    /// When calls last stopped going through. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it is asked again. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// Pauses in a row.
    pub trips: u32,
    /// Why it was paused.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "word")]
    pub reason: Option<ErrorKind>,
}

fn word<S: serde::Serializer>(kind: &Option<ErrorKind>, serializer: S) -> Result<S::Ok, S::Error> {
    match kind {
        Some(kind) => serializer.serialize_str(kind.as_str()),
        None => serializer.serialize_none(),
    }
}

impl AppHealth {
    /// Whether calls go through.
    pub fn is_reachable(&self) -> bool {
        self.state == BreakerState::Closed
    }

    pub(crate) fn of(breaker: &Breaker, now: Timestamp) -> Self {
        let (state, next_try_at) = match breaker.gate(now) {
            Gate::Open => return Self::default(),
            Gate::Paused(until) => (BreakerState::Open, Some(until)),
            Gate::Probe | Gate::Trying | Gate::Trial => (BreakerState::HalfOpen, None),
        };
        Self { state, since: breaker.since(), next_try_at, trips: breaker.trips(), reason: breaker.reason() }
    }
}

/// Resolves when the app can be reached again; `false` when nobody will tell any more.
pub(crate) async fn reachable(health: &mut Option<watch::Receiver<AppHealth>>) -> bool {
    let Some(health) = health else { return std::future::pending().await };
    loop {
        match health.changed().await {
            Ok(()) if health.borrow_and_update().is_reachable() => return true,
            Ok(()) => {}
            Err(_) => return false,
        }
    }
}
