//! Health and metrics: the only paths beside callbacks that need no token.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::AppState;

pub(super) fn routes(state: AppState) -> Router {
    Router::new()
        .route("/healthz", get(async || StatusCode::OK))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

/// One component of `/readyz`.
#[derive(Debug, Serialize)]
struct Component {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Ready to take callbacks: 200, else 503 naming what is not. A journal that is behind is told and is no reason to
/// send callbacks elsewhere: they wait in the inbox.
async fn ready(State(state): State<AppState>) -> Response {
    let inbox = state.switchboard.ingest().accepting();
    let store = tokio::time::timeout(std::time::Duration::from_secs(2), state.switchboard.store().ping()).await;
    let (lag, journal) = (state.switchboard.ingest().lag(), state.switchboard.ingest().journalling());
    let behind = match &journal {
        Ok(()) => format!("{} callbacks not yet journalled", lag.records),
        Err(error) => format!("{} callbacks not yet journalled: {error}", lag.records),
    };
    let components = [
        Component { name: "inbox", ok: inbox.is_ok(), detail: inbox.err().map(|error| error.to_string()) },
        Component {
            name: "store",
            ok: matches!(store, Ok(Ok(()))),
            detail: match store {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer within 2 s".to_owned()),
            },
        },
        Component { name: "journal", ok: journal.is_ok(), detail: Some(behind) },
        Component { name: "server", ok: !state.stop.is_cancelled(), detail: None },
    ];
    let ok = components.iter().all(|component| component.ok || component.name == "journal");
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": ok, "components": components }))).into_response()
}

async fn metrics(State(state): State<AppState>) -> Response {
    if state.metrics.is_some()
        && let Err(error) = state.switchboard.measure_letters().await
    {
        tracing::warn!(%error, "dead letters cannot be counted");
    }
    match &state.metrics {
        Some(handle) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
