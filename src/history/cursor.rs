//! Cursors of a walk through history: opaque to callers, returned unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{HistoryKey, PageDirection};
use switchboard_contract::{ConversationId, Error, Result, Timestamp, UserId};

use super::Tier;

/// A place in a walk. It carries the walk's own `now`, so that a message does not change its tier while somebody
/// pages; everything else that was asked for, so that a walk stays what it was; and the conversation, so that a cursor
/// cannot be used for another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryCursor {
    #[serde(rename = "c")]
    pub(super) conversation: ConversationId,
    #[serde(rename = "n")]
    pub(super) now: Timestamp,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) tier: Option<Tier>,
    #[serde(rename = "d")]
    pub(super) direction: PageDirection,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Timestamp>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) sender: Option<UserId>,
    #[serde(rename = "b", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) bodies: Vec<String>,
    #[serde(rename = "k")]
    pub(super) key: HistoryKey,
}

impl HistoryCursor {
    /// The opaque, URL-safe text.
    pub fn encode(&self) -> String {
        // Strings and integers always serialise.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads the text back.
    ///
    /// # Errors
    /// `InvalidInput` when it is not a cursor of this product.
    pub fn decode(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("cursor", "is not one that was returned here");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        serde_json::from_slice(&bytes).map_err(|_| wrong())
    }
}
