//! What is said about messages and users: recalls, receipts, edits, reactions, verdicts, pushes, logins, contacts.

use serde_json::{Map, Value};
use switchboard_contract::{
    EventKey, Inbound, InboundData, InboundPlace, KeyClass, PresenceState, ReceiptKind, Timestamp, VendorGroupId,
    VendorMessageId, VendorUserId,
};

use super::item::{Context, Scene};
use super::{ext, keys};
use crate::wire::{ReactedMessage, Reactions, object};

pub(super) fn recall(context: &Context<'_>) -> Option<Inbound> {
    let (item, payload) = (context.item, context.payload);
    let target = item.recall_id.as_deref().or(payload.ack_message_id.as_deref())?;
    let target = VendorMessageId::from(target);
    let by = context.sender().map(|user| context.codec.user(user));
    let key = EventKey::recall(&target);
    Some(context.event(key, context.place()?, InboundData::Recall { target, by, reason: None }))
}

pub(super) fn receipt(context: &Context<'_>) -> Option<Inbound> {
    let reader = context.codec.user(context.sender()?);
    let target = context.payload.ack_message_id.as_deref().map(VendorMessageId::from);
    let (word, kind, whole_conversation) = match context.item.chat_type.as_deref()? {
        "read_ack" => ("read", ReceiptKind::Read, false),
        "channel_ack" => ("read_to", ReceiptKind::Read, true),
        _ => ("delivered", ReceiptKind::Delivered, false),
    };
    let place = context.place()?;
    let key = match &target {
        Some(target) => keys::joined(KeyClass::Receipt, &[word, target.as_str(), reader.as_str()]),
        // A whole conversation without a message: each statement is its own.
        None if whole_conversation => {
            keys::joined(KeyClass::Receipt, &[word, context.item.msg_id.as_deref()?, reader.as_str()])
        }
        None => return None,
    };
    Some(context.event(key, place, InboundData::Receipt { kind, reader, target, whole_conversation }))
}

pub(super) fn edit(context: &Context<'_>) -> Option<Inbound> {
    let payload = context.payload;
    let target = VendorMessageId::from(payload.edit_message_id.as_deref()?);
    let meta = payload.meta.as_ref().and_then(|meta| meta.edit_msg.as_ref());
    let version = meta.and_then(|meta| meta.count).and_then(|count| count.to_u64());
    let number = version.map(|version| version.to_string());
    let own = number.as_deref().or(context.item.msg_id.as_deref())?;
    let key = keys::joined(KeyClass::Edit, &[target.as_str(), own]);
    let by = meta.and_then(|meta| meta.operator.as_deref()).or(context.sender());
    let by = by.map(|user| context.codec.user(user));
    let body = if payload.bodies.as_ref().is_some_and(|bodies| !bodies.is_empty()) { context.body() } else { None };
    let read = ext::read(payload.ext, context.codec.reserved());
    let ext = payload.ext.is_some().then_some(read.ext);
    let place = match meta.and_then(|meta| meta.chat_type.as_deref()) {
        Some("chat:group") => context.place_in(Scene::Group),
        Some("chat:room") => context.place_in(Scene::Room),
        Some("chat:user") => context.place_in(Scene::Direct),
        _ => context.place(),
    };
    Some(context.event(key, place?, InboundData::Edit { target, version, by, body, ext }))
}

pub(super) fn presence(context: &Context<'_>) -> Option<Inbound> {
    let item = context.item;
    let long = item.user.as_deref();
    let user = item.name.as_deref().or_else(|| long.map(|long| context.codec.plain(long)))?;
    let device = long.and_then(|long| long.split_once('/')).map(|(_, device)| device.to_owned());
    let status = item.status.as_deref()?;
    let state = match status {
        "online" => PresenceState::Online,
        "offline" => PresenceState::Offline,
        _ => PresenceState::Unknown,
    };
    let time = context.sent_at.0.to_string();
    let key = keys::joined(KeyClass::Presence, &[user, device.as_deref().unwrap_or_default(), status, &time]);
    let data = InboundData::Presence {
        user: VendorUserId::from(user),
        state,
        reason: item.reason.as_deref().map(str::to_owned),
        platform: item.os.as_deref().map(str::to_lowercase),
        device,
    };
    Some(context.event(key, InboundPlace::Nowhere, data))
}

pub(super) fn contact(context: &Context<'_>) -> Option<Inbound> {
    let user = context.codec.user(context.sender()?);
    let peer = context.codec.user(context.item.to.as_deref()?);
    let operation = context.payload.operation.as_deref()?;
    let change = match operation {
        "add" => "requested",
        "remove" => "removed",
        "accept" | "remote_accept" => "accepted",
        "decline" | "remote_decline" => "declined",
        "ban" => "blocked",
        "allow" => "unblocked",
        other => other,
    };
    let number = context.item.msg_id.as_deref().unwrap_or_default();
    let key = keys::joined(KeyClass::Contact, &[user.as_str(), peer.as_str(), operation, number]);
    let data = InboundData::Contact { user, peer, change: change.to_lowercase() };
    Some(context.event(key, InboundPlace::Nowhere, data))
}

/// One callback holds several messages with several reactions each; every change of one user is an event.
pub(super) fn reactions(context: &Context<'_>) -> Option<Vec<Inbound>> {
    let list: Reactions<'_> = object(context.raw_payload()?.get().as_bytes()).ok()?;
    let mut events = Vec::new();
    for raw in list.data {
        let message: ReactedMessage<'_> = object(raw.get().as_bytes()).ok()?;
        let place = reacted_place(context, &message)?;
        for entry in &message.reactions {
            for op in &entry.op {
                let sent_at = message.ts.map_or(context.sent_at, |ts| Timestamp(ts.0));
                let by = op.operator.as_deref().map(|user| context.codec.user(user));
                let who = by.as_ref().map_or("", VendorUserId::as_str);
                let time = sent_at.0.to_string();
                let key_parts = [&*message.message_id, &*entry.reaction, who, &*op.kind, time.as_str()];
                let key = keys::joined(KeyClass::Reaction, &key_parts);
                let data = InboundData::Reaction {
                    target: VendorMessageId::from(&*message.message_id),
                    by,
                    reaction: entry.reaction.to_string(),
                    removed: matches!(&*op.kind, "delete" | "remove"),
                };
                let mut event = context.event(key, place.clone(), data);
                event.sent_at = sent_at;
                event.raw = context.raw.slice_ref(raw.get().as_bytes());
                events.push(event);
            }
        }
    }
    Some(events)
}

fn reacted_place(context: &Context<'_>, message: &ReactedMessage<'_>) -> Option<InboundPlace> {
    let to = message.to.as_deref()?;
    Some(match message.channel_type.as_deref() {
        Some("chat") | None => {
            InboundPlace::Direct { from: context.codec.user(message.from.as_deref()?), to: context.codec.user(to) }
        }
        Some("chatroom") => InboundPlace::Room { room: VendorGroupId::from(context.codec.plain(to)) },
        Some(_) => InboundPlace::GroupOrRoom { id: VendorGroupId::from(context.codec.plain(to)) },
    })
}

pub(super) fn moderation(context: &Context<'_>) -> Option<Inbound> {
    let item = context.item;
    let target = VendorMessageId::from(item.message_id.as_deref()?);
    let verdict = match item.moderation_result.as_deref()? {
        "EXCHANGE" => "replace".to_owned(),
        other => other.to_lowercase(),
    };
    let place = match item.target_type.as_deref() {
        Some("groupchat" | "group") => context.place_in(Scene::Group),
        Some("chatroom") => context.place_in(Scene::Room),
        _ => context.place_in(Scene::Direct),
    };
    // The message itself, and what the event says in its own fields.
    let detail = rest(
        context.raw,
        &[
            "callId",
            "eventType",
            "timestamp",
            "security",
            "securityVersion",
            "appkey",
            "host",
            "messageId",
            "moderationResult",
            "from",
            "to",
            "msg",
            "url",
            "payload",
        ],
    );
    let key = keys::joined(KeyClass::Moderation, &[target.as_str(), &verdict]);
    Some(context.event(key, place?, InboundData::Moderation { target, verdict, detail }))
}

/// A question about a message, not the message: if it passes, its own callback brings it under the same id.
pub(super) fn pre_send(context: &Context<'_>) -> Option<Inbound> {
    let target = VendorMessageId::from(context.item.msg_id.as_deref()?);
    let from = context.codec.user(context.sender()?);
    let body = context.body()?;
    let detail = serde_json::json!({ "stage": "pre_send", "from": from, "body": body.kind() });
    let key = keys::joined(KeyClass::Moderation, &["pre-send", target.as_str()]);
    let data = InboundData::Moderation { target, verdict: "requested".to_owned(), detail };
    Some(context.event(key, context.place()?, data))
}

pub(super) fn push(context: &Context<'_>) -> Option<Inbound> {
    let item = context.item;
    let recipient = context.codec.user(item.target.as_deref()?);
    let status = item.status.as_deref()?;
    let outcome = match status {
        "success" => "sent",
        "fail" | "error" => "failed",
        other => other,
    };
    let number = item.msg_id.as_deref().unwrap_or_default();
    let key = keys::joined(KeyClass::Push, &[number, recipient.as_str(), status]);
    let target = item.msg_id.as_deref().map(VendorMessageId::from);
    let detail = rest(
        context.raw,
        &["callId", "timestamp", "security", "securityVersion", "appkey", "host", "msg_id", "target", "payload"],
    );
    let data = InboundData::Push { target, recipient, outcome: outcome.to_lowercase(), detail };
    // The vendor names the recipient and the message, not the conversation.
    Some(context.event(key, InboundPlace::Nowhere, data))
}

/// The item's fields without these; `Null` when nothing is left.
fn rest(raw: &[u8], without: &[&str]) -> Value {
    let mut fields: Map<String, Value> = serde_json::from_slice(raw).unwrap_or_default();
    fields.retain(|name, _| !without.contains(&name.as_str()));
    if fields.is_empty() { Value::Null } else { Value::Object(fields) }
}

/// Kinds that the vendor's samples show without a signature (SW/callback_reaction, SW/callback_offline_push).
pub(super) fn may_lack_signature(chat_type: Option<&str>, step: Option<&str>) -> bool {
    chat_type == Some("notify") || step == Some("push")
}
