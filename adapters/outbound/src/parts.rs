//! What an adapter adds to the stack: signing, and reading the vendor's refusals.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use switchboard_contract::{Error, ErrorKind, Result, Retry, Timestamp};

use crate::call::{VendorCall, VendorReply};

/// Adds a vendor's credentials to each attempt.
#[async_trait]
pub trait Signer: fmt::Debug + Send + Sync {
    /// Adds headers to one attempt. Called anew for every attempt: nonces and times are fresh, tokens current.
    ///
    /// # Errors
    /// Whatever keeps it from getting credentials. Nothing has been sent then, and the error's retry answer counts.
    async fn sign(&self, call: &VendorCall, headers: &mut HeaderMap) -> Result<()>;

    /// Told of every answer with status 401 and the headers it was signed with. `true` asks for one more attempt with
    /// fresh headers, which is not counted as a retry; `false` lets the answer stand.
    async fn refused(&self, call: &VendorCall, reply: &VendorReply, signed: &HeaderMap) -> bool {
        let _ = (call, reply, signed);
        false
    }
}

/// For calls that carry no credentials, such as the one that gets a token.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSigner;

#[async_trait]
impl Signer for NoSigner {
    async fn sign(&self, _call: &VendorCall, _headers: &mut HeaderMap) -> Result<()> {
        Ok(())
    }
}

/// Reads a vendor's answers: which are successes, and what the others mean.
pub trait Classifier: fmt::Debug + Send + Sync {
    /// Succeeds for an answer that did what was asked. Pure.
    ///
    /// # Errors
    /// What the vendor's table says of the status and code. An unknown code is `Internal`, `Never`, with the code kept
    /// as the vendor code; the stack counts those. What is not the vendor's own protocol is [`foreign_answer`].
    fn check(&self, call: &VendorCall, reply: &VendorReply) -> Result<()>;
}

/// The error for an answer that is not in the vendor's protocol: a proxy's HTML page, an empty 502.
///
/// It says `OutcomeUnknown` for server errors and for an unreadable success, because the vendor behind the proxy may
/// have carried the call out; `Safe` for redirects and refusals, which end before it. The vendor code is the status.
pub fn foreign_answer(reply: &VendorReply) -> Error {
    let retry = match reply.status {
        408 | 500.. | ..=299 => Retry::OutcomeUnknown,
        _ => Retry::Safe { after: None },
    };
    let form = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("no content type");
    // Only the media type, and only its known part: a foreign page may echo anything.
    let form = if form.starts_with("text/html") { "an HTML page" } else { "another protocol" };
    Error::new(ErrorKind::Unavailable, format!("status {} with {form} in place of the vendor's answer", reply.status))
        .with_retry(retry)
        .with_vendor_code(reply.status.to_string())
}

/// The wait named by `Retry-After`: seconds, or an HTTP date seen from `now`.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp(at.as_millisecond()).since(now))
}

/// How far the vendor's clock is ahead of ours (negative: behind), in seconds, by the `Date` of its answer: right to a
/// second.
pub(crate) fn clock_skew(headers: &HeaderMap, now: Timestamp) -> Option<f64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    // The second it names has half passed, on average.
    Some((date.as_millisecond() + 500 - now.0) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers, Timestamp(1_795_200_000_000))
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Fri, 20 Nov 2026 18:40:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Fri, 20 Nov 2026 18:39:30 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn the_vendors_clock_is_read_from_its_answer() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static(text));
            clock_skew(&headers, Timestamp(1_795_200_000_500))
        };
        assert_eq!(read("Fri, 20 Nov 2026 18:47:00 GMT"), Some(420.0));
        assert_eq!(read("Fri, 20 Nov 2026 18:39:30 GMT"), Some(-30.0));
        assert_eq!(read("now"), None);
        assert_eq!(clock_skew(&HeaderMap::new(), Timestamp(0)), None);
    }

    #[test]
    fn a_foreign_answer_says_whether_the_vendor_can_have_acted() {
        let error = |status| {
            let headers = HeaderMap::new();
            foreign_answer(&VendorReply { status, headers, body: Bytes::new(), took: Duration::ZERO })
        };
        for status in [200, 408, 500, 502, 503, 504] {
            assert_eq!(error(status).retry(), Retry::OutcomeUnknown, "{status}");
        }
        for status in [302, 403, 404, 405, 413] {
            assert_eq!(error(status).retry(), Retry::Safe { after: None }, "{status}");
        }
        assert_eq!((error(502).kind(), error(502).vendor_code()), (ErrorKind::Unavailable, Some("502")));
    }
}
