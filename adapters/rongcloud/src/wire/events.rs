//! JSON callbacks. Which family an item belongs to is read from the keys it has.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient::{Scalar, Str};

/// The keys that tell the families apart. Values are not looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Probe<'a> {
    #[serde(borrow, default)]
    userid: Option<&'a RawValue>,
    #[serde(borrow, rename = "chatRoomId", default)]
    room: Option<&'a RawValue>,
    #[serde(borrow, rename = "groupId", default)]
    group: Option<&'a RawValue>,
    #[serde(borrow, rename = "eventType", default)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "conversationInfo", default)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    contents: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, rename = "msgUID", default)]
    uid: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bot: Option<&'a RawValue>,
    #[serde(borrow, rename = "type", default)]
    kind: Option<Scalar<'a>>,
}

/// A family of JSON callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Online,
    Room,
    GroupOperation,
    MessageOperation,
    Audit,
    InfoAudit,
    Bot,
}

impl Probe<'_> {
    pub(crate) fn family(&self) -> Option<Family> {
        Some(match self {
            Self { userid: Some(_), .. } => Family::Online,
            Self { room: Some(_), kind: Some(_), .. } => Family::Room,
            Self { event_type: Some(_), conversation: Some(_), .. } => Family::MessageOperation,
            Self { event_type: Some(_), contents: Some(_), .. } => Family::InfoAudit,
            Self { event_type: Some(_), group: Some(_), .. } => Family::GroupOperation,
            Self { result: Some(_), uid: Some(_), .. } => Family::Audit,
            Self { bot: Some(_), kind: Some(_), .. } => Family::Bot,
            _ => return None,
        })
    }

    /// The vendor's own name of the kind, if it gives one.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.kind {
            Some(Scalar::Text(name)) => Some(name.clone().into_owned()),
            _ => None,
        }
    }
}

/// A user's session came or went.
#[derive(Debug, Deserialize)]
pub(crate) struct OnlineEvent<'a> {
    #[serde(borrow)]
    pub(crate) userid: Str<'a>,
    #[serde(borrow)]
    pub(crate) status: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) time: Scalar<'a>,
    #[serde(borrow, default)]
    pub(crate) os: Option<Str<'a>>,
    #[serde(borrow, rename = "sessionId", default)]
    pub(crate) session: Option<Scalar<'a>>,
}

/// A room changed.
#[derive(Debug, Deserialize)]
pub(crate) struct RoomEvent<'a> {
    #[serde(borrow, rename = "chatRoomId")]
    pub(crate) room: Str<'a>,
    #[serde(borrow, rename = "userIds", default)]
    pub(crate) users: Vec<Str<'a>>,
    #[serde(borrow)]
    pub(crate) status: Scalar<'a>,
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) time: Scalar<'a>,
}

/// A message was withdrawn, or deleted from somebody's own history.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageOperation<'a> {
    #[serde(borrow, rename = "eventType")]
    pub(crate) event_type: Scalar<'a>,
    #[serde(borrow, rename = "fromUserId")]
    pub(crate) from: Str<'a>,
    #[serde(borrow, rename = "optTime")]
    pub(crate) time: Scalar<'a>,
    #[serde(borrow, rename = "conversationInfo")]
    pub(crate) conversation: ConversationInfo<'a>,
    #[serde(borrow, rename = "originalMsgInfo", default)]
    pub(crate) original: Option<OriginalMessage<'a>>,
    #[serde(borrow, rename = "recallMsgInfo", default)]
    pub(crate) recall: Option<RecallInfo<'a>>,
}

/// Where it happened.
#[derive(Debug, Deserialize)]
pub(crate) struct ConversationInfo<'a> {
    #[serde(borrow, rename = "conversationType")]
    pub(crate) kind: Scalar<'a>,
    #[serde(borrow, rename = "targetId")]
    pub(crate) target: Str<'a>,
    #[serde(borrow, rename = "busChannel", default)]
    pub(crate) bus_channel: Option<Str<'a>>,
}

/// Which message.
#[derive(Debug, Deserialize)]
pub(crate) struct OriginalMessage<'a> {
    #[serde(borrow, rename = "messageId")]
    pub(crate) id: Str<'a>,
}

/// What came with the recall.
#[derive(Debug, Deserialize)]
pub(crate) struct RecallInfo<'a> {
    #[serde(borrow, default)]
    pub(crate) extra: Option<Str<'a>>,
}

/// A moderation verdict.
#[derive(Debug, Deserialize)]
pub(crate) struct AuditEvent<'a> {
    #[serde(borrow)]
    pub(crate) result: Scalar<'a>,
    /// JSON text of an [`AuditedMessage`].
    #[serde(borrow, default)]
    pub(crate) content: Option<Str<'a>>,
    #[serde(borrow, rename = "msgUID")]
    pub(crate) uid: Str<'a>,
    #[serde(borrow, rename = "serviceProvider", default)]
    pub(crate) provider: Option<Str<'a>>,
    #[serde(borrow, rename = "resultDetail", default)]
    pub(crate) detail: Option<&'a RawValue>,
}

/// The message a verdict is about; its content is not repeated in the event.
#[derive(Debug, Deserialize)]
pub(crate) struct AuditedMessage<'a> {
    #[serde(borrow, rename = "fromUserId")]
    pub(crate) from: Str<'a>,
    #[serde(borrow, rename = "targetId")]
    pub(crate) target: Str<'a>,
    #[serde(borrow, rename = "conversationType")]
    pub(crate) kind: Scalar<'a>,
    #[serde(borrow, rename = "messageTime", default)]
    pub(crate) time: Option<Scalar<'a>>,
    #[serde(borrow, rename = "busChannel", default)]
    pub(crate) bus_channel: Option<Str<'a>>,
    #[serde(borrow, rename = "objectName", default)]
    pub(crate) object_name: Option<Str<'a>>,
}

/// A hosted group changed. The numbers of `eventType` are not published.
#[derive(Debug, Deserialize)]
pub(crate) struct GroupOperation<'a> {
    #[serde(borrow, rename = "groupId")]
    pub(crate) group: Str<'a>,
    #[serde(borrow, rename = "eventType")]
    pub(crate) event_type: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) time: Scalar<'a>,
    #[serde(borrow, rename = "optUserId", default)]
    pub(crate) by: Option<Str<'a>>,
    #[serde(borrow, rename = "userIds", default)]
    pub(crate) users: Vec<Str<'a>>,
}

/// A hosted group's or user's fields were looked at by moderation.
#[derive(Debug, Deserialize)]
pub(crate) struct InfoAudit<'a> {
    #[serde(borrow, rename = "eventType")]
    pub(crate) event_type: Scalar<'a>,
    #[serde(borrow, default)]
    pub(crate) result: Option<Scalar<'a>>,
    #[serde(borrow)]
    pub(crate) time: Scalar<'a>,
    #[serde(borrow, rename = "optUserId", default)]
    pub(crate) by: Option<Str<'a>>,
    #[serde(borrow, rename = "targetGroupId", default)]
    pub(crate) group: Option<Str<'a>>,
    #[serde(borrow, rename = "targetUserId", default)]
    pub(crate) user: Option<Str<'a>>,
    #[serde(default)]
    pub(crate) contents: serde_json::Value,
}

/// A bot's webhook.
#[derive(Debug, Deserialize)]
pub(crate) struct BotEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) timestamp: Scalar<'a>,
    #[serde(borrow)]
    pub(crate) bot: Bot<'a>,
    #[serde(borrow)]
    pub(crate) data: BotMessage<'a>,
}

/// The bot addressed.
#[derive(Debug, Deserialize)]
pub(crate) struct Bot<'a> {
    #[serde(borrow, rename = "userId")]
    pub(crate) user: Str<'a>,
}

/// A message to a bot.
#[derive(Debug, Deserialize)]
pub(crate) struct BotMessage<'a> {
    #[serde(borrow, rename = "fromUserId")]
    pub(crate) from: Str<'a>,
    #[serde(borrow, rename = "objectName")]
    pub(crate) object_name: Str<'a>,
    #[serde(borrow)]
    pub(crate) content: &'a RawValue,
    #[serde(borrow, rename = "messageUID")]
    pub(crate) uid: Str<'a>,
    #[serde(borrow, rename = "groupId", alias = "targetId", default)]
    pub(crate) group: Option<Str<'a>>,
}
