//! What stands beside an export's lines.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use switchboard_contract::{Error, ErrorKind, Result, TenantId};

use super::ExportScope;

/// The file of an export's lines.
pub const EVENTS_FILE: &str = "events.ndjson";
/// The file of its manifest.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The form of an export. A newer one is refused.
pub(super) const FORMAT: u32 = 1;

/// What an export holds. It says nothing of when or where it was made, so the same history has the same manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportManifest {
    /// The form.
    pub format: u32,
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub scope: ExportScope,
    /// Conversations in it.
    pub conversations: u64,
    /// Lines.
    pub events: u64,
    /// Those that are messages, tombstones included.
    pub messages: u64,
    /// Bytes of the lines.
    pub bytes: u64,
    /// The SHA-256 of those bytes, in hex.
    pub sha256: String,
    /// The `chain` of the last line.
    pub chain: String,
}

impl ExportManifest {
    /// As it is written.
    ///
    /// # Errors
    /// `Internal`, which no manifest causes.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "the manifest could not be written as JSON").with_source(error)
        })?;
        Ok(text + "\n")
    }

    /// Reads one.
    ///
    /// # Errors
    /// `InvalidInput` for anything else, and for a form this program does not know.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(text)
            .map_err(|error| Error::invalid(MANIFEST_FILE, format!("is none: {error}")).with_source(error))?;
        if manifest.format != FORMAT {
            let text = format!("has format {}, this program knows {FORMAT}", manifest.format);
            return Err(Error::invalid(MANIFEST_FILE, text));
        }
        Ok(manifest)
    }

    /// What names this export.
    pub(super) fn id(&self) -> Result<String> {
        Ok(hex::encode(Sha256::digest(self.to_json()?)))
    }
}
