//! Muting, barring and exempting in chatrooms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{
    Call, Endpoint,
    chatroom::room,
    group_mute::{mute_end, mute_list},
};
use crate::rongcloud::{
    model::Room,
    reply::{Answer, Refusal, done, fields},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/chatroom/user/block/add.json", block),
    Endpoint::form("/chatroom/user/block/rollback.json", |call| unmute(call, blocked)),
    Endpoint::form("/chatroom/user/block/list.json", |call| list(call, blocked)),
    Endpoint::form("/chatroom/user/gag/add.json", gag),
    Endpoint::form("/chatroom/user/gag/rollback.json", |call| unmute(call, gagged)),
    Endpoint::form("/chatroom/user/gag/list.json", |call| list(call, gagged)),
    Endpoint::form("/chatroom/user/ban/add.json", ban_everywhere),
    Endpoint::form("/chatroom/user/ban/remove.json", unban_everywhere),
    Endpoint::form("/chatroom/user/ban/query.json", banned_everywhere).may_be_empty(),
    Endpoint::form("/chatroom/ban/add.json", |call| ban_room(call, true)),
    Endpoint::form("/chatroom/ban/rollback.json", |call| ban_room(call, false)),
    Endpoint::form("/chatroom/ban/query.json", banned_rooms).may_be_empty(),
    Endpoint::form("/chatroom/ban/check.json", room_is_banned),
    Endpoint::form("/chatroom/user/ban/whitelist/add.json", |call| change(call, ban_whitelist, 20, true)),
    Endpoint::form("/chatroom/user/ban/whitelist/rollback.json", |call| change(call, ban_whitelist, 20, false)),
    Endpoint::form("/chatroom/user/ban/whitelist/query.json", |call| members(call, ban_whitelist, "userIds")),
    Endpoint::form("/chatroom/user/whitelist/add.json", |call| change(call, whitelist, 5, true)),
    Endpoint::form("/chatroom/user/whitelist/remove.json", |call| change(call, whitelist, 5, false)),
    Endpoint::form("/chatroom/user/whitelist/query.json", |call| members(call, whitelist, "users")),
];

type Mutes = fn(&mut Room) -> &mut BTreeMap<String, i64>;
type Members = fn(&mut Room) -> &mut BTreeSet<String>;

fn blocked(room: &mut Room) -> &mut BTreeMap<String, i64> {
    &mut room.blocked
}

fn gagged(room: &mut Room) -> &mut BTreeMap<String, i64> {
    &mut room.gagged
}

fn ban_whitelist(room: &mut Room) -> &mut BTreeSet<String> {
    &mut room.ban_whitelist
}

fn whitelist(room: &mut Room) -> &mut BTreeSet<String> {
    &mut room.whitelist
}

/// Users and the end of their mute.
fn muted(call: &Call<'_>) -> Result<(Vec<String>, i64), Refusal> {
    let users = call.params.ids("userId", 20)?;
    let minutes = call.params.integer_in("minute", 1..=43_200)?;
    call.params.flag("needNotify", false)?;
    Ok((users, mute_end(call.now_ms, minutes)))
}

fn block(call: &mut Call<'_>) -> Answer {
    let (users, until) = muted(call)?;
    let id = call.params.bounded("chatroomId", 64)?;
    let now_ms = call.now_ms;
    for user in users {
        call.core.room_or_create(&id, None, now_ms).blocked.insert(user.clone(), until);
        call.core.ban_from_room(&id, &user, now_ms);
    }
    done()
}

fn gag(call: &mut Call<'_>) -> Answer {
    let (users, until) = muted(call)?;
    let id = call.params.bounded("chatroomId", 64)?;
    let room = call.core.room_or_create(&id, None, call.now_ms);
    room.gagged.extend(users.into_iter().map(|user| (user, until)));
    done()
}

fn unmute(call: &mut Call<'_>, mutes: Mutes) -> Answer {
    let users = call.params.ids("userId", 20)?;
    mutes(room(call)?).retain(|user, _| !users.contains(user));
    done()
}

fn list(call: &mut Call<'_>, mutes: Mutes) -> Answer {
    let in_force = mutes(room(call)?).clone();
    fields(json!({ "users": mute_list(call.core, &in_force, call.now_ms) }))
}

fn ban_everywhere(call: &mut Call<'_>) -> Answer {
    let (users, until) = muted(call)?;
    call.core.rooms_gagged.extend(users.into_iter().map(|user| (user, until)));
    done()
}

fn unban_everywhere(call: &mut Call<'_>) -> Answer {
    let users = call.params.ids("userId", 20)?;
    call.core.rooms_gagged.retain(|user, _| !users.contains(user));
    done()
}

fn banned_everywhere(call: &mut Call<'_>) -> Answer {
    fields(json!({ "users": mute_list(call.core, &call.core.rooms_gagged, call.now_ms) }))
}

fn ban_room(call: &mut Call<'_>, banned: bool) -> Answer {
    room(call)?.banned = banned;
    done()
}

fn banned_rooms(call: &mut Call<'_>) -> Answer {
    let ids: Vec<&String> = call.core.rooms.iter().filter(|(_, room)| room.banned).map(|(id, _)| id).collect();
    fields(json!({ "chatroomIds": ids }))
}

fn room_is_banned(call: &mut Call<'_>) -> Answer {
    let status = i64::from(room(call)?.banned);
    fields(json!({ "status": status }))
}

fn change(call: &mut Call<'_>, of: Members, max: usize, add: bool) -> Answer {
    let users = call.params.ids("userId", max)?;
    let set = of(room(call)?);
    for user in users {
        if add {
            set.insert(user);
        } else {
            set.remove(&user);
        }
    }
    done()
}

fn members(call: &mut Call<'_>, of: Members, key: &str) -> Answer {
    let users = of(room(call)?).clone();
    fields(json!({ key: users }))
}
