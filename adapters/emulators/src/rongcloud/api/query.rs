//! Reading a conversation back from cloud storage, always from one user's view.

use serde_json::{Value, json};

use super::{Call, Endpoint, publish::DEFAULT_CHANNEL};
use crate::rongcloud::{
    model::{ConversationKind, Message},
    reply::{Answer, Refusal, fields},
    settings::QueryOrder,
    state::Core,
    store::ConversationKey,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::json("/v3/message/private/query.json", |call| query(call, ConversationKind::Private)),
    Endpoint::json("/v3/message/group/query.json", |call| query(call, ConversationKind::Group)),
    Endpoint::json("/v3/message/ultragroup/query.json", |call| query(call, ConversationKind::UltraGroup)),
    Endpoint::json("/v3/message/chatroom/query.json", |call| query(call, ConversationKind::Chatroom)),
    Endpoint::form("/ultragroup/hismsg/query.json", ultra_group_by_time),
    Endpoint::form("/ultragroup/hismsg/msgid/query.json", ultra_group_around),
];

struct Range {
    from_ms: i64,
    to_ms: i64,
    count: usize,
}

fn range(call: &Call<'_>, default_size: i64, include_start: bool) -> Result<Range, Refusal> {
    let start_ms = call.params.integer_in("startTime", 0..=i64::MAX)?;
    let end_ms = call.params.integer_in("endTime", 0..=i64::MAX)?;
    let count = call.params.integer_or("pageSize", default_size, 1..=100)?;
    let query = &call.core.settings.query;
    let span_ms = i64::try_from(query.max_span_ms).unwrap_or(i64::MAX);
    if end_ms < start_ms || (span_ms > 0 && end_ms - start_ms > span_ms) {
        return Err(Refusal::bad_parameter("startTime and endTime span no or too long a time"));
    }
    Ok(Range {
        from_ms: if include_start { start_ms } else { start_ms.saturating_add(1) },
        to_ms: if query.end_exclusive { end_ms - 1 } else { end_ms },
        count: usize::try_from(count).unwrap_or(1),
    })
}

fn retention_ms(core: &Core, kind: ConversationKind) -> i64 {
    let query = &core.settings.query;
    let kept = match kind {
        ConversationKind::Chatroom => query.chatroom_retention_ms,
        ConversationKind::UltraGroup => query.ultra_group_retention_ms,
        _ => query.retention_ms,
    };
    i64::try_from(kept).unwrap_or(i64::MAX)
}

fn check_view(core: &Core, kind: ConversationKind, user: &str, target: &str) -> Result<(), Refusal> {
    if !core.settings.query.enabled {
        return Err(Refusal::not_enabled());
    }
    let member = match kind {
        ConversationKind::Group => core.groups.get(target).is_some_and(|group| group.members.contains(user)),
        ConversationKind::UltraGroup => core.ultra_groups.get(target).is_some_and(|group| group.members.contains(user)),
        _ => true,
    };
    if member || !core.settings.query.member_only {
        Ok(())
    } else {
        Err(Refusal::bad_parameter("userId is not in the group"))
    }
}

fn query(call: &mut Call<'_>, kind: ConversationKind) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    let target = call.params.bounded("targetId", 64)?;
    let include_start = call.params.flag("includeStart", false)?;
    let range = range(call, 10, include_start)?;
    check_view(call.core, kind, &user, &target)?;
    let mut channel = call.params.optional("busChannel", 20)?.unwrap_or_default();
    if kind == ConversationKind::UltraGroup && channel.is_empty() {
        DEFAULT_CHANNEL.clone_into(&mut channel);
    }
    let data: Vec<Value> = page(call, kind, &user, &target, &channel, &range)
        .into_iter()
        .map(|message| {
            let mut item = json!({
                "targetId": message.target,
                "fromUserId": message.from,
                "messageUID": message.uid,
                "msgTime": message.time_ms,
                "objectName": message.object_name,
                "content": message.content,
                "expansion": message.expandable,
                "extraContent": message.extra_content(),
            });
            if !message.bus_channel.is_empty() {
                item["busChannel"] = Value::String(message.bus_channel.clone());
            }
            item
        })
        .collect();
    fields(json!({ "data": data }))
}

fn page<'a>(
    call: &'a Call<'_>,
    kind: ConversationKind,
    user: &str,
    target: &str,
    channel: &str,
    range: &Range,
) -> Vec<&'a Message> {
    let core = &*call.core;
    let key = ConversationKey::new(kind, user, target, channel);
    let from_ms = range.from_ms.max(call.now_ms.saturating_sub(retention_ms(core, kind)));
    let visible =
        core.messages.conversation(&key, from_ms, range.to_ms).filter(|message| core.visible(message, user, &key));
    match core.settings.query.order {
        QueryOrder::Descending => visible.rev().take(range.count).collect(),
        QueryOrder::Ascending => visible.take(range.count).collect(),
    }
}

fn ultra_group_item(message: &Message) -> Value {
    json!({
        "groupId": message.target,
        "fromUserId": message.from,
        "msgUID": message.uid,
        "msgTime": message.time_ms,
        "objectName": message.object_name,
        "conversationType": message.kind.number(),
        "busChannel": message.bus_channel,
        "content": message.content,
        "expansion": message.expandable,
        "extraContent": message.extra_content(),
    })
}

fn ultra_group_place(call: &Call<'_>) -> Result<(String, String), Refusal> {
    if !call.core.settings.query.enabled {
        return Err(Refusal::not_enabled());
    }
    let group = call.params.bounded("groupId", 64)?;
    let channel = call.params.optional("busChannel", 20)?;
    Ok((group, channel.unwrap_or_else(|| DEFAULT_CHANNEL.to_owned())))
}

fn ultra_group_by_time(call: &mut Call<'_>) -> Answer {
    let (group, channel) = ultra_group_place(call)?;
    let sender = call.params.optional("fromUserId", 64)?;
    let range = range(call, 20, true)?;
    let wide = Range { count: usize::MAX, ..range };
    let found = page(call, ConversationKind::UltraGroup, "", &group, &channel, &wide);
    let data: Vec<Value> = found
        .into_iter()
        .filter(|message| sender.as_ref().is_none_or(|sender| *sender == message.from))
        .take(range.count)
        .map(ultra_group_item)
        .collect();
    fields(json!({ "data": data }))
}

/// Neighbours of one message, oldest first.
fn ultra_group_around(call: &mut Call<'_>) -> Answer {
    let (group, channel) = ultra_group_place(call)?;
    let uid = call.params.bounded("msgUID", 64)?;
    let before = usize::try_from(call.params.integer_or("prevNum", 10, 0..=50)?).unwrap_or_default();
    let after = usize::try_from(call.params.integer_or("lastNum", 10, 0..=50)?).unwrap_or_default();
    let core = &*call.core;
    let key = ConversationKey::new(ConversationKind::UltraGroup, "", &group, &channel);
    let from_ms = call.now_ms.saturating_sub(retention_ms(core, ConversationKind::UltraGroup));
    let all: Vec<&Message> = core
        .messages
        .conversation(&key, from_ms, i64::MAX)
        .filter(|message| core.visible(message, "", &key) || message.uid == uid)
        .collect();
    let middle = all.iter().position(|message| message.uid == uid);
    let middle = middle.ok_or_else(|| Refusal::bad_parameter("message does not exist"))?;
    let end = (middle + after + 1).min(all.len());
    let data: Vec<Value> =
        all[middle.saturating_sub(before)..end].iter().map(|message| ultra_group_item(message)).collect();
    fields(json!({ "data": data }))
}
