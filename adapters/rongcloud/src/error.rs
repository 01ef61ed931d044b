//! The table from HTTP status and vendor code to the caller's situation, and the reading of answers by it.
//!
//! The status is looked at first only to tell the vendor's own answer from a proxy's; then the code decides, because
//! RongCloud also puts failures into HTTP 200 (1015). Vendor document: the Server API status code table.

use serde::Deserialize;
use std::sync::Arc;
use switchboard_contract::Clock;
use switchboard_contract::{Error, ErrorKind, Result, Retry};
use switchboard_outbound::{Classifier, VendorCall, VendorReply, foreign_answer, retry_after};

use crate::wire::lenient::Scalar;

/// Whether the vendor can have acted before it answered with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// No, and a repeat fails the same way.
    RefusedForGood,
    /// No, and a repeat can succeed.
    RefusedForNow,
    /// It may have.
    Unknown,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The vendor's code.
    pub(crate) code: i64,
    /// The HTTP status documented with it; `None` where none is confirmed.
    #[cfg_attr(not(test), allow(dead_code, reason = "documents the row; the tests answer with it"))]
    pub(crate) status: Option<u16>,
    /// The caller's situation.
    pub(crate) kind: ErrorKind,
    /// Whether to try again.
    pub(crate) effect: Effect,
    /// What it means, in the vendor's words.
    pub(crate) meaning: &'static str,
}

const fn row(code: i64, status: Option<u16>, kind: ErrorKind, effect: Effect, meaning: &'static str) -> Row {
    Row { code, status, kind, effect, meaning }
}

/// Every documented failure code of the Server API.
pub(crate) const TABLE: &[Row] = {
    use Effect::{RefusedForGood, RefusedForNow, Unknown};
    use ErrorKind::{
        Forbidden, InvalidInput, NotFound, RateLimited, Timeout, TooLarge, Unauthorized, Unavailable, Unsupported,
    };
    &[
        row(404, Some(404), Unsupported, RefusedForGood, "unknown path"),
        row(1000, Some(500), Unavailable, Unknown, "internal error"),
        row(1001, Some(401), Unauthorized, RefusedForGood, "app key and secret do not match"),
        row(1002, Some(400), InvalidInput, RefusedForGood, "bad parameter"),
        row(1003, Some(400), InvalidInput, RefusedForGood, "empty request"),
        row(1004, Some(401), Unauthorized, RefusedForGood, "bad signature: check the secret and the clock's unit"),
        row(1005, Some(400), TooLarge, RefusedForGood, "parameter too long"),
        row(1006, Some(401), Forbidden, RefusedForGood, "the app is locked or deleted"),
        row(1007, Some(401), Forbidden, RefusedForGood, "method or source address not admitted"),
        row(1008, Some(429), RateLimited, RefusedForNow, "too frequent"),
        row(1009, Some(430), Unsupported, RefusedForGood, "service not enabled: switch it on in the console"),
        row(1010, None, Unsupported, RefusedForGood, "feature not enabled"),
        row(1011, None, Unsupported, RefusedForGood, "feature not enabled"),
        row(1012, None, Unsupported, RefusedForGood, "feature not enabled"),
        row(1013, None, Unsupported, RefusedForGood, "feature not enabled"),
        row(1014, None, Unsupported, RefusedForGood, "feature not enabled"),
        row(1015, Some(200), NotFound, RefusedForGood, "the room to keep alive does not exist"),
        row(1016, Some(403), Forbidden, RefusedForGood, "too many rooms kept alive"),
        row(1017, None, Unsupported, RefusedForGood, "real-time version not supported"),
        row(1018, None, Unsupported, RefusedForGood, "real-time service off"),
        row(1019, None, Forbidden, RefusedForGood, "too many sensitive words"),
        row(1050, Some(504), Timeout, Unknown, "internal timeout"),
        row(1501, None, InvalidInput, RefusedForGood, "wrong type"),
        row(1502, None, InvalidInput, RefusedForGood, "too many values"),
        row(1508, None, TooLarge, RefusedForGood, "body too large"),
        row(2007, Some(403), Forbidden, RefusedForGood, "user quota of the development environment reached"),
    ]
};

/// The part of every answer that says whether it is a success.
#[derive(Deserialize)]
struct Verdict<'a> {
    #[serde(borrow, default)]
    code: Option<Scalar<'a>>,
}

/// Reads RongCloud's answers.
#[derive(Debug)]
pub(crate) struct RongCloudAnswers {
    pub(crate) clock: Arc<dyn Clock>,
}

impl Classifier for RongCloudAnswers {
    fn check(&self, call: &VendorCall, reply: &VendorReply) -> Result<()> {
        let error = match serde_json::from_slice::<Verdict<'_>>(&reply.body) {
            Ok(Verdict { code: Some(code) }) => match code.integer() {
                // The REST-style /v2 paths say 10000.
                Some(200 | 10_000) if reply.is_success() => return Ok(()),
                Some(code) => self.failure(code, reply),
                None => unreadable(reply),
            },
            Ok(Verdict { code: None }) => unreadable(reply),
            Err(_) => foreign(reply),
        };
        Err(error.with_operation(call.operation))
    }
}

impl RongCloudAnswers {
    fn failure(&self, code: i64, reply: &VendorReply) -> Error {
        let after = retry_after(&reply.headers, self.clock.now());
        let retry = |effect| match effect {
            Effect::RefusedForGood => Retry::Never,
            Effect::RefusedForNow => Retry::Safe { after },
            Effect::Unknown => Retry::OutcomeUnknown,
        };
        let error = match TABLE.iter().find(|row| row.code == code) {
            Some(row) => Error::new(row.kind, row.meaning).with_retry(retry(row.effect)),
            None if reply.status == 429 => {
                Error::new(ErrorKind::RateLimited, "too frequent").with_retry(Retry::Safe { after })
            }
            // A code nobody documented says nothing of what was done before it, and a server error little more.
            None if reply.status >= 500 => Error::new(ErrorKind::Internal, "the vendor failed with an unknown code")
                .with_retry(Retry::OutcomeUnknown),
            None => Error::new(ErrorKind::Internal, "the vendor refused with an unknown code"),
        };
        error.with_vendor_code(code.to_string())
    }
}

/// JSON without a usable code: the vendor's protocol, and not understood.
fn unreadable(reply: &VendorReply) -> Error {
    let retry = if reply.status < 500 && !reply.is_success() { Retry::Never } else { Retry::OutcomeUnknown };
    Error::new(ErrorKind::Decode, format!("an answer with status {} names no code", reply.status)).with_retry(retry)
}

/// Not the vendor's protocol. A proxy's 429 and 413 still say what they say.
fn foreign(reply: &VendorReply) -> Error {
    match reply.status {
        429 => Error::new(ErrorKind::RateLimited, "too frequent, says a proxy"),
        413 => Error::new(ErrorKind::TooLarge, "too large, says a proxy"),
        _ => foreign_answer(reply),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use std::time::Duration;
    use switchboard_contract::{Sleep, Timestamp};
    use switchboard_outbound::{HeaderMap, HeaderValue, Method};

    use super::*;

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp(1_795_054_530_123)
        }

        fn sleep(&self, _duration: Duration) -> Sleep {
            Box::pin(std::future::ready(()))
        }
    }

    fn check(status: u16, body: &str) -> Result<()> {
        let reply =
            VendorReply { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()), took: Duration::ZERO };
        let call = VendorCall::once(Method::POST, "send", "direct", "/message/private/publish.json");
        RongCloudAnswers { clock: Arc::new(Stopped) }.check(&call, &reply)
    }

    /// The documented table once more, written apart from the one above.
    const DOCUMENTED: &[(i64, u16, ErrorKind, &str)] = &[
        (404, 404, ErrorKind::Unsupported, "never"),
        (1000, 500, ErrorKind::Unavailable, "unknown"),
        (1001, 401, ErrorKind::Unauthorized, "never"),
        (1002, 400, ErrorKind::InvalidInput, "never"),
        (1003, 400, ErrorKind::InvalidInput, "never"),
        (1004, 401, ErrorKind::Unauthorized, "never"),
        (1005, 400, ErrorKind::TooLarge, "never"),
        (1006, 401, ErrorKind::Forbidden, "never"),
        (1007, 401, ErrorKind::Forbidden, "never"),
        (1008, 429, ErrorKind::RateLimited, "safe"),
        (1009, 430, ErrorKind::Unsupported, "never"),
        (1010, 400, ErrorKind::Unsupported, "never"),
        (1011, 400, ErrorKind::Unsupported, "never"),
        (1012, 400, ErrorKind::Unsupported, "never"),
        (1013, 400, ErrorKind::Unsupported, "never"),
        (1014, 400, ErrorKind::Unsupported, "never"),
        (1015, 200, ErrorKind::NotFound, "never"),
        (1016, 403, ErrorKind::Forbidden, "never"),
        (1017, 400, ErrorKind::Unsupported, "never"),
        (1018, 400, ErrorKind::Unsupported, "never"),
        (1019, 400, ErrorKind::Forbidden, "never"),
        (1050, 504, ErrorKind::Timeout, "unknown"),
        (1501, 400, ErrorKind::InvalidInput, "never"),
        (1502, 400, ErrorKind::InvalidInput, "never"),
        (1508, 400, ErrorKind::TooLarge, "never"),
        (2007, 403, ErrorKind::Forbidden, "never"),
    ];

    #[test]
    fn every_documented_code_has_its_row() {
        assert_eq!(TABLE.len(), DOCUMENTED.len());
        for &(code, status, kind, retry) in DOCUMENTED {
            let row = TABLE.iter().find(|row| row.code == code).unwrap();
            assert!(row.status.is_none_or(|documented| documented == status), "{code}");
            let error = check(status, &format!(r#"{{"code":{code},"errorMessage":"x"}}"#)).unwrap_err();
            assert_eq!(error.kind(), kind, "{code}");
            let expected = match retry {
                "safe" => Retry::Safe { after: None },
                "unknown" => Retry::OutcomeUnknown,
                _ => Retry::Never,
            };
            assert_eq!(error.retry(), expected, "{code}");
            assert_eq!(error.vendor_code(), Some(code.to_string().as_str()));
            assert_eq!(error.operation(), Some("send"));
        }
    }

    #[test]
    fn success_is_the_code_and_the_status_together() {
        check(200, r#"{"code":200}"#).unwrap();
        check(200, r#"{"code":"200","more":1}"#).unwrap();
        check(200, r#"{"code":10000}"#).unwrap();
        assert_eq!(check(500, r#"{"code":200}"#).unwrap_err().retry(), Retry::OutcomeUnknown);
    }

    #[test]
    fn an_unknown_code_is_kept_and_not_repeated() {
        for status in [200, 400, 403] {
            let error = check(status, r#"{"code":4711}"#).unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Internal, Retry::Never), "{status}");
            assert_eq!(error.vendor_code(), Some("4711"));
        }
        assert_eq!(check(503, r#"{"code":4711}"#).unwrap_err().retry(), Retry::OutcomeUnknown);
        assert_eq!(check(429, r#"{"code":4711}"#).unwrap_err().kind(), ErrorKind::RateLimited);
    }

    #[test]
    fn a_proxys_page_is_unavailable_and_not_a_bad_body() {
        for status in [200, 403, 404, 500, 502, 503, 504] {
            let error = check(status, "<html><body>gateway</body></html>").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{status}");
        }
        assert_eq!(check(502, "").unwrap_err().retry(), Retry::OutcomeUnknown);
        assert_eq!(check(429, "slow down").unwrap_err().kind(), ErrorKind::RateLimited);
        assert_eq!(check(413, "").unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn json_without_a_code_is_a_decode_error() {
        for body in ["{}", r#"{"code":null}"#, r#"{"code":"many"}"#] {
            let error = check(200, body).unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Decode, Retry::OutcomeUnknown), "{body}");
        }
        assert_eq!(check(400, "{}").unwrap_err().retry(), Retry::Never);
    }

    #[test]
    fn the_wait_a_vendor_names_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("3"));
        let body = Bytes::from_static(br#"{"code":1008}"#);
        let reply = VendorReply { status: 429, headers, body, took: Duration::ZERO };
        let call = VendorCall::read(Method::POST, "probe", "general", "/user/checkOnline.json");
        let error = RongCloudAnswers { clock: Arc::new(Stopped) }.check(&call, &reply).unwrap_err();
        assert_eq!(error.retry(), Retry::Safe { after: Some(Duration::from_secs(3)) });
    }
}
