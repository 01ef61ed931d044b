//! What was not believed or contradicts itself: kept, bounded, to be looked at and tried again.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::callback::RawCallback;
use crate::error::Result;
use crate::ids::{App, TenantId};

/// Why something is kept aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum QuarantineReason {
    /// The signature is wrong.
    BadSignature = 0,
    /// The signature is good and its time is outside the window.
    Stale = 1,
    /// Another callback with the same key had other content.
    Conflict = 2,
    /// It was accepted and cannot be journalled: the store refuses its content, or its app is no longer configured.
    Refused = 3,
}

impl QuarantineReason {
    /// The number stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The stable name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Stale => "stale",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }

    /// From a stored number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::BadSignature,
            1 => Self::Stale,
            2 => Self::Conflict,
            3 => Self::Refused,
            _ => return None,
        })
    }
}

/// A callback kept aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Its number in the store, ascending.
    pub id: u64,
    /// Whose.
    pub tenant: TenantId,
    /// The app it was for.
    pub app: App,
    /// Why.
    pub reason: QuarantineReason,
    /// The request, byte for byte.
    pub raw: RawCallback,
}

/// The bounded store of such things.
#[async_trait]
pub trait Quarantine: Send + Sync {
    /// Keeps one; beyond `max_items` of the app the oldest go. `id` is ignored.
    ///
    /// # Errors
    /// `Storage`.
    async fn put_aside(&self, item: Quarantined, max_items: u32) -> Result<u64>;

    /// Those of a tenant after `after`, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    async fn set_aside(&self, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Quarantined>>;

    /// Removes one. Returns whether it was there.
    ///
    /// # Errors
    /// `Storage`.
    async fn release(&self, tenant: &TenantId, id: u64) -> Result<bool>;
}
