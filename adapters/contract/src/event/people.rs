//! Users, groups and contacts changing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{GroupId, UserId};

/// Whether a user or device can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// Connected.
    Online,
    /// Not connected.
    Offline,
    /// The vendor did not say something we understand.
    Unknown,
}

/// A user's device came or went. Vendors tell it out of order: `Event::sent_at` decides which is newer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// Online or not.
    pub state: PresenceState,
    /// Why: `login`, `logout`, `replaced`, `disconnected`, or the vendor's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The platform, such as `android`, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The device or session, as the vendor names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A group or room changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupChange {
    /// Which.
    pub group: GroupId,
    /// It is a room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub room: bool,
    /// What: `created`, `dissolved`, `joined`, `left`, `removed`, `updated`, `muted`, `unmuted`, `blocked`, `unblocked`,
    /// `owner_changed`, `admin_added`, `admin_removed`, `disabled`, `enabled`, `announcement`, … or the vendor's own
    /// words in lower case with underscores.
    pub change: String,
    /// Who did it, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<UserId>,
    /// Everything else the vendor said.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// A contact changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContactChange {
    /// Whose list.
    pub user: UserId,
    /// Who on it.
    pub peer: UserId,
    /// What: `requested`, `accepted`, `declined`, `added`, `removed`, `blocked`, `unblocked`, or the vendor's own word.
    pub change: String,
}
