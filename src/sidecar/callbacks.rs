//! Vendors calling: no token, no limit of ours that answers 429, and the vendor's own form of reply.

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use switchboard_contract::{ProviderId, RawCallback};

use crate::ingest::{CallbackAnswer, Unread};
use crate::switchboard::Switchboard;

/// `POST /callbacks/{provider}` and everything below it.
pub(super) fn routes(switchboard: Switchboard) -> Router {
    Router::new()
        .route("/callbacks/{provider}", post(at_root))
        .route("/callbacks/{provider}/{*path}", post(below))
        .layer(DefaultBodyLimit::disable())
        .with_state(switchboard)
}

async fn at_root(State(switchboard): State<Switchboard>, Path(provider): Path<String>, request: Request) -> Response {
    receive(switchboard, provider, String::new(), request).await
}

async fn below(
    State(switchboard): State<Switchboard>,
    Path((provider, path)): Path<(String, String)>,
    request: Request,
) -> Response {
    receive(switchboard, provider, path, request).await
}

async fn receive(switchboard: Switchboard, provider: String, path: String, request: Request) -> Response {
    let received_at = switchboard.clock().now();
    let (parts, body) = request.into_parts();
    let provider = ProviderId::from(provider);
    let body = match read(body, switchboard.ingest().max_body_bytes()).await {
        Ok(body) => body,
        Err(unread) => return answer(switchboard.ingest().refuse_unread(&provider, unread)),
    };
    let headers = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let raw = RawCallback { path, query, headers, body, received_at };
    answer(switchboard.receive(&provider, raw).await)
}

fn answer(answer: CallbackAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response()
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Unread> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Unread::TooLarge),
        Err(_) => Err(Unread::Broken),
    }
}
