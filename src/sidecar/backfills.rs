//! Jobs that fetch the past.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::BackfillScope;
use switchboard_contract::{BackfillId, ConversationId, ProviderId, Timestamp, UserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller, History};
use super::extract::{Body, Path, Query, id};
use super::problem::Problem;
use crate::backfill::{BackfillAct, BackfillRequest, BackfillView};

/// Jobs in one answer.
const MOST: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(start, list))
        .routes(routes!(show))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
}

/// What to fetch: everything of an app, or of one user, or one conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartCall {
    /// The provider; may be left out when the tenant has one that sends.
    #[schema(value_type = Option<String>)]
    provider: Option<ProviderId>,
    /// Every conversation known of this user.
    #[schema(value_type = Option<String>)]
    user: Option<UserId>,
    /// This conversation. With neither, everything: the files the vendor still has, and every conversation known.
    #[schema(value_type = Option<String>)]
    conversation: Option<ConversationId>,
    /// Not before this time, milliseconds since the epoch; as far back as the vendor goes by default.
    since: Option<i64>,
    /// Up to this time, milliseconds since the epoch; now by default.
    until: Option<i64>,
    /// The newest so many messages of each conversation, and no more.
    max_messages: Option<u64>,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
struct JobAnswer {
    /// See the documentation of repair: scope, state, counts, and `progress` with `total`, `percent`, `remaining`,
    /// `eta_seconds` and `messages_per_second`. What is unknown is `null`, with `total` `unknown`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    job: BackfillView,
}

/// Fetches the past in the background, newest first. What was said before Switchboard had the app is delivered to
/// nobody who does not ask for the topic `history`; what was missed since is delivered late.
#[utoipa::path(post, path = "/v1/backfills", tag = "history", request_body = StartCall, responses(
    (status = 202, description = "Accepted; it runs when it is its turn", body = JobAnswer),
    (status = 409, description = "Too many jobs of the app are open", body = Problem),
    (status = 422, description = "The vendor cannot be asked for this", body = Problem),
))]
async fn start(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Body(call): Body<StartCall>,
) -> Result<(StatusCode, Json<JobAnswer>), Problem> {
    let scope = match (call.user, call.conversation) {
        (None, None) => BackfillScope::App,
        (Some(user), None) => BackfillScope::User(user),
        (None, Some(conversation)) => BackfillScope::Conversation(conversation),
        (Some(_), Some(_)) => {
            let text = "user, conversation: only one of them";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_input", text));
        }
    };
    let provider = match call.provider {
        Some(provider) => provider,
        None => state.switchboard.tenant(caller.tenant().clone()).default_provider()?,
    };
    let request = BackfillRequest {
        scope,
        since: call.since.map(Timestamp),
        until: call.until.map(Timestamp),
        max_messages: call.max_messages,
    };
    let job = state.switchboard.backfill().start(caller.tenant(), &provider, request).await?;
    Ok((StatusCode::ACCEPTED, Json(JobAnswer { job })))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// Only jobs with something left to do.
    #[serde(default)]
    open: bool,
    /// At most so many, the newest first; 100 by default.
    limit: Option<usize>,
}

/// Jobs.
#[derive(Debug, Serialize, ToSchema)]
struct ListAnswer {
    /// The newest first.
    #[schema(value_type = Vec<Object>)]
    backfills: Vec<BackfillView>,
}

/// The jobs of the tenant.
#[utoipa::path(get, path = "/v1/backfills", tag = "history", params(ListParams), responses(
    (status = 200, body = ListAnswer),
))]
async fn list(
    State(state): State<AppState>,
    caller: Caller<History>,
    Query(params): Query<ListParams>,
) -> Result<Json<ListAnswer>, Problem> {
    let limit = params.limit.unwrap_or(100).min(MOST);
    let backfills = state.switchboard.backfill().list(caller.tenant(), params.open, limit).await?;
    Ok(Json(ListAnswer { backfills }))
}

/// One job with its progress.
#[utoipa::path(get, path = "/v1/backfills/{id}", tag = "history", params(("id" = String, Path)), responses(
    (status = 200, body = JobAnswer),
    (status = 404, body = Problem),
))]
async fn show(
    State(state): State<AppState>,
    caller: Caller<History>,
    Path(job): Path<String>,
) -> Result<Json<JobAnswer>, Problem> {
    let job: BackfillId = id("id", &job)?;
    Ok(Json(JobAnswer { job: state.switchboard.backfill().get(caller.tenant(), job).await? }))
}

async fn act(
    state: &AppState,
    caller: &Caller<Admin>,
    job: &str,
    act: BackfillAct,
) -> Result<Json<JobAnswer>, Problem> {
    let job: BackfillId = id("id", job)?;
    Ok(Json(JobAnswer { job: state.switchboard.backfill().act(caller.tenant(), job, act).await? }))
}

/// Stops a job for now.
#[utoipa::path(post, path = "/v1/backfills/{id}/pause", tag = "history", params(("id" = String, Path)), responses(
    (status = 200, body = JobAnswer),
    (status = 409, description = "The job is over", body = Problem),
))]
async fn pause(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(job): Path<String>,
) -> Result<Json<JobAnswer>, Problem> {
    act(&state, &caller, &job, BackfillAct::Pause).await
}

/// Goes on with a job that was stopped.
#[utoipa::path(post, path = "/v1/backfills/{id}/resume", tag = "history", params(("id" = String, Path)), responses(
    (status = 200, body = JobAnswer),
    (status = 409, description = "The job is over", body = Problem),
))]
async fn resume(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(job): Path<String>,
) -> Result<Json<JobAnswer>, Problem> {
    act(&state, &caller, &job, BackfillAct::Resume).await
}

/// Ends a job. What it brought stays.
#[utoipa::path(post, path = "/v1/backfills/{id}/cancel", tag = "history", params(("id" = String, Path)), responses(
    (status = 200, body = JobAnswer),
    (status = 409, description = "The job is over", body = Problem),
))]
async fn cancel(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(job): Path<String>,
) -> Result<Json<JobAnswer>, Problem> {
    act(&state, &caller, &job, BackfillAct::Cancel).await
}
