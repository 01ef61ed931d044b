//! Sending, looking at sends, recalling and cancelling.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{Recipients, Variant};
use switchboard_contract::{
    Body as MessageBody, ClientMessageId, ConversationId, Ext, Mentions, MessageId, SendId, SendOptions, UserId,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, Messages};
use super::extract::{Body, Path, Query, id};
use super::problem::Problem;
use crate::sending::{Outgoing, RedriveRisk, SendView};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send))
        .routes(routes!(message))
        .routes(routes!(recall))
        .routes(routes!(redrive))
        .routes(routes!(send_view))
        .routes(routes!(cancel))
}

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendRequest {
    /// The sender's user id.
    #[schema(value_type = String, example = "alice")]
    from: UserId,
    /// Exactly one of `user`, `users`, `group`, `room`, `system`.
    #[schema(value_type = Object, example = json!({"user": "bob"}))]
    to: Recipients,
    /// The channel of a group that has channels.
    #[serde(default)]
    channel: Option<String>,
    /// Only these members of the group.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    audience: Vec<UserId>,
    /// The body; `type` says which kind.
    #[schema(value_type = Object, example = json!({"type": "text", "text": "hi"}))]
    body: MessageBody,
    /// Fields of your own, delivered with the message.
    #[serde(default)]
    #[schema(value_type = Object)]
    ext: Ext,
    /// Who it points at.
    #[serde(default)]
    #[schema(value_type = Object)]
    mentions: Option<Mentions>,
    /// How to handle it.
    #[serde(default)]
    #[schema(value_type = Object)]
    options: SendOptions,
    /// Your key of the message: a repeat under it is harmless for ever.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "order-1")]
    client_message_id: Option<ClientMessageId>,
    /// Milliseconds after which it is no longer worth sending.
    #[serde(default)]
    ttl_ms: Option<u64>,
}

/// An accepted send.
#[derive(Debug, Serialize, ToSchema)]
struct SendAnswer {
    /// The send.
    #[schema(value_type = String)]
    id: SendId,
    /// One message for each conversation it goes to.
    messages: Vec<SentMessage>,
    /// It was accepted before under the same `client_message_id`; nothing was sent again.
    repeated: bool,
}

/// One message of a send.
#[derive(Debug, Serialize, ToSchema)]
struct SentMessage {
    /// The message.
    #[schema(value_type = String)]
    id: MessageId,
    /// Where it goes.
    #[schema(value_type = String)]
    conversation: ConversationId,
}

/// Accepts a message for sending. It is durable when this answers.
#[utoipa::path(post, path = "/v1/messages", tag = "messages", request_body = SendRequest, responses(
    (status = 202, description = "Accepted and durable", body = SendAnswer),
    (status = 200, description = "Accepted before under the same key", body = SendAnswer),
    (status = 400, description = "A field is wrong", body = Problem),
    (status = 409, description = "Another message has this client_message_id", body = Problem),
    (status = 422, description = "The provider cannot carry it", body = Problem),
))]
async fn send(
    State(state): State<AppState>,
    caller: Caller<Messages>,
    Body(request): Body<SendRequest>,
) -> Result<(StatusCode, Json<SendAnswer>), Problem> {
    let outgoing = Outgoing {
        from: request.from,
        to: request.to,
        channel: request.channel,
        audience: request.audience,
        body: request.body,
        ext: request.ext,
        mentions: request.mentions,
        options: request.options,
        client_message_id: request.client_message_id,
        ttl: request.ttl_ms.map(std::time::Duration::from_millis),
    };
    let receipt = state.switchboard.tenant(caller.tenant().clone()).send(outgoing).await?;
    let status = if receipt.repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
    let messages = receipt.messages.into_iter().map(|(conversation, id)| SentMessage { id, conversation }).collect();
    Ok((status, Json(SendAnswer { id: receipt.id, messages, repeated: receipt.repeated })))
}

/// One message: its event, and where its send stands if it was sent through us.
#[derive(Debug, Serialize, ToSchema)]
struct MessageAnswer {
    /// The journalled event, if it is journalled yet.
    #[schema(value_type = Option<Object>)]
    event: Option<Box<serde_json::value::RawValue>>,
    /// Its send, if it was sent through us.
    #[schema(value_type = Option<Object>)]
    send: Option<SendView>,
    /// What else came under its key; what came first stands, the rest is only recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variants: Vec<VariantAnswer>,
    /// The same of its recall.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recall_variants: Vec<VariantAnswer>,
}

/// Other content that some source told of an event.
#[derive(Debug, Serialize, ToSchema)]
struct VariantAnswer {
    /// The source.
    origin: &'static str,
    /// When it was first seen. Milliseconds.
    received_at: i64,
    /// The digest of what it says, in hexadecimal digits.
    digest: String,
    /// How many bytes of the vendor's are kept of it; none from sources without, and none once it is recalled.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
}

impl From<Variant> for VariantAnswer {
    fn from(variant: Variant) -> Self {
        Self {
            origin: variant.origin.as_str(),
            received_at: variant.received_at.as_millis(),
            digest: format!("{:016x}", variant.digest),
            bytes: variant.raw.map(|raw| raw.len()),
        }
    }
}

/// Looks at one message.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "messages", params(("id" = String, Path)), responses(
    (status = 200, body = MessageAnswer),
    (status = 404, description = "Unknown", body = Problem),
))]
async fn message(
    State(state): State<AppState>,
    caller: Caller<Messages>,
    Path(message): Path<String>,
) -> Result<Json<MessageAnswer>, Problem> {
    let message: MessageId = id("id", &message)?;
    let trace = state.switchboard.tenant(caller.tenant().clone()).trace(message).await?;
    let trace = trace.ok_or_else(|| unknown("message"))?;
    let event = trace.event.map(|entry| super::stream::raw_json(&entry.json)).transpose()?;
    let variants = |variants: Vec<Variant>| variants.into_iter().map(VariantAnswer::from).collect();
    Ok(Json(MessageAnswer {
        event,
        send: trace.send,
        variants: variants(trace.variants),
        recall_variants: variants(trace.recall_variants),
    }))
}

/// Withdraws a message: at its vendor, or before it leaves.
#[utoipa::path(post, path = "/v1/messages/{id}/recall", tag = "messages", params(("id" = String, Path)), responses(
    (status = 204, description = "Withdrawn"),
    (status = 404, description = "Unknown", body = Problem),
    (status = 409, description = "It is on its way; repeat this when its outcome is known", body = Problem),
    (status = 422, description = "The vendor says it is too late", body = Problem),
))]
async fn recall(
    State(state): State<AppState>,
    caller: Caller<Messages>,
    Path(message): Path<String>,
) -> Result<StatusCode, Problem> {
    let message: MessageId = id("id", &message)?;
    state.switchboard.tenant(caller.tenant().clone()).recall(message).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a failed message is sent again.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct RedriveQuery {
    /// Send it again although nobody knows whether it arrived (`outcome_unknown`): it may then arrive twice.
    #[serde(default)]
    may_arrive_twice: bool,
}

/// Sends a failed message again, before what its conversation has queued since. Repeating it is harmless.
#[utoipa::path(post, path = "/v1/messages/{id}/redrive", tag = "messages",
    params(("id" = String, Path), RedriveQuery), responses(
    (status = 202, description = "Queued again, or on its way already", body = Object),
    (status = 404, description = "Unknown", body = Problem),
    (status = 409, description = "It has not failed, its time has run out, or nobody knows whether it arrived",
        body = Problem),
))]
async fn redrive(
    State(state): State<AppState>,
    caller: Caller<Messages>,
    Path(message): Path<String>,
    Query(query): Query<RedriveQuery>,
) -> Result<(StatusCode, Json<SendView>), Problem> {
    let message: MessageId = id("id", &message)?;
    let risk = if query.may_arrive_twice { RedriveRisk::MayArriveTwice } else { RedriveRisk::None };
    let view = state.switchboard.tenant(caller.tenant().clone()).redrive(message, risk).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// Looks at one send.
#[utoipa::path(get, path = "/v1/sends/{id}", tag = "messages", params(("id" = String, Path)), responses(
    (status = 200, body = Object),
    (status = 404, description = "Unknown", body = Problem),
))]
async fn send_view(
    State(state): State<AppState>,
    caller: Caller<Messages>,
    Path(send): Path<String>,
) -> Result<Json<SendView>, Problem> {
    let send: SendId = id("id", &send)?;
    let view = state.switchboard.sending().status(caller.tenant(), send).await?;
    view.map(Json).ok_or_else(|| unknown("send"))
}

/// Withdraws what of a send has not left yet, and tells where each of its messages stands.
#[utoipa::path(post, path = "/v1/sends/{id}/cancel", tag = "messages", params(("id" = String, Path)), responses(
    (status = 200, body = Object),
    (status = 404, description = "Unknown", body = Problem),
))]
async fn cancel(
    State(state): State<AppState>,
    caller: Caller<Messages>,
    Path(send): Path<String>,
) -> Result<Json<SendView>, Problem> {
    let send: SendId = id("id", &send)?;
    Ok(Json(state.switchboard.tenant(caller.tenant().clone()).cancel(send).await?))
}

fn unknown(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
}
