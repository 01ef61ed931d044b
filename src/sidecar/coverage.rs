//! Coverage, and reconciliation on demand.

use std::io::{Seek as _, SeekFrom};

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use switchboard_contract::{ConversationId, Error, ErrorKind, ProviderId, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller, History};
use super::extract::{Body, Path, Query};
use super::problem::Problem;
use crate::reconcile::{CoverageReport, ReconcileReport};
use crate::switchboard::{ConversationCoverage, IncompleteConversation};

/// Hours looked at when nobody says from when on.
const DAYS: i64 = 3;
const DAY_MS: i64 = 24 * 3_600_000;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(coverage))
        .routes(routes!(of_conversation))
        .routes(routes!(of_conversations))
        .routes(routes!(reconcile))
        .routes(routes!(read_file))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct CoverageParams {
    /// Only this provider.
    #[param(value_type = Option<String>)]
    provider: Option<ProviderId>,
    /// From this time on, milliseconds since the epoch; three days ago by default.
    from: Option<i64>,
    /// Up to this time, milliseconds since the epoch; now by default.
    until: Option<i64>,
    /// Ask the journal whether what was there still is. True by default; it reads the rows of the hours asked for.
    #[serde(default = "yes")]
    verify: bool,
}

fn yes() -> bool {
    true
}

/// The report.
#[derive(Debug, Serialize, ToSchema)]
struct CoverageAnswer {
    /// See the documentation of coverage.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: CoverageReport,
}

/// How much of what was said is here, by app and hour, and where the holes are.
#[utoipa::path(get, path = "/v1/coverage", tag = "history", params(CoverageParams), responses(
    (status = 200, body = CoverageAnswer),
))]
async fn coverage(
    State(state): State<AppState>,
    caller: Caller<History>,
    Query(params): Query<CoverageParams>,
) -> Result<Json<CoverageAnswer>, Problem> {
    let (from, until) = range(&state, params.from, params.until);
    let reconciler = state.switchboard.reconciler();
    let report = reconciler.coverage(caller.tenant(), params.provider.as_ref(), from, until, params.verify).await?;
    Ok(Json(CoverageAnswer { report }))
}

/// The report of one conversation.
#[derive(Debug, Serialize, ToSchema)]
struct ConversationAnswer {
    /// See the documentation of coverage.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: ConversationCoverage,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ConversationParams {
    /// Only this provider.
    #[param(value_type = Option<String>)]
    provider: Option<ProviderId>,
    /// From this time on, milliseconds since the epoch; thirty days ago by default.
    from: Option<i64>,
    /// Up to this time, milliseconds since the epoch; now by default.
    until: Option<i64>,
}

/// How much of a conversation is here, where the holes are, and which of its numbers somebody removed.
#[utoipa::path(get, path = "/v1/conversations/{id}/coverage", tag = "history",
    params(("id" = String, Path), ConversationParams),
    responses((status = 200, body = ConversationAnswer), (status = 404, body = Problem)))]
async fn of_conversation(
    State(state): State<AppState>,
    caller: Caller<History>,
    Path(conversation): Path<String>,
    Query(params): Query<ConversationParams>,
) -> Result<Json<ConversationAnswer>, Problem> {
    let conversation: ConversationId = conversation.parse()?;
    let until = params.until.map_or_else(|| state.switchboard.clock().now(), Timestamp);
    let from = Timestamp(params.from.unwrap_or(until.0.saturating_sub(10 * DAYS * DAY_MS)));
    let tenant = state.switchboard.tenant(caller.tenant().clone());
    let report = tenant.conversation_coverage(&conversation, params.provider.as_ref(), from, until).await?;
    Ok(Json(ConversationAnswer { report }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ConversationsParams {
    /// Only this provider.
    #[param(value_type = Option<String>)]
    provider: Option<ProviderId>,
    /// The last conversation of the page before.
    after: Option<String>,
}

/// Times of conversations that are not complete.
#[derive(Debug, Serialize, ToSchema)]
struct IncompleteAnswer {
    /// In the order of the conversations' ids; empty at the end.
    #[schema(value_type = Vec<Object>)]
    ranges: Vec<IncompleteConversation>,
}

/// Lists what single conversations are known to lack: by a hint, a failed pull, or the vendor's reach.
#[utoipa::path(get, path = "/v1/coverage/conversations", tag = "history", params(ConversationsParams),
    responses((status = 200, body = IncompleteAnswer), (status = 404, body = Problem)))]
async fn of_conversations(
    State(state): State<AppState>,
    caller: Caller<History>,
    Query(params): Query<ConversationsParams>,
) -> Result<Json<IncompleteAnswer>, Problem> {
    let after = params.after.as_deref().map(str::parse::<ConversationId>).transpose()?;
    let tenant = state.switchboard.tenant(caller.tenant().clone());
    let ranges = tenant.incomplete_conversations(params.provider.as_ref(), after.as_ref()).await?;
    Ok(Json(IncompleteAnswer { ranges }))
}

fn range(state: &AppState, from: Option<i64>, until: Option<i64>) -> (Timestamp, Timestamp) {
    let until = until.map_or_else(|| state.switchboard.clock().now(), Timestamp);
    (Timestamp(from.unwrap_or(until.0.saturating_sub(DAYS * DAY_MS))), until)
}

/// Which hours to reconcile.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReconcileCall {
    /// Only this provider; all of the tenant that publish files when missing.
    #[schema(value_type = Option<String>)]
    provider: Option<ProviderId>,
    /// From this time on, milliseconds since the epoch; three days ago by default.
    from: Option<i64>,
    /// Up to this time, milliseconds since the epoch; now by default.
    until: Option<i64>,
    /// Read also files that were read before and did not change.
    #[serde(default)]
    again: bool,
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
struct ReconcileAnswer {
    /// By alias.
    providers: Vec<ProviderReconciled>,
}

/// What was done for one provider.
#[derive(Debug, Serialize, ToSchema)]
struct ProviderReconciled {
    /// Its alias.
    #[schema(value_type = String)]
    provider: ProviderId,
    /// Its hours.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: ReconcileReport,
}

/// Compares hours with the vendor's history files now and journals what is missing. Answers when it is done; within
/// the vendor's quota of file calls that takes about six seconds for each hour.
#[utoipa::path(post, path = "/v1/reconcile", tag = "history", request_body = ReconcileCall, responses(
    (status = 200, body = ReconcileAnswer),
    (status = 422, description = "The vendor publishes no files", body = Problem),
))]
async fn reconcile(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Body(call): Body<ReconcileCall>,
) -> Result<Json<ReconcileAnswer>, Problem> {
    let (from, until) = range(&state, call.from, call.until);
    let reconciler = state.switchboard.reconciler();
    let chosen = match call.provider {
        Some(alias) => vec![alias],
        None => reconciler.with_files(caller.tenant()),
    };
    let reports = chosen.iter().map(|alias| reconciler.reconcile(caller.tenant(), alias, from, until, call.again));
    let mut providers = Vec::with_capacity(chosen.len());
    for (provider, report) in chosen.iter().zip(futures::future::join_all(reports).await) {
        providers.push(ProviderReconciled { provider: provider.clone(), report: report? });
    }
    Ok(Json(ReconcileAnswer { providers }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct FileParams {
    /// The hour it holds, milliseconds since the epoch; told by its name when missing.
    hour: Option<i64>,
    /// Its name, as the vendor gave it.
    #[serde(default)]
    name: String,
}

/// The largest file taken.
const LARGEST: u64 = 8 << 30;

/// Compares a history file that somebody has downloaded with the journal, as if it had been fetched: of any hour, also
/// of one whose file the vendor has deleted. The body is the file as it came. Repeating it inserts nothing.
#[utoipa::path(post, path = "/v1/providers/{provider}/files", tag = "history",
    params(("provider" = String, Path), FileParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ReconcileAnswer),
        (status = 422, description = "The vendor publishes no files", body = Problem)))]
async fn read_file(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(provider): Path<String>,
    Query(params): Query<FileParams>,
    body: Stream,
) -> Result<Json<ReconcileAnswer>, Problem> {
    let provider = ProviderId::from(provider);
    let reconciler = state.switchboard.reconciler();
    let hour = match params.hour {
        Some(hour) => Timestamp(hour),
        None => reconciler.hour_of_file(caller.tenant(), &provider, &params.name)?,
    };
    let file = kept(body).await?;
    let report = reconciler.read_file(caller.tenant(), &provider, hour, file).await?;
    Ok(Json(ReconcileAnswer { providers: vec![ProviderReconciled { provider, report }] }))
}

/// A body in a temporary file, which goes when it is closed.
async fn kept(mut body: Stream) -> Result<std::fs::File, Problem> {
    let disk = |error: std::io::Error| {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let kind = if full { ErrorKind::StorageFull } else { ErrorKind::Storage };
        Problem::from(Error::new(kind, "the temporary file cannot be written").with_source(error))
    };
    let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(disk)?);
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "invalid_input", "the body ended early");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > LARGEST {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the file is too large"));
        }
        tokio::io::AsyncWriteExt::write_all(&mut file, &data).await.map_err(disk)?;
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(disk)?;
    let mut file = file.into_std().await;
    file.seek(SeekFrom::Start(0)).map_err(disk)?;
    Ok(file)
}
