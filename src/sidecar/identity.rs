//! The identity map as newline-delimited JSON, out and in.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::Caller;
use super::extract::Query;
use super::problem::Problem;
use super::users::AtProvider;
use crate::config::Scope;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(export, import))
}

/// Writes out which vendor id stands for which business id at one provider.
#[utoipa::path(get, path = "/v1/identity-map", tag = "identity", params(AtProvider),
    responses((status = 200, description = "One JSON object a line: kind, business, vendor", content_type = "application/x-ndjson")))]
async fn export(
    State(state): State<AppState>,
    caller: Caller,
    Query(at): Query<AtProvider>,
) -> Result<Response, Problem> {
    caller.needs(Scope::Admin)?;
    let provider = state.switchboard.tenant(caller.tenant().clone()).provider(at.provider.as_ref())?;
    let lines = state.switchboard.identity().export(caller.tenant(), provider.app()).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// What an import did.
#[derive(Debug, Serialize, ToSchema)]
struct ImportAnswer {
    /// Pairs in force afterwards that stood in the import.
    imported: u64,
}

/// Reads such lines back. Pairs that are already there stay as they are.
#[utoipa::path(post, path = "/v1/identity-map", tag = "identity", params(AtProvider),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = ImportAnswer), (status = 409, description = "A pair contradicts one that is there", body = Problem)))]
async fn import(
    State(state): State<AppState>,
    caller: Caller,
    Query(at): Query<AtProvider>,
    lines: String,
) -> Result<Json<ImportAnswer>, Problem> {
    caller.needs(Scope::Admin)?;
    let provider = state.switchboard.tenant(caller.tenant().clone()).provider(at.provider.as_ref())?;
    let imported = state.switchboard.identity().import(caller.tenant(), provider.app(), &lines).await?;
    Ok(Json(ImportAnswer { imported }))
}
