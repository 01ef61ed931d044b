//! Providers: what runs, what it can do, what it was asked and answered.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller};
use super::problem::Problem;
use crate::switchboard::ProviderView;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The tenant's providers.
#[derive(Debug, Serialize, ToSchema)]
struct ProviderList {
    /// By alias.
    #[schema(value_type = Vec<Object>)]
    providers: Vec<ProviderView>,
}

/// Lists the tenant's providers with their capabilities and open sends.
#[utoipa::path(get, path = "/v1/providers", tag = "providers", responses((status = 200, body = ProviderList)))]
async fn list(State(state): State<AppState>, caller: Caller<Admin>) -> Result<Json<ProviderList>, Problem> {
    let mut providers = state.switchboard.providers().await?;
    providers.retain(|provider| provider.tenant == *caller.tenant());
    Ok(Json(ProviderList { providers }))
}
