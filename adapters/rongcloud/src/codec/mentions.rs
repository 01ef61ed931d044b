//! `mentionedInfo`: whom a message points at.

use serde_json::value::RawValue;
use switchboard_contract::VendorUserId;

use super::Beside;
use crate::wire::content::MentionedInfo;

const EVERYBODY: u8 = 1;
const LISTED: u8 = 2;

pub(crate) fn write(beside: Beside<'_>) -> Option<MentionedInfo> {
    if !beside.mentions_everyone && beside.mentions.is_empty() {
        return None;
    }
    Some(MentionedInfo {
        kind: if beside.mentions_everyone { EVERYBODY } else { LISTED },
        users: beside.mentions.iter().map(|user| user.as_str().to_owned()).collect(),
        push_text: beside.push_text.map(str::to_owned),
    })
}

/// Everybody or not, and the users listed. What is not well formed says nothing.
pub(crate) fn read(raw: Option<&RawValue>) -> (bool, Vec<VendorUserId>) {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).and_then(well_formed).unwrap_or_default()
}

pub(crate) fn well_formed(info: MentionedInfo) -> Option<(bool, Vec<VendorUserId>)> {
    match info.kind {
        EVERYBODY => Some((true, info.users.into_iter().map(VendorUserId::from).collect())),
        LISTED if !info.users.is_empty() => Some((false, info.users.into_iter().map(VendorUserId::from).collect())),
        _ => None,
    }
}
