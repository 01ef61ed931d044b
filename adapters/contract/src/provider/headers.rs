//! Headers that go with a call to a vendor beside those the adapter needs.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Headers of one call at most.
const MAX_HEADERS: usize = 32;
/// The longest name, in bytes.
const MAX_NAME: usize = 128;
/// The longest value, in bytes.
const MAX_VALUE: usize = 4096;

/// Names that say who calls, what the body is, or how the connection is to be used.
const RESERVED: &[&str] = &[
    "accept",
    "accept-encoding",
    "app-key",
    "authorization",
    "connection",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "nonce",
    "signature",
    "te",
    "timestamp",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// Beginnings of names of the same sort.
const RESERVED_PREFIXES: &[&str] = &["content-", "proxy-", "rc-"];

/// Headers to go with a call, valid in HTTP and harmless: none says who calls, signs, or describes the body.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallHeaders(Vec<(String, String)>);

impl CallHeaders {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a header. One of the same name, whatever its case, is replaced, so repeating it is harmless.
    ///
    /// # Errors
    /// Nothing is added then. `InvalidInput` for a name that is no HTTP token, a value that is not visible ASCII, and
    /// the names of credentials, signatures, the body and the connection; `TooLarge` beyond 32 headers, 128 bytes of a
    /// name and 4096 of a value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let name = name.to_ascii_lowercase();
        check(&name, value)?;
        if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            value.clone_into(known);
            return Ok(());
        }
        if self.0.len() >= MAX_HEADERS {
            return Err(Error::new(ErrorKind::TooLarge, format!("headers: {MAX_HEADERS} at most")));
        }
        self.0.push((name, value.to_owned()));
        Ok(())
    }

    /// The value of a header, whatever the case of its name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All of them, in the order in which they were added, with their names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Shows names alone: values may be the business's secrets.
impl fmt::Debug for CallHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// `name` is in lower case.
fn check(name: &str, value: &str) -> Result<()> {
    if name.len() > MAX_NAME || value.len() > MAX_VALUE {
        let most = format!("headers: a name has {MAX_NAME} bytes and a value {MAX_VALUE} at most");
        return Err(Error::new(ErrorKind::TooLarge, most));
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Error::invalid("headers", "the name is no HTTP token"));
    }
    if RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Error::invalid("headers", format_args!("{name} is the adapter's own")));
    }
    if value.trim() != value || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Error::invalid("headers", format_args!("the value of {name} is not visible ASCII")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_header_is_kept_once_whatever_the_case_of_its_name() {
        let mut headers = CallHeaders::new();
        headers.set("X-Trace", "one").unwrap();
        headers.set("x-other", "a b").unwrap();
        headers.set("X-TRACE", "two").unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("x-trace", "two"), ("x-other", "a b")]);
        assert_eq!(headers.get("X-Trace"), Some("two"));
    }

    #[test]
    fn names_of_the_adapter_and_what_http_does_not_know_are_refused() {
        let mut headers = CallHeaders::new();
        let reserved =
            ["Authorization", "App-Key", "Nonce", "Timestamp", "Signature", "RC-Signature", "Host", "Cookie"];
        let body = ["Content-Type", "content-length", "Content-Encoding", "Transfer-Encoding", "Proxy-Authorization"];
        for name in reserved.into_iter().chain(body).chain(["", "a b", "a:b", "ü", "a\n"]) {
            assert_eq!(headers.set(name, "x").unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
        for value in ["a\r\nHost: evil", "\u{e9}", " a", "a ", "\0", "a\tb"] {
            assert_eq!(headers.set("x-trace", value).unwrap_err().kind(), ErrorKind::InvalidInput, "{value:?}");
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn there_is_an_end_to_their_number_and_length() {
        let mut headers = CallHeaders::new();
        (0..MAX_HEADERS).for_each(|n| headers.set(&format!("x-{n}"), "").unwrap());
        headers.set("x-0", "again").unwrap();
        assert_eq!(headers.set("x-more", "").unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(headers.set("x-0", &"v".repeat(MAX_VALUE + 1)).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn debug_shows_no_value() {
        let mut headers = CallHeaders::new();
        headers.set("x-token", "hidden").unwrap();
        assert_eq!(format!("{headers:?}"), r#"{"x-token"}"#);
    }
}
