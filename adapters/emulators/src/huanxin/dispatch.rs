//! From an event to the callbacks of the rules it matches: filters, routes, `callId`, signature.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::app::App;
use super::model::EventFamily;
use super::rules::CallbackRule;
use super::settings::CallIdForm;
use crate::common::{CallbackJob, OutgoingCallback, Source};

/// Something a rule may report.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) family: EventFamily,
    /// For scripts and the ledger.
    pub(crate) label: &'static str,
    /// Message id, group or user, for the ledger.
    pub(crate) key: String,
    /// The message id `callId` may be made of.
    pub(crate) message_id: Option<String>,
    pub(crate) timestamp: i64,
    /// Everything but `callId`, `appkey`, `timestamp` and the signature.
    pub(crate) body: Map<String, Value>,
    pub(crate) facts: Facts,
}

/// What filters and routes look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) ext: Option<Arc<Value>>,
    pub(crate) env: Option<String>,
    pub(crate) source: Option<Source>,
    pub(crate) offline: bool,
    /// Carries `securityVersion`, as message events do.
    pub(crate) versioned: bool,
}

/// `lowercase hex MD5( callId + secret + decimal(timestamp) )`: the one algorithm of every family. The body is not
/// covered, although the vendor's prose says so.
pub(crate) fn signature(call_id: &str, secret: &str, timestamp: i64) -> String {
    hex::encode(Md5::digest(format!("{call_id}{secret}{timestamp}")))
}

impl App {
    /// Queues the event's callback for every rule it matches.
    pub(crate) fn emit(&self, event: &Event) {
        let settings = self.settings();
        for rule in settings.callbacks.rules.iter().filter(|rule| matches(rule, event)) {
            let signed = !settings.callbacks.unsigned.contains(&event.family);
            self.sender.submit(self.job(rule, event, signed, settings.callbacks.call_id));
        }
    }

    pub(crate) fn call_id(&self, message_id: Option<&str>, form: CallIdForm) -> String {
        match (form, message_id) {
            (CallIdForm::MessageId, Some(id)) => format!("{}_{id}", self.app_key),
            _ => format!("{}_{}", self.app_key, uuid::Uuid::new_v4()),
        }
    }

    fn job(&self, rule: &CallbackRule, event: &Event, signed: bool, form: CallIdForm) -> CallbackJob {
        let mut body = event.body.clone();
        body.insert("appkey".to_owned(), json!(self.app_key));
        body.insert("timestamp".to_owned(), json!(event.timestamp));
        let mut security = String::new();
        if signed {
            let call_id = self.call_id(event.message_id.as_deref(), form);
            security = signature(&call_id, &rule.secret, event.timestamp);
            body.insert("callId".to_owned(), json!(call_id));
            body.insert("security".to_owned(), json!(security));
            if event.facts.versioned {
                body.insert("securityVersion".to_owned(), json!("1.0.0"));
            }
        }
        post(event.label, &event.key, &rule.url, &self.app_key, &Value::Object(body), &security)
    }
}

/// A JSON callback; a spoiled signature is the true one reversed digit by digit, so it keeps its form.
pub(crate) fn post(label: &str, key: &str, url: &str, scope: &str, body: &Value, security: &str) -> CallbackJob {
    let text = body.to_string();
    let security = security.to_owned();
    let good = Bytes::from(text);
    let target = url.to_owned();
    CallbackJob {
        label: label.to_owned(),
        key: key.to_owned(),
        url: url.to_owned(),
        scope: scope.to_owned(),
        render: Arc::new(move |_, corrupt| OutgoingCallback {
            url: target.clone(),
            content_type: "application/json",
            headers: Vec::new(),
            body: if corrupt { spoil(&good, &security) } else { good.clone() },
        }),
    }
}

fn spoil(body: &Bytes, security: &str) -> Bytes {
    if security.is_empty() {
        return body.clone();
    }
    let spoiled: String = security.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    String::from_utf8_lossy(body).replace(security, &spoiled).into()
}

fn matches(rule: &CallbackRule, event: &Event) -> bool {
    let facts = &event.facts;
    let listed = |ids: &[String], id: &Option<String>| ids.is_empty() || id.as_ref().is_some_and(|id| ids.contains(id));
    let three_filters = !rule.from_ids.is_empty() && !rule.to_ids.is_empty() && !rule.group_ids.is_empty();
    let key = |ext: &Value| rule.ext_keys.iter().any(|key| ext.get(key).is_some());
    let source = match facts.source {
        Some(Source::Client) => rule.from_sdk,
        Some(Source::Rest | Source::Import | Source::Stream) => rule.from_rest,
        None => true,
    };
    let kind = event.family != EventFamily::Message || if facts.offline { rule.chat_offline } else { rule.chat };
    rule.enabled
        && (rule.events.is_empty() || rule.events.contains(&event.family))
        && rule.env == facts.env
        && kind
        && source
        && !three_filters
        && listed(&rule.from_ids, &facts.from)
        && listed(&rule.to_ids, &facts.to)
        && listed(&rule.group_ids, &facts.group)
        && (rule.ext_keys.is_empty() || facts.ext.as_deref().is_some_and(key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_signature_vector_is_reproduced() {
        let vector: Value =
            serde_json::from_str(include_str!("../../fixtures/huanxin/callback_signature_vector.json")).unwrap();
        let text = |key: &str| vector[key].as_str().unwrap().to_owned();
        let timestamp = vector["timestamp"].as_i64().unwrap();
        assert_eq!(signature(&text("callId"), &text("secret"), timestamp), text("security"));
        assert_eq!(format!("{}{}{timestamp}", text("callId"), text("secret")), text("md5_input"));
    }

    #[test]
    fn a_spoiled_signature_differs_in_every_digit() {
        let body = Bytes::from_static(b"{\"security\":\"0af98b38\"}");
        assert_eq!(spoil(&body, "0af98b38"), Bytes::from_static(b"{\"security\":\"10000000\"}"));
    }
}
