//! How the past of a conversation would be pulled, and pulling it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::RepairWindow;
use switchboard_contract::{ConversationId, ProviderId, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller, History};
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::history::Tier;
use crate::switchboard::{HistorySpan, ProviderPlan, PulledPart};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(plan)).routes(routes!(pull)).routes(routes!(windows))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct SpanParams {
    /// `recent`, `month` or `archive`; all ages when missing.
    #[param(value_type = Option<String>)]
    tier: Option<Tier>,
    /// From this time on, milliseconds since the epoch.
    since: Option<i64>,
    /// Before this time, milliseconds since the epoch.
    until: Option<i64>,
    /// Only this provider.
    #[param(value_type = Option<String>)]
    provider: Option<ProviderId>,
}

impl SpanParams {
    fn span(&self) -> HistorySpan {
        HistorySpan { tier: self.tier, since: self.since.map(Timestamp), until: self.until.map(Timestamp) }
    }
}

/// A plan.
#[derive(Debug, Serialize, ToSchema)]
struct PlanAnswer {
    /// By provider.
    #[schema(value_type = Vec<Object>)]
    plans: Vec<ProviderPlan>,
}

/// Says how the past of a conversation would be pulled, and why. Nothing is contacted.
#[utoipa::path(get, path = "/v1/conversations/{id}/plan", tag = "history",
    params(("id" = String, Path), SpanParams), responses((status = 200, body = PlanAnswer)))]
async fn plan(
    State(state): State<AppState>,
    caller: Caller<History>,
    Path(conversation): Path<String>,
    Query(params): Query<SpanParams>,
) -> Result<Json<PlanAnswer>, Problem> {
    let conversation: ConversationId = conversation.parse()?;
    let tenant = state.switchboard.tenant(caller.tenant().clone());
    let plans = tenant.plan_history(&conversation, params.span(), params.provider.as_ref()).await?;
    Ok(Json(PlanAnswer { plans }))
}

/// What was pulled.
#[derive(Debug, Serialize, ToSchema)]
struct PullAnswer {
    /// Part by part, newest first.
    #[schema(value_type = Vec<Object>)]
    parts: Vec<PulledPart>,
}

/// Pulls the past of a conversation into the journal, as planned. Answers when it is done; pages read after that hold
/// whatever could be had. Repeating it is harmless.
#[utoipa::path(post, path = "/v1/conversations/{id}/pull", tag = "history",
    params(("id" = String, Path), SpanParams), responses((status = 200, body = PullAnswer)))]
async fn pull(
    State(state): State<AppState>,
    caller: Caller<History>,
    Path(conversation): Path<String>,
    Query(params): Query<SpanParams>,
) -> Result<Json<PullAnswer>, Problem> {
    let conversation: ConversationId = conversation.parse()?;
    let tenant = state.switchboard.tenant(caller.tenant().clone());
    let parts = tenant.pull_history(&conversation, params.span(), params.provider.as_ref()).await?;
    Ok(Json(PullAnswer { parts }))
}

/// Repair windows.
#[derive(Debug, Serialize, ToSchema)]
struct WindowList {
    /// The newest first.
    #[schema(value_type = Vec<Object>)]
    windows: Vec<RepairWindow>,
}

/// The times in which something of a provider may have been missed, and what became of them: the newest hundred.
#[utoipa::path(get, path = "/v1/providers/{provider}/windows", tag = "providers",
    params(("provider" = String, Path)), responses((status = 200, body = WindowList)))]
async fn windows(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(provider): Path<String>,
) -> Result<Json<WindowList>, Problem> {
    let windows = state.switchboard.catchup().windows(caller.tenant(), &ProviderId::from(provider), 100).await?;
    Ok(Json(WindowList { windows }))
}
