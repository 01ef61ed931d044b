//! Answers of the Server API: a JSON object with `code`, and the vendor's refusals.

use serde_json::{Map, Value};

/// Fields of a successful answer besides `code`.
pub(crate) type Fields = Map<String, Value>;

/// What an endpoint returns: the fields to send, or the vendor's refusal.
pub(crate) type Answer = Result<Fields, Refusal>;

/// An answer with nothing but the success code.
pub(crate) fn done() -> Answer {
    Ok(Map::new())
}

/// A successful answer from a JSON object literal.
pub(crate) fn fields(value: Value) -> Answer {
    match value {
        Value::Object(map) => Ok(map),
        other => Ok(Map::from_iter([("data".to_owned(), other)])),
    }
}

/// A refusal: HTTP status, vendor code and message. The table is the vendor's list of status codes; rows for which no HTTP
/// status is documented use 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status. 1015 travels with 200.
    pub(crate) http: u16,
    /// Vendor code in the body.
    pub(crate) code: i64,
    /// `errorMessage` in the body.
    pub(crate) message: String,
}

impl Refusal {
    fn new(http: u16, code: i64, message: impl Into<String>) -> Self {
        Self { http, code, message: message.into() }
    }

    pub(crate) fn internal() -> Self {
        Self::new(500, 1000, "internal error")
    }

    pub(crate) fn unknown_app_key() -> Self {
        Self::new(401, 1001, "app key and app secret do not match")
    }

    pub(crate) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(400, 1002, message)
    }

    pub(crate) fn required(name: &str) -> Self {
        Self::bad_parameter(format!("{name} is required"))
    }

    pub(crate) fn empty_post() -> Self {
        Self::new(400, 1003, "POST data is empty")
    }

    pub(crate) fn bad_signature() -> Self {
        Self::new(401, 1004, "signature is invalid")
    }

    pub(crate) fn too_long(name: &str) -> Self {
        Self::new(400, 1005, format!("{name} is too long"))
    }

    pub(crate) fn app_locked() -> Self {
        Self::new(401, 1006, "app is locked or deleted")
    }

    pub(crate) fn restricted() -> Self {
        Self::new(401, 1007, "method is restricted")
    }

    pub(crate) fn too_frequent() -> Self {
        Self::new(429, 1008, "call frequency exceeded")
    }

    pub(crate) fn not_enabled() -> Self {
        Self::new(430, 1009, "service not enabled")
    }

    pub(crate) fn keepalive_missing() -> Self {
        Self::new(200, 1015, "keep-alive chatroom does not exist")
    }

    pub(crate) fn keepalive_limit() -> Self {
        Self::new(403, 1016, "too many keep-alive chatrooms")
    }

    pub(crate) fn word_limit() -> Self {
        Self::new(400, 1019, "too many sensitive words")
    }

    pub(crate) fn internal_timeout() -> Self {
        Self::new(504, 1050, "internal timeout")
    }

    pub(crate) fn test_users() -> Self {
        Self::new(403, 2007, "test user quota exceeded")
    }

    pub(crate) fn group_full() -> Self {
        Self::new(405, 405, "group member limit exceeded")
    }

    pub(crate) fn unknown_path() -> Self {
        Self::new(404, 404, "not found")
    }

    pub(crate) fn wrong_method() -> Self {
        Self::new(405, 405, "method not allowed")
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> String {
        serde_json::json!({ "code": self.code, "errorMessage": self.message }).to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::Value;

    use super::Refusal;

    #[test]
    fn bodies_equal_the_documented_ones() {
        macro_rules! fixture {
            ($name:literal) => {
                include_str!(concat!("../../fixtures/rongcloud/", $name))
            };
        }
        let rows = [
            (Refusal::required("fromUserId"), 400, fixture!("rest_error_400_1002.json")),
            (Refusal::unknown_app_key(), 401, fixture!("rest_error_401_1001.json")),
            (Refusal::bad_signature(), 401, fixture!("rest_error_401_1004.json")),
            (Refusal::test_users(), 403, fixture!("rest_error_403_2007.json")),
            (Refusal::too_frequent(), 429, fixture!("rest_error_429_1008.json")),
            (Refusal::not_enabled(), 430, fixture!("rest_error_430_1009.json")),
            (Refusal::internal(), 500, fixture!("rest_error_500_1000.json")),
            (Refusal::internal_timeout(), 504, fixture!("rest_error_504_1050.json")),
        ];
        for (refusal, http, text) in rows {
            assert_eq!(refusal.http, http);
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&refusal.body()).unwrap(), expected);
        }
    }
}
