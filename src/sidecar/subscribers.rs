//! stub
use super::AppState;
use utoipa_axum::router::OpenApiRouter;
pub(super) fn routes() -> OpenApiRouter<AppState> { OpenApiRouter::new() }
