#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use switchboard_contract::ErrorKind as Kind;
use switchboard_outbound::{HeaderMap, Method};

use super::*;

fn check(group: &'static str, status: u16, body: &str) -> Result<()> {
    let call = VendorCall::once(Method::POST, "test", group, "/x");
    let body = Bytes::from(body.to_owned());
    Table.check(&call, &VendorReply { status, headers: HeaderMap::new(), body, took: Duration::ZERO })
}

fn refused(status: u16, error: &str, text: &str, number: Option<u32>) -> Error {
    let body = serde_json::json!({"error": error, "error_description": text, "error_code": number, "timestamp": 1});
    check("groups", status, &body.to_string()).unwrap_err()
}

/// Every code the vendor documents, whether or not a fixture shows it.
#[rustfmt::skip]
const DOCUMENTED: &[(u16, &str, &str, Option<u32>, Kind)] = &[
    (400, "illegal_argument", "client_id must be provided.", None, Kind::InvalidInput),
    (400, "illegal_argument", "USERNAME_TOO_LONG", None, Kind::InvalidInput),
    (400, "illegal_argument", "time: 2026110108, maybe chat message history is expired or unstored", None, Kind::NotFound),
    (400, "invalid_request_body", "Request body is invalid.", None, Kind::InvalidInput),
    (400, "json_parse", "", None, Kind::InvalidInput),
    (400, "invalid_parameter", "", None, Kind::InvalidInput),
    (400, "param exception", "", None, Kind::InvalidInput),
    (400, "InvalidMessageIdException", "", None, Kind::InvalidInput),
    (400, "message_send_error", "param from can't be empty", Some(14001), Kind::InvalidInput),
    (400, "message_send_error", "", Some(14002), Kind::InvalidInput),
    (400, "message_send_error", "", Some(14005), Kind::InvalidInput),
    (400, "message_send_error", "message is too large", Some(14007), Kind::TooLarge),
    (400, "message_send_error", "message is too large", None, Kind::TooLarge),
    (400, "message_send_error", "", Some(14030), Kind::InvalidInput),
    (400, "message_send_error", "", Some(14031), Kind::NotFound),
    (400, "message_send_error", "", Some(14032), Kind::TooLarge),
    (400, "message_send_error", "", Some(14033), Kind::Rejected),
    (400, "message_send_error", "", Some(14034), Kind::Rejected),
    (400, "message_send_error", "", Some(14035), Kind::Conflict),
    (400, "message_send_error", "", Some(14036), Kind::InvalidInput),
    (400, "message_send_error", "", Some(14037), Kind::InvalidInput),
    (400, "message_send_error", "", Some(14038), Kind::InvalidInput),
    (400, "message_recall_error", "can't find msg to", None, Kind::InvalidInput),
    (400, "message_rewrite_error", "", None, Kind::InvalidInput),
    (400, "invalid_grant", "client_id does not match", None, Kind::Unauthorized),
    (400, "invalid_grant", "user not activated", None, Kind::Forbidden),
    (400, "invalid_grant", "invalid password", None, Kind::Unauthorized),
    (400, "duplicate_unique_property_exists", "", None, Kind::Conflict),
    (400, "service open exception", "this appKey not open message roaming", None, Kind::Unsupported),
    (400, "presence", "the app not open presence", None, Kind::Unsupported),
    (400, "management", "", None, Kind::NotFound),
    (401, "unauthorized", "Unable to authenticate due to expired access token", None, Kind::Unauthorized),
    (401, "auth_bad_access_token", "Unable to authenticate", None, Kind::Unauthorized),
    (401, "message_rewrite_error", "", None, Kind::Forbidden),
    (403, "message_send_error", "message send reach limit", None, Kind::RateLimited),
    (403, "message_send_error", "something else", None, Kind::Forbidden),
    (403, "forbidden_op", "user: a already in group: 1", None, Kind::Conflict),
    (403, "forbidden_op", "users [a] are not members of this group!", None, Kind::NotFound),
    (403, "forbidden_op", "message recall service is unopened", None, Kind::Unsupported),
    (403, "forbidden_op", "", None, Kind::Forbidden),
    (403, "exceed_limit", "", None, Kind::Forbidden),
    (403, "group_error", "", None, Kind::Forbidden),
    (403, "group_name_violation", "", None, Kind::Rejected),
    (403, "FORBIDDEN", "", None, Kind::Forbidden),
    (403, "message_recall_error", "not_found msg", None, Kind::NotFound),
    (403, "message_recall_error", "exceed recall time limit", None, Kind::Rejected),
    (403, "message_recall_error", "", None, Kind::Forbidden),
    (403, "message_rewrite_error", "", None, Kind::Forbidden),
    (404, "service_resource_not_found", "", None, Kind::NotFound),
    (404, "resource_not_found", "grpID 1 does not exist!", None, Kind::NotFound),
    (404, "resource_not_found", "username a doesn't exist!", None, Kind::NotFound),
    (404, "entity_not_found", "", None, Kind::NotFound),
    (404, "invalid_grant", "user not found", None, Kind::NotFound),
    (404, "file_expired", "", None, Kind::NotFound),
    (404, "storage_object_not_found", "", None, Kind::NotFound),
    (404, "message_rewrite_error", "", None, Kind::NotFound),
    (404, "organization_application_not_found", "", None, Kind::Config),
    (405, "", "", None, Kind::InvalidInput),
    (408, "", "", None, Kind::Timeout),
    (409, "concurrent_operation_error", "", None, Kind::Conflict),
    (413, "file exceeding maximum limit", "", None, Kind::TooLarge),
    (415, "web_application", "", None, Kind::InvalidInput),
    (429, "reach_limit", "This request has reached api limit", None, Kind::RateLimited),
    (429, "resource_limited", "", None, Kind::Forbidden),
    (500, "no_full_text_index", "", None, Kind::Unsupported),
    (500, "unsupported_service_operation", "", None, Kind::Unsupported),
    (500, "web_application", "", None, Kind::Unsupported),
    (500, "internal_error", "", None, Kind::Unavailable),
    (502, "", "", None, Kind::Unavailable),
    (503, "", "", None, Kind::Unavailable),
    (504, "", "", None, Kind::Unavailable),
];

#[test]
fn every_documented_code_has_its_kind() {
    for (status, error, text, number, kind) in DOCUMENTED {
        let got = refused(*status, error, text, *number);
        assert_eq!(got.kind(), *kind, "{status} {error} {text} {number:?}");
    }
}

#[test]
fn only_refusals_before_any_effect_are_safe_to_repeat() {
    for (status, error, text, number, kind) in DOCUMENTED {
        let retry = refused(*status, error, text, *number).retry();
        let expected = match (status, kind) {
            (_, Kind::RateLimited) => matches!(retry, Retry::Safe { .. }),
            (409, _) => retry == NEXT_SECOND,
            (408 | 502 | 503 | 504, _) | (500, Kind::Unavailable) => retry == Retry::OutcomeUnknown,
            _ => retry == Retry::Never,
        };
        assert!(expected, "{status} {error} {text}: {retry:?}");
    }
}

#[test]
fn every_row_of_the_table_is_reached_by_a_documented_code() {
    for row in TABLE {
        let reached = DOCUMENTED.iter().any(|(status, error, text, number, _)| {
            let number = number.map(|number| number.to_string()).unwrap_or_default();
            row.status == *status
                && (row.error.is_empty() || row.error == *error)
                && (row.says.is_empty() || row.says == number || text.contains(row.says))
        });
        assert!(reached, "{} {} {}", row.status, row.error, row.says);
    }
}

#[test]
fn a_full_message_budget_names_a_wait_that_fits_its_window() {
    let body = r#"{"error":"message_send_error","error_description":"message send reach limit"}"#;
    assert_eq!(check(group::SEND_GROUP, 403, body).unwrap_err().retry(), NEXT_SECOND);
    assert_eq!(check(group::SEND_DIRECT, 403, body).unwrap_err().retry(), LATER);
}

#[test]
fn an_unknown_code_is_kept_and_counted_as_one() {
    let error = refused(403, "brand_new", "words of a user", Some(14999));
    assert_eq!((error.kind(), error.retry()), (Kind::Internal, Retry::Never));
    assert_eq!(error.vendor_code(), Some("brand_new/14999"));
    assert!(!error.to_string().contains("words of a user"));
}

#[test]
fn a_page_that_is_not_the_vendors_is_no_bad_body() {
    for status in [200, 403, 404, 500, 502] {
        assert_eq!(check("groups", status, "<html>gateway</html>").unwrap_err().kind(), Kind::Unavailable, "{status}");
    }
    assert_eq!(check("groups", 502, "<html>").unwrap_err().retry(), Retry::OutcomeUnknown);
    assert_eq!(check("groups", 429, "<html>").unwrap_err().kind(), Kind::RateLimited);
    assert_eq!(check("groups", 413, "<html>").unwrap_err().kind(), Kind::TooLarge);
    assert!(check("groups", 200, r#"{"data":{}}"#).is_ok());
}
