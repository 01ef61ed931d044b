//! The vendor calling us. Trust stands in the type: only a [`VerifiedCallback`] can be decoded.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::inbound::Inbound;
use crate::time::Timestamp;

/// A request as it came off the wire: nothing parsed, nothing believed.
#[derive(Clone, PartialEq, Eq)]
pub struct RawCallback {
    /// The path below `/callbacks/{provider}`, without a leading slash; empty when there is none.
    pub path: String,
    /// The query string without `?`, still escaped.
    pub query: String,
    /// Header names in lower case with their values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Bytes,
    /// When it came, by our clock.
    pub received_at: Timestamp,
}

impl RawCallback {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Shows sizes alone: neither bodies nor signatures belong in logs.
impl fmt::Debug for RawCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawCallback")
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

/// A callback whose signature was found good, or that its vendor never signs and a setting admits.
#[derive(Clone, Debug)]
pub struct VerifiedCallback {
    raw: RawCallback,
    signed: bool,
}

impl VerifiedCallback {
    /// States that `raw` was verified. For adapters, after the check; for the inbox, when it reads back what it was
    /// only given after the check. `signed` is false for kinds the vendor does not sign.
    pub fn assume_verified(raw: RawCallback, signed: bool) -> Self {
        Self { raw, signed }
    }

    /// The request.
    pub fn raw(&self) -> &RawCallback {
        &self.raw
    }

    /// Whether a signature vouches for it.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Gives the request back.
    pub fn into_raw(self) -> RawCallback {
        self.raw
    }
}

/// Why a callback is not believed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// No or wrong signature: 401.
    BadSignature,
    /// The signature is good and its time is outside the window: answered 200, kept in quarantine, never dropped.
    Stale {
        /// The time it carries.
        signed_at: Timestamp,
    },
    /// The request cannot be read as one of this vendor's callbacks at all: 400.
    Malformed(String),
    /// It names another app than ours: 401.
    WrongApp,
}

/// A request that is not believed, and why.
#[derive(Debug)]
pub struct Refused {
    /// The request.
    pub raw: RawCallback,
    /// Why.
    pub rejection: Rejection,
}

/// What the vendor must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackReply {
    /// The HTTP status. For an accepted callback exactly what the vendor counts as success.
    pub status: u16,
    /// The media type of `body`.
    pub content_type: &'static str,
    /// The body, within the vendor's size limit.
    pub body: Bytes,
}

/// Whether a callback waits for our verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackStage {
    /// It tells what has happened.
    After,
    /// The vendor holds the message until we answer (pre-send).
    Before,
}

/// The verdict on a message that the vendor holds. In configuration `pass` or `reject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixedVerdict {
    /// Let it through.
    #[default]
    Pass,
    /// Refuse it.
    Reject,
}

/// Verifies and decodes one vendor's callbacks. Pure: no I/O, no clock of its own, safe to call from any thread.
pub trait CallbackCodec: fmt::Debug + Send + Sync {
    /// Checks the signature over the raw bytes in constant time, and the time window against `now`.
    ///
    /// # Errors
    /// [`Refused`], with the request, so that its bytes can be kept.
    fn verify(&self, raw: RawCallback, now: Timestamp) -> Result<VerifiedCallback, Box<Refused>>;

    /// Decodes everything in the request, in its order. Never fails: what cannot be understood comes out as
    /// [`InboundData::Unrecognised`](crate::InboundData), byte for byte, and the rest of a batch is kept.
    fn decode(&self, callback: &VerifiedCallback) -> Vec<Inbound>;

    /// Whether the vendor holds the message until we answer. Decided without decoding the body in full.
    fn stage(&self, callback: &RawCallback) -> CallbackStage;

    /// The reply to an accepted notice.
    fn accepted(&self) -> CallbackReply;

    /// The reply to a pre-send request.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the vendor has no such request.
    fn verdict(&self, verdict: FixedVerdict) -> Result<CallbackReply, Error>;
}
