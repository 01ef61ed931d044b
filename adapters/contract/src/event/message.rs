//! Messages, and what happens to them afterwards.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MessageRef;
use crate::body::{Body, Ext};
use crate::ids::{ClientMessageId, MessageId, UserId, VendorMessageId};

/// Who a message points at by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mentions {
    /// Everybody in the conversation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
    /// These users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Ours; the same whatever vendor carried it.
    pub id: MessageId,
    /// The vendor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_id: Option<VendorMessageId>,
    /// Who sent it.
    pub from: UserId,
    /// The only recipients, for a group message directed at some members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<UserId>,
    /// What it says; `None` once it was recalled (a tombstone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// The business's own fields.
    #[serde(default, skip_serializing_if = "Ext::is_empty")]
    pub ext: Ext,
    /// Who it points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<Mentions>,
    /// The key it was sent under, when it was sent through us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<ClientMessageId>,
    /// Withdrawn: `body` and `ext` are gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recalled: bool,
}

/// A message was withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// Which.
    pub target: MessageRef,
    /// By whom, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// Words that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A message was changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Which.
    pub target: MessageRef,
    /// The how-manieth change, from 1, where the vendor counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// By whom, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The new body, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// The new fields of the business, if they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<Ext>,
}

/// A reaction to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    /// To which.
    pub target: MessageRef,
    /// By whom, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserId>,
    /// The reaction's name or emoji.
    pub reaction: String,
    /// Taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// A moderation service's verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moderation {
    /// On which message.
    pub target: MessageRef,
    /// `pass`, `reject`, `replace`, `recall`, or the vendor's own word.
    pub verdict: String,
    /// Everything else the vendor said of it, the message itself excepted.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}
