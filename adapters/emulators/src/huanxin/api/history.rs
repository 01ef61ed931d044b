//! Hourly files: the call that names them and the object store that serves them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::app::App;
use super::Answer;
use super::request::{AppOnly, Call};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/chatmessages/{hour}", get(hour))
}

async fn hour(call: Call, _: AppOnly, Path(hour): Path<String>) -> Answer {
    let file = call.app.hour_file(&hour)?;
    let data: Vec<Value> =
        (0..file.parts).map(|part| json!({ "url": call.app.signed_url(&call.host, &hour, part) })).collect();
    let mut response = call.group(json!({ "data": data }));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Signed {
    expires: i64,
    signature: String,
}

/// The object store. No token: the address itself is the permission.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    OriginalUri(uri): OriginalUri,
    Path((_, org, name, file)): Path<(String, String, String, String)>,
    signed: Result<Query<Signed>, QueryRejection>,
) -> Response {
    let Ok(Query(signed)) = signed else { return denied("AccessDenied", "missing signature") };
    if app.url_signature(uri.path(), signed.expires) != signed.signature {
        return denied("SignatureDoesNotMatch", "the signature does not match");
    }
    if signed.expires < app.now_ms() / 1_000 {
        return denied("AccessDenied", "Request has expired.");
    }
    let stem = file.strip_suffix(".gz").unwrap_or(&file);
    let (hour, part) = match stem.split_once('-') {
        Some((hour, part)) => (hour, part.parse().unwrap_or(usize::MAX)),
        None => (stem, 0),
    };
    let ours = org == app.id.org && name == app.id.app;
    let Some(bytes) = ours.then(|| app.hour_bytes(hour, part)).flatten() else {
        return (StatusCode::NOT_FOUND, xml("NoSuchKey", "The specified key does not exist.")).into_response();
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if app.settings().history.content_encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn denied(code: &str, message: &str) -> Response {
    (StatusCode::FORBIDDEN, xml(code, message)).into_response()
}

fn xml(code: &str, message: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    ([(header::CONTENT_TYPE, "application/xml")], body).into_response()
}
