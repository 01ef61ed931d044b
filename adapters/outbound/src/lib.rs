//! The HTTP stack around one vendor call: deadline, retry, rate limit, signing, fail-over.
//!
//! Owns everything that every vendor's calls have in common; knows no vendor's address, code or signature. An adapter
//! gives it a [`Signer`], a [`Classifier`], its quotas and an [`OutboundConfig`], and makes [`VendorCall`]s.
//!
//! The layers around one call, outermost first:
//!
//! 1. measure: one span, latency, errors by kind;
//! 2. total deadline;
//! 3. retry, by the error's own answer and the call's [`Replay`];
//! 4. domain fail-over among the vendor's addresses;
//! 5. rate limit: every attempt spends quota, and waiting for it is no failure of the vendor;
//! 6. the deadline of one attempt;
//! 7. classify the vendor's answer;
//! 8. sign, freshly for every attempt, with one repeat after refreshed credentials;
//! 9. send.

mod call;
mod client;
mod config;
mod domains;
mod download;
mod layers;
mod parts;
mod quota;
mod retry;
mod transport;

pub use call::{CallBody, Part, Replay, VendorCall, VendorReply, path_segment};
pub use client::{Outbound, OutboundBuilder};
pub use config::OutboundConfig;
pub use download::{Download, Downloaded};
pub use parts::{Classifier, NoSigner, Signer, foreign_answer, retry_after};
pub use quota::Quotas;

/// The method and header types of [`VendorCall`].
pub use http::{HeaderMap, HeaderName, HeaderValue, Method};
/// Addresses.
pub use url::Url;
