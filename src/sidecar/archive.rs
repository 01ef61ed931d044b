//! The archive: what it holds, a run on demand, whether it is whole.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller};
use super::extract::Body;
use super::problem::Problem;
use crate::archive::{ArchiveFile, ArchiveStatus, RunView, VerifyReport};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(run)).routes(routes!(verify))
}

/// The archive.
#[derive(Debug, Serialize, ToSchema)]
struct ArchiveAnswer {
    /// See the documentation of the archive.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    status: ArchiveStatus,
    /// Its files, by day.
    #[schema(value_type = Vec<Object>)]
    list: Vec<ArchiveFile>,
}

/// What the archive holds, what waits for it, and how its last run went.
#[utoipa::path(get, path = "/v1/archive", tag = "archive", responses(
    (status = 200, body = ArchiveAnswer),
    (status = 422, description = "There is no archive", body = Problem),
))]
async fn status(State(state): State<AppState>, caller: Caller<Admin>) -> Result<Json<ArchiveAnswer>, Problem> {
    let archiver = state.switchboard.archiver()?;
    let status = archiver.status(caller.tenant()).await?;
    Ok(Json(ArchiveAnswer { status, list: archiver.files(caller.tenant()).await? }))
}

/// A run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RunCall {
    /// Messages older than this move, such as `180d`; at least a day. As configured when missing.
    #[serde(default, with = "humantime_serde")]
    #[schema(value_type = Option<String>)]
    older_than: Option<Duration>,
}

/// How a run stands.
#[derive(Debug, Serialize, ToSchema)]
struct RunAnswer {
    /// See the documentation of the archive.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    run: RunView,
}

/// Begins to move old messages into the archive. `GET /v1/archive` tells how it goes.
#[utoipa::path(post, path = "/v1/archive/run", tag = "archive", request_body = RunCall, responses(
    (status = 202, body = RunAnswer),
    (status = 409, description = "A run is under way", body = Problem),
    (status = 422, description = "There is no archive", body = Problem),
))]
async fn run(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Body(call): Body<RunCall>,
) -> Result<(StatusCode, Json<RunAnswer>), Problem> {
    let run = state.switchboard.archiver()?.begin(caller.tenant(), call.older_than)?;
    Ok((StatusCode::ACCEPTED, Json(RunAnswer { run })))
}

/// What came of reading everything.
#[derive(Debug, Serialize, ToSchema)]
struct VerifyAnswer {
    /// See the documentation of the archive.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: VerifyReport,
}

/// Reads every file of the archive and compares it with what was written.
#[utoipa::path(post, path = "/v1/archive/verify", tag = "archive", responses(
    (status = 200, body = VerifyAnswer),
    (status = 422, description = "There is no archive", body = Problem),
))]
async fn verify(State(state): State<AppState>, caller: Caller<Admin>) -> Result<Json<VerifyAnswer>, Problem> {
    let report = state.switchboard.archiver()?.verify(caller.tenant()).await?;
    Ok(Json(VerifyAnswer { report }))
}
