//! Groups and rooms.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::GroupRecord;
use switchboard_contract::{Error, ErrorKind, GroupId, UserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller};
use super::extract::{Body, Path, Query};
use super::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, remove)).routes(routes!(change_members))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct IsRoom {
    /// It is a room.
    #[serde(default)]
    room: bool,
}

/// A group or room to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GroupRequest {
    /// The display name.
    name: String,
    /// The owner; also a member.
    #[schema(value_type = String)]
    owner: UserId,
    /// Everybody in it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    members: Vec<UserId>,
}

/// Writes a group or room. It is made at a vendor when it is first used there.
#[utoipa::path(put, path = "/v1/groups/{id}", tag = "groups", params(("id" = String, Path), IsRoom),
    request_body = GroupRequest, responses((status = 204, description = "Written")))]
async fn put(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
    Query(at): Query<IsRoom>,
    Body(request): Body<GroupRequest>,
) -> Result<StatusCode, Problem> {
    let GroupRequest { name, owner, members } = request;
    let group = GroupRecord { id: GroupId::from(id), room: at.room, name, owner, members };
    state.switchboard.tenant(caller.tenant().clone()).put_group(group).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a group or room.
#[utoipa::path(get, path = "/v1/groups/{id}", tag = "groups", params(("id" = String, Path), IsRoom),
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
async fn get(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
    Query(at): Query<IsRoom>,
) -> Result<Json<GroupRecord>, Problem> {
    let group = state.switchboard.store().group(caller.tenant(), &GroupId::from(id), at.room).await?;
    group.map(Json).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such group").into())
}

/// Ends a group or room, here and at the vendors that have it.
#[utoipa::path(delete, path = "/v1/groups/{id}", tag = "groups", params(("id" = String, Path), IsRoom),
    responses((status = 204), (status = 404, body = Problem)))]
async fn remove(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
    Query(at): Query<IsRoom>,
) -> Result<StatusCode, Problem> {
    state.switchboard.tenant(caller.tenant().clone()).remove_group(&GroupId::from(id), at.room).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Members who come and go.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct MembersRequest {
    /// Who comes.
    #[schema(value_type = Vec<String>)]
    add: Vec<UserId>,
    /// Who goes.
    #[schema(value_type = Vec<String>)]
    remove: Vec<UserId>,
}

/// Adds and removes members, here and at the vendors that have the group.
#[utoipa::path(post, path = "/v1/groups/{id}/members", tag = "groups", params(("id" = String, Path), IsRoom),
    request_body = MembersRequest, responses((status = 204), (status = 404, body = Problem)))]
async fn change_members(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
    Query(at): Query<IsRoom>,
    Body(request): Body<MembersRequest>,
) -> Result<StatusCode, Problem> {
    let tenant = state.switchboard.tenant(caller.tenant().clone());
    tenant.change_members(&GroupId::from(id), at.room, &request.add, &request.remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// Groups in one page, 1 to 1000.
    #[serde(default = "page_size")]
    limit: usize,
}

fn page_size() -> usize {
    50
}

/// A page of groups and rooms.
#[derive(Debug, Serialize, ToSchema)]
struct GroupPage {
    /// In the order of their ids.
    #[schema(value_type = Vec<Object>)]
    groups: Vec<GroupRecord>,
    /// Where to go on; missing at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<GroupId>,
}

/// Lists groups and rooms.
#[utoipa::path(get, path = "/v1/groups", tag = "groups", params(ListQuery), responses((status = 200, body = GroupPage)))]
async fn list(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Query(query): Query<ListQuery>,
) -> Result<Json<GroupPage>, Problem> {
    super::conversations::check_limit(query.limit)?;
    let after = query.after.map(GroupId::from);
    let mut groups = state.switchboard.store().groups(caller.tenant(), after.as_ref(), query.limit + 1).await?;
    let more = groups.len() > query.limit;
    groups.truncate(query.limit);
    let next = groups.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(GroupPage { groups, next }))
}
