//! What the callbacks say, in the vendor's forms.

use serde::Serialize;

use super::callback_settings::RoutingSettings;
use super::form::FormWriter;
use super::model::{ConversationKind, Message, Origin};

/// One entry of the online-status array.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OnlineStatus {
    pub(crate) userid: String,
    /// `0` online, `1` offline, `2` logout.
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) os: Option<String>,
    pub(crate) time: i64,
    #[serde(rename = "clientIp")]
    pub(crate) client_ip: String,
    #[serde(rename = "sessionId")]
    pub(crate) session_id: String,
}

/// One entry of the chatroom-status array.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChatroomStatus {
    #[serde(rename = "chatRoomId")]
    pub(crate) chatroom_id: String,
    #[serde(rename = "userIds")]
    pub(crate) user_ids: Vec<String>,
    /// 0 normal call, 1 automatic removal, 2 banned, 3 automatic destruction.
    pub(crate) status: u8,
    /// 0 create, 1 join, 2 quit, 3 destroy.
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) time: i64,
}

/// Body of the routing callback, keys in the order of captured ones.
pub(crate) fn route_body(message: &Message, routing: &RoutingSettings) -> String {
    let time = message.time_ms.to_string();
    let mut form = FormWriter::default();
    form.pair("fromUserId", &message.from)
        .pair("toUserId", &message.target)
        .pair("objectName", &message.object_name)
        .pair("content", &message.content)
        .pair("channelType", message.kind.channel_type())
        .pair("msgTimestamp", &time);
    if routing.body_timestamp {
        form.pair("timestamp", &time);
    }
    form.pair("msgUID", &message.uid)
        .pair("sensitiveType", message.sensitivity.number())
        .pair("source", message.origin.source());
    if let Origin::Client { ip, .. } = &message.origin
        && routing.client_ip
    {
        form.pair("clientIp", ip);
    }
    let ultra_group = message.kind == ConversationKind::UltraGroup;
    if ultra_group || !message.bus_channel.is_empty() {
        form.pair("busChannel", &message.bus_channel);
    }
    if ultra_group || message.original_uid.is_some() {
        form.pair("originalMsgUID", message.original_uid.as_deref().unwrap_or_default());
    }
    for recipient in &message.directed {
        form.pair("groupUserIds", recipient);
    }
    if routing.ai_generated {
        form.pair("aiGenerated", "false");
    }
    form.finish()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation<'a> {
    event_type: u8,
    from_user_id: &'a str,
    opt_time: i64,
    source: &'a str,
    conversation_info: ConversationInfo<'a>,
    original_msg_info: OriginalMessage<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_msg_info: Option<RecallInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_msg_info: Option<DeleteInfo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConversationInfo<'a> {
    conversation_type: i64,
    target_id: &'a str,
    bus_channel: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OriginalMessage<'a> {
    message_id: &'a str,
    message_time: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecallInfo<'a> {
    is_delete: u8,
    is_admin: u8,
    extra: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteInfo {
    delete_type: u8,
    msg_timestamp: i64,
}

/// What was done to a message, for the operation callback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operated<'a> {
    pub(crate) by: &'a str,
    pub(crate) at_ms: i64,
    pub(crate) source: &'a str,
    pub(crate) kind: ConversationKind,
    pub(crate) target: &'a str,
    pub(crate) bus_channel: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) sent_ms: i64,
}

impl<'a> Operated<'a> {
    fn body(self, recall: Option<RecallInfo<'a>>, delete: Option<DeleteInfo>) -> String {
        let operation = Operation {
            event_type: if recall.is_some() { 1 } else { 2 },
            from_user_id: self.by,
            opt_time: self.at_ms,
            source: self.source,
            conversation_info: ConversationInfo {
                conversation_type: self.kind.number(),
                target_id: self.target,
                bus_channel: self.bus_channel,
            },
            original_msg_info: OriginalMessage { message_id: self.uid, message_time: self.sent_ms },
            recall_msg_info: recall,
            delete_msg_info: delete,
        };
        serde_json::to_string(&operation).unwrap_or_default()
    }

    /// Body for a recall.
    pub(crate) fn recall_body(self, is_admin: bool, is_delete: bool, extra: &'a str) -> String {
        let info = RecallInfo { is_delete: is_delete.into(), is_admin: is_admin.into(), extra };
        self.body(Some(info), None)
    }

    /// Body for a deletion by message id.
    pub(crate) fn delete_body(self) -> String {
        self.body(None, Some(DeleteInfo { delete_type: 1, msg_timestamp: 0 }))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditContent<'a> {
    app_key: &'a str,
    from_user_id: &'a str,
    target_id: &'a str,
    to_user_ids: String,
    conversation_type: &'a str,
    object_name: &'a str,
    message: &'a str,
    extra_content: serde_json::Map<String, serde_json::Value>,
    client_os: &'a str,
    message_time: i64,
    message_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Audit<'a> {
    result: i64,
    content: String,
    #[serde(rename = "msgUID")]
    msg_uid: &'a str,
    service_provider: &'a str,
    result_detail: &'a str,
}

/// Body of a moderation result: 10000 passed, 10001 rejected.
pub(crate) fn audit_body(app_key: &str, message: &Message, passed: bool, provider: &str, detail: &str) -> String {
    let extra_content = message
        .expansion
        .iter()
        .map(|(key, item)| (key.clone(), serde_json::Value::String(item.value.clone())))
        .collect();
    let content = AuditContent {
        app_key,
        from_user_id: &message.from,
        target_id: &message.target,
        to_user_ids: message.directed.join(","),
        conversation_type: message.kind.channel_type(),
        object_name: &message.object_name,
        message: &message.content,
        extra_content,
        client_os: message.origin.source(),
        message_time: message.time_ms,
        message_id: &message.uid,
    };
    let audit = Audit {
        result: if passed { 10_000 } else { 10_001 },
        content: serde_json::to_string(&content).unwrap_or_default(),
        msg_uid: &message.uid,
        service_provider: provider,
        result_detail: detail,
    };
    serde_json::to_string(&audit).unwrap_or_default()
}
