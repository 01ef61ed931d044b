//! Exporting conversations.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use switchboard_contract::{ConversationId, Error, UserId};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::auth::{Admin, Caller};
use super::extract::Query;
use super::problem::Problem;
use crate::transfer::{Export, ExportScope};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(export))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    /// Only this conversation.
    conversation: Option<String>,
    /// Only what concerns this user: direct conversations and notices as a whole, of groups and rooms the user's own
    /// messages.
    #[param(value_type = Option<String>)]
    user: Option<UserId>,
}

/// Exports a conversation, a user, or everything, as NDJSON: one event a line, and at the end a line with the manifest.
/// An answer without that line is not whole. `x-switchboard-events` is an upper bound of the lines.
#[utoipa::path(get, path = "/v1/export", tag = "archive", params(ExportQuery), responses(
    (status = 200, description = "Lines of an export", content_type = "application/x-ndjson", body = String),
    (status = 404, description = "Unknown", body = Problem),
    (status = 422, description = "This store cannot", body = Problem),
))]
async fn export(
    State(state): State<AppState>,
    caller: Caller<Admin>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let scope = match (query.conversation, query.user) {
        (Some(_), Some(_)) => return Err(Error::invalid("user", "cannot stand together with conversation").into()),
        (Some(conversation), None) => ExportScope::Conversation(conversation.parse::<ConversationId>()?),
        (None, Some(user)) => ExportScope::User(user),
        (None, None) => ExportScope::Everything,
    };
    let mut export = state.switchboard.tenant(caller.tenant().clone()).export(scope);
    let estimate = export.estimate().await?;
    // What is wrong with the call is found with the first lines, while there is still a status to tell it with.
    let first = export.next().await?;
    let stream = futures::stream::try_unfold(Some((first, export)), lines);
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/x-ndjson".to_owned()),
        ("x-switchboard-events", estimate.to_string()),
    ];
    Ok((headers, axum::body::Body::from_stream(stream)).into_response())
}

type Left = Option<(Option<Bytes>, Export)>;

async fn lines(left: Left) -> Result<Option<(Bytes, Left)>, Error> {
    match left {
        None => Ok(None),
        Some((Some(lines), mut export)) => {
            let next = export.next().await?;
            Ok(Some((lines, Some((next, export)))))
        }
        Some((None, export)) => {
            let manifest = serde_json::json!({ "manifest": export.finish() });
            Ok(Some((format!("{manifest}\n").into(), None)))
        }
    }
}
