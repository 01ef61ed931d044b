//! What handlers read from a request and how they answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::super::events::ADMIN;
use super::super::tokens::Subject;

/// The call as the entry saw it.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) app: Arc<App>,
    /// Lower case, as the envelope's `action` shows it.
    pub(super) method: String,
    /// Relative to the app.
    pub(super) path: String,
    pub(super) host: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) caller: Result<Subject, ApiError>,
}

impl Call {
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A number in the query, within bounds.
    pub(super) fn number(&self, key: &str, default: usize, most: usize) -> usize {
        self.query(key).and_then(|text| text.parse().ok()).unwrap_or(default).min(most)
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}/{}/{}{path}", self.host, self.app.id.org, self.app.id.app)
    }

    fn merge(base: Value, extra: Value) -> Response {
        let (Value::Object(mut body), Value::Object(extra)) = (base, extra) else {
            return ApiError::server().into_response();
        };
        body.extend(extra);
        Json(Value::Object(body)).into_response()
    }

    /// The long envelope; `path` is shown as given.
    pub(super) fn full(&self, path: &str, extra: Value) -> Response {
        let base = json!({
            "path": path, "uri": self.uri(path), "timestamp": self.app.now_ms(),
            "organization": self.app.id.org, "application": self.app.id.uuid, "action": self.method,
            "duration": 1, "applicationName": self.app.id.app,
        });
        Self::merge(base, extra)
    }

    /// The envelope of group calls.
    pub(super) fn group(&self, extra: Value) -> Response {
        let base = json!({
            "action": self.method, "application": self.app.id.uuid, "uri": self.uri(&self.path), "entities": [],
            "timestamp": self.app.now_ms(), "duration": 0, "organization": self.app.id.org,
            "applicationName": self.app.id.app,
        });
        Self::merge(base, extra)
    }

    /// The short envelope.
    pub(super) fn brief(&self, extra: Value) -> Response {
        let base = json!({
            "action": self.method, "uri": self.uri(&self.path), "entities": [],
            "timestamp": self.app.now_ms(), "duration": 1,
        });
        Self::merge(base, extra)
    }

    /// Only action, time and duration.
    pub(super) fn bare(&self, action: &str, extra: Value) -> Response {
        Self::merge(json!({ "action": action, "timestamp": self.app.now_ms(), "duration": 1 }), extra)
    }
}

impl FromRequestParts<Arc<App>> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::server)
    }
}

/// A caller with an app token; a user's token is refused as the vendor refuses it.
pub(super) struct AppOnly;

impl FromRequestParts<Arc<App>> for AppOnly {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Call::from_request_parts(parts, app).await?.caller? {
            Subject::App => Ok(Self),
            Subject::User(_) => Err(ApiError::corrupt_token()),
        }
    }
}

/// A caller with any valid token: clients reach many of these paths too.
pub(super) struct Caller(pub(super) Subject);

impl Caller {
    /// The name shown in group events.
    pub(super) fn operator(&self) -> &str {
        match &self.0 {
            Subject::App => ADMIN,
            Subject::User(user) => user,
        }
    }

    /// A user may act for himself only.
    pub(super) fn speaks_for(&self, user: &str) -> Result<(), ApiError> {
        match &self.0 {
            Subject::User(me) if me != user => Err(ApiError::oauth()),
            _ => Ok(()),
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        Ok(Self(Call::from_request_parts(parts, app).await?.caller?))
    }
}

/// A JSON body of a known shape.
pub(super) struct In<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for In<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, app).await.map_err(|_| ApiError::body())?;
        serde_json::from_slice(&bytes).map(Self).map_err(|_| ApiError::body())
    }
}

/// A JSON object read field by field, where the vendor names the field it misses.
pub(super) type Fields = In<Map<String, Value>>;

impl Fields {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.0.get(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<i64> {
        match self.0.get(key)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn texts(&self, key: &str) -> Option<Vec<String>> {
        let list = self.0.get(key)?.as_array()?;
        list.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    }
}
