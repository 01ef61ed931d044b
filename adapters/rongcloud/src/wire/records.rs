//! Records of stored messages: lines of the hourly log, and items of the `/v3` queries.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient::{Scalar, Str};

/// One line of the hourly log. Old files have fewer keys; unknown keys are left alone.
#[derive(Debug, Deserialize)]
pub(crate) struct LogLine<'a> {
    #[serde(borrow, rename = "appId", default)]
    pub(crate) app_id: Option<Str<'a>>,
    #[serde(borrow, rename = "fromUserId")]
    pub(crate) from: Str<'a>,
    #[serde(borrow, rename = "targetId")]
    pub(crate) target: Str<'a>,
    #[serde(borrow, rename = "targetType")]
    pub(crate) target_type: Scalar<'a>,
    #[serde(borrow, rename = "classname")]
    pub(crate) object_name: Str<'a>,
    /// An object for built-in types; a text for custom types that are no JSON.
    #[serde(borrow)]
    pub(crate) content: &'a RawValue,
    #[serde(borrow, rename = "dateTime", default)]
    pub(crate) local_time: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) timestamp: Option<Scalar<'a>>,
    #[serde(borrow, rename = "msgUID")]
    pub(crate) uid: Str<'a>,
    #[serde(borrow, rename = "originalMsgUID", default)]
    pub(crate) original_uid: Option<Str<'a>>,
    #[serde(borrow, rename = "busChannel", default)]
    pub(crate) bus_channel: Option<Str<'a>>,
}

/// What tells that a line is a message, and which; the rest is skipped without being built.
#[derive(Debug, Deserialize)]
pub(crate) struct LogOutline<'a> {
    #[serde(borrow, rename = "appId", default)]
    pub(crate) app_id: Option<Str<'a>>,
    #[serde(borrow, rename = "classname")]
    pub(crate) object_name: Str<'a>,
    #[serde(borrow, default)]
    pub(crate) timestamp: Option<Scalar<'a>>,
    #[serde(borrow, rename = "msgUID")]
    pub(crate) uid: Str<'a>,
    #[serde(borrow, rename = "originalMsgUID", default)]
    pub(crate) original_uid: Option<Str<'a>>,
}

/// The answer to a `/v3` query.
#[derive(Debug, Deserialize)]
pub(crate) struct QueryReply<'a> {
    #[serde(borrow, default)]
    pub(crate) data: Vec<&'a RawValue>,
}

/// One message of a `/v3` query.
#[derive(Debug, Deserialize)]
pub(crate) struct QueryItem<'a> {
    #[serde(borrow, rename = "fromUserId")]
    pub(crate) from: Str<'a>,
    #[serde(borrow, rename = "messageUID")]
    pub(crate) uid: Str<'a>,
    #[serde(borrow, rename = "msgTime")]
    pub(crate) sent_at: Scalar<'a>,
    #[serde(borrow, rename = "objectName")]
    pub(crate) object_name: Str<'a>,
    /// A text; an object is taken as well.
    #[serde(borrow)]
    pub(crate) content: &'a RawValue,
    #[serde(borrow, rename = "originalMsgUID", default)]
    pub(crate) original_uid: Option<Str<'a>>,
    #[serde(borrow, rename = "busChannel", default)]
    pub(crate) bus_channel: Option<Str<'a>>,
}
