//! The vendor's error bodies, shaped as its pages print them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Marks a response as a rate error although it is not 429.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateError;

/// An error as it goes on the wire.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    error: &'static str,
    exception: Option<&'static str>,
    error_code: Option<i64>,
    description: String,
    rate: bool,
    now_ms: Option<i64>,
}

impl ApiError {
    pub(crate) fn new(status: u16, error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            error,
            exception: None,
            error_code: None,
            description: description.into(),
            rate: status == 429,
            now_ms: None,
        }
    }

    fn exception(mut self, exception: &'static str) -> Self {
        self.exception = Some(exception);
        self
    }

    /// The time shown in the body; set by the layer that knows the vendor's clock.
    pub(crate) fn at(mut self, now_ms: i64) -> Self {
        self.now_ms = Some(now_ms);
        self
    }

    pub(crate) fn argument(description: impl Into<String>) -> Self {
        Self::new(400, "illegal_argument", description)
    }

    pub(crate) fn body() -> Self {
        Self::new(400, "invalid_request_body", "Request body is invalid. Please check body is correct.")
    }

    pub(crate) fn send(description: impl Into<String>) -> Self {
        Self::new(400, "message_send_error", description).exception("MessageSendException")
    }

    pub(crate) fn send_code(code: i64, description: &str) -> Self {
        Self { error_code: Some(code), ..Self::send(description) }
    }

    pub(crate) fn message_limit() -> Self {
        let error = Self::new(403, "message_send_error", "message send reach limit");
        Self { rate: true, ..error.exception("MessageSendException") }
    }

    pub(crate) fn rate() -> Self {
        Self::new(429, "reach_limit", "This request has reached api limit")
    }

    pub(crate) fn plan_cap() -> Self {
        let text = "You have exceeded the limit of the community edition,Please upgrade to the enterprise edition";
        Self { rate: false, ..Self::new(429, "resource_limited", text) }
    }

    pub(crate) fn expired_token() -> Self {
        Self::new(401, "unauthorized", "Unable to authenticate due to expired access token")
    }

    pub(crate) fn oauth() -> Self {
        Self::new(401, "unauthorized", "Unable to authenticate (OAuth)")
    }

    pub(crate) fn corrupt_token() -> Self {
        Self::new(401, "auth_bad_access_token", "Unable to authenticate due to corrupt access token")
            .exception("org.apache.usergrid.rest.exceptions.SecurityException")
    }

    pub(crate) fn unknown_token() -> Self {
        Self::new(401, "auth_bad_access_token", "Unable to authenticate")
    }

    pub(crate) fn registration_closed() -> Self {
        Self::new(401, "unauthorized", "Open registration doesn't allow, so register user need token")
    }

    pub(crate) fn no_user() -> Self {
        Self::new(404, "service_resource_not_found", "Service resource not found").exception("UserNotFoundException")
    }

    pub(crate) fn no_group(id: &str) -> Self {
        Self::new(404, "resource_not_found", format!("grpID {id} does not exist!"))
    }

    pub(crate) fn no_member(user: &str) -> Self {
        Self::new(404, "resource_not_found", format!("username {user} doesn't exist!"))
    }

    pub(crate) fn forbidden(description: impl Into<String>) -> Self {
        Self::new(403, "forbidden_op", description)
    }

    pub(crate) fn recall_off() -> Self {
        Self::forbidden("message recall service is unopened").exception("EasemobForbiddenOpException")
    }

    pub(crate) fn parameter(description: impl Into<String>) -> Self {
        Self::new(400, "invalid_parameter", description)
    }

    pub(crate) fn no_app(org: &str, app: &str, rest: &str) -> Self {
        let text = format!("Could not find application for {org}/{app} from URI: {org}/{app}{rest}");
        Self::new(404, "organization_application_not_found", text)
    }

    pub(crate) fn server() -> Self {
        Self::new(500, "web_application", "internal server error")
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut body = json!({
            "error": self.error,
            "timestamp": self.now_ms.unwrap_or_default(),
            "duration": 0,
            "error_description": self.description,
        });
        if let Some(exception) = self.exception {
            body["exception"] = json!(exception);
        }
        if let Some(code) = self.error_code {
            body["error_code"] = json!(code);
        }
        body
    }
}

/// Carries an error through the response until the layer that knows the clock prints it.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) ApiError);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = match self.now_ms {
            Some(_) => (self.status, Json(self.to_value())).into_response(),
            None => self.status.into_response(),
        };
        if self.rate {
            response.extensions_mut().insert(RateError);
        }
        if self.now_ms.is_none() {
            response.extensions_mut().insert(Failed(self));
        }
        response
    }
}
