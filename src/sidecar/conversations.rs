//! Conversations and their history.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use switchboard_contract::storage::{ConversationSummary, PageDirection};
use switchboard_contract::{ConversationId, Timestamp, UserId};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Caller, History};
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::history::{HistoryCursor, HistoryGap, Tier};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(messages))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// Conversations in one page, 1 to 1000.
    #[serde(default = "page_size")]
    limit: usize,
}

fn page_size() -> usize {
    50
}

/// A page of conversations.
#[derive(Debug, Serialize, ToSchema)]
struct ConversationPage {
    /// In the order of their ids.
    #[schema(value_type = Vec<Object>)]
    conversations: Vec<ConversationSummary>,
    /// Where to go on; missing at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<ConversationId>,
}

/// Lists conversations.
#[utoipa::path(get, path = "/v1/conversations", tag = "history", params(ListQuery), responses(
    (status = 200, body = ConversationPage),
))]
async fn list(
    State(state): State<AppState>,
    caller: Caller<History>,
    Query(query): Query<ListQuery>,
) -> Result<Json<ConversationPage>, Problem> {
    check_limit(query.limit)?;
    let after = query.after.as_deref().map(str::parse::<ConversationId>).transpose()?;
    // One more than asked tells whether there is a next page without promising it by length.
    let mut conversations =
        state.switchboard.store().conversations(caller.tenant(), after.as_ref(), query.limit + 1).await?;
    let more = conversations.len() > query.limit;
    conversations.truncate(query.limit);
    let next = conversations.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(ConversationPage { conversations, next }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct HistoryParams {
    /// `recent` (up to 7 days), `month` (7 to 30 days) or `archive` (older); all ages when missing.
    #[param(value_type = Option<String>)]
    tier: Option<Tier>,
    /// A cursor: go on towards the past.
    before: Option<String>,
    /// A cursor: go on towards the present. `after=start` begins with the oldest message.
    after: Option<String>,
    /// Messages in one page, 1 to 1000.
    #[serde(default = "page_size")]
    limit: usize,
    /// Only messages of this sender.
    #[param(value_type = Option<String>)]
    sender: Option<UserId>,
    /// Only these body kinds, separated by commas; `type` is the same.
    #[serde(alias = "type")]
    body: Option<String>,
    /// Not before this time, milliseconds since the epoch.
    since: Option<i64>,
    /// Before this time, milliseconds since the epoch.
    until: Option<i64>,
    /// Fetch from the vendor first what is not here of this page's times, and wait for it. True by default with
    /// `tier=month`, false otherwise.
    fetch: Option<bool>,
}

/// A page of history.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryAnswer {
    /// CloudEvents of type `switchboard.message`: newest first towards the past, oldest first towards the present.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Box<RawValue>>,
    /// Where to go on in the same direction; missing at the end. A short page is not the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// With `fetch`: what the times of this page lack, because it could not be had, or not yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    gaps: Vec<HistoryGap>,
}

/// Reads a conversation's history, newest first unless `after` is given.
#[utoipa::path(get, path = "/v1/conversations/{id}/messages", tag = "history",
    params(("id" = String, Path), HistoryParams),
    responses((status = 200, body = HistoryAnswer), (status = 404, description = "Unknown", body = Problem)))]
async fn messages(
    State(state): State<AppState>,
    caller: Caller<History>,
    Path(conversation): Path<String>,
    Query(params): Query<HistoryParams>,
) -> Result<Json<HistoryAnswer>, Problem> {
    let conversation: ConversationId = conversation.parse()?;
    let mut request = state.switchboard.tenant(caller.tenant().clone()).history(&conversation).limit(params.limit);
    if let Some(tier) = params.tier {
        request = request.tier(tier);
    }
    request = match (params.before, params.after) {
        (Some(_), Some(_)) => {
            return Err(switchboard_contract::Error::invalid("after", "cannot stand together with before").into());
        }
        (Some(cursor), None) => request.cursor(HistoryCursor::decode(&cursor)?),
        (None, Some(start)) if start == "start" => request.direction(PageDirection::Newer),
        (None, Some(cursor)) => request.cursor(HistoryCursor::decode(&cursor)?),
        (None, None) => request,
    };
    if let Some(sender) = params.sender {
        request = request.sender(sender);
    }
    if let Some(bodies) = params.body {
        request = request.bodies(bodies.split(',').map(str::to_owned).collect());
    }
    if let Some(since) = params.since {
        request = request.since(Timestamp(since));
    }
    if let Some(until) = params.until {
        request = request.until(Timestamp(until));
    }
    if let Some(fetch) = params.fetch {
        request = request.fetch(fetch);
    }
    let page = request.page().await?;
    let messages = page.entries.iter().map(|entry| super::stream::raw_json(&entry.json)).collect::<Result<_, _>>()?;
    Ok(Json(HistoryAnswer { messages, next: page.next.map(|cursor| cursor.encode()), gaps: page.gaps }))
}

pub(super) fn check_limit(limit: usize) -> Result<(), Problem> {
    if (1..=1000).contains(&limit) {
        return Ok(());
    }
    Err(switchboard_contract::Error::invalid("limit", "must be 1 to 1000").into())
}
