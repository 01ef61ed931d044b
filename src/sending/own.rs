//! The events sending journals itself: the message once it is accepted, each change of its state, our own recall.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use switchboard_contract::storage::{Draft, FailedAttempts, Leg, SendPayload, SendRecord, Setback, SetbackKind};
use switchboard_contract::{
    App, ClientMessageId, ConversationId, Event, EventData, EventId, EventKey, KeyClass, Message, MessageId,
    MessageRef, Origin, Recall, SendId, SendState, SendStatus, TenantId, Timestamp, UserId, VendorMessageId,
};

/// How a leg's message came to be known as accepted.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// The vendor's id, where it told one.
    pub vendor_id: Option<VendorMessageId>,
    /// By the vendor's clock where known, else ours.
    pub sent_at: Timestamp,
    /// The source that told it.
    pub origin: Origin,
    /// The adapter's sort key, where the source has one.
    pub sort_key: Option<String>,
}

/// The new state of a leg, as its status event tells it.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub state: SendState,
    pub attempts: u32,
    pub reason: Option<String>,
    pub vendor_id: Option<VendorMessageId>,
}

/// Whose state changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub tenant: &'a TenantId,
    pub app: &'a App,
    pub send: SendId,
    pub client: Option<&'a ClientMessageId>,
    pub message: MessageId,
}

impl<'a> From<&'a Leg> for Subject<'a> {
    fn from(leg: &'a Leg) -> Self {
        let SendRecord { tenant, id, client_message_id, .. } = &*leg.send;
        Self { tenant, app: &leg.app, send: *id, client: client_message_id.as_ref(), message: leg.message_id }
    }
}

/// The event of a change of state. It has no conversation, for a send that never arrives takes no sequence.
pub(crate) fn status_draft(of: Subject<'_>, status: Status, now: Timestamp) -> Draft {
    let data = EventData::SendStatus(SendStatus {
        send_id: of.send,
        message_id: of.message,
        client_message_id: of.client.cloned(),
        state: status.state,
        reason: status.reason,
        attempts: status.attempts,
        vendor_id: status.vendor_id,
    });
    let id = EventId::generate();
    Draft {
        digest: crate::ingest::digest(None, &data),
        event: Event {
            id,
            tenant: of.tenant.clone(),
            app: Some(of.app.clone()),
            conversation: None,
            sent_at: now,
            received_at: now,
            origin: Origin::Internal,
            late: false,
            data,
        },
        key: EventKey::new(KeyClass::Internal, id.to_string()),
        sort_key: String::new(),
        raw: None,
    }
}

/// A message that was given up.
pub(crate) fn dead_letter(
    leg: &Leg,
    attempts: u32,
    history: Option<&FailedAttempts>,
    reason: Option<&str>,
    now: Timestamp,
) -> Setback {
    Setback {
        number: 0,
        tenant: leg.send.tenant.clone(),
        kind: SetbackKind::Send,
        key: leg.message_id.to_string(),
        app: Some(leg.app.clone()),
        conversation: Some(leg.conversation.clone()),
        next_at: None,
        reason: reason.unwrap_or_default().to_owned(),
        attempts,
        history: history.unwrap_or(&leg.history).clone(),
        detail: json!({
            "message": leg.message_id,
            "send": leg.send.id,
            "client_message_id": leg.send.client_message_id,
            "order": leg.order,
        }),
        since: now,
    }
}

/// The key of an own message whose vendor id nobody has told yet.
pub(crate) fn own_key(message: MessageId) -> EventKey {
    EventKey::new(KeyClass::Message, format!("own/{message}"))
}

/// The message of an accepted leg, under the key its echo would have.
pub(crate) fn message_draft(leg: &Leg, carried: &Carried, now: Timestamp) -> Draft {
    let payload = &leg.send.payload;
    let data = EventData::Message(Message {
        id: leg.message_id,
        vendor_id: carried.vendor_id.clone(),
        from: payload.from.clone(),
        audience: payload.audience.clone(),
        body: Some(payload.body.clone()),
        ext: payload.ext.clone(),
        mentions: payload.mentions.clone(),
        client_message_id: leg.send.client_message_id.clone(),
        recalled: false,
    });
    let sort_key = carried.sort_key.clone();
    Draft {
        digest: crate::ingest::digest(Some(&leg.conversation), &data),
        event: Event {
            id: EventId::generate(),
            tenant: leg.send.tenant.clone(),
            app: Some(leg.app.clone()),
            conversation: Some(leg.conversation.clone()),
            sent_at: carried.sent_at,
            received_at: now,
            origin: carried.origin,
            late: false,
            data,
        },
        key: carried.vendor_id.as_ref().map_or_else(|| own_key(leg.message_id), EventKey::message),
        sort_key: sort_key.or_else(|| carried.vendor_id.as_ref().map(|id| id.as_str().to_owned())).unwrap_or_default(),
        raw: None,
    }
}

/// What our own recall of a message concerns.
#[derive(Clone, Debug)]
pub(crate) struct Recalled<'a> {
    pub tenant: &'a TenantId,
    pub app: &'a App,
    pub conversation: &'a ConversationId,
    pub message: MessageId,
    pub vendor_id: &'a VendorMessageId,
    pub by: &'a UserId,
}

/// The recall under the key the vendor's own notice of it has, so that the two are one event.
pub(crate) fn recall_draft(recalled: &Recalled<'_>, now: Timestamp) -> Draft {
    let data = EventData::Recall(Recall {
        target: MessageRef { id: Some(recalled.message), vendor_id: Some(recalled.vendor_id.clone()) },
        by: Some(recalled.by.clone()),
        reason: None,
    });
    Draft {
        digest: crate::ingest::digest(Some(recalled.conversation), &data),
        event: Event {
            id: EventId::generate(),
            tenant: recalled.tenant.clone(),
            app: Some(recalled.app.clone()),
            conversation: Some(recalled.conversation.clone()),
            sent_at: now,
            received_at: now,
            origin: Origin::Send,
            late: false,
            data,
        },
        key: EventKey::recall(recalled.vendor_id),
        sort_key: recalled.vendor_id.as_str().to_owned(),
        raw: None,
    }
}

/// A hash by which another message under the same `client_message_id` is noticed. Equal payloads have equal hashes
/// whatever the order of keys in `ext`.
pub(crate) fn payload_digest(payload: &SendPayload) -> [u8; 32] {
    let mut hasher = Sha256::new();
    // No value of these types fails to become JSON; were one to, it would count as other content, never as the same.
    let value = serde_json::to_value(payload).unwrap_or_else(|error| Value::String(error.to_string()));
    hash_canonical(&value, &mut hasher);
    hasher.finalize().into()
}

/// Feeds JSON with its keys in order: `serde_json` keeps the order of insertion when some crate asks it to.
fn hash_canonical(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            hasher.update(b"{");
            for (key, value) in entries {
                hash_text(key, hasher);
                hash_canonical(value, hasher);
            }
            hasher.update(b"}");
        }
        Value::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| hash_canonical(item, hasher));
            hasher.update(b"]");
        }
        Value::String(text) => hash_text(text, hasher),
        other => {
            hasher.update(other.to_string());
            hasher.update(b",");
        }
    }
}

fn hash_text(text: &str, hasher: &mut Sha256) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::sending::{Outgoing, To};

    fn digest(ext: &str) -> [u8; 32] {
        let outgoing = Outgoing::text("alice", To::user("bob"), "hi").ext(serde_json::from_str(ext).unwrap());
        payload_digest(&outgoing.into_payload())
    }

    #[test]
    fn the_digest_ignores_the_order_of_keys_and_nothing_else() {
        assert_eq!(digest(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#), digest(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#));
        for other in [r#"{"a":1}"#, r#"{"a":"1"}"#, r#"{"a":1.0}"#, r#"{"a":[1]}"#, r#"{"a":[[1]]}"#, r#"{"ab":""}"#] {
            for same in [r#"{}"#, r#"{"a":2}"#, r#"{"a":"b"}"#] {
                assert_ne!(digest(other), digest(same), "{other} {same}");
            }
        }
    }
}
