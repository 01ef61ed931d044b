//! From the vendor's answers to the contract's errors: one table, status first.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use switchboard_contract::{Error, ErrorKind, Result, Retry};

use super::wire::Trouble;
use crate::vendor::{Lost, Reply};

/// The code of a session that is no longer good.
pub(super) const SESSION_OVER: &str = "session_over";

/// The body of a good answer, or what the vendor's refusal means.
pub(super) fn checked(answer: Result<Reply, Lost>) -> Result<Bytes> {
    let reply = answer.map_err(|Lost| {
        Error::new(ErrorKind::Timeout, "the connection ended without an answer").with_retry(Retry::OutcomeUnknown)
    })?;
    // What is not JSON was not written by the vendor, and nobody knows how far the request came.
    if reply.status >= 500 || reply.media_type != "application/json" {
        let text = format!("HTTP {} instead of an answer of the vendor", reply.status);
        return Err(Error::new(ErrorKind::Unavailable, text).with_retry(Retry::OutcomeUnknown));
    }
    if reply.status == 200 {
        return Ok(reply.body);
    }
    let trouble: Trouble = read(&reply.body)?;
    let (kind, retry) = meaning(reply.status, &trouble);
    Err(Error::new(kind, format!("the vendor refused it with HTTP {}", reply.status))
        .with_retry(retry)
        .with_vendor_code(trouble.error))
}

/// Reads the vendor's JSON. By then the request has been carried out.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Error::new(ErrorKind::Decode, "an answer of the vendor cannot be read")
            .with_retry(Retry::OutcomeUnknown)
            .with_source(error)
    })
}

/// Every code Pigeon Post documents. All of them mean that nothing was done.
fn meaning(status: u16, trouble: &Trouble) -> (ErrorKind, Retry) {
    match (status, trouble.error.as_str()) {
        (400, "bad_request") => (ErrorKind::InvalidInput, Retry::Never),
        (401, "bad_credentials") => (ErrorKind::Unauthorized, Retry::Never),
        (401, SESSION_OVER) => (ErrorKind::Unauthorized, Retry::Safe { after: None }),
        (403, "banned" | "not_a_member" | "not_yours") => (ErrorKind::Forbidden, Retry::Never),
        (404, "no_such_user" | "no_such_letter" | "no_such_place") => (ErrorKind::NotFound, Retry::Never),
        (409, "taken") => (ErrorKind::Conflict, Retry::Never),
        (409, "too_late") => (ErrorKind::Rejected, Retry::Never),
        (413, "too_heavy") => (ErrorKind::TooLarge, Retry::Never),
        (429, "too_fast") => {
            (ErrorKind::RateLimited, Retry::Safe { after: trouble.after_ms.map(Duration::from_millis) })
        }
        _ => (ErrorKind::Internal, Retry::Never),
    }
}
