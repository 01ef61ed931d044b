//! One number for the content of an event, the same from whatever source it came.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use switchboard_contract::{Body, ConversationId, EventData, Message, MessageRef};

/// The digest of an event's canonical content, for [`Draft::digest`](switchboard_contract::storage::Draft).
///
/// For a message: conversation, sender, body, `ext` and audience. For everything else: what it says about what its key
/// names, never where that is, since the key names it already and not every source knows the place. Unequal digests
/// under one key are other words for one event, recorded as a variant; only a message or an edit can contradict
/// itself. It is stored: the form may never change.
pub fn digest(conversation: Option<&ConversationId>, data: &EventData) -> u64 {
    let mut text = String::with_capacity(512);
    text.push_str(data.type_name());
    text.push('\n');
    if let EventData::Message(_) = data {
        text.push_str(conversation.map_or("", ConversationId::as_str));
    }
    text.push('\n');
    match data {
        EventData::Message(message) => write_message(message, &mut text),
        other => write_value(&facts(other), &mut text),
    }
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn write_message(message: &Message, out: &mut String) {
    write_text(message.from.as_str(), out);
    out.push('\n');
    match &message.body {
        // Most messages are this, and a value tree costs more than the rest of the digest.
        Some(Body::Text(text)) => {
            out.push_str("{\"text\":");
            write_text(&text.text, out);
            out.push_str(",\"type\":\"text\"}");
        }
        Some(body) => write_value(&serde_json::to_value(body).unwrap_or_default(), out),
        None => {}
    }
    out.push('\n');
    write_object(&message.ext, out);
    for user in &message.audience {
        out.push('\n');
        write_text(user.as_str(), out);
    }
}

/// What an event says, without ids of ours, times, and what its key is a hash of.
fn facts(data: &EventData) -> Value {
    let vendor = |target: &MessageRef| json!(target.vendor_id);
    match data {
        EventData::Recall(recall) => json!([vendor(&recall.target), recall.by, recall.reason]),
        EventData::Edit(edit) => json!([vendor(&edit.target), edit.version, edit.body, edit.ext]),
        EventData::Receipt(receipt) => {
            json!([receipt.kind, receipt.reader, receipt.target.as_ref().map(vendor), receipt.whole_conversation])
        }
        EventData::RecipientOffline(offline) => json!([vendor(&offline.target), offline.recipient]),
        EventData::SendStatus(status) => json!([status.message_id, status.state, status.reason]),
        EventData::Presence(presence) => {
            json!([presence.user, presence.state, presence.device, presence.reason, presence.platform])
        }
        EventData::Group(change) => {
            json!([change.group, change.change, change.members, change.by, change.detail])
        }
        EventData::Contact(change) => json!([change.user, change.peer, change.change]),
        EventData::Reaction(reaction) => {
            json!([vendor(&reaction.target), reaction.by, reaction.reaction, reaction.removed])
        }
        EventData::Moderation(moderation) => {
            json!([vendor(&moderation.target), moderation.verdict, moderation.detail])
        }
        EventData::PushResult(push) => {
            json!([push.target.as_ref().map(vendor), push.recipient, push.outcome, push.detail])
        }
        EventData::Notice(notice) => json!([notice.topic, notice.kind, notice.provider, notice.detail]),
        // The key is a hash of the content, from which the adapter leaves out what a vendor's retry changes.
        EventData::Unrecognised(unrecognised) => json!(unrecognised.kind),
        _ => Value::Null,
    }
}

/// Compact JSON with the keys of every object in order, whatever order the map type of this build keeps.
fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => write_object(fields, out),
        Value::String(text) => write_text(text, out),
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn write_object(fields: &Map<String, Value>, out: &mut String) {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    out.push('{');
    for (at, (name, value)) in fields.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_text(name, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

/// A quoted string that cannot run into its neighbours: quote and backslash are escaped, all else stands for itself.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        out.push_str(&rest[..at]);
        out.push('\\');
        out.push_str(&rest[at..=at]);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use switchboard_contract::{Custom, MessageId, Recall, Unrecognised, UserId, VendorMessageId};

    use super::*;

    fn message(body: Body) -> Message {
        Message {
            id: MessageId::generate(),
            vendor_id: Some("7".into()),
            from: "alice".into(),
            audience: Vec::new(),
            body: Some(body),
            ext: Map::new(),
            mentions: None,
            client_message_id: None,
            recalled: false,
        }
    }

    fn of(message: Message) -> u64 {
        let conversation = ConversationId::direct(&UserId::from("alice"), &UserId::from("bob"));
        digest(Some(&conversation), &EventData::Message(message))
    }

    #[test]
    fn ids_and_the_order_of_fields_do_not_matter() {
        let one = message(Body::text("say \"hi\"\n你好"));
        let mut other = Message { id: MessageId::generate(), vendor_id: None, ..one.clone() };
        other.client_message_id = Some("order-1".into());
        assert_eq!(of(one.clone()), of(other));

        let custom = |content: &str| {
            message(Body::Custom(Custom { name: "card".into(), data: serde_json::from_str(content).unwrap() }))
        };
        assert_eq!(of(custom(r#"{"a":1,"b":{"c":[2],"d":3}}"#)), of(custom(r#"{"b":{"d":3,"c":[2]},"a":1}"#)));
        assert_ne!(of(custom(r#"{"a":1}"#)), of(custom(r#"{"a":2}"#)));
    }

    #[test]
    fn every_part_of_the_content_matters() {
        let one = message(Body::text("hi"));
        let mut seen = vec![of(one.clone())];
        seen.push(of(Message { from: "carol".into(), ..one.clone() }));
        seen.push(of(Message { body: Some(Body::text("hi!")), ..one.clone() }));
        seen.push(of(Message { audience: vec!["bob".into()], ..one.clone() }));
        seen.push(of(Message { ext: serde_json::from_str(r#"{"n":1}"#).unwrap(), ..one.clone() }));
        seen.push(digest(None, &EventData::Message(one)));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn the_quick_way_for_text_is_the_long_way() {
        let mut long = String::new();
        write_value(&serde_json::to_value(Body::text("a\"b\\c\u{1}")).unwrap(), &mut long);
        let (mut short, text) = (String::new(), message(Body::text("a\"b\\c\u{1}")));
        write_message(&text, &mut short);
        assert_eq!(short, format!("\"alice\"\n{long}\n{{}}"));
    }

    #[test]
    fn the_place_counts_for_a_message_alone() {
        let room = ConversationId::room(&"lobby".into());
        let target = MessageRef::vendor(VendorMessageId::from("7"));
        let silent = EventData::Recall(Recall { target: target.clone(), ..Recall::default() });
        let wordy = EventData::Recall(Recall { target, by: Some("alice".into()), reason: Some("typo".into()) });
        assert_eq!(digest(None, &silent), digest(Some(&room), &silent));
        assert_ne!(digest(None, &silent), digest(None, &wordy), "the second report is worth recording");
    }

    #[test]
    fn a_retry_of_what_is_not_understood_says_the_same() {
        let of = |raw: &[u8]| digest(None, &EventData::Unrecognised(Unrecognised::keep("hologram", raw)));
        assert_eq!(of(br#"{"callId":"a_1"}"#), of(br#"{"callId":"a_2"}"#));
    }

    #[test]
    fn the_stored_form_stands() {
        let fixed = of(message(Body::text("hi")));
        assert_eq!(fixed, FIXED, "{fixed:#x}");
    }

    /// The first 8 bytes of the SHA-256 of the five lines, computed by other means.
    const FIXED: u64 = 0x211a_62d3_d233_5702;
}
