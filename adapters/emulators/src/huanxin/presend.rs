//! The synchronous question before a client's message is accepted (documentation page "callback_presending").

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::app::App;
use super::dispatch::{post, signature};
use super::messages::Draft;
use super::model::{ChatType, or_empty};
use super::rules::{FailurePolicy, PayloadForm, PreSendRule};

/// What became of the question.
pub(crate) enum Verdict {
    /// Goes on, perhaps rewritten.
    Deliver(Draft),
    /// Stopped; the text the sender is shown, or none when the sender must believe it was sent.
    Blocked(Option<String>),
}

impl App {
    /// Asks the first rule that matches. Targeted group and room messages are never asked about.
    pub(crate) async fn ask_before_send(&self, id: u64, draft: Draft) -> Verdict {
        let settings = self.settings();
        let rule = settings.callbacks.pre_send.iter().find(|rule| asks(rule, &draft));
        let Some(rule) = rule.filter(|_| draft.audience.is_none()) else {
            return Verdict::Deliver(draft);
        };
        let job = self.question(rule, id, &draft);
        let reply = self.sender.call(job, Duration::from_millis(rule.wait_ms)).await;
        let limit = settings.callbacks.max_reply_chars;
        let answer = reply
            .ok()
            .filter(|reply| reply.status == 200)
            .and_then(|reply| parse(&String::from_utf8_lossy(&reply.body), limit));
        let Some(answer) = answer else {
            return match rule.on_failure {
                FailurePolicy::Deliver => Verdict::Deliver(draft),
                FailurePolicy::Block => blocked(rule, "custom internal error"),
            };
        };
        if !answer.valid {
            return match answer.code.as_deref() {
                None => blocked(rule, "custom logic denied"),
                Some("") => blocked(rule, "Message blocked by external logic"),
                Some(code) => blocked(rule, code),
            };
        }
        Verdict::Deliver(rewritten(rule, draft, answer))
    }

    fn question(&self, rule: &PreSendRule, id: u64, draft: &Draft) -> crate::common::CallbackJob {
        let timestamp = self.now_ms();
        let call_id = format!("{}_{}", self.app_key, uuid::Uuid::new_v4());
        let security = signature(&call_id, &rule.secret, timestamp);
        let chat_type = match draft.kind {
            ChatType::Chat => "chat",
            ChatType::GroupChat => rule.group_word.as_str(),
            ChatType::ChatRoom => "chatroom",
        };
        let mut body = json!({
            "callId": call_id, "chat_type": chat_type, "from": draft.from, "to": draft.to,
            "msg_id": id.to_string(), "timestamp": timestamp, "security": security,
        });
        if draft.kind != ChatType::Chat {
            body["group_id"] = json!(draft.to);
        }
        match rule.payload {
            PayloadForm::Flat => body["payload"] = (*draft.body).clone(),
            PayloadForm::Bodies => {
                body["payload"] = json!({ "ext": or_empty(&draft.ext), "bodies": [&*draft.body] });
                body["securityVersion"] = json!("1.0.0");
            }
        }
        post("pre_send", &id.to_string(), &rule.url, &self.app_key, &body, &security)
    }
}

fn asks(rule: &PreSendRule, draft: &Draft) -> bool {
    let kind = draft.body.get("type").and_then(Value::as_str).unwrap_or_default();
    rule.enabled
        && rule.env == draft.options.env
        && (rule.chat_types.is_empty() || rule.chat_types.contains(&draft.kind))
        && (rule.message_types.is_empty() || rule.message_types.iter().any(|wanted| wanted == kind))
}

fn blocked(rule: &PreSendRule, text: &str) -> Verdict {
    Verdict::Blocked(rule.report_error.then(|| text.to_owned()))
}

struct Answer {
    valid: bool,
    code: Option<String>,
    payload: Option<Value>,
    level: Option<String>,
}

/// A reply that is too long, lacks `valid`, or has a field of the wrong type is no reply.
fn parse(text: &str, max_chars: usize) -> Option<Answer> {
    if text.chars().count() > max_chars {
        return None;
    }
    let reply: Map<String, Value> = serde_json::from_str(text).ok()?;
    let string = |key: &str| match reply.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    };
    let payload = match reply.get("payload") {
        None | Some(Value::Null) => None,
        Some(payload @ Value::Object(_)) => Some(payload.clone()),
        Some(_) => return None,
    };
    Some(Answer {
        valid: reply.get("valid")?.as_bool()?,
        code: string("code")?,
        payload,
        level: string("chatroom_msg_level")?,
    })
}

/// Text up to 1 KB may be rewritten; other types up to 5 KB only by contract; commands never.
fn rewritten(rule: &PreSendRule, mut draft: Draft, answer: Answer) -> Draft {
    if draft.kind == ChatType::ChatRoom && answer.level.is_some() {
        draft.options.level = answer.level;
    }
    let kind = draft.body.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(payload) = answer.payload else { return draft };
    let body = match rule.payload {
        PayloadForm::Flat => payload.clone(),
        PayloadForm::Bodies => payload["bodies"][0].clone(),
    };
    let limit = if kind == "txt" { 1_024 } else { 5 * 1_024 };
    let allowed = (kind == "txt" || rule.rewrite_any) && kind != "cmd";
    let same_type = body.get("type").and_then(Value::as_str).is_none_or(|new| new == kind);
    if !allowed || !same_type || !body.is_object() || body.to_string().len() > limit {
        return draft;
    }
    let mut body = body;
    body["type"] = json!(kind);
    if let (PayloadForm::Bodies, Some(ext)) = (rule.payload, payload.get("ext")) {
        draft.ext = Arc::new(ext.clone());
    }
    draft.body = Arc::new(body);
    draft
}
