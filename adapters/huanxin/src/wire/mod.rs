//! The vendor's JSON as it spells it. Nothing outside this folder and the codec knows these words.

mod rest;
mod scalar;

use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use rest::*;
pub(crate) use scalar::{Int, Real, Text};

/// Reads a JSON object. Derived deserialisers take a list for a struct, field by field; the vendor writes none, so a list
/// is not understood.
///
/// # Errors
/// As serde's, and for anything but an object.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(serde::de::Error::custom("not an object"));
    }
    serde_json::from_slice(json)
}

/// What verification needs of a callback; the rest is skipped without being built.
#[derive(Deserialize)]
pub(crate) struct Probe<'a> {
    #[serde(borrow, default, rename = "callId")]
    pub(crate) call_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) timestamp: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) security: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) appkey: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) chat_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) step: Option<Text<'a>>,
}

/// What tells a pre-send request from a notice.
#[derive(Deserialize)]
pub(crate) struct StageProbe<'a> {
    #[serde(borrow, default, rename = "eventType")]
    pub(crate) event_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) event: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) status: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) step: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) chat_type: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) payload: Option<serde::de::IgnoredAny>,
}

/// A callback of any kind, a line of a history file, or an entry of a query.
#[derive(Deserialize)]
pub(crate) struct Item<'a> {
    #[serde(borrow, default, rename = "eventType")]
    pub(crate) event_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) chat_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) content_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) group_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) from: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) to: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) msg_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) recall_id: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) timestamp: Option<Int>,
    #[serde(borrow, default)]
    pub(crate) payload: Option<&'a RawValue>,
    // Logins.
    #[serde(borrow, default)]
    pub(crate) status: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) user: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) os: Option<Text<'a>>,
    // Groups and rooms.
    #[serde(borrow, default)]
    pub(crate) event: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) operation: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) operator: Option<Text<'a>>,
    // Pushes.
    #[serde(borrow, default)]
    pub(crate) step: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) target: Option<Text<'a>>,
    // Moderation.
    #[serde(borrow, default, rename = "messageId")]
    pub(crate) message_id: Option<Text<'a>>,
    #[serde(borrow, default, rename = "moderationResult")]
    pub(crate) moderation_result: Option<Text<'a>>,
    #[serde(borrow, default, rename = "targetType")]
    pub(crate) target_type: Option<Text<'a>>,
}

/// What tells that a line of a history file is a message, and which; the rest is skipped without being built.
#[derive(Deserialize)]
pub(crate) struct Outline<'a> {
    #[serde(borrow, default, rename = "eventType")]
    pub(crate) event_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) chat_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) msg_id: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) timestamp: Option<Int>,
    #[serde(borrow, default)]
    pub(crate) event: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) step: Option<Text<'a>>,
}

/// The payload of messages and of what is said about messages.
#[derive(Default, Deserialize)]
pub(crate) struct Payload<'a> {
    #[serde(borrow, default)]
    pub(crate) bodies: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub(crate) ext: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) from: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) to: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) ack_message_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) edit_message_id: Option<Text<'a>>,
    #[serde(default, borrow)]
    pub(crate) meta: Option<Meta<'a>>,
    #[serde(default)]
    pub(crate) msg_config: Option<MessageConfig>,
    #[serde(borrow, default)]
    pub(crate) operation: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct Meta<'a> {
    #[serde(default, borrow)]
    pub(crate) edit_msg: Option<EditMeta<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct EditMeta<'a> {
    #[serde(borrow, default)]
    pub(crate) chat_type: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) count: Option<Int>,
    #[serde(borrow, default)]
    pub(crate) operator: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct MessageConfig {
    #[serde(default)]
    pub(crate) allow_group_ack: bool,
}

/// One entry of `bodies`, or the flat payload of a pre-send request, or the body of a REST send.
#[derive(Deserialize)]
pub(crate) struct WireBody<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow, default, rename = "subType")]
    pub(crate) sub_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) msg: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) url: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) filename: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) secret: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) file_length: Option<Int>,
    #[serde(default, alias = "Length")]
    pub(crate) length: Option<Int>,
    #[serde(borrow, default)]
    pub(crate) size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) thumb: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) thumb_secret: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) lat: Option<Real>,
    #[serde(default)]
    pub(crate) lng: Option<Real>,
    #[serde(borrow, default)]
    pub(crate) addr: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) action: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) param: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "customEvent")]
    pub(crate) custom_event: Option<Text<'a>>,
    #[serde(borrow, default, rename = "customExts")]
    pub(crate) custom_exts: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "v2:customExts")]
    pub(crate) custom_exts_v2: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) title: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) summary: Option<Text<'a>>,
    #[serde(default, rename = "combineLevel")]
    pub(crate) combine_level: Option<Int>,
}

#[derive(Deserialize)]
pub(crate) struct Size {
    #[serde(default)]
    pub(crate) width: Option<Int>,
    #[serde(default)]
    pub(crate) height: Option<Int>,
}

/// The payload of reactions.
#[derive(Deserialize)]
pub(crate) struct Reactions<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(crate) struct ReactedMessage<'a> {
    #[serde(borrow, rename = "messageId")]
    pub(crate) message_id: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) from: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) to: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) channel_type: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) ts: Option<Int>,
    #[serde(borrow, default)]
    pub(crate) reactions: Vec<ReactionEntry<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct ReactionEntry<'a> {
    #[serde(borrow)]
    pub(crate) reaction: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) op: Vec<ReactionOp<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct ReactionOp<'a> {
    #[serde(borrow, rename = "reactionType")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) operator: Option<Text<'a>>,
}
