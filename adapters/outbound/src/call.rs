//! One call to a vendor, and its answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use switchboard_contract::{CallHeaders, Error, ErrorKind, Result};

/// How a call may be repeated when nobody knows whether it was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It changes nothing, or changes it to the same thing: repeat it freely.
    ReadOnly,
    /// The vendor was seen to de-duplicate by a key that it carries: repeat it freely.
    Keyed,
    /// Repeating it can do the thing twice: only after a refusal that had no effect.
    Once,
}

/// What a call carries.
#[derive(Clone, Default)]
pub enum CallBody {
    /// Nothing.
    #[default]
    None,
    /// JSON text.
    Json(Bytes),
    /// `application/x-www-form-urlencoded` text.
    Form(Bytes),
    /// Parts of `multipart/form-data`, in order.
    Multipart(Vec<Part>),
}

/// One part of a multipart body.
#[derive(Clone)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file name, for files.
    pub file_name: Option<String>,
    /// The media type, if it matters.
    pub content_type: Option<String>,
    /// The content.
    pub bytes: Bytes,
}

/// Shows the form and the size: bodies do not belong in logs.
impl fmt::Debug for CallBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Json(bytes) => write!(f, "Json({} bytes)", bytes.len()),
            Self::Form(bytes) => write!(f, "Form({} bytes)", bytes.len()),
            Self::Multipart(parts) => write!(f, "Multipart({} parts)", parts.len()),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// One call to a vendor.
#[derive(Clone)]
pub struct VendorCall {
    /// The method.
    pub method: Method,
    /// The path below the base URL, beginning with a slash, already escaped (see [`path_segment`]).
    pub path: String,
    /// Query parameters in order, not escaped.
    pub query: Vec<(&'static str, String)>,
    /// Headers beyond those of the body and the signature.
    pub headers: HeaderMap,
    /// What it carries.
    pub body: CallBody,
    /// How it may be repeated.
    pub replay: Replay,
    /// The quota group it spends; a group nobody configured is not limited.
    pub group: &'static str,
    /// Recipients, groups or rooms it spends beside the one call.
    pub units: u32,
    /// What it is called in logs, metrics and errors.
    pub operation: &'static str,
    /// Retries after the first attempt; `None` for the configured number. `Some(0)` for callers with a retry of
    /// their own, such as a durable outbox.
    pub max_retries: Option<u8>,
}

impl VendorCall {
    /// A call that changes nothing.
    pub fn read(method: Method, operation: &'static str, group: &'static str, path: impl Into<String>) -> Self {
        Self::new(method, operation, group, path, Replay::ReadOnly)
    }

    /// A call that must not be carried out twice.
    pub fn once(method: Method, operation: &'static str, group: &'static str, path: impl Into<String>) -> Self {
        Self::new(method, operation, group, path, Replay::Once)
    }

    /// A call of any kind, without a body, spending one unit.
    pub fn new(
        method: Method,
        operation: &'static str,
        group: &'static str,
        path: impl Into<String>,
        replay: Replay,
    ) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: CallBody::None,
            replay,
            group,
            units: 1,
            operation,
            max_retries: None,
        }
    }

    /// With a body.
    #[must_use]
    pub fn with_body(mut self, body: CallBody) -> Self {
        self.body = body;
        self
    }

    /// With one more query parameter.
    #[must_use]
    pub fn with_query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With the headers that a message brings along. None takes the place of one that the call has already, and
    /// those of the signature are put in later and take theirs.
    ///
    /// # Errors
    /// `InvalidInput` for a name or value that HTTP does not know; [`CallHeaders`] admits none.
    pub fn with_call_headers(mut self, headers: &CallHeaders) -> Result<Self> {
        for (name, value) in headers.iter() {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| Error::invalid("headers", "not a name").with_source(error))?;
            let value = HeaderValue::from_str(value)
                .map_err(|error| Error::invalid("headers", "not a value").with_source(error))?;
            self.headers.entry(name).or_insert(value);
        }
        Ok(self)
    }

    /// Spending that many recipients, groups or rooms.
    #[must_use]
    pub fn with_units(mut self, units: u32) -> Self {
        self.units = units;
        self
    }

    /// With that many retries instead of the configured number.
    #[must_use]
    pub fn with_max_retries(mut self, retries: u8) -> Self {
        self.max_retries = Some(retries);
        self
    }
}

/// Shows what is called and how large it is; neither header values, query nor body.
impl fmt::Debug for VendorCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorCall")
            .field("operation", &self.operation)
            .field("method", &self.method)
            .field("body", &self.body)
            .field("replay", &self.replay)
            .field("group", &self.group)
            .field("units", &self.units)
            .field("max_retries", &self.max_retries)
            .finish_non_exhaustive()
    }
}

/// The vendor's answer, read whole.
#[derive(Clone)]
pub struct VendorReply {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most [`max_response_bytes`](crate::OutboundConfig::max_response_bytes).
    pub body: Bytes,
    /// How long the whole call took, with its retries and waits.
    pub took: Duration,
}

impl VendorReply {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A failure to understand a success: the vendor did what was asked, so a repeat is no remedy.
    pub fn undecodable(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::new(ErrorKind::Decode, format!("an answer with status {} cannot be understood", self.status))
            .with_source(source)
    }

    /// The first value of a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Shows the status and the size.
impl fmt::Debug for VendorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorReply")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Escapes text for one segment of a path: every byte but letters, digits, `-`, `.`, `_` and `~`.
///
/// # Errors
/// `InvalidInput` for an empty text, `.` and `..`, which would name another path.
pub fn path_segment(text: &str) -> Result<String> {
    if matches!(text, "" | "." | "..") {
        return Err(Error::invalid("id", "cannot stand in a path"));
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(path_segment("lin_qiao-1.x").unwrap(), "lin_qiao-1.x");
        assert_eq!(path_segment("a/../b?x#y z").unwrap(), "a%2F..%2Fb%3Fx%23y%20z");
        for bad in ["", ".", ".."] {
            assert_eq!(path_segment(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn debug_shows_no_content() {
        let mut call = VendorCall::once(Method::POST, "send", "direct", "/secret-path")
            .with_body(CallBody::Json(Bytes::from_static(b"{\"password\":1}")))
            .with_query("token", "hidden");
        call.headers.insert("authorization", HeaderValue::from_static("Bearer hidden"));
        let shown = format!("{call:?}");
        assert!(!shown.contains("hidden") && !shown.contains("password") && !shown.contains("secret"), "{shown}");
    }
}
