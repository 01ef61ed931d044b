//! Dead letters, and what waits for its next try.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::SetbackKind;
use switchboard_contract::{ConversationId, Error, ProviderId, SubscriberName, Timestamp};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller};
use super::extract::{Body, Path, Query};
use super::problem::Problem;
use crate::sending::RedriveRisk;
use crate::switchboard::{DeadLetter, DeadLetterFilter, LettersDone, RefusedLetter, Tenant};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .routes(routes!(redrive))
        .routes(routes!(redrive_many))
        .routes(routes!(drop_many))
}

fn tenant(state: &AppState, caller: &Caller<Admin>) -> Tenant {
    state.switchboard.tenant(caller.tenant().clone())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListParams {
    /// What waits for its next try, in place of what was given up.
    #[serde(default)]
    waiting: bool,
    /// `send`, `recall`, `file`, `query`, `job` or `delivery`.
    #[param(value_type = Option<String>)]
    kind: Option<SetbackKind>,
    /// Only this provider.
    #[param(value_type = Option<String>)]
    provider: Option<ProviderId>,
    /// Only this conversation.
    #[param(value_type = Option<String>)]
    conversation: Option<ConversationId>,
    /// Only deliveries to this subscriber.
    #[param(value_type = Option<String>)]
    subscriber: Option<SubscriberName>,
    /// Only this reason.
    reason: Option<String>,
    /// Given up from this time on, milliseconds since the epoch.
    since: Option<i64>,
    /// Given up before this time, milliseconds since the epoch.
    until: Option<i64>,
    /// Where the page begins: `next` of the one before.
    cursor: Option<String>,
    /// Letters in one page, 1 to 1000.
    #[serde(default = "page_size")]
    limit: usize,
}

fn page_size() -> usize {
    100
}

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
struct LetterPage {
    /// Each with `id`, `kind`, `provider`, `conversation`, `reason`, `attempts`, their `history`, what it is `about`,
    /// and `since`; `next_try_at` for one that waits.
    #[schema(value_type = Vec<Object>)]
    letters: Vec<DeadLetter>,
    /// Where the next page begins; missing after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists what was given up after its last retry, or what waits for its next try.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters", params(ListParams), responses(
    (status = 200, body = LetterPage),
    (status = 400, description = "A field is wrong", body = Problem),
))]
async fn list(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Query(params): Query<ListParams>,
) -> Result<Json<LetterPage>, Problem> {
    super::conversations::check_limit(params.limit)?;
    let filter = DeadLetterFilter {
        waiting: params.waiting,
        kind: params.kind,
        provider: params.provider,
        conversation: params.conversation,
        subscriber: params.subscriber,
        reason: params.reason,
        since: params.since.map(Timestamp),
        until: params.until.map(Timestamp),
    };
    let page = tenant(&state, &caller).dead_letters(&filter, params.cursor.as_deref(), params.limit).await?;
    Ok(Json(LetterPage { letters: page.letters, next: page.next }))
}

/// Looks at one.
#[utoipa::path(get, path = "/v1/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)), responses(
    (status = 200, body = Object),
    (status = 404, description = "Unknown", body = Problem),
))]
async fn show(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
) -> Result<Json<DeadLetter>, Problem> {
    Ok(Json(tenant(&state, &caller).dead_letter(&id).await?))
}

/// Drops one for good: a message stays failed, a fetch is not made, deliveries go on behind the event that failed.
#[utoipa::path(delete, path = "/v1/dead-letters/{id}", tag = "dead letters", params(("id" = String, Path)), responses(
    (status = 204, description = "Gone"),
    (status = 404, description = "Unknown", body = Problem),
))]
async fn remove(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    tenant(&state, &caller).drop_dead_letter(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct RiskParams {
    /// Send a message again although nobody knows whether it arrived: it may then arrive twice.
    #[serde(default)]
    may_arrive_twice: bool,
}

fn risk(may_arrive_twice: bool) -> RedriveRisk {
    if may_arrive_twice { RedriveRisk::MayArriveTwice } else { RedriveRisk::None }
}

/// Has one tried again, with as many attempts as something new.
#[utoipa::path(post, path = "/v1/dead-letters/{id}/redrive", tag = "dead letters",
    params(("id" = String, Path), RiskParams), responses(
    (status = 202, description = "It is tried again"),
    (status = 404, description = "Unknown", body = Problem),
    (status = 409, description = "It cannot be tried again as it is", body = Problem),
))]
async fn redrive(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Path(id): Path<String>,
    Query(params): Query<RiskParams>,
) -> Result<StatusCode, Problem> {
    tenant(&state, &caller).redrive_dead_letter(&id, risk(params.may_arrive_twice)).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Which letters: every one that all given fields fit. Without any, `all` must be true.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct Which {
    /// Every dead letter of the tenant.
    all: bool,
    /// `send`, `recall`, `file`, `query`, `job` or `delivery`.
    #[schema(value_type = Option<String>)]
    kind: Option<SetbackKind>,
    /// Only this provider.
    #[schema(value_type = Option<String>)]
    provider: Option<ProviderId>,
    /// Only this conversation.
    #[schema(value_type = Option<String>)]
    conversation: Option<ConversationId>,
    /// Only deliveries to this subscriber.
    #[schema(value_type = Option<String>)]
    subscriber: Option<SubscriberName>,
    /// Only this reason.
    reason: Option<String>,
    /// Given up from this time on, milliseconds since the epoch.
    since: Option<i64>,
    /// Given up before this time, milliseconds since the epoch.
    until: Option<i64>,
    /// Redrive messages although nobody knows whether they arrived: they may then arrive twice.
    may_arrive_twice: bool,
}

impl Which {
    fn filter(self) -> Result<DeadLetterFilter, Error> {
        let filter = DeadLetterFilter {
            waiting: false,
            kind: self.kind,
            provider: self.provider,
            conversation: self.conversation,
            subscriber: self.subscriber,
            reason: self.reason,
            since: self.since.map(Timestamp),
            until: self.until.map(Timestamp),
        };
        match filter == DeadLetterFilter::default() && !self.all {
            true => Err(Error::invalid("all", "must be true to mean every dead letter")),
            false => Ok(filter),
        }
    }
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
struct DoneAnswer {
    /// How many are tried again, or gone.
    done: u64,
    /// Those that stay, each with its `id` and `why`.
    #[schema(value_type = Vec<Object>)]
    refused: Vec<RefusedLetter>,
}

impl From<LettersDone> for DoneAnswer {
    fn from(LettersDone { done, refused }: LettersDone) -> Self {
        Self { done, refused }
    }
}

/// Has many tried again: messages of one conversation in the order in which they were accepted, deliveries in the order
/// of their conversation. What cannot be tried again stays and is named.
#[utoipa::path(post, path = "/v1/dead-letters/redrive", tag = "dead letters", request_body = Which, responses(
    (status = 202, body = DoneAnswer),
    (status = 400, description = "A field is wrong", body = Problem),
))]
async fn redrive_many(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Body(which): Body<Which>,
) -> Result<(StatusCode, Json<DoneAnswer>), Problem> {
    let risk = risk(which.may_arrive_twice);
    let done = tenant(&state, &caller).redrive_dead_letters(&which.filter()?, risk).await?;
    Ok((StatusCode::ACCEPTED, Json(done.into())))
}

/// Drops many for good.
#[utoipa::path(post, path = "/v1/dead-letters/drop", tag = "dead letters", request_body = Which, responses(
    (status = 200, body = DoneAnswer),
    (status = 400, description = "A field is wrong", body = Problem),
))]
async fn drop_many(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Body(which): Body<Which>,
) -> Result<Json<DoneAnswer>, Problem> {
    Ok(Json(tenant(&state, &caller).drop_dead_letters(&which.filter()?).await?.into()))
}
