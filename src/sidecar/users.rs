//! Users: profiles, login tokens, kick, ban, presence. Acts at one provider: the one named, or the only one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use switchboard_contract::storage::UserRecord;
use switchboard_contract::{Error, PresenceState, Provider, ProviderId, UserId, UserProfile, Users, VendorUserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller};
use super::extract::{Body, Path, Query};
use super::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(put))
        .routes(routes!(login))
        .routes(routes!(kick))
        .routes(routes!(ban))
        .routes(routes!(unban))
        .routes(routes!(presence))
        .routes(routes!(offline_count))
        .routes(routes!(push))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AtProvider {
    /// The provider's alias; may be missing when the tenant has only one.
    #[param(value_type = Option<String>)]
    pub(super) provider: Option<ProviderId>,
}

/// A user as its vendor knows it.
struct AtVendor {
    provider: Arc<dyn Provider>,
    user: VendorUserId,
}

impl AtVendor {
    async fn find(state: &AppState, caller: &Caller<Admin>, user: UserId, at: &AtProvider) -> Result<Self, Error> {
        let provider = state.switchboard.tenant(caller.tenant().clone()).provider(at.provider.as_ref())?;
        let user = state.switchboard.identity().vendor_user(caller.tenant(), &*provider, &user).await?;
        Ok(Self { provider, user })
    }

    fn users(&self) -> Result<&dyn Users, Error> {
        self.provider.users().ok_or_else(|| Error::unsupported("users"))
    }
}

/// Writes a user's profile; vendors get it when the user is first made there.
#[utoipa::path(put, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), request_body = Object,
    responses((status = 204, description = "Written")))]
async fn put(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Body(profile): Body<UserProfile>,
) -> Result<StatusCode, Problem> {
    state.switchboard.store().put_user(caller.tenant(), &UserRecord { id: UserId::from(user), profile }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A token for the user's own client.
#[derive(Debug, Serialize, ToSchema)]
struct LoginAnswer {
    /// The vendor the client must log in to.
    vendor: String,
    /// The user's id there.
    user: String,
    /// The vendor's token.
    token: String,
    /// When it ends, milliseconds since the epoch; missing when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// Makes a login token for the user's client, and the user when needed.
#[utoipa::path(post, path = "/v1/users/{id}/login", tag = "users", params(("id" = String, Path), AtProvider),
    responses((status = 200, body = LoginAnswer)))]
async fn login(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Query(at): Query<AtProvider>,
) -> Result<Json<LoginAnswer>, Problem> {
    let user = UserId::from(user);
    let profile = state.switchboard.store().user(caller.tenant(), &user).await?.map(|user| user.profile);
    let there = AtVendor::find(&state, &caller, user, &at).await?;
    let token = there.users()?.login_token(&there.user, &profile.unwrap_or_default()).await?;
    Ok(Json(LoginAnswer {
        vendor: there.provider.app().kind.to_string(),
        user: there.user.to_string(),
        token: token.token,
        expires_at: token.expires_at.map(|at| at.0),
    }))
}

/// Forces the user off every device.
#[utoipa::path(post, path = "/v1/users/{id}/kick", tag = "users", params(("id" = String, Path), AtProvider),
    responses((status = 204), (status = 422, description = "The provider has no such call", body = Problem)))]
async fn kick(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Query(at): Query<AtProvider>,
) -> Result<StatusCode, Problem> {
    let there = AtVendor::find(&state, &caller, UserId::from(user), &at).await?;
    there.users()?.kick(&there.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How long to ban.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct BanRequest {
    /// Seconds; until lifted when missing.
    seconds: Option<u64>,
}

/// Forbids the user to log in, and forces it off.
#[utoipa::path(post, path = "/v1/users/{id}/ban", tag = "users", params(("id" = String, Path), AtProvider),
    request_body = BanRequest, responses((status = 204)))]
async fn ban(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Query(at): Query<AtProvider>,
    Body(request): Body<BanRequest>,
) -> Result<StatusCode, Problem> {
    let there = AtVendor::find(&state, &caller, UserId::from(user), &at).await?;
    there.users()?.ban(&there.user, request.seconds.map(std::time::Duration::from_secs)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lifts a ban.
#[utoipa::path(delete, path = "/v1/users/{id}/ban", tag = "users", params(("id" = String, Path), AtProvider),
    responses((status = 204)))]
async fn unban(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Query(at): Query<AtProvider>,
) -> Result<StatusCode, Problem> {
    let there = AtVendor::find(&state, &caller, UserId::from(user), &at).await?;
    there.users()?.unban(&there.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a user is online.
#[derive(Debug, Serialize, ToSchema)]
struct PresenceAnswer {
    /// `online`, `offline` or `unknown`, as the vendor says now.
    #[schema(value_type = String)]
    state: PresenceState,
}

/// Asks the vendor whether the user is online.
#[utoipa::path(get, path = "/v1/users/{id}/presence", tag = "users", params(("id" = String, Path), AtProvider),
    responses((status = 200, body = PresenceAnswer)))]
async fn presence(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Query(at): Query<AtProvider>,
) -> Result<Json<PresenceAnswer>, Problem> {
    let there = AtVendor::find(&state, &caller, UserId::from(user), &at).await?;
    let states = there.users()?.presence(std::slice::from_ref(&there.user)).await?;
    Ok(Json(PresenceAnswer { state: states.into_iter().next().unwrap_or(PresenceState::Unknown) }))
}

/// How many messages wait at the vendor.
#[derive(Debug, Serialize, ToSchema)]
struct OfflineCount {
    /// Messages waiting for the user's next login.
    count: u64,
}

/// Asks the vendor how many messages wait for the user's next login.
#[utoipa::path(get, path = "/v1/users/{id}/offline-count", tag = "users", params(("id" = String, Path), AtProvider),
    responses((status = 200, body = OfflineCount), (status = 422, description = "The vendor does not tell", body = Problem)))]
async fn offline_count(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Query(at): Query<AtProvider>,
) -> Result<Json<OfflineCount>, Problem> {
    let there = AtVendor::find(&state, &caller, UserId::from(user), &at).await?;
    Ok(Json(OfflineCount { count: there.users()?.offline_count(&there.user).await? }))
}

/// What to show to whoever is online.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PushRequest {
    /// By what the user's client tells it from others.
    topic: String,
    /// Any JSON; the client gets it as it is.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

/// How many saw a push.
#[derive(Debug, Serialize, ToSchema)]
struct PushAnswer {
    /// The user's devices that were online.
    devices: u64,
}

/// Shows something to the user's devices that are online now. It is not stored: nobody else ever sees it.
#[utoipa::path(post, path = "/v1/users/{id}/push", tag = "users", params(("id" = String, Path), AtProvider),
    request_body = PushRequest,
    responses((status = 200, body = PushAnswer), (status = 422, description = "The provider has no such call", body = Problem)))]
async fn push(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(user): Path<String>,
    Query(at): Query<AtProvider>,
    Body(request): Body<PushRequest>,
) -> Result<Json<PushAnswer>, Problem> {
    let there = AtVendor::find(&state, &caller, UserId::from(user), &at).await?;
    let devices = there.users()?.push(&there.user, &request.topic, request.data.get()).await?;
    Ok(Json(PushAnswer { devices }))
}
