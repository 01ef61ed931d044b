//! What the vendor's refusals mean: one table from status, code and text to kind and retry.
//!
//! The vendor uses one `error` word for several situations and tells them apart in `error_description` alone, so some
//! rows look at a part of the text. Rows are read from the top; the first that fits counts.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use switchboard_contract::{Error, ErrorKind, Result, Retry};
use switchboard_outbound::{Classifier, VendorCall, VendorReply, foreign_answer};

use crate::limits::group;
use crate::wire::Text;

/// Marks of rows that calls look for; they stand behind the vendor's word in the error's vendor code.
pub(crate) mod detail {
    /// The history file is too old, or not written yet.
    pub(crate) const UNSTORED: &str = "unstored";
    /// A user named in the call does not exist or is not a member, while the group may exist.
    pub(crate) const USERNAME: &str = "username";
}

/// The wait after "message send reach limit" for groups and rooms, whose window is a second.
const NEXT_SECOND: Retry = Retry::Safe { after: Some(Duration::from_secs(1)) };
/// The same for direct messages: their window is a minute of which an unknown part has passed.
const LATER: Retry = Retry::Safe { after: Some(Duration::from_secs(10)) };

struct Row {
    status: u16,
    /// The vendor's `error`; empty for any.
    error: &'static str,
    /// A part of `error_description`, or the number in `error_code`; empty for any.
    says: &'static str,
    kind: ErrorKind,
    retry: Retry,
    /// Added to the vendor code.
    detail: &'static str,
}

const fn row(status: u16, error: &'static str, says: &'static str, kind: ErrorKind) -> Row {
    Row { status, error, says, kind, retry: Retry::Never, detail: "" }
}

const fn with(row: Row, retry: Retry) -> Row {
    Row { retry, ..row }
}

const fn named(row: Row, detail: &'static str) -> Row {
    Row { detail, ..row }
}

use ErrorKind::{
    Config, Conflict, Forbidden, InvalidInput, NotFound, RateLimited, Rejected, Timeout, TooLarge, Unauthorized,
    Unavailable, Unsupported,
};

#[rustfmt::skip]
const TABLE: &[Row] = &[
    named(row(400, "illegal_argument", "expired or unstored", NotFound), detail::UNSTORED),
    row(400, "illegal_argument", "", InvalidInput),
    row(400, "invalid_request_body", "", InvalidInput),
    row(400, "json_parse", "", InvalidInput),
    row(400, "invalid_parameter", "", InvalidInput),
    row(400, "param exception", "", InvalidInput),
    row(400, "InvalidMessageIdException", "", InvalidInput),
    // Integer codes of sends and streams (REST/message_stream_send_single).
    row(400, "message_send_error", "14007", TooLarge),
    row(400, "message_send_error", "14031", NotFound),
    row(400, "message_send_error", "14032", TooLarge),
    row(400, "message_send_error", "14033", Rejected),
    row(400, "message_send_error", "14034", Rejected),
    row(400, "message_send_error", "14035", Conflict),
    row(400, "message_send_error", "too large", TooLarge),
    row(400, "message_send_error", "", InvalidInput),
    row(400, "message_recall_error", "", InvalidInput),
    row(400, "message_rewrite_error", "", InvalidInput),
    row(400, "invalid_grant", "not activated", Forbidden),
    row(400, "invalid_grant", "", Unauthorized),
    row(400, "duplicate_unique_property_exists", "", Conflict),
    row(400, "service open exception", "", Unsupported),
    row(400, "", "not open presence", Unsupported),
    row(400, "management", "", NotFound),
    row(401, "message_rewrite_error", "", Forbidden),
    row(401, "", "", Unauthorized),
    row(403, "message_send_error", "", Forbidden),
    row(403, "forbidden_op", "already in", Conflict),
    named(row(403, "forbidden_op", "not members", NotFound), detail::USERNAME),
    row(403, "forbidden_op", "unopened", Unsupported),
    row(403, "forbidden_op", "", Forbidden),
    row(403, "message_recall_error", "not_found", NotFound),
    row(403, "message_recall_error", "time limit", Rejected),
    row(403, "message_recall_error", "", Forbidden),
    row(403, "message_rewrite_error", "", Forbidden),
    row(403, "exceed_limit", "", Forbidden),
    row(403, "group_error", "", Forbidden),
    row(403, "group_name_violation", "", Rejected),
    row(403, "FORBIDDEN", "", Forbidden),
    named(row(404, "resource_not_found", "username", NotFound), detail::USERNAME),
    row(404, "resource_not_found", "", NotFound),
    row(404, "service_resource_not_found", "", NotFound),
    row(404, "entity_not_found", "", NotFound),
    row(404, "invalid_grant", "", NotFound),
    row(404, "file_expired", "", NotFound),
    named(row(404, "storage_object_not_found", "", NotFound), detail::UNSTORED),
    row(404, "organization_application_not_found", "", Config),
    row(404, "message_rewrite_error", "", NotFound),
    row(405, "", "", InvalidInput),
    with(row(408, "", "", Timeout), Retry::OutcomeUnknown),
    with(row(409, "concurrent_operation_error", "", Conflict), NEXT_SECOND),
    row(413, "", "", TooLarge),
    row(415, "web_application", "", InvalidInput),
    row(429, "resource_limited", "", Forbidden),
    with(row(429, "", "", RateLimited), Retry::Safe { after: None }),
    row(500, "no_full_text_index", "", Unsupported),
    row(500, "unsupported_service_operation", "", Unsupported),
    row(500, "web_application", "", Unsupported),
    with(row(500, "", "", Unavailable), Retry::OutcomeUnknown),
    with(row(502, "", "", Unavailable), Retry::OutcomeUnknown),
    with(row(503, "", "", Unavailable), Retry::OutcomeUnknown),
    with(row(504, "", "", Unavailable), Retry::OutcomeUnknown),
];

#[derive(Default, Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow, default)]
    error: Option<Text<'a>>,
    #[serde(borrow, default)]
    error_description: Option<Text<'a>>,
    #[serde(borrow, default)]
    error_code: Option<Text<'a>>,
}

/// The vendor's table as the outbound stack asks it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Table;

impl Classifier for Table {
    fn check(&self, call: &VendorCall, reply: &VendorReply) -> Result<()> {
        let json = reply.body.trim_ascii_start().starts_with(b"{");
        if reply.is_success() {
            return if json { Ok(()) } else { Err(foreign_answer(reply)) };
        }
        let body: Option<ErrorBody<'_>> = json.then(|| serde_json::from_slice(&reply.body).ok()).flatten();
        match (body, reply.status) {
            (Some(body), status) => Err(classify(call.group, status, &body)),
            // Two statuses that mean the same whoever says them.
            (None, 413 | 429) => Err(classify(call.group, reply.status, &ErrorBody::default())),
            (None, _) => Err(foreign_answer(reply)),
        }
    }
}

fn classify(group: &str, status: u16, body: &ErrorBody<'_>) -> Error {
    let word = body.error.as_deref().unwrap_or_default();
    let text = body.error_description.as_deref().unwrap_or_default();
    let number = body.error_code.as_deref().unwrap_or_default();
    if status == 403 && word == "message_send_error" && text.contains("reach limit") {
        let retry = if group == group::SEND_DIRECT { LATER } else { NEXT_SECOND };
        return error(RateLimited, retry, status, word, number, "");
    }
    let fits = |row: &&Row| {
        row.status == status
            && (row.error.is_empty() || row.error == word)
            && (row.says.is_empty() || row.says == number || text.contains(row.says))
    };
    match TABLE.iter().find(fits) {
        Some(row) => error(row.kind, row.retry, status, word, number, row.detail),
        None => error(ErrorKind::Internal, Retry::Never, status, word, number, ""),
    }
}

/// The vendor's text stays out: it can repeat what users wrote.
fn error(kind: ErrorKind, retry: Retry, status: u16, word: &str, number: &str, detail: &str) -> Error {
    let word = if word.is_empty() { Cow::Owned(status.to_string()) } else { Cow::Borrowed(word) };
    let mut code: String = word.chars().take(64).collect();
    for part in [number, detail] {
        if !part.is_empty() {
            code.push('/');
            code.push_str(part);
        }
    }
    Error::new(kind, format!("refused with status {status}")).with_retry(retry).with_vendor_code(code)
}

/// Whether the row's mark stands in an error's vendor code.
pub(crate) fn is(error: &Error, detail: &str) -> bool {
    error.vendor_code().and_then(|code| code.rsplit_once('/')).is_some_and(|(_, last)| last == detail)
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
