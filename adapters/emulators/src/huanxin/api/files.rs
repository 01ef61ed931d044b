//! Attachments: upload, download, lifetime.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Multipart, Path};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::data::Data;
use super::super::error::ApiError;
use super::super::model::StoredFile;
use super::Answer;
use super::request::{AppOnly, Call, Caller, Fields};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/chatfiles", post(upload))
        .route("/chatfiles/{uuid}", get(download))
        .route("/users/{user}/chatfiles/lifetime", put(lifetime).post(lifetime))
        // The vendor's own limit decides, with its own error.
        .layer(DefaultBodyLimit::disable())
}

async fn upload(
    call: Call,
    _: Caller,
    headers: HeaderMap,
    parts: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Answer {
    let missing = || ApiError::argument("file must be provided.");
    let mut parts = parts.map_err(|_| missing())?;
    let mut file = None;
    while let Some(part) = parts.next_field().await.map_err(|_| missing())? {
        if part.name() == Some("file") {
            let name = part.file_name().unwrap_or("file").to_owned();
            let kind = part.content_type().unwrap_or("application/octet-stream").to_owned();
            let bytes = part.bytes().await.map_err(|_| missing())?;
            file = Some((name, kind, bytes));
        }
    }
    let (name, content_type, bytes) = file.ok_or_else(missing)?;
    let settings = call.app.settings();
    if bytes.len() > settings.files.max_bytes {
        let text = "the file size exceeds the maximum limit.";
        return Err(ApiError::new(413, "file exceeding maximum limit", text));
    }
    let restricted = headers.get("restrict-access").is_some_and(|value| value == "true");
    let secret = uuid::Uuid::new_v4().simple().to_string();
    let uuid = uuid::Uuid::new_v4().to_string();
    let file = StoredFile {
        name,
        content_type,
        bytes,
        secret: restricted.then(|| secret.clone()),
        expires_ms: call.app.now_ms() + settings.files.keep_ms,
    };
    call.app.data.lock().keep_file(&uuid, file, settings.files.total_bytes);
    let mut entity = json!({ "uuid": uuid, "type": "chatfile" });
    if restricted {
        entity["share-secret"] = json!(secret);
    }
    Ok(call.full("/chatfiles", json!({ "entities": [entity] })))
}

impl Data {
    fn keep_file(&mut self, uuid: &str, file: StoredFile, total: usize) {
        self.file_bytes += file.bytes.len();
        self.files.insert(uuid.to_owned(), file);
        self.file_order.push_back(uuid.to_owned());
        while self.file_bytes > total {
            let Some(oldest) = self.file_order.pop_front() else { break };
            if let Some(gone) = self.files.remove(&oldest) {
                self.file_bytes -= gone.bytes.len();
            }
        }
    }
}

/// A token is optional for unrestricted files. A thumbnail is the file itself: the vendor, too, serves small images so.
async fn download(call: Call, Path(uuid): Path<String>, headers: HeaderMap) -> Answer {
    let now_ms = call.app.now_ms();
    let data = call.app.data.lock();
    let file = data.files.get(&uuid);
    let file = file.ok_or_else(|| ApiError::new(404, "entity_not_found", "file may not exists"))?;
    if file.expires_ms <= now_ms {
        return Err(ApiError::new(404, "file_expired", format!("file {uuid} is expired")));
    }
    if let Some(secret) = &file.secret {
        let given = headers.get("share-secret").and_then(|value| value.to_str().ok());
        if given.or(call.query("share-secret")) != Some(secret) {
            return Err(ApiError::corrupt_token());
        }
    }
    Ok(serve(file, file.bytes.clone()))
}

fn serve(file: &StoredFile, bytes: Bytes) -> Response {
    let mut response = Body::from(bytes).into_response();
    let kind = HeaderValue::from_str(&file.content_type);
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let disposition = format!("attachment; filename=\"{}\"", file.name.replace('"', ""));
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

async fn lifetime(call: Call, _: AppOnly, Path(_): Path<String>, fields: Fields) -> Answer {
    let settings = call.app.settings();
    if !settings.files.lifetime {
        return Err(ApiError::forbidden("chatfile lifetime service is unopened"));
    }
    let ids = fields.texts("chatfile_ids").unwrap_or_default();
    if ids.is_empty() || ids.len() > 100 {
        return Err(ApiError::argument("chatfile_ids size must be between 1 and 100"));
    }
    let until = match fields.text("lifetime") {
        Some("forever") => i64::MAX,
        Some("default" | "refresh") => call.app.now_ms() + settings.files.keep_ms,
        _ => return Err(ApiError::argument("lifetime is illegal")),
    };
    let mut data = call.app.data.lock();
    let results: Map<String, Value> = ids
        .into_iter()
        .map(|id| {
            let extended = data.files.get_mut(&id).map(|file| file.expires_ms = until).is_some();
            (id, json!(if extended { "success" } else { "file may not exists" }))
        })
        .collect();
    drop(data);
    Ok(call.full(&call.path, json!({ "data": results })))
}
