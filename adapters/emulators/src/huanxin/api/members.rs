//! Members of groups and rooms: join, remove, admins, mutes, block and allow lists.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::super::model::Group;
use super::Answer;
use super::groups::{Kind, operator_of};
use super::request::{Call, Caller, Fields, In};

pub(super) fn routes(base: &str) -> Router<Arc<App>> {
    let at = |tail: &str| format!("{base}/{{id}}{tail}");
    Router::new()
        .route(&at("/users"), get(list).post(add_many))
        .route(&at("/users/{users}"), post(add_one).delete(remove))
        .route(&at("/invite"), post(add_many))
        .route(&at("/apply"), post(apply))
        .route(&at("/quit"), delete(quit).post(quit))
        .route(&at("/user/{user}/is_joined"), get(is_joined).post(is_joined))
        .route(&at("/admin"), get(admins).post(add_admin))
        .route(&at("/admin/{user}"), delete(remove_admin))
        .route(&at("/mute"), get(mutes).post(mute))
        .route(&at("/mute/{users}"), delete(unmute))
        .route(&at("/ban"), post(mute_all).delete(unmute_all))
        .route(&at("/blocks/users"), get(blocked).post(block))
        .route(&at("/blocks/users/{users}"), delete(unblock).post(block_one))
        .route(&at("/white/users"), get(allowed).post(allow))
        .route(&at("/white/users/{users}"), delete(disallow).post(allow_one).get(is_allowed))
}

type Id = Path<String>;
type IdAnd = Path<(String, String)>;

fn id_key(kind: Kind) -> &'static str {
    if kind.room { "id" } else { "groupid" }
}

fn names(call: &Call, list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(|name| call.app.fold(name)).collect()
}

/// `{usernames: […]}` of at most 60.
fn usernames(call: &Call, fields: &Fields) -> Result<Vec<String>, ApiError> {
    let list = fields.texts("usernames").or_else(|| fields.texts("users")).ok_or_else(ApiError::body)?;
    if list.is_empty() || list.len() > 60 {
        return Err(ApiError::parameter("the number of usernames must be between 1 and 60"));
    }
    Ok(list.iter().map(|name| call.app.fold(name)).collect())
}

async fn list(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    let (page, size) = (call.number("pagenum", 1, usize::MAX).max(1), call.number("pagesize", 10, 1_000));
    let times = call.query("joined_time") == Some("true");
    let data = kind.read(&call, &id, |group| {
        let entry = |member: &super::super::model::Member| {
            let mut entry = group.role_of(member, true);
            if times {
                entry["joined_time"] = json!(member.joined_ms);
            }
            entry
        };
        group.members.iter().skip((page - 1).saturating_mul(size)).take(size).map(entry).collect::<Vec<_>>()
    })?;
    Ok(call.brief(json!({ "count": data.len(), "data": data })))
}

async fn add_one(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, user)): IdAnd) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let user = call.app.fold(&user);
    call.app.join(&id, std::slice::from_ref(&user), "DIRECT", &operator_of(&caller))?;
    let data = json!({ "result": true, "action": "add_member", "user": user, id_key(kind): id });
    Ok(call.group(json!({ "data": data })))
}

/// Members of a group that lets them may invite, too.
async fn add_many(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<Kind>,
    Path(id): Id,
    fields: Fields,
) -> Answer {
    let open = kind.read(&call, &id, |group| group.allow_invites && group.has(caller.operator()))?;
    if !open {
        kind.manage(&call, &caller, &id)?;
    }
    let people = usernames(&call, &fields)?;
    let how = if call.path.ends_with("/invite") { "INVITE" } else { "DIRECT" };
    call.app.join(&id, &people, how, &operator_of(&caller))?;
    let mut data = json!({ "newmembers": people, "action": "add_member", id_key(kind): id });
    if call.path.ends_with("/invite") {
        // The web SDK reads one result per user.
        let results = people.iter().map(|user| json!({ "result": true, "action": "invite", "user": user }));
        data = Value::Array(results.collect());
    }
    Ok(call.group(json!({ "data": data })))
}

/// A user asks to join; a group without approval lets him in at once.
async fn apply(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    let user = caller.operator().to_owned();
    let waits = kind.read(&call, &id, |group| group.members_only)?;
    if !waits {
        call.app.join(&id, std::slice::from_ref(&user), "APPLY", &user)?;
    }
    Ok(call.group(json!({ "data": { "result": true, "action": "apply", "user": user, id_key(kind): id } })))
}

async fn quit(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    let user = caller.operator().to_owned();
    kind.read(&call, &id, |_| ())?;
    call.app.leave(&id, std::slice::from_ref(&user), "QUIT", &user)?;
    Ok(call.group(json!({ "data": { "result": true, "user": user, id_key(kind): id } })))
}

async fn remove(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, users)): IdAnd) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let people = names(&call, &users);
    if people.is_empty() || people.len() > 60 {
        return Err(ApiError::parameter("the number of usernames must be between 1 and 60"));
    }
    call.app.leave(&id, &people, "KICK", &operator_of(&caller))?;
    let result = |user: &String| json!({ "result": true, "action": "remove_member", "user": user, id_key(kind): id });
    let data = match people.as_slice() {
        [one] => result(one),
        many => Value::Array(many.iter().map(result).collect()),
    };
    Ok(call.group(json!({ "data": data })))
}

async fn is_joined(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path((id, user)): IdAnd) -> Answer {
    let user = call.app.fold(&user);
    let joined = kind.read(&call, &id, |group| group.has(&user))?;
    Ok(call.group(json!({ "data": joined })))
}

async fn admins(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    let data = kind.read(&call, &id, |group| group.admins.clone())?;
    Ok(call.group(json!({ "count": data.len(), "data": data })))
}

async fn add_admin(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<Kind>,
    Path(id): Id,
    fields: Fields,
) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let user = fields.text("newadmin").map(|user| call.app.fold(user)).ok_or_else(ApiError::body)?;
    if !kind.read(&call, &id, |group| group.has(&user))? {
        return Err(ApiError::no_member(&user));
    }
    let payload = json!({ "admin": [user], "type": "ADD" });
    call.app.change_group(&id, "ADMIN", payload, |group| {
        if !group.admins.contains(&user) {
            group.admins.push(user.clone());
        }
    })?;
    Ok(call.group(json!({ "data": { "result": "success", "newadmin": user } })))
}

async fn remove_admin(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, user)): IdAnd) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let user = call.app.fold(&user);
    let payload = json!({ "admin": [user], "type": "REMOVE" });
    call.app.change_group(&id, "ADMIN", payload, |group| group.admins.retain(|admin| *admin != user))?;
    Ok(call.group(json!({ "data": { "result": "success", "oldadmin": user } })))
}

async fn mutes(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    let now_ms = call.app.now_ms();
    let data = kind.read(&call, &id, |group| {
        let live = group.mutes.iter().filter(|(_, until)| **until > now_ms);
        live.map(|(user, until)| json!({ "expire": until, "user": user })).collect::<Vec<_>>()
    })?;
    Ok(call.group(json!({ "count": data.len(), "data": data })))
}

async fn mute(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Id, fields: Fields) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let people = usernames(&call, &fields)?;
    let until = match fields.number("mute_duration") {
        Some(length) if length > 0 => call.app.now_ms() + length,
        _ => i64::MAX,
    };
    require_members(&call, kind, &id, &people)?;
    let shown = if until == i64::MAX { -1 } else { until };
    let payload = json!({ "member": people, "expire_timestamp": shown, "type": "ADD" });
    call.app.change_group(&id, "MUTE", payload, |group| {
        group.mutes.extend(people.iter().map(|user| (user.clone(), until)));
    })?;
    let data: Vec<Value> = people.iter().map(|user| json!({ "result": true, "expire": shown, "user": user })).collect();
    Ok(call.brief(json!({ "data": data })))
}

fn require_members(call: &Call, kind: Kind, id: &str, people: &[String]) -> Result<(), ApiError> {
    let stranger = kind.read(call, id, |group| people.iter().find(|user| !group.has(user)).cloned())?;
    match stranger {
        Some(user) => Err(ApiError::no_member(&user)),
        None => Ok(()),
    }
}

async fn unmute(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, users)): IdAnd) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let people = names(&call, &users);
    let payload = json!({ "member": people, "type": "REMOVE" });
    call.app.change_group(&id, "MUTE", payload, |group| {
        group.mutes.retain(|user, _| !people.contains(user));
    })?;
    let data: Vec<Value> = people.iter().map(|user| json!({ "result": true, "user": user })).collect();
    Ok(call.group(json!({ "data": data })))
}

async fn mute_all(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    all(&call, &caller, kind, &id, true)
}

async fn unmute_all(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    all(&call, &caller, kind, &id, false)
}

fn all(call: &Call, caller: &Caller, kind: Kind, id: &str, mute: bool) -> Answer {
    kind.manage(call, caller, id)?;
    let payload = json!({ "mute": mute, "type": "MUTE" });
    call.app.change_group(id, "UPDATE", payload, |group| group.mute_all = mute)?;
    Ok(call.group(json!({ "data": { "mute": mute } })))
}

async fn blocked(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    let data = kind.read(&call, &id, |group| group.blocked.clone())?;
    Ok(call.group(json!({ "count": data.len(), "data": data })))
}

async fn block(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Id, In(body): Fields) -> Answer {
    let people = usernames(&call, &In(body))?;
    block_all(&call, &caller, kind, &id, people)
}

async fn block_one(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, user)): IdAnd) -> Answer {
    let people = names(&call, &user);
    block_all(&call, &caller, kind, &id, people)
}

/// A blocked member is thrown out first.
fn block_all(call: &Call, caller: &Caller, kind: Kind, id: &str, people: Vec<String>) -> Answer {
    kind.manage(call, caller, id)?;
    let members =
        kind.read(call, id, |group| people.iter().filter(|user| group.has(user)).cloned().collect::<Vec<_>>())?;
    if !members.is_empty() {
        call.app.leave(id, &members, "BLOCK", &operator_of(caller))?;
    }
    let payload = json!({ "member": people, "type": "ADD" });
    call.app.change_group(id, "BLOCK", payload, |group| extend(&mut group.blocked, &people))?;
    Ok(results(call, kind, id, &people, "add_blocks"))
}

fn extend(list: &mut Vec<String>, people: &[String]) {
    for user in people {
        if !list.contains(user) {
            list.push(user.clone());
        }
    }
}

fn results(call: &Call, kind: Kind, id: &str, people: &[String], action: &str) -> axum::response::Response {
    let result = |user: &String| json!({ "result": true, "action": action, "user": user, id_key(kind): id });
    let data = match people {
        [one] => result(one),
        many => Value::Array(many.iter().map(result).collect()),
    };
    call.group(json!({ "data": data }))
}

async fn unblock(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, users)): IdAnd) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let people = names(&call, &users);
    let payload = json!({ "member": people, "type": "REMOVE" });
    call.app.change_group(&id, "BLOCK", payload, |group| group.blocked.retain(|user| !people.contains(user)))?;
    Ok(results(&call, kind, &id, &people, "remove_blocks"))
}

async fn allowed(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Id) -> Answer {
    let data = kind.read(&call, &id, |group| group.white.clone())?;
    Ok(call.group(json!({ "count": data.len(), "data": data })))
}

async fn is_allowed(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path((id, user)): IdAnd) -> Answer {
    let user = call.app.fold(&user);
    let white = kind.read(&call, &id, |group: &Group| group.white.contains(&user))?;
    Ok(call.group(json!({ "data": { "white": white, id_key(kind): id } })))
}

async fn allow(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Id, fields: Fields) -> Answer {
    let people = usernames(&call, &fields)?;
    allow_all(&call, &caller, kind, &id, &people)
}

async fn allow_one(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, user)): IdAnd) -> Answer {
    let people = names(&call, &user);
    allow_all(&call, &caller, kind, &id, &people)
}

fn allow_all(call: &Call, caller: &Caller, kind: Kind, id: &str, people: &[String]) -> Answer {
    kind.manage(call, caller, id)?;
    require_members(call, kind, id, people)?;
    let payload = json!({ "member": people, "type": "ADD" });
    call.app.change_group(id, "WHITE", payload, |group| extend(&mut group.white, people))?;
    Ok(results(call, kind, id, people, "add_user_whitelist"))
}

async fn disallow(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path((id, users)): IdAnd) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let people = names(&call, &users);
    let payload = json!({ "member": people, "type": "REMOVE" });
    call.app.change_group(&id, "WHITE", payload, |group| group.white.retain(|user| !people.contains(user)))?;
    Ok(results(&call, kind, &id, &people, "remove_user_whitelist"))
}
