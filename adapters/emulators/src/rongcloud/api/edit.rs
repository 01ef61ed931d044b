//! Changing a message's content after it was sent.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Call, Endpoint,
    publish::{DEFAULT_CHANNEL, RANDOM_MS},
};
use crate::rongcloud::{
    model::{ConversationKind, Message, Origin},
    reply::{Answer, Refusal, done, fields},
    state::{Core, Draft, Reserved},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/message/private/modify.json", |call| modify(call, ConversationKind::Private, "targetId")),
    Endpoint::form("/message/group/modify.json", |call| modify(call, ConversationKind::Group, "groupId")),
    Endpoint::form("/ultragroup/msg/modify.json", |call| modify(call, ConversationKind::UltraGroup, "groupId")),
    Endpoint::form("/ultragroup/msg/get.json", get),
];

fn modify(call: &mut Call<'_>, kind: ConversationKind, place: &str) -> Answer {
    let from = call.params.bounded("fromUserId", 64)?;
    let target = call.params.bounded(place, 64)?;
    let uid = call.params.bounded("msgUID", 64)?;
    let content = call.params.required("content")?;
    if content.len() > call.core.settings.limits.content_bytes {
        return Err(Refusal::too_long("content"));
    }
    let object_name = call.params.optional("objectName", 32)?;
    let channel = call.params.optional("busChannel", 20)?;
    let message = call.core.messages.get(&uid).filter(|message| message.kind == kind && message.target == target);
    let Some(message) = message else {
        if call.core.settings.messages.known_only {
            return Err(Refusal::bad_parameter("message does not exist"));
        }
        return done();
    };
    if message.from != from {
        return Err(Refusal::bad_parameter("message is of another sender"));
    }
    // An edit gives new content; no page says that it may change the type, or where the message stands.
    if object_name.is_some_and(|name| name != message.object_name) {
        return Err(Refusal::bad_parameter("objectName is not the message's"));
    }
    if kind == ConversationKind::UltraGroup && channel.as_deref().unwrap_or(DEFAULT_CHANNEL) != message.bus_channel {
        return Err(Refusal::bad_parameter("busChannel is not the message's"));
    }
    if kind == ConversationKind::UltraGroup && is_repeat(call, &uid) {
        return done();
    }
    edit(call.core, &uid, &content, Origin::Server, call.now_ms)?;
    done()
}

/// Whether this `msgRandom` edited this message within the last minute, as documented for ultra groups.
fn is_repeat(call: &mut Call<'_>, uid: &str) -> bool {
    let Some(random) = call.params.text("msgRandom") else { return false };
    let now_ms = call.now_ms;
    call.core.randoms.retain(|_, (at_ms, _)| now_ms - *at_ms <= RANDOM_MS);
    call.core.randoms.insert(format!("edit/{uid}/{random}"), (now_ms, Value::Null)).is_some()
}

/// Replaces the content and announces the edit as a record of its own where the vendor does.
///
/// # Errors
/// 1002 for an unknown message, a recalled one, and one outside the edit window.
pub(crate) fn edit(
    core: &mut Core,
    uid: &str,
    content: &str,
    origin: Origin,
    now_ms: i64,
) -> Result<Reserved, Refusal> {
    let settings = Arc::clone(&core.settings);
    let message = core.messages.get_mut(uid).filter(|message| !message.recalled);
    let message = message.ok_or_else(|| Refusal::bad_parameter("message does not exist"))?;
    let window_ms = i64::try_from(settings.messages.edit_window_ms).unwrap_or(i64::MAX);
    if window_ms > 0 && now_ms - message.time_ms > window_ms {
        return Err(Refusal::bad_parameter("message is too old to be edited"));
    }
    content.clone_into(&mut message.content);
    let announced = message.kind == ConversationKind::UltraGroup || settings.routing.private_group_edits;
    let draft = edit_record(message, content, origin);
    let body: Value = serde_json::from_str(content).unwrap_or_else(|_| Value::String(content.to_owned()));
    let ext = body.get("extra").cloned().unwrap_or_default();
    core.ledger.edit(uid, Arc::new(body), Arc::new(ext));
    Ok(if announced { core.announce(draft, now_ms) } else { core.reserve(&draft, now_ms) })
}

fn edit_record(message: &Message, content: &str, origin: Origin) -> Draft {
    let mut draft =
        Draft::server(message.kind, &message.from, &message.target).with_content(&message.object_name, content);
    draft.origin = origin;
    draft.bus_channel.clone_from(&message.bus_channel);
    draft.original_uid = Some(message.uid.clone());
    draft.persisted = false;
    draft
}

fn get(call: &mut Call<'_>) -> Answer {
    let group = call.params.bounded("groupId", 64)?;
    let wanted = call.params.json("msgs")?.ok_or_else(|| Refusal::required("msgs"))?;
    let wanted = wanted.as_array().ok_or_else(|| Refusal::bad_parameter("msgs is not a list"))?.clone();
    let data: Vec<Value> = wanted
        .iter()
        .filter_map(|entry| call.core.messages.get(entry["msgUID"].as_str()?))
        .filter(|message| message.kind == ConversationKind::UltraGroup && message.target == group)
        .map(|message| {
            json!({
                "fromUserId": message.from,
                "groupId": message.target,
                "sentTime": message.time_ms,
                "busChannel": message.bus_channel,
                "msgUID": message.uid,
                "objectName": message.object_name,
                "content": message.content,
                "expansion": message.expandable,
                "extraContent": message.extra_content(),
            })
        })
        .collect();
    fields(json!({ "data": data }))
}
