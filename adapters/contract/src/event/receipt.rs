//! What became of a message at its recipients.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MessageRef;
use crate::ids::UserId;

/// What a receipt states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// It reached the recipient's device.
    Delivered,
    /// The recipient read it.
    Read,
}

impl ReceiptKind {
    /// A number for storage; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Delivered => 0,
            Self::Read => 1,
        }
    }

    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Delivered),
            1 => Some(Self::Read),
            _ => None,
        }
    }
}

/// Someone received or read a message, or everything up to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// What it states.
    pub kind: ReceiptKind,
    /// By whom.
    pub reader: UserId,
    /// Which message; `None` when the whole conversation is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MessageRef>,
    /// It covers everything up to the target.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_conversation: bool,
}

/// A recipient was not online when a message came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipientOffline {
    /// Which message.
    pub target: MessageRef,
    /// Which recipient.
    pub recipient: UserId,
}

/// What became of an offline push.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PushResult {
    /// For which message, if said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MessageRef>,
    /// To whom.
    pub recipient: UserId,
    /// `sent` or `failed`, or the vendor's own word.
    pub outcome: String,
    /// Everything else the vendor said.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}
