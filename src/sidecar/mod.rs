//! HTTP around the engine: callback routes for vendors, and the API for the business. No business rules here.

#[cfg(feature = "archive")]
mod archive;
mod auth;
mod backfills;
mod callbacks;
mod conversations;
mod coverage;
mod dead_letters;
mod export;
mod extract;
mod groups;
mod health;
mod identity;
mod messages;
mod openapi;
mod problem;
mod providers;
mod pulling;
mod server;
mod stream;
mod subscribers;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};

use crate::config::{ServerConfig, TokenConfig};
use crate::switchboard::Switchboard;

pub use openapi::document as openapi_document;
pub use problem::Problem;
pub use server::{Bound, Server, install_metrics};

/// What every handler shares.
#[derive(Clone, Debug)]
pub(crate) struct AppState {
    switchboard: Switchboard,
    tokens: Arc<auth::Tokens>,
    stop: tokio_util::sync::CancellationToken,
    metrics: Option<metrics_exporter_prometheus::PrometheusHandle>,
    /// The pause between two frames of deliveries to one stream.
    flush_every: std::time::Duration,
}

impl Switchboard {
    /// The callback routes alone (`POST /callbacks/{provider}` and below), to be nested in the host's own server.
    pub fn callback_routes(&self) -> Router {
        callbacks::routes(self.clone())
    }

    /// Everything the sidecar serves: callbacks, health, metrics and the API behind `tokens`. Streams end when `stop`
    /// is cancelled.
    pub fn api_routes(
        &self,
        server: &ServerConfig,
        tokens: &[TokenConfig],
        metrics: Option<metrics_exporter_prometheus::PrometheusHandle>,
        stop: tokio_util::sync::CancellationToken,
    ) -> Router {
        let tokens = Arc::new(auth::Tokens::new(tokens, server));
        let flush_every = server.flush_every;
        let state = AppState { switchboard: self.clone(), tokens, stop, metrics, flush_every };
        let (api, _) = openapi::router(state.clone()).split_for_parts();
        Router::new()
            .merge(api)
            .merge(health::routes(state))
            .layer(axum::extract::DefaultBodyLimit::max(server.max_body_bytes))
            .merge(self.callback_routes())
            .fallback(not_found)
            .method_not_allowed_fallback(not_allowed)
            .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked))
    }
}

async fn not_found() -> Problem {
    Problem::new(axum::http::StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

async fn not_allowed() -> Problem {
    let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(status, "method_not_allowed", "this path takes other methods")
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "this is a fault of the sidecar")
        .into_response()
}
