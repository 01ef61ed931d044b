//! Groups and their members.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Call, Endpoint, user::page_of};
use crate::rongcloud::{
    model::{ConversationKind, Group},
    reply::{Answer, Fields, Refusal, done, fields},
    state::Draft,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/group/create.json", create),
    Endpoint::form("/group/join.json", join),
    Endpoint::form("/group/quit.json", quit),
    Endpoint::form("/group/dismiss.json", dismiss),
    Endpoint::form("/group/refresh.json", refresh),
    Endpoint::form("/group/sync.json", sync),
    Endpoint::form("/group/user/query.json", members),
    Endpoint::form("/user/group/query.json", groups_of_user),
    Endpoint::form("/group/remarks/set.json", set_remark),
    Endpoint::form("/group/remarks/get.json", remark),
    Endpoint::form("/group/remarks/del.json", delete_remark),
];

fn create(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let name = call.params.bounded("groupName", 255)?;
    add_members(call, &id, Some(name))?;
    with_notice(call, &id)
}

fn join(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let name = call.params.optional("groupName", 255)?;
    add_members(call, &id, name)?;
    with_notice(call, &id)
}

/// A group comes into being with its first member, whichever call brings it.
fn add_members(call: &mut Call<'_>, id: &str, name: Option<String>) -> Result<(), Refusal> {
    let users = call.params.ids("userId", 1000)?;
    let configured = call.core.settings.limits.group_members;
    let asked = call.params.integer("maxMember")?.and_then(|max| usize::try_from(max).ok()).filter(|max| *max > 0);
    let limit = asked.map_or(configured, |max| max.min(configured));
    for user in &users {
        call.core.check_account(user, "userId")?;
    }
    let group = call.core.groups.get(id);
    let new = users.iter().filter(|user| group.is_none_or(|group| !group.members.contains(*user)));
    let total = group.map_or(0, |group| group.members.len()) + new.collect::<BTreeSet<_>>().len();
    if total > limit {
        return Err(Refusal::group_full());
    }
    let group = call.core.groups.entry(id.to_owned()).or_default();
    group.members.extend(users);
    if let Some(name) = name {
        group.name = name;
    }
    Ok(())
}

/// The message bound to a membership call, when one was asked for.
fn with_notice(call: &mut Call<'_>, id: &str) -> Answer {
    if !call.params.flag("bindNotifyMsg", false)? {
        return done();
    }
    let from = call.params.bounded("fromUserId", 64)?;
    let object_name = call.params.bounded("objectName", 32)?;
    let content = call.params.required("content")?;
    let mut draft = Draft::server(ConversationKind::Group, &from, id).with_content(&object_name, &content);
    draft.persisted = call.params.flag("isPersisted", true)?;
    let accepted = call.core.accept(draft, call.now_ms);
    let count = call.core.groups.get(id).map_or(0, |group| group.members.len());
    fields(json!({ "messageUID": accepted.uid, "memberCount": count }))
}

fn quit(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let users = call.params.ids("userId", 1000)?;
    if let Some(group) = call.core.groups.get_mut(&id) {
        for user in &users {
            group.members.remove(user);
            group.gagged.remove(user);
            group.ban_whitelist.remove(user);
        }
    }
    with_notice(call, &id)
}

fn dismiss(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    call.params.bounded("userId", 64)?;
    let answer: Fields = with_notice(call, &id)?;
    call.core.groups.remove(&id);
    Ok(answer)
}

fn refresh(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let name = call.params.bounded("groupName", 255)?;
    if let Some(group) = call.core.groups.get_mut(&id) {
        group.name = name;
    }
    with_notice(call, &id)
}

/// Replaces the user's whole group list.
fn sync(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    let wanted = call.params.bracketed("group");
    for (id, group) in &mut call.core.groups {
        if !wanted.iter().any(|(other, _)| other == id) {
            group.members.remove(&user);
        }
    }
    for (id, name) in wanted {
        let group = call.core.groups.entry(id).or_default();
        group.name = name;
        group.members.insert(user.clone());
    }
    done()
}

fn members(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let users: Vec<Value> = match call.core.groups.get(&id) {
        Some(group) => group.members.iter().map(|user| json!({ "id": user })).collect(),
        None => Vec::new(),
    };
    fields(json!({ "users": users }))
}

fn groups_of_user(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    let page = call.params.integer_or("page", 1, 1..=i64::MAX)?;
    let size = call.params.integer_or("size", 1000, 1..=1000)?;
    let joined = call.core.groups.iter().filter(|(_, group)| group.members.contains(&user)).take(5000);
    let groups: Vec<Value> =
        page_of(joined, page, size).map(|(id, group)| json!({ "id": id, "name": group.name })).collect();
    fields(json!({ "groups": groups }))
}

fn group_and_user<'a>(call: &'a mut Call<'_>) -> Result<(&'a mut Group, String), Refusal> {
    let id = call.params.bounded("groupId", 64)?;
    let user = call.params.bounded("userId", 64)?;
    let group = call.core.groups.get_mut(&id);
    Ok((group.ok_or_else(|| Refusal::bad_parameter("groupId does not exist"))?, user))
}

fn set_remark(call: &mut Call<'_>) -> Answer {
    let remark = call.params.bounded("remark", 64)?;
    let (group, user) = group_and_user(call)?;
    group.remarks.insert(user, remark);
    done()
}

fn remark(call: &mut Call<'_>) -> Answer {
    let (group, user) = group_and_user(call)?;
    let remark = group.remarks.get(&user).cloned().unwrap_or_default();
    fields(json!({ "remark": remark }))
}

fn delete_remark(call: &mut Call<'_>) -> Answer {
    let (group, user) = group_and_user(call)?;
    group.remarks.remove(&user);
    done()
}
