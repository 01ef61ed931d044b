//! Subscribers: made, listed, pulled from, acknowledged, replayed, redriven.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use switchboard_contract::storage::{StartAt, SubscriberSpec};
use switchboard_contract::{ConversationId, Error, ErrorKind, SubscriberName};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Subscribe};
use super::extract::{Body, Path, Query};
use super::problem::Problem;
use crate::hub::{AckOutcome, AckRequest, DeliveryId, NackRequest, PullRequest, Recovery, SubscriberView};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put, get, remove))
        .routes(routes!(pull))
        .routes(routes!(ack))
        .routes(routes!(nack))
        .routes(routes!(replay))
        .routes(routes!(parked))
        .routes(routes!(redrive))
}

/// All subscribers of the tenant.
#[derive(Debug, Serialize, ToSchema)]
struct SubscriberList {
    /// In the order of their names.
    #[schema(value_type = Vec<Object>)]
    subscribers: Vec<SubscriberView>,
}

/// Lists subscribers with their state, lag and what is in flight.
#[utoipa::path(get, path = "/v1/subscribers", tag = "subscribers", responses((status = 200, body = SubscriberList)))]
async fn list(State(state): State<AppState>, caller: Caller<Subscribe>) -> Result<Json<SubscriberList>, Problem> {
    let subscribers = state.switchboard.hub().list(caller.tenant()).await?;
    Ok(Json(SubscriberList { subscribers }))
}

/// Creates a subscriber, or changes what it asks for; its progress stays.
#[utoipa::path(put, path = "/v1/subscribers/{name}", tag = "subscribers", params(("name" = String, Path)),
    request_body(content = Object, description = "topics, filter, reception, backlog, start, max_in_flight, page_size, ack_deadline, max_attempts, poison, expires_after"),
    responses((status = 201, description = "Created"), (status = 200, description = "Changed"),
        (status = 400, description = "A field is wrong", body = Problem)))]
async fn put(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
    Body(spec): Body<SubscriberSpec>,
) -> Result<StatusCode, Problem> {
    let tenant = state.switchboard.tenant(caller.tenant().clone());
    let new = tenant.put_subscriber(&SubscriberName::from(name), spec).await?;
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK })
}

/// Reads one subscriber.
#[utoipa::path(get, path = "/v1/subscribers/{name}", tag = "subscribers", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
async fn get(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
) -> Result<Json<SubscriberView>, Problem> {
    Ok(Json(state.switchboard.hub().get(caller.tenant(), &SubscriberName::from(name)).await?))
}

/// Removes a subscriber with its progress.
#[utoipa::path(delete, path = "/v1/subscribers/{name}", tag = "subscribers", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
async fn remove(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    if state.switchboard.hub().remove(caller.tenant(), &SubscriberName::from(name)).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Error::new(ErrorKind::NotFound, "no such subscriber").into())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct PullParams {
    /// The cursor of the page before: acknowledges it. Without it a page that is still open comes again.
    cursor: Option<String>,
    /// Deliveries in one page, 1 to 1000.
    #[serde(default = "page_size")]
    limit: usize,
    /// Seconds to wait for the first delivery.
    #[serde(default)]
    wait: u64,
    /// Which worker pulls; workers that pull at the same time need different names.
    worker: Option<String>,
}

fn page_size() -> usize {
    100
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
struct EventPage {
    /// Each with `id`, `kind`, `late`, `attempt` and the CloudEvent in `event`. An empty page means that nothing
    /// happened in time.
    #[schema(value_type = Vec<Object>)]
    deliveries: Vec<Box<RawValue>>,
    /// To be presented with the next pull: acknowledges this page.
    cursor: String,
    /// Whether everything since the last acknowledgement is there.
    #[schema(value_type = Object)]
    recovery: Recovery,
}

/// Pulls a page, waiting for something to happen if asked to.
#[utoipa::path(get, path = "/v1/subscribers/{name}/events", tag = "subscribers",
    params(("name" = String, Path), PullParams),
    responses((status = 200, body = EventPage), (status = 404, body = Problem)))]
async fn pull(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
    Query(params): Query<PullParams>,
) -> Result<Json<EventPage>, Problem> {
    super::conversations::check_limit(params.limit)?;
    let request = PullRequest {
        cursor: params.cursor,
        limit: params.limit,
        wait: Duration::from_secs(params.wait),
        worker: params.worker,
    };
    let name = SubscriberName::from(name);
    let pulling = state.switchboard.hub().pull(caller.tenant(), &name, request);
    let page = tokio::select! {
        page = pulling => page?,
        () = state.stop.cancelled() => return Err(Error::new(ErrorKind::Closed, "the sidecar is stopping").into()),
    };
    let deliveries =
        page.deliveries.iter().map(|one| super::stream::raw_json(&one.to_json())).collect::<Result<_, _>>()?;
    Ok(Json(EventPage { deliveries, cursor: page.cursor, recovery: page.recovered }))
}

/// What is handled: exactly one of the fields.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct AckBody {
    /// These deliveries, by their `id`.
    #[schema(value_type = Option<Vec<String>>)]
    ids: Option<Vec<DeliveryId>>,
    /// Everything its worker has of this delivery's conversation, up to it.
    #[schema(value_type = Option<String>)]
    through: Option<DeliveryId>,
    /// What is open of a pulled page.
    cursor: Option<String>,
    /// The worker that pulled the page.
    worker: Option<String>,
}

impl AckBody {
    fn request(self) -> Result<AckRequest, Error> {
        match (self.ids, self.through, self.cursor) {
            (Some(ids), None, None) => Ok(AckRequest::Ids(ids)),
            (None, Some(id), None) => Ok(AckRequest::Through(id)),
            (None, None, Some(cursor)) => Ok(AckRequest::Cursor { cursor, worker: self.worker }),
            _ => Err(Error::invalid("body", "needs exactly one of ids, through, cursor")),
        }
    }
}

/// Acknowledges. Durable when this answers.
#[utoipa::path(post, path = "/v1/subscribers/{name}/ack", tag = "subscribers", params(("name" = String, Path)),
    request_body = AckBody,
    responses((status = 200, description = "How many took effect, and how many named no open delivery", body = Object),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn ack(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
    Body(body): Body<AckBody>,
) -> Result<Json<AckOutcome>, Problem> {
    let name = SubscriberName::from(name);
    Ok(Json(state.switchboard.hub().ack(caller.tenant(), &name, body.request()?).await?))
}

/// What could not be handled.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NackBody {
    /// These deliveries, by their `id`.
    #[schema(value_type = Vec<String>)]
    ids: Vec<DeliveryId>,
    /// Milliseconds before the next try; by default ever more slowly.
    #[serde(default)]
    after_ms: Option<u64>,
    /// Why: lower-case letters, digits and underscores; kept with a conversation that is parked for it.
    #[serde(default)]
    reason: Option<String>,
}

impl From<NackBody> for NackRequest {
    fn from(body: NackBody) -> Self {
        Self { ids: body.ids, after: body.after_ms.map(Duration::from_millis), reason: body.reason }
    }
}

/// Gives deliveries back: they come again, and after too many tries the poison policy applies.
#[utoipa::path(post, path = "/v1/subscribers/{name}/nack", tag = "subscribers", params(("name" = String, Path)),
    request_body = NackBody, responses((status = 200, body = Object), (status = 404, body = Problem)))]
async fn nack(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
    Body(body): Body<NackBody>,
) -> Result<Json<AckOutcome>, Problem> {
    let name = SubscriberName::from(name);
    Ok(Json(state.switchboard.hub().nack(caller.tenant(), &name, body.into()).await?))
}

/// Where to start over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    /// `"beginning"`, `"now"`, `{"time": milliseconds}` or `{"position": number}`.
    #[schema(value_type = Object)]
    from: StartAt,
}

/// Starts over from a place. What had been passed comes again as `historical`.
#[utoipa::path(post, path = "/v1/subscribers/{name}/replay", tag = "subscribers", params(("name" = String, Path)),
    request_body = ReplayBody, responses((status = 204), (status = 404, body = Problem)))]
async fn replay(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
    Body(body): Body<ReplayBody>,
) -> Result<StatusCode, Problem> {
    state.switchboard.hub().replay(caller.tenant(), &SubscriberName::from(name), body.from).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A conversation set aside.
#[derive(Debug, Serialize, ToSchema)]
struct ParkedView {
    /// Which.
    #[schema(value_type = String)]
    conversation: ConversationId,
    /// The sequence of its first open event.
    from: u64,
    /// Deliveries made of that event.
    attempts: u32,
    /// Why.
    reason: String,
    /// Since when, milliseconds since the epoch.
    since: i64,
}

/// What is set aside.
#[derive(Debug, Serialize, ToSchema)]
struct ParkedList {
    /// One for each conversation.
    parked: Vec<ParkedView>,
}

/// Lists the conversations that were set aside because an event of theirs failed too often.
#[utoipa::path(get, path = "/v1/subscribers/{name}/parked", tag = "subscribers", params(("name" = String, Path)),
    responses((status = 200, body = ParkedList), (status = 404, body = Problem)))]
async fn parked(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path(name): Path<String>,
) -> Result<Json<ParkedList>, Problem> {
    let parked = state.switchboard.hub().parked(caller.tenant(), &SubscriberName::from(name)).await?;
    let view = |one: switchboard_contract::storage::ParkedConversation| ParkedView {
        conversation: one.conversation,
        from: one.from.0,
        attempts: one.attempts,
        reason: one.reason,
        since: one.since.0,
    };
    Ok(Json(ParkedList { parked: parked.into_iter().map(view).collect() }))
}

/// Delivers a conversation that was set aside again, in order.
#[utoipa::path(post, path = "/v1/subscribers/{name}/parked/{conversation}/redrive", tag = "subscribers",
    params(("name" = String, Path), ("conversation" = String, Path)),
    responses((status = 204), (status = 404, description = "Not set aside", body = Problem)))]
async fn redrive(
    State(state): State<AppState>,
    caller: Caller<Subscribe>,
    Path((name, conversation)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let conversation: ConversationId = conversation.parse()?;
    if state.switchboard.hub().redrive(caller.tenant(), &SubscriberName::from(name), &conversation).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Error::new(ErrorKind::NotFound, "this conversation is not set aside").into())
}
