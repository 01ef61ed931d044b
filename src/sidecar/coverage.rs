//! Coverage, and reconciliation on demand.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use switchboard_contract::{ProviderId, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller, History};
use super::extract::{Body, Query};
use super::problem::Problem;
use crate::reconcile::{CoverageReport, ReconcileReport};

/// Hours looked at when nobody says from when on.
const DAYS: i64 = 3;
const DAY_MS: i64 = 24 * 3_600_000;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(coverage)).routes(routes!(reconcile))
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
