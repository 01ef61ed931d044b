//! Muting members of a group, and whole groups.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Endpoint, user::page_of};
use crate::rongcloud::{
    reply::{Answer, Refusal, done, fields},
    state::Core,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/group/user/gag/add.json", gag),
    Endpoint::form("/group/user/gag/rollback.json", ungag),
    Endpoint::form("/group/user/gag/list.json", gagged).may_be_empty(),
    Endpoint::form("/group/ban/add.json", |call| ban(call, true)),
    Endpoint::form("/group/ban/rollback.json", |call| ban(call, false)),
    Endpoint::form("/group/ban/query.json", banned).may_be_empty(),
    Endpoint::form("/group/user/ban/whitelist/add.json", |call| whitelist(call, true)),
    Endpoint::form("/group/user/ban/whitelist/rollback.json", |call| whitelist(call, false)),
    Endpoint::form("/group/user/ban/whitelist/query.json", whitelisted),
];

/// When a mute of so many minutes ends; 0 means never.
pub(super) fn mute_end(now_ms: i64, minutes: i64) -> i64 {
    if minutes == 0 { i64::MAX } else { now_ms + minutes * 60_000 }
}

/// `users:[{time,userId}]` of the mutes still in force.
pub(super) fn mute_list(core: &Core, mutes: &BTreeMap<String, i64>, now_ms: i64) -> Vec<Value> {
    mutes
        .iter()
        .filter(|(_, until)| **until > now_ms)
        .map(|(user, until)| {
            // A mute without end is shown as the last moment the text form can name.
            let shown = (*until).min(253_402_207_200_000);
            json!({ "time": core.local(shown), "userId": user })
        })
        .collect()
}

fn gag(call: &mut Call<'_>) -> Answer {
    let users = call.params.ids("userId", 20)?;
    let until = mute_end(call.now_ms, call.params.integer_in("minute", 0..=43_200)?);
    let mutes = match call.params.optional("groupId", 64)? {
        Some(id) => &mut call.core.groups.entry(id).or_default().gagged,
        None => &mut call.core.groups_gagged,
    };
    mutes.extend(users.into_iter().map(|user| (user, until)));
    done()
}

fn ungag(call: &mut Call<'_>) -> Answer {
    let users = call.params.ids("userId", 20)?;
    let mutes = match call.params.optional("groupId", 64)? {
        Some(id) => call.core.groups.get_mut(&id).map(|group| &mut group.gagged),
        None => Some(&mut call.core.groups_gagged),
    };
    if let Some(mutes) = mutes {
        mutes.retain(|user, _| !users.contains(user));
    }
    done()
}

fn gagged(call: &mut Call<'_>) -> Answer {
    let mutes = match call.params.optional("groupId", 64)? {
        Some(id) => call.core.groups.get(&id).map(|group| &group.gagged),
        None => Some(&call.core.groups_gagged),
    };
    let users = mutes.map(|mutes| mute_list(call.core, mutes, call.now_ms)).unwrap_or_default();
    fields(json!({ "users": users }))
}

fn ban(call: &mut Call<'_>, banned: bool) -> Answer {
    for id in call.params.ids("groupId", 20)? {
        call.core.groups.entry(id).or_default().banned = banned;
    }
    done()
}

fn banned(call: &mut Call<'_>) -> Answer {
    let asked = call.params.list("groupId");
    let page = call.params.integer_or("page", 1, 1..=i64::MAX)?;
    let size = call.params.integer_or("size", 50, 1..=200)?;
    let groups = &call.core.groups;
    let infos: Vec<Value> = if asked.is_empty() {
        let banned = groups.iter().filter(|(_, group)| group.banned);
        page_of(banned, page, size).map(|(id, _)| json!({ "groupId": id, "stat": 1 })).collect()
    } else {
        let stat = |id: &String| i64::from(groups.get(id).is_some_and(|group| group.banned));
        asked.iter().map(|id| json!({ "groupId": id, "stat": stat(id) })).collect()
    };
    fields(json!({ "groupinfo": infos }))
}

fn whitelist(call: &mut Call<'_>, add: bool) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let users = call.params.ids("userId", 20)?;
    let group = call.core.groups.get_mut(&id).ok_or_else(|| Refusal::bad_parameter("groupId does not exist"))?;
    if add {
        group.ban_whitelist.extend(users);
    } else {
        group.ban_whitelist.retain(|user| !users.contains(user));
    }
    done()
}

fn whitelisted(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let users = call.core.groups.get(&id).map(|group| group.ban_whitelist.clone()).unwrap_or_default();
    fields(json!({ "userids": users }))
}
