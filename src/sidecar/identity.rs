//! The identity map as newline-delimited JSON, out and in.

use axum::Json;
use axum::body::Body as AnswerBody;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller};
use super::extract::{Query, Text};
use super::problem::Problem;
use super::users::AtProvider;
use crate::identity::Imported;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(export, import))
}

/// Writes out which vendor id stands for which business id at one provider.
#[utoipa::path(get, path = "/v1/identity-map", tag = "identity", params(AtProvider),
    responses((status = 200, description = "One JSON object a line: kind, business, vendor", content_type = "application/x-ndjson")))]
async fn export(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Query(at): Query<AtProvider>,
) -> Result<Response, Problem> {
    let provider = state.switchboard.tenant(caller.tenant().clone()).provider(at.provider.as_ref())?;
    let lines = state.switchboard.identity().export(caller.tenant(), provider.app());
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], AnswerBody::from_stream(lines)).into_response())
}

/// Reads such lines back. Pairs that are already there stay as they are; the answer names the lines left out.
#[utoipa::path(post, path = "/v1/identity-map", tag = "identity", params(AtProvider),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, description = "How many pairs are in force, and which lines were left out", body = Object)))]
async fn import(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Query(at): Query<AtProvider>,
    Text(lines): Text,
) -> Result<Json<Imported>, Problem> {
    let provider = state.switchboard.tenant(caller.tenant().clone()).provider(at.provider.as_ref())?;
    Ok(Json(state.switchboard.identity().import(caller.tenant(), provider.app(), &lines).await?))
}
