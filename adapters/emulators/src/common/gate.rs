//! The layer in front of every vendor route: injects faults, keeps the request log, and shows the vendor's clock.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::chance::FaultEngine;
use super::faults::FaultAction;
use super::ledger::{Ledger, RequestRecord};
use super::listener::Connection;
use super::time::Time;

/// Largest request body read into memory.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// What a vendor's faults look like on the wire.
pub trait FaultReplies: Send + Sync + 'static {
    /// The answer to a call hit by `fault`; called for the faults that have an answer.
    fn reply(&self, fault: FaultAction, path: &str) -> Response;

    /// The path as fault scripts spell it; by default the path itself.
    fn script_path<'a>(&self, path: &'a str) -> &'a str {
        path
    }

    /// Whether this call sends messages.
    fn is_send(&self, path: &str) -> bool;

    /// Whether the body must stay out of the log because it holds credentials.
    fn is_secret(&self, path: &str) -> bool;

    /// Whether a call carries credentials a vendor could refuse.
    fn has_credentials(&self, request: &Request) -> bool;

    /// Whether a response that is not 429 is a rate error all the same; handlers mark those in the extensions.
    fn is_rate_error(&self, response: &Response) -> bool {
        response.status() == StatusCode::TOO_MANY_REQUESTS
    }
}

/// What the layer needs.
#[derive(Clone)]
pub struct GateState {
    /// Faults in force.
    pub faults: Arc<FaultEngine>,
    /// Where calls are noted.
    pub ledger: Ledger,
    /// The vendor's clock.
    pub time: Time,
    /// The vendor's form of failures.
    pub replies: Arc<dyn FaultReplies>,
}

impl std::fmt::Debug for GateState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GateState").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// The layer: `middleware::from_fn_with_state(state, gate)`.
pub async fn gate(
    State(gate): State<GateState>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Response {
    if gate.faults.is_dead(connection.domain()) {
        connection.cut();
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (request, mut record) = match gate.read(request).await {
        Ok(read) => read,
        Err(too_large) => return too_large,
    };
    let path = request.uri().path().to_owned();
    let plan = gate.faults.rest(
        gate.replies.script_path(&path),
        gate.replies.is_send(&path),
        gate.replies.has_credentials(&request),
    );
    record.fault = plan.fault.map(|fault| format!("{fault:?}"));
    let mut response = match plan.fault {
        None | Some(FaultAction::LostAnswer) => next.run(request).await,
        Some(FaultAction::TimeoutAnswer) => {
            next.run(request).await;
            gate.replies.reply(FaultAction::TimeoutAnswer, &path)
        }
        Some(FaultAction::LostRequest) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(FaultAction::HtmlError) => html_error(),
        Some(fault) => gate.replies.reply(fault, &path),
    };
    if plan.slow_ms > 0 {
        gate.time.sleep(Duration::from_millis(plan.slow_ms)).await;
    }
    let cut = matches!(plan.fault, Some(FaultAction::LostAnswer | FaultAction::LostRequest));
    if cut {
        connection.cut();
    }
    record.status = if cut { 0 } else { response.status().as_u16() };
    let rate_error = !cut && gate.replies.is_rate_error(&response);
    gate.ledger.request(record, rate_error);
    if let Some(date) = http_date(gate.time.now_ms()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

impl GateState {
    async fn read(&self, request: Request) -> Result<(Request, RequestRecord), Response> {
        let (parts, body) = request.into_parts();
        let body: Bytes = to_bytes(body, MAX_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let secret = self.replies.is_secret(parts.uri.path());
        let record = RequestRecord {
            number: 0,
            time_ms: self.time.now_ms(),
            method: parts.method.to_string(),
            path,
            headers: shown(&parts.headers),
            status: 0,
            body: if secret { Bytes::new() } else { body.clone() },
            body_len: body.len(),
            fault: None,
        };
        Ok((Request::from_parts(parts, Body::from(body)), record))
    }
}

/// What the log keeps of the headers. A token is nobody's to read.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = headers.iter().filter(|(name, _)| **name != header::AUTHORIZATION);
    kept.map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn html_error() -> Response {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1>\
                </center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
    (StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

fn http_date(now_ms: i64) -> Option<HeaderValue> {
    let now = Timestamp::from_millisecond(now_ms).ok()?;
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()?;
    HeaderValue::from_str(&text).ok()
}
