//! From an HTTP request to an endpoint and back.

use std::{io::Write, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use super::{
    api::{self, Call, Endpoint},
    app::{App, Replies, json_response, refusal},
    form::Params,
    local_time,
    log_file::{self, Availability},
    reply::{Answer, Refusal},
    settings::RongCloudSettings,
    sign,
    state::Core,
};
use crate::common::{Connection, Controlled, GateState, control_router, gate};

/// Every route of one domain.
pub(crate) fn router(app: &Arc<App>, controlled: Arc<dyn Controlled>) -> Router {
    let state = GateState {
        faults: Arc::clone(&app.faults),
        ledger: app.ledger.clone(),
        time: app.time.clone(),
        replies: Arc::new(Replies),
    };
    let vendor =
        Router::new().fallback(serve).with_state(Arc::clone(app)).layer(middleware::from_fn_with_state(state, gate));
    control_router(controlled).fallback_service(vendor)
}

async fn serve(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    if let Some(file) = path.strip_prefix("/_files/9/") {
        return download(&app, &method, file);
    }
    let Some(endpoint) = api::find(path) else {
        return refusal(&Refusal::unknown_path());
    };
    if method != Method::POST {
        return refusal(&Refusal::wrong_method());
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let base_url = format!("http://{}", host.unwrap_or_else(|| connection.domain()));
    let history_faults = app.faults.with(|faults| faults.history.clone());
    let (answer, settings) = app.change(|core, now_ms| {
        let settings = Arc::clone(&core.settings);
        let answer = admit(&app, core, &headers, now_ms)
            .and_then(|()| {
                let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                Params::parse(endpoint.body, content_type, &body, settings.strict_content_type)
            })
            .and_then(|params| {
                let (base_url, history_faults) = (base_url.as_str(), &history_faults);
                let params = &params;
                endpoint.call(&mut Call { core, params, now_ms, base_url, history_faults })
            });
        (answer, settings)
    });
    let response = respond(endpoint, answer, &settings);
    if settings.gzip && accepts_gzip(&headers) { compress(response).await } else { response }
}

/// Whether the app may call at all.
fn admit(app: &App, core: &mut Core, headers: &HeaderMap, now_ms: i64) -> Result<(), Refusal> {
    let settings = Arc::clone(&core.settings);
    sign::check(headers, &app.app_key, &app.app_secret, &settings, &mut core.nonces, now_ms)?;
    if settings.app_locked {
        return Err(Refusal::app_locked());
    }
    if settings.restricted {
        return Err(Refusal::restricted());
    }
    Ok(())
}

fn respond(endpoint: &Endpoint, answer: Answer, settings: &RongCloudSettings) -> Response {
    match answer {
        Err(error) => refusal(&error),
        Ok(mut fields) => {
            if settings.code_only {
                fields.clear();
            }
            let code = if endpoint.v2 { settings.v2_success_code } else { 200 };
            fields.insert("code".to_owned(), Value::from(code));
            json_response(StatusCode::OK, Value::Object(fields).to_string())
        }
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.to_ascii_lowercase().contains("gzip"))
}

async fn compress(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(plain) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
    let Ok(packed) = packed else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Body::from(packed))
}

/// The download host's side: `{date}/{name}`, without signature, as the vendor hands out plain links.
fn download(app: &App, method: &Method, file: &str) -> Response {
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match archive(app, file) {
        Some(bytes) => ([(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"))], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn archive(app: &App, file: &str) -> Option<Vec<u8>> {
    let (date, name) = file.split_once('/')?;
    let faults = app.faults.with(|faults| faults.history.clone());
    let now_ms = app.time.now_ms();
    let core = app.core.lock();
    let hour_ms = local_time::parse_hour(date, core.settings.data_centre)?;
    if name != log_file::archive_name(&core.app_key, date) {
        return None;
    }
    let available = log_file::availability(&core, &faults, hour_ms, date, now_ms);
    if available == Availability::Absent {
        return None;
    }
    log_file::archive(&log_file::text(&core, hour_ms, available), hour_ms, &core.settings).ok()
}
