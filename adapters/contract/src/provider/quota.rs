//! How much a vendor takes in a stretch of time.

use std::time::Duration;

use serde::Serialize;

use crate::error::Result;

/// One quota of the vendor: at most `calls` calls and `units` units (recipients, groups) in each `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Calls admitted in each window; `None` for no limit of calls.
    pub calls: Option<u32>,
    /// Recipients, groups or rooms admitted in each window; `None` for no limit.
    pub units: Option<u32>,
    /// The window.
    #[serde(serialize_with = "seconds")]
    pub per: Duration,
}

pub(super) fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

pub(super) fn optional_seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_some(&duration.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}
