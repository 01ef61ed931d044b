//! Chatrooms: life, members, keep-alive, distribution, message priority.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Call, Endpoint};
use crate::rongcloud::{
    model::{DestroyRule, Room},
    reply::{Answer, Refusal, done, fields},
    state::Core,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/chatroom/create_new.json", create_new),
    Endpoint::form("/chatroom/create.json", create),
    Endpoint::form("/chatroom/destroy.json", destroy),
    Endpoint::form("/chatroom/destroy/set.json", set_destroy),
    Endpoint::form("/chatroom/get.json", get),
    Endpoint::form("/chatroom/query.json", query),
    Endpoint::form("/chatroom/user/query.json", members),
    Endpoint::form("/chatroom/users/exist.json", members_exist),
    Endpoint::form("/chatroom/user/exist.json", member_exists),
    Endpoint::form("/chatroom/message/stopDistribution.json", |call| distribute(call, false)),
    Endpoint::form("/chatroom/message/resumeDistribution.json", |call| distribute(call, true)),
    Endpoint::form("/chatroom/keepalive/add.json", keep_alive),
    Endpoint::form("/chatroom/keepalive/remove.json", let_die),
    Endpoint::form("/chatroom/keepalive/query.json", kept_alive).may_be_empty(),
    Endpoint::form("/chatroom/whitelist/add.json", |call| types(call, "objectnames", true, whitelist)),
    Endpoint::form("/chatroom/whitelist/delete.json", |call| types(call, "objectnames", false, whitelist)),
    Endpoint::form("/chatroom/whitelist/query.json", whitelisted_types).may_be_empty(),
    Endpoint::form("/chatroom/message/priority/add.json", |call| types(call, "objectName", true, priority)),
    Endpoint::form("/chatroom/message/priority/remove.json", |call| types(call, "objectName", false, priority)),
    Endpoint::form("/chatroom/message/priority/query.json", low_priority_types).may_be_empty(),
];

/// The room a call names, which must exist.
pub(super) fn room<'a>(call: &'a mut Call<'_>) -> Result<&'a mut Room, Refusal> {
    let id = call.params.bounded("chatroomId", 64)?;
    call.core.rooms.get_mut(&id).ok_or_else(|| Refusal::bad_parameter("chatroomId does not exist"))
}

fn destroy_rule(call: &Call<'_>) -> Result<Option<DestroyRule>, Refusal> {
    if call.params.text("destroyType").is_none() {
        return Ok(None);
    }
    let kind = call.params.integer_in("destroyType", 0..=1)?;
    let minutes = call.params.integer_or("destroyTime", 60, 60..=10_080)?;
    Ok(Some(DestroyRule { kind, minutes }))
}

fn create_new(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("chatroomId", 64)?;
    let destroy = destroy_rule(call)?;
    let banned = call.params.flag("isBan", false)?;
    let whitelist = call.params.list("whiteUserIds");
    if whitelist.len() > 20 {
        return Err(Refusal::bad_parameter("whiteUserIds has more than 20 entries"));
    }
    let owner = call.params.text("entryOwnerId").unwrap_or_default();
    let entries = super::chatroom_entry::entry_pairs(call, 100)?;
    let now_ms = call.now_ms;
    let room = call.core.room_or_create(&id, None, now_ms);
    room.destroy = destroy;
    room.banned = banned;
    room.ban_whitelist.extend(whitelist);
    super::chatroom_entry::store(room, entries, &owner, false, now_ms)?;
    done()
}

fn create(call: &mut Call<'_>) -> Answer {
    let rooms = call.params.bracketed("chatroom");
    if rooms.is_empty() {
        return Err(Refusal::required("chatroom"));
    }
    for (id, name) in rooms {
        call.core.room_or_create(&id, None, call.now_ms).name = name;
    }
    done()
}

fn destroy(call: &mut Call<'_>) -> Answer {
    for id in call.params.ids("chatroomId", 100)? {
        call.core.destroy_room(&id, call.now_ms);
    }
    done()
}

fn set_destroy(call: &mut Call<'_>) -> Answer {
    let rule = destroy_rule(call)?.ok_or_else(|| Refusal::required("destroyType"))?;
    room(call)?.destroy = Some(rule);
    done()
}

fn get(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("chatroomId", 64)?;
    let room = room(call)?;
    fields(json!({
        "chatroomId": id,
        "createTime": room.created_ms,
        "memberCount": room.members.len(),
        "destroyType": room.destroy.map_or(0, |rule| rule.kind),
        "destroyTime": room.destroy.map_or(60, |rule| rule.minutes),
        "ban": room.banned,
    }))
}

fn query(call: &mut Call<'_>) -> Answer {
    let ids = call.params.ids("chatroomId", 100)?;
    let core = &call.core;
    let rooms: Vec<Value> = ids
        .iter()
        .filter_map(|id| Some((id, core.rooms.get(id)?)))
        .map(|(id, room)| json!({ "chrmId": id, "name": room.name, "time": core.local(room.created_ms) }))
        .collect();
    fields(json!({ "chatRooms": rooms }))
}

/// `order` 1 is by time of joining, 2 the reverse.
fn members(call: &mut Call<'_>) -> Answer {
    let count = call.params.integer_or("count", 500, 1..=500)?;
    let order = call.params.integer_or("order", 1, 1..=2)?;
    let room = room(call)?.clone();
    let mut joined: Vec<(&String, &i64)> = room.members.iter().collect();
    joined.sort_by_key(|(_, at_ms)| **at_ms);
    if order == 2 {
        joined.reverse();
    }
    let users: Vec<Value> = joined
        .iter()
        .take(usize::try_from(count).unwrap_or(500))
        .map(|(user, at_ms)| json!({ "id": user, "time": call.core.local(**at_ms) }))
        .collect();
    fields(json!({ "total": room.members.len(), "users": users }))
}

fn members_exist(call: &mut Call<'_>) -> Answer {
    let users = call.params.ids("userId", 1000)?;
    let room = room(call)?;
    let result: Vec<Value> = users
        .iter()
        .map(|user| json!({ "userId": user, "isInChrm": i64::from(room.members.contains_key(user)) }))
        .collect();
    fields(json!({ "result": result }))
}

fn member_exists(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    let inside = room(call)?.members.contains_key(&user);
    fields(json!({ "isInChrm": inside }))
}

fn distribute(call: &mut Call<'_>, resume: bool) -> Answer {
    room(call)?.distribution_stopped = !resume;
    done()
}

fn keep_alive(call: &mut Call<'_>) -> Answer {
    let limit = call.core.settings.limits.keepalive_rooms;
    let kept = call.core.rooms.values().filter(|room| room.keepalive).count();
    let id = call.params.bounded("chatroomId", 64)?;
    let room = call.core.rooms.get_mut(&id).ok_or_else(Refusal::keepalive_missing)?;
    if !room.keepalive && kept >= limit {
        return Err(Refusal::keepalive_limit());
    }
    room.keepalive = true;
    done()
}

fn let_die(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("chatroomId", 64)?;
    let room = call.core.rooms.get_mut(&id).filter(|room| room.keepalive);
    room.ok_or_else(Refusal::keepalive_missing)?.keepalive = false;
    done()
}

fn kept_alive(call: &mut Call<'_>) -> Answer {
    let ids: Vec<&String> = call.core.rooms.iter().filter(|(_, room)| room.keepalive).map(|(id, _)| id).collect();
    fields(json!({ "chatroomIds": ids }))
}

type Types = fn(&mut Core) -> &mut BTreeSet<String>;

fn whitelist(core: &mut Core) -> &mut BTreeSet<String> {
    &mut core.room_type_whitelist
}

fn priority(core: &mut Core) -> &mut BTreeSet<String> {
    &mut core.room_low_priority
}

fn types(call: &mut Call<'_>, key: &str, add: bool, of: Types) -> Answer {
    let names = call.params.ids(key, 20)?;
    let set = of(call.core);
    for name in names {
        if add {
            set.insert(name);
        } else {
            set.remove(&name);
        }
    }
    done()
}

/// The vendor spells this key so.
fn whitelisted_types(call: &mut Call<'_>) -> Answer {
    fields(json!({ "whitlistMsgType": call.core.room_type_whitelist }))
}

fn low_priority_types(call: &mut Call<'_>) -> Answer {
    fields(json!({ "objectNames": call.core.room_low_priority }))
}
