//! One text with placeholders, filled in per recipient.

use serde_json::Value;

use super::{
    Call, Endpoint,
    publish::{Outgoing, charge_send, published},
};
use crate::rongcloud::{
    model::ConversationKind,
    reply::{Answer, Refusal},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::json("/message/private/publish_template.json", private).own_quota(),
    Endpoint::json("/message/system/publish_template.json", system).own_quota(),
];

fn private(call: &mut Call<'_>) -> Answer {
    let max = call.core.settings.limits.private_recipients;
    send(call, ConversationKind::Private, max)
}

fn system(call: &mut Call<'_>) -> Answer {
    let max = call.core.settings.limits.system_recipients;
    send(call, ConversationKind::System, max)
}

fn send(call: &mut Call<'_>, kind: ConversationKind, max: usize) -> Answer {
    let outgoing = Outgoing::read(call)?;
    let recipients = call.params.ids("toUserId", max)?;
    let values = call.params.raw("values").and_then(Value::as_array).ok_or_else(|| Refusal::required("values"))?;
    if values.len() != recipients.len() || !values.iter().all(Value::is_object) {
        return Err(Refusal::bad_parameter("values does not match toUserId"));
    }
    let own = |key: &str| match call.params.raw(key).and_then(Value::as_array) {
        Some(list) if list.len() != recipients.len() => {
            Err(Refusal::bad_parameter(format!("{key} does not match toUserId")))
        }
        Some(list) => Ok(list.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()),
        None => Ok(vec![String::new(); recipients.len()]),
    };
    let pushes: Vec<(String, String)> = std::iter::zip(own("pushContent")?, own("pushData")?).collect();
    charge_send(call, kind, recipients.len())?;
    let mut uids = Vec::with_capacity(recipients.len());
    for ((recipient, values), (push_content, push_data)) in recipients.into_iter().zip(values).zip(pushes) {
        if outgoing.verify_blacklist && call.core.has_blacklisted(&recipient, &outgoing.from) {
            continue;
        }
        let mut draft = outgoing.draft(call, kind, &recipient);
        draft.content = filled(&outgoing.content, values);
        if let Some(push) = &mut draft.push {
            (push.content, push.data) = (push_content, push_data);
        }
        draft.sender_sees = kind == ConversationKind::System;
        draft.fan_out_copy = !uids.is_empty();
        let accepted = call.core.accept(draft, call.now_ms);
        uids.push((recipient, accepted.uid));
    }
    published(call, "userId", &uids)
}

/// Keys include their braces, as the vendor's samples spell them. Values go into a JSON text and are escaped for it.
fn filled(template: &str, values: &Value) -> String {
    let mut text = template.to_owned();
    for (key, value) in values.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let quoted = Value::String(value).to_string();
        text = text.replace(key.as_str(), quoted.trim_matches('"'));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::filled;

    #[test]
    fn placeholders_are_filled_and_escaped() {
        let template = r#"{"content":"{name}, order {no}"}"#;
        assert_eq!(filled(template, &json!({ "{name}": "Bob", "{no}": 7 })), r#"{"content":"Bob, order 7"}"#);
        let text = filled(template, &json!({ "{name}": "B\"o\nb", "{no}": "" }));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).ok(),
            Some(json!({ "content": "B\"o\nb, order " }))
        );
    }
}
