//! The content of the built-in message types that have a canonical body, as the vendor spells it.
//!
//! Content is opaque to the service and its clients skip keys they do not know, so what describes a file and has no
//! key of its own in one type travels under the key another built-in type uses for it (`name`, `size`, `width`,
//! `height`, `format`, `duration`).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::lenient::{Count, Scalar, Str};

/// `RC:TxtMsg`, with everything that is looked at in one pass: the busiest type of all.
#[derive(Deserialize)]
pub(crate) struct TextContent<'a> {
    #[serde(borrow)]
    pub(crate) content: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) extra: Option<&'a RawValue>,
    #[serde(borrow, rename = "mentionedInfo", default)]
    pub(crate) mentions: Option<&'a RawValue>,
}

/// What every content may carry beside its own keys.
#[derive(Deserialize)]
pub(crate) struct Beside<'a> {
    #[serde(borrow, default)]
    pub(crate) extra: Option<&'a RawValue>,
    #[serde(borrow, rename = "mentionedInfo", default)]
    pub(crate) mentions: Option<&'a RawValue>,
}

/// `mentionedInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MentionedInfo {
    /// 1 everybody, 2 those listed.
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    #[serde(rename = "userIdList", default)]
    pub(crate) users: Vec<String>,
    /// The text of the push to those mentioned.
    #[serde(rename = "mentionedContent", default, skip_serializing_if = "Option::is_none")]
    pub(crate) push_text: Option<String>,
}

/// A content to be written: the type's own keys, then those beside them.
#[derive(Serialize)]
pub(crate) struct Written<'a, T> {
    #[serde(flatten)]
    pub(crate) own: T,
    #[serde(rename = "mentionedInfo", skip_serializing_if = "Option::is_none")]
    pub(crate) mentions: Option<&'a MentionedInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) extra: Option<&'a str>,
}

/// `RC:TxtMsg`, written.
#[derive(Serialize)]
pub(crate) struct TextOut<'a> {
    pub(crate) content: &'a str,
}

/// `RC:ImgMsg`. `content` is the thumbnail, base64.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Picture {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    #[serde(rename = "imageUri", skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(rename = "thumWidth", skip_serializing_if = "Count::is_none")]
    pub(crate) thumbnail_width: Count<u32>,
    #[serde(rename = "thumHeight", skip_serializing_if = "Count::is_none")]
    pub(crate) thumbnail_height: Count<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) size: Count<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) width: Count<u32>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) height: Count<u32>,
}

/// `RC:GIFMsg`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Gif {
    #[serde(rename = "gifDataSize", skip_serializing_if = "Count::is_none")]
    pub(crate) size: Count<u64>,
    #[serde(rename = "remoteUrl", skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) width: Count<u32>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) height: Count<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// `RC:VcMsg` (sound inline in `content`) and `RC:HQVCMsg` (sound at `remoteUrl`).
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Voice {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    #[serde(rename = "remoteUrl", skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) duration: Count<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) size: Count<u64>,
}

/// `RC:SightMsg`. `content` is the first frame, base64.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Film {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    #[serde(rename = "sightUrl", skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) duration: Count<u32>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) size: Count<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) width: Count<u32>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) height: Count<u32>,
    #[serde(rename = "thumWidth", skip_serializing_if = "Count::is_none")]
    pub(crate) thumbnail_width: Count<u32>,
    #[serde(rename = "thumHeight", skip_serializing_if = "Count::is_none")]
    pub(crate) thumbnail_height: Count<u32>,
}

/// `RC:FileMsg`. `size` is a number in the client SDKs and text in one server SDK.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Count::is_none")]
    pub(crate) size: Count<u64>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<String>,
    #[serde(rename = "fileUrl", skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

/// `RC:LBSMsg`. `content` is the map, base64.
#[derive(Serialize, Deserialize)]
pub(crate) struct Place {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<String>,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) poi: Option<String>,
}

/// `RC:CmdMsg` and `RC:CmdNtf`; one server SDK calls the name `operation` in the latter.
#[derive(Serialize, Deserialize)]
pub(crate) struct Signal {
    #[serde(alias = "operation")]
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Value>,
}

/// `RC:CombineMsg` and `RC:CombineV2Msg`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Forwarded {
    #[serde(rename = "remoteUrl", skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(rename = "nameList")]
    pub(crate) names: Vec<String>,
    #[serde(rename = "summaryList")]
    pub(crate) summary: Vec<String>,
    #[serde(rename = "conversationType", skip_serializing_if = "Count::is_none")]
    pub(crate) from: Count<u8>,
    #[serde(rename = "msgNum", skip_serializing_if = "Count::is_none")]
    pub(crate) count: Count<u32>,
    #[serde(rename = "msgList", skip_serializing_if = "Option::is_none")]
    pub(crate) items: Option<Value>,
}

/// `RC:RcCmd`: the command that withdraws a message.
#[derive(Deserialize)]
pub(crate) struct RecallCommand<'a> {
    #[serde(borrow, rename = "messageUId")]
    pub(crate) uid: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) extra: Option<Str<'a>>,
}

/// `RC:ReadNtf`: the sender has read its peer's messages up to a time.
#[derive(Deserialize)]
pub(crate) struct ReadNotice<'a> {
    #[serde(borrow, rename = "messageUId", default)]
    pub(crate) uid: Option<Str<'a>>,
    #[serde(borrow, rename = "lastMessageSendTime")]
    pub(crate) until: Scalar<'a>,
}
