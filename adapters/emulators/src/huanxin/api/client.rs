//! What clients use besides: host discovery and user attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::Answer;
use super::request::{Call, Caller, Fields};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/metadata/user/{user}", put(set).get(read).delete(clear))
        .route("/metadata/user/get", post(read_many))
}

/// `GET /easemob/server.json`: every domain this emulator listens on, the one asked first.
pub(super) async fn hosts(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let mut domains: Vec<String> = app.domains.get().map(crate::common::Domains::base_urls).unwrap_or_default();
    domains.iter_mut().for_each(|url| *url = url.trim_start_matches("http://").to_owned());
    if domains.is_empty() {
        domains.push(asked.to_owned());
    }
    domains.sort_by_key(|domain| domain != asked);
    let hosts: Vec<Value> = domains
        .iter()
        .map(|domain| {
            let (host, port) = domain.rsplit_once(':').unwrap_or((domain, "80"));
            json!({ "protocol": "http", "domain": host, "port": port })
        })
        .collect();
    Json(json!({
        "deploy_name": app.id.deploy_name, "file_version": "1",
        "rest": { "hosts": hosts }, "msync-wx": { "hosts": hosts },
    }))
    .into_response()
}

/// The web SDK sends a form; servers send a form too, and some JSON.
fn attributes(body: &Bytes) -> Result<BTreeMap<String, String>, ApiError> {
    if let Ok(map) = serde_json::from_slice::<BTreeMap<String, String>>(body) {
        return Ok(map);
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::body())?;
    Ok(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
}

async fn set(call: Call, caller: Caller, Path(user): Path<String>, body: Bytes) -> Answer {
    caller.speaks_for(&call.app.fold(&user))?;
    let new = attributes(&body)?;
    let data = call.app.with_user(&user, |user| {
        user.attributes.extend(new);
        user.attributes.clone()
    })?;
    Ok(call.bare(&call.method, json!({ "data": data })))
}

async fn read(call: Call, _: Caller, Path(user): Path<String>) -> Answer {
    let data = call.app.with_user(&user, |user| user.attributes.clone())?;
    Ok(call.bare(&call.method, json!({ "data": data })))
}

async fn clear(call: Call, caller: Caller, Path(user): Path<String>) -> Answer {
    caller.speaks_for(&call.app.fold(&user))?;
    call.app.with_user(&user, |user| user.attributes.clear())?;
    Ok(call.bare(&call.method, json!({ "data": true })))
}

async fn read_many(call: Call, _: Caller, fields: Fields) -> Answer {
    let targets = fields.texts("targets").ok_or_else(ApiError::body)?;
    let wanted = fields.texts("properties").unwrap_or_default();
    let data = call.app.data.lock();
    let mut result: Map<String, Value> = Map::new();
    for target in targets.iter().map(|target| call.app.fold(target)) {
        let all = data.users.get(&target).map(|user| user.attributes.clone()).unwrap_or_default();
        let shown: BTreeMap<String, String> =
            all.into_iter().filter(|(key, _)| wanted.is_empty() || wanted.contains(key)).collect();
        result.insert(target, json!(shown));
    }
    drop(data);
    Ok(call.bare(&call.method, json!({ "data": result })))
}
