//! The control surface under `/_emulator`: state, ledger, faults, clock, and acting as an end user. Not part of any
//! vendor's contract, never faulted and never counted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::chance::FaultEngine;
use super::faults::Faults;
use super::ledger::Ledger;
use super::time::Time;

/// Why an end user's act failed, as a sentence for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ActionError(
    /// The reason.
    pub String,
);

/// An emulator as its control surface sees it.
#[async_trait]
pub trait Controlled: Send + Sync + 'static {
    /// Faults in force.
    fn faults(&self) -> &FaultEngine;
    /// The ground truth.
    fn ledger(&self) -> &Ledger;
    /// The clock.
    fn time(&self) -> &Time;
    /// Vendor-specific facts for `GET /_emulator/state`: credentials in use excepted.
    fn describe(&self) -> Value;
    /// Acts as an end user: `POST /_emulator/users/{user}/{action}` with a JSON object.
    async fn act(&self, user: &str, action: &str, arguments: Value) -> Result<Value, ActionError>;
    /// Sends callbacks to `url` from now on: `PUT /_emulator/callback_url {"url":…, "secret":…?}`. What is queued
    /// already keeps the address it was made for. A vendor that signs with the app's own secret has no use for
    /// `secret` and passes over it, so that one request suits every vendor.
    ///
    /// # Errors
    /// When the vendor needs a secret and none came.
    fn set_callback_url(&self, url: &str, secret: Option<&str>) -> Result<(), ActionError>;
    /// Resolves when no callback is queued or in flight.
    async fn wait_idle(&self);
}

type Shared = State<Arc<dyn Controlled>>;

/// Routes `/_emulator/…`:
/// `GET state`, `GET ledger`, `GET|PUT faults`, `PUT callback_url {"url":…, "secret":…?}`,
/// `POST clock/advance {"ms":…}`, `POST idle`, `POST users/{user}/{action}`.
pub fn control_router(controlled: Arc<dyn Controlled>) -> Router {
    Router::new()
        .route("/_emulator/state", get(state))
        .route("/_emulator/ledger", get(ledger))
        .route("/_emulator/faults", put(set_faults).get(faults))
        .route("/_emulator/callback_url", put(set_callback_url))
        .route("/_emulator/clock/advance", post(advance))
        .route("/_emulator/idle", post(idle))
        .route("/_emulator/users/{user}/{action}", post(act))
        .with_state(controlled)
}

async fn state(State(emulator): Shared) -> Json<Value> {
    Json(json!({
        "seed": emulator.faults().seed(),
        "now_ms": emulator.time().now_ms(),
        "manual_clock": emulator.time().is_manual(),
        "faults": emulator.faults().faults(),
        "counters": emulator.ledger().counters(),
        "vendor": emulator.describe(),
    }))
}

async fn ledger(State(emulator): Shared) -> Json<Value> {
    Json(emulator.ledger().to_json())
}

async fn faults(State(emulator): Shared) -> Json<Faults> {
    Json(emulator.faults().faults())
}

async fn set_faults(State(emulator): Shared, Json(faults): Json<Faults>) -> StatusCode {
    emulator.faults().set(faults);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallbackUrl {
    url: String,
    secret: Option<String>,
}

async fn set_callback_url(State(emulator): Shared, Json(to): Json<CallbackUrl>) -> Response {
    if !Url::parse(&to.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        return refused("`url` must be an absolute http or https address");
    }
    match emulator.set_callback_url(&to.url, to.secret.as_deref()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(ActionError(reason)) => refused(&reason),
    }
}

fn refused(reason: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": reason }))).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    ms: u64,
}

async fn advance(State(emulator): Shared, Json(by): Json<Advance>) -> Response {
    if !emulator.time().is_manual() {
        let reason = json!({ "error": "the clock is the system's; start with a manual clock to move it" });
        return (StatusCode::CONFLICT, Json(reason)).into_response();
    }
    emulator.time().advance(Duration::from_millis(by.ms));
    Json(json!({ "now_ms": emulator.time().now_ms() })).into_response()
}

async fn idle(State(emulator): Shared) -> StatusCode {
    emulator.wait_idle().await;
    StatusCode::NO_CONTENT
}

async fn act(
    State(emulator): Shared,
    Path((user, action)): Path<(String, String)>,
    arguments: Option<Json<Value>>,
) -> Response {
    let arguments = arguments.map_or_else(|| json!({}), |Json(arguments)| arguments);
    match emulator.act(&user, &action, arguments).await {
        Ok(result) => Json(result).into_response(),
        Err(ActionError(reason)) => refused(&reason),
    }
}
