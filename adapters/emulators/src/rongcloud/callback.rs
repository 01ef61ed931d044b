//! Bodies and signatures of the callbacks, and the jobs that deliver them.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::Serialize;

use super::{
    callback_settings::{CallbackSettings, CallbackUrls, RoutingSettings, SignatureStyle},
    form::FormWriter,
    model::{ConversationKind, Message, Origin},
    sign,
    state::Event,
};
use crate::common::{CallbackJob, FaultEngine, OutgoingCallback, Render, Time};

const FORM: &str = "application/x-www-form-urlencoded;charset=UTF-8";
const JSON: &str = "application/json;charset=UTF-8";

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

/// A callback of a kind this emulator does not produce by itself. `Debug` shows no body.
#[derive(Clone, Copy)]
pub struct RawCallback<'a> {
    /// Name in the ledger and in fault scripts.
    pub label: &'a str,
    /// Where it goes.
    pub url: &'a str,
    /// `application/x-www-form-urlencoded`; JSON otherwise.
    pub form: bool,
    /// The body, byte for byte.
    pub body: &'a str,
}

impl fmt::Debug for RawCallback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawCallback").field("label", &self.label).field("url", &self.url).finish_non_exhaustive()
    }
}

/// What every job needs to sign and send.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) app_key: Arc<str>,
    pub(crate) app_secret: Arc<str>,
    pub(crate) time: Time,
    pub(crate) faults: Arc<FaultEngine>,
}

impl Signer {
    /// The job for an event, or `None` when its callback is not configured.
    pub(crate) fn job(&self, event: Event, settings: &CallbackSettings) -> Option<CallbackJob> {
        let CallbackUrls { routing, message_operation, audit, .. } = &settings.urls;
        let style = settings.signature_style;
        let (label, key, url, content_type, body, style) = match event {
            Event::Route { uid, body } => ("route", uid, routing.as_ref()?, FORM, body, style),
            Event::Operation { uid, body } => {
                ("message_operation", uid, message_operation.as_ref()?, JSON, body, style)
            }
            Event::Audit { uid, body } => ("audit", uid, audit.as_ref()?, JSON, body, SignatureStyle::RcHeaders),
            Event::Online(status) => return self.online_job(&[status], settings),
            Event::Chatroom(status) => return self.chatroom_job(&[status], settings),
        };
        Some(self.build(label, key, url, content_type, body, style, settings.resign_retries))
    }

    /// One array of presence changes.
    pub(crate) fn online_job(&self, batch: &[OnlineStatus], settings: &CallbackSettings) -> Option<CallbackJob> {
        let url = settings.urls.online_status.as_ref()?;
        let key = batch.first()?.userid.clone();
        let body = serde_json::to_string(batch).unwrap_or_default();
        let (style, resign) = (settings.signature_style, settings.resign_retries);
        Some(self.build("online_status", key, url, JSON, body, style, resign))
    }

    /// One array of chatroom changes.
    pub(crate) fn chatroom_job(&self, batch: &[ChatroomStatus], settings: &CallbackSettings) -> Option<CallbackJob> {
        let url = settings.urls.chatroom_status.as_ref()?;
        let key = batch.first()?.chatroom_id.clone();
        let body = serde_json::to_string(batch).unwrap_or_default();
        let (style, resign) = (settings.signature_style, settings.resign_retries);
        Some(self.build("chatroom_status", key, url, JSON, body, style, resign))
    }

    /// Any body to any address, signed as the style says.
    pub(crate) fn raw_job(&self, raw: RawCallback<'_>, settings: &CallbackSettings) -> CallbackJob {
        let RawCallback { label, url, form, body } = raw;
        let content_type = if form { FORM } else { JSON };
        let (style, resign) = (settings.signature_style, settings.resign_retries);
        self.build(label, String::new(), url, content_type, body.to_owned(), style, resign)
    }

    /// The synchronous question before a message is delivered.
    pub(crate) fn pre_send_job(&self, uid: &str, body: String, settings: &CallbackSettings) -> Option<CallbackJob> {
        let url = settings.urls.pre_send.as_ref()?;
        Some(self.build("pre_send", uid.to_owned(), url, FORM, body, settings.signature_style, true))
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a job's parts meet")]
    fn build(
        &self,
        label: &str,
        key: String,
        url: &str,
        content_type: &'static str,
        body: String,
        style: SignatureStyle,
        resign: bool,
    ) -> CallbackJob {
        let first = self.credentials();
        let (signer, target, body) = (self.clone(), url.to_owned(), Bytes::from(body));
        let render: Render = Arc::new(move |attempt, corrupt| {
            let stamp = if resign && attempt > 1 { signer.credentials() } else { first.clone() };
            let (url, headers) = signer.signed(&target, style, &stamp, corrupt);
            OutgoingCallback { url, content_type, headers, body: body.clone() }
        });
        CallbackJob { label: label.to_owned(), key, url: url.to_owned(), scope: self.app_key.to_string(), render }
    }

    fn credentials(&self) -> Stamp {
        Stamp {
            nonce: self.faults.draw(100_000_000..1_000_000_000).to_string(),
            timestamp: self.time.now_ms().to_string(),
        }
    }

    fn signed(
        &self,
        url: &str,
        style: SignatureStyle,
        stamp: &Stamp,
        corrupt: bool,
    ) -> (String, Vec<(String, String)>) {
        let mut signature = sign::signature(&self.app_secret, &stamp.nonce, &stamp.timestamp);
        if corrupt {
            let spoiled = if signature.starts_with('0') { "1" } else { "0" };
            signature.replace_range(0..1, spoiled);
        }
        let Stamp { nonce, timestamp } = stamp;
        let app_key = &self.app_key;
        let query = match style {
            SignatureStyle::Timestamp => {
                format!("appKey={app_key}&timestamp={timestamp}&nonce={nonce}&signature={signature}")
            }
            SignatureStyle::SignTimestamp => {
                format!("signTimestamp={timestamp}&nonce={nonce}&signature={signature}")
            }
            SignatureStyle::AppKeySignTimestamp => {
                format!("appKey={app_key}&signTimestamp={timestamp}&nonce={nonce}&signature={signature}")
            }
            SignatureStyle::RcHeaders => {
                return (url.to_owned(), header_set("RC-", app_key, stamp, signature));
            }
            SignatureStyle::Headers => {
                return (url.to_owned(), header_set("", app_key, stamp, signature));
            }
        };
        let joint = if url.contains('?') { '&' } else { '?' };
        (format!("{url}{joint}{query}"), Vec::new())
    }
}

#[derive(Clone)]
struct Stamp {
    nonce: String,
    timestamp: String,
}

fn header_set(prefix: &str, app_key: &str, stamp: &Stamp, signature: String) -> Vec<(String, String)> {
    vec![
        (format!("{prefix}App-Key"), app_key.to_owned()),
        (format!("{prefix}Nonce"), stamp.nonce.clone()),
        (format!("{prefix}Timestamp"), stamp.timestamp.clone()),
        (format!("{prefix}Signature"), signature),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::{Signer, Stamp};
    use crate::{
        common::{FaultEngine, Faults, Time},
        rongcloud::callback_settings::SignatureStyle,
    };

    macro_rules! captured {
        ($name:literal) => {
            include_str!(concat!("../../fixtures/rongcloud/", $name, ".http"))
        };
    }

    fn signed(path: &str, style: SignatureStyle, timestamp: &str) -> (String, Vec<(String, String)>) {
        let time = Time::manual(0);
        let signer = Signer {
            app_key: "demoappkey01".into(),
            app_secret: "demosecret01".into(),
            faults: Arc::new(FaultEngine::new(1, Faults::default(), time.clone())),
            time,
        };
        let stamp = Stamp { nonce: "918273645".to_owned(), timestamp: timestamp.to_owned() };
        signer.signed(path, style, &stamp, false)
    }

    #[test]
    fn request_lines_equal_the_captured_ones() {
        let (route, moment) = ("/rongcloud/route", "1795054530158");
        let rows = [
            (captured!("callback_message_route_private"), route, SignatureStyle::Timestamp, moment),
            (captured!("callback_message_route_private_signtimestamp"), route, SignatureStyle::SignTimestamp, moment),
            (
                captured!("callback_message_route_private_signtimestamp_appkey"),
                route,
                SignatureStyle::AppKeySignTimestamp,
                moment,
            ),
            (captured!("callback_pre_send_request"), "/rongcloud/presend", SignatureStyle::Timestamp, "1795054562459"),
            (captured!("callback_chatroom_status"), "/rongcloud/chatroom", SignatureStyle::Timestamp, "1795054752042"),
            (captured!("online_status_callback"), "/rongcloud/online", SignatureStyle::Timestamp, "1795054530183"),
        ];
        for (captured, path, style, timestamp) in rows {
            let (url, headers) = signed(path, style, timestamp);
            assert_eq!(captured.lines().next(), Some(format!("POST {url} HTTP/1.1").as_str()));
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn signature_headers_equal_the_captured_ones() {
        let (url, headers) = signed("/rongcloud/audit", SignatureStyle::RcHeaders, "1795054752830");
        assert_eq!(url, "/rongcloud/audit");
        let captured: Vec<&str> =
            captured!("callback_audit_result").lines().filter(|line| line.starts_with("RC-")).collect();
        let ours: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(ours, captured);
    }
}
