//! Errors as RFC 9457 problem documents: the only place that maps our errors to HTTP statuses.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use switchboard_contract::{Error, ErrorKind, Retry};
use utoipa::ToSchema;

/// A problem document. `type` is stable and meant for programs; `detail` is for people.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:switchboard:problem:` and the kind of error.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, naming the field where one is.
    pub detail: String,
    /// Whether the same request may be made again: `never`, `safe`, `outcome_unknown` or `exhausted`.
    pub retry: &'static str,
    /// The vendor's own code, where one is behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_code: Option<String>,
    /// The wait asked for, in seconds.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem that no error of the engine stands behind.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:switchboard:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            retry: "never",
            vendor_code: None,
            retry_after: None,
        }
    }

    /// Too much at once: 429, to be repeated after a wait.
    pub fn too_many(detail: impl Into<String>) -> Self {
        Self { retry: "safe", retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail) }
    }
}

/// The HTTP status of a kind of error.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::BAD_GATEWAY,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unsupported | ErrorKind::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unavailable | ErrorKind::Decode => StatusCode::BAD_GATEWAY,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = status_of(error.kind());
        if status.is_server_error() {
            tracing::warn!(kind = %error.kind(), %error, "a call failed");
        }
        let (retry, retry_after) = match error.retry() {
            Retry::Never => ("never", None),
            Retry::Safe { after } => ("safe", Some(after.map_or(1, whole_seconds))),
            Retry::OutcomeUnknown => ("outcome_unknown", None),
            Retry::Exhausted { .. } => ("exhausted", None),
        };
        Self {
            retry,
            retry_after: retry_after.filter(|_| matches!(status.as_u16(), 429 | 503)),
            vendor_code: error.vendor_code().map(str::to_owned),
            ..Self::new(status, error.kind().as_str(), error.message())
        }
    }
}

/// At least one: `Retry-After` knows no fractions.
fn whole_seconds(wait: std::time::Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
