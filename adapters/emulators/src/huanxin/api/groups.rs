//! Groups and chatrooms: create, read, list, change, dissolve. Rooms mirror groups under another path.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Extension, Path};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::super::events::ADMIN;
use super::super::groups::NewGroup;
use super::super::model::Group;
use super::super::tokens::Subject;
use super::Answer;
use super::members;
use super::request::{AppOnly, Call, Caller, Fields};

/// Groups or rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) room: bool,
}

pub(super) fn routes(room: bool) -> Router<Arc<App>> {
    let base = if room { "/chatrooms" } else { "/chatgroups" };
    let at = |tail: &str| format!("{base}{tail}");
    let mut routes = Router::new()
        .route(base, post(create).get(list))
        .route(&at("/{id}"), get(detail).put(update).delete(dissolve))
        .route(&at("/{id}/disable"), post(disable))
        .route(&at("/{id}/enable"), post(enable))
        .route(&at("/user/{user}"), get(joined))
        .route(&at("/{id}/announcement"), get(announcement).post(announce))
        .route(&at("/{id}/share_files"), get(shared_files))
        .route(&at("/{id}/share_files/{file}"), delete(unshare_file))
        .merge(members::routes(base));
    routes = if room {
        routes
            .route("/users/{user}/joined_chatrooms", get(joined))
            .route("/chatrooms/super_admin", get(super_admins).post(add_super_admin))
            .route("/chatrooms/super_admin/{user}", delete(remove_super_admin))
            .route("/metadata/chatroom/{id}", post(attributes))
            .route("/metadata/chatroom/{id}/user/{user}", axum::routing::put(set_attributes))
    } else {
        routes.route("/users/{user}/joined_chatgroups", get(joined)).route("/publicchatgroups", get(list))
    };
    routes.layer(Extension(Kind { room }))
}

impl Kind {
    /// Reads a group of this kind.
    pub(super) fn read<T>(self, call: &Call, id: &str, read: impl FnOnce(&Group) -> T) -> Result<T, ApiError> {
        let found = call.app.with_group(id, |group| (group.room == self.room).then(|| read(group)))?;
        found.ok_or_else(|| ApiError::no_group(id))
    }

    /// The caller may manage the group: the app, its owner, or an admin.
    pub(super) fn manage(self, call: &Call, caller: &Caller, id: &str) -> Result<(), ApiError> {
        let allowed = self.read(call, id, |group| match &caller.0 {
            Subject::App => true,
            Subject::User(me) => group.owner == *me || group.admins.contains(me),
        })?;
        if allowed { Ok(()) } else { Err(ApiError::forbidden("no permission to operate this group")) }
    }
}

async fn create(call: Call, caller: Caller, Extension(kind): Extension<Kind>, fields: Fields) -> Answer {
    let new = new_group(&call, &caller, kind, &fields)?;
    let id = call.app.create_group(new, caller.operator())?;
    if kind.room {
        // The sample of rooms has no envelope.
        return Ok(Json(json!({ "data": { "id": id } })).into_response());
    }
    Ok(call.group(json!({ "data": { "groupid": id } })))
}

fn new_group(call: &Call, caller: &Caller, kind: Kind, fields: &Fields) -> Result<NewGroup, ApiError> {
    let app = &call.app;
    let text = |keys: [&str; 2]| keys.iter().find_map(|key| fields.text(key)).unwrap_or_default().to_owned();
    let owner = fields.text("owner").map(|owner| app.fold(owner));
    let owner = owner.filter(|owner| !owner.is_empty()).ok_or_else(|| ApiError::parameter("owner can't be empty"))?;
    caller.speaks_for(&owner)?;
    let name = text(["groupname", "name"]);
    if name.is_empty() && caller.0 == Subject::App {
        return Err(ApiError::parameter("groupname can't be empty"));
    }
    let custom = text(["custom", "custom"]);
    if custom.len() > 8 * 1_024 {
        return Err(ApiError::parameter("custom is too long"));
    }
    let (default, most) = if kind.room { (1_000, 10_000) } else { (200, 8_000) };
    let max_users = fields.number("maxusers").unwrap_or(default);
    if !(1..=most).contains(&max_users) {
        return Err(ApiError::new(403, "exceed_limit", format!("maxusers can't exceed {most}")));
    }
    let members = fields.texts("members").unwrap_or_default();
    Ok(NewGroup {
        room: kind.room,
        name,
        description: text(["description", "desc"]),
        public: fields.flag("public").unwrap_or(kind.room),
        max_users: u64::try_from(max_users).unwrap_or(1),
        allow_invites: fields.flag("allowinvites").unwrap_or(false),
        members_only: fields.flag("membersonly").or(fields.flag("approval")).unwrap_or(false),
        invite_need_confirm: fields.flag("invite_need_confirm").unwrap_or(true),
        custom,
        avatar: text(["avatar", "avatar"]),
        owner,
        members: members.iter().map(|member| app.fold(member)).collect(),
    })
}

async fn detail(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(ids): Path<String>) -> Answer {
    let ids: Vec<&str> = ids.split(',').filter(|id| !id.is_empty()).collect();
    if ids.len() > 100 {
        return Err(ApiError::parameter("the number of ids can't exceed 100"));
    }
    let mut data = Vec::new();
    for id in &ids {
        match kind.read(&call, id, Group::detail) {
            Ok(detail) => data.push(detail),
            Err(error) if ids.len() == 1 => return Err(error),
            Err(_) => {}
        }
    }
    Ok(call.group(json!({ "count": data.len(), "data": data, "properties": {} })))
}

async fn list(call: Call, _: Caller, Extension(kind): Extension<Kind>) -> Answer {
    let limit = call.number("limit", 10, 1_000).max(1);
    let after = call
        .query("cursor")
        .and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("chatgroups:").map(str::to_owned))
        .unwrap_or_default();
    let key = call.app.app_key.clone();
    let data = call.app.data.lock();
    let mut rest = data
        .groups
        .values()
        .filter(|group| group.room == kind.room && group.id > after)
        .filter(|group| call.path != "/publicchatgroups" || group.public)
        .peekable();
    let page: Vec<&Group> = rest.by_ref().take(limit).collect();
    let cursor = page
        .last()
        .filter(|_| rest.peek().is_some())
        .map(|last| URL_SAFE_NO_PAD.encode(format!("chatgroups:{}", last.id)));
    let entries: Vec<Value> = page.iter().map(|group| entry(group, &key)).collect();
    let mut extra = json!({ "count": entries.len(), "data": entries, "params": { "limit": [limit.to_string()] } });
    if let Some(cursor) = cursor {
        extra["cursor"] = json!(cursor);
    }
    Ok(call.brief(extra))
}

fn entry(group: &Group, app_key: &str) -> Value {
    let mut entry = json!({
        "owner": format!("{app_key}_{}", group.owner), "affiliations": group.members.len(), "type": "group",
        "lastModified": group.modified_ms.to_string(), "groupname": group.name, "groupid": group.id,
    });
    if group.room {
        entry = json!({
            "id": group.id, "name": group.name, "owner": group.owner, "affiliations_count": group.members.len(),
        });
    }
    entry
}

async fn joined(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(user): Path<String>) -> Answer {
    let user = call.app.fold(&user);
    caller.speaks_for(&user)?;
    call.app.with_user(&user, |_| ())?;
    let size = call.number("pagesize", 20, 1_000).max(1);
    // The REST pages count from 0; the older path, which clients use, from 1.
    let first = usize::from(call.path.contains("/joined_chat"));
    let page = call.number("pagenum", first, usize::MAX).max(first) - first;
    let data = call.app.data.lock();
    let mine: Vec<&Group> = data.groups.values().filter(|group| group.room == kind.room && group.has(&user)).collect();
    let entities: Vec<Value> = mine.iter().skip(page * size).take(size).map(|group| group.brief()).collect();
    // Clients read `data`, servers `entities`.
    let older: Vec<Value> = entities.iter().map(older_entry).collect();
    Ok(call.brief(json!({ "entities": entities, "data": older, "total": mine.len(), "count": older.len() })))
}

fn older_entry(entry: &Value) -> Value {
    let mut entry = entry.clone();
    entry["groupid"] = entry["id"].clone();
    entry["groupname"] = entry["name"].clone();
    entry
}

async fn update(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<Kind>,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    kind.manage(&call, &caller, &id)?;
    if let Some(owner) = fields.text("newowner") {
        return transfer(&call, &id, &call.app.fold(owner));
    }
    let (mut done, mut info) = (Map::new(), Map::new());
    let now_ms = call.app.now_ms();
    for (key, value) in &fields.0 {
        if let Some(shown) = event_key(key) {
            done.insert(key.clone(), json!(true));
            info.insert(shown.to_owned(), value.clone());
        }
    }
    info.insert("last_modified".to_owned(), json!(now_ms.to_string()));
    let payload = json!({ "type": "INFO", "info": info });
    call.app.change_group(&id, "UPDATE", payload, |group| apply(group, &fields))?;
    Ok(call.group(json!({ "data": done })))
}

/// The name of a field in events; none for fields that cannot be changed.
fn event_key(field: &str) -> Option<&'static str> {
    Some(match field {
        "groupname" | "name" => "title",
        "description" | "desc" => "description",
        "maxusers" => "max_users",
        "custom" => "custom",
        "public" => "public",
        "membersonly" | "approval" => "members_only",
        "allowinvites" => "allow_user_invites",
        "invite_need_confirm" => "invite_need_confirm",
        "avatar" => "avatar",
        _ => return None,
    })
}

fn apply(group: &mut Group, fields: &Fields) {
    let set = |target: &mut String, keys: [&str; 2]| {
        if let Some(text) = keys.iter().find_map(|key| fields.text(key)) {
            text.clone_into(target);
        }
    };
    set(&mut group.name, ["groupname", "name"]);
    set(&mut group.description, ["description", "desc"]);
    set(&mut group.custom, ["custom", "custom"]);
    set(&mut group.avatar, ["avatar", "avatar"]);
    let flag = |target: &mut bool, keys: [&str; 2]| {
        if let Some(flag) = keys.iter().find_map(|key| fields.flag(key)) {
            *target = flag;
        }
    };
    flag(&mut group.public, ["public", "public"]);
    flag(&mut group.members_only, ["membersonly", "approval"]);
    flag(&mut group.allow_invites, ["allowinvites", "allowinvites"]);
    flag(&mut group.invite_need_confirm, ["invite_need_confirm", "invite_need_confirm"]);
    if let Some(most) = fields.number("maxusers").and_then(|most| u64::try_from(most).ok()) {
        group.max_users = most;
    }
}

fn transfer(call: &Call, id: &str, owner: &str) -> Answer {
    if !call.app.with_group(id, |group| group.has(owner))? {
        return Err(ApiError::no_member(owner));
    }
    let before = call.app.with_group(id, |group| group.owner.clone())?;
    let payload = json!({ "owner": before, "new_owner": owner, "type": "OWNER" });
    call.app.change_group(id, "UPDATE", payload, |group| {
        owner.clone_into(&mut group.owner);
        group.admins.retain(|admin| admin != owner);
    })?;
    Ok(call.group(json!({ "data": { "newowner": true } })))
}

async fn dissolve(call: Call, caller: Caller, Extension(kind): Extension<Kind>, Path(id): Path<String>) -> Answer {
    kind.manage(&call, &caller, &id)?;
    call.app.dissolve(&id, caller.operator())?;
    let key = if kind.room { "id" } else { "groupid" };
    Ok(call.group(json!({ "data": { "success": true, key: id } })))
}

async fn disable(call: Call, _: AppOnly, Extension(kind): Extension<Kind>, Path(id): Path<String>) -> Answer {
    switch(&call, kind, &id, true)
}

async fn enable(call: Call, _: AppOnly, Extension(kind): Extension<Kind>, Path(id): Path<String>) -> Answer {
    switch(&call, kind, &id, false)
}

fn switch(call: &Call, kind: Kind, id: &str, disabled: bool) -> Answer {
    kind.read(call, id, |_| ())?;
    // The table says `disabled`, the sample `disable`.
    let payload = json!({ "type": "DISABLE", "disable": disabled, "disabled": disabled });
    call.app.change_group(id, "UPDATE", payload, |group| group.disabled = disabled)?;
    Ok(call.group(json!({ "data": { "disabled": disabled } })))
}

async fn announcement(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Path<String>) -> Answer {
    let text = kind.read(&call, &id, |group| group.announcement.clone())?;
    Ok(call.group(json!({ "data": { "announcement": text } })))
}

async fn announce(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<Kind>,
    Path(id): Path<String>,
    fields: Fields,
) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let text = fields.text("announcement").ok_or_else(ApiError::body)?.to_owned();
    let payload = json!({ "type": "ANNOUNCEMENT", "announcement": text });
    call.app.change_group(&id, "UPDATE", payload, |group| group.announcement = text)?;
    Ok(call.group(json!({ "data": { "id": id, "result": true } })))
}

async fn shared_files(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Path<String>) -> Answer {
    let files = kind.read(&call, &id, |group| group.files.clone())?;
    Ok(call.group(json!({ "data": files })))
}

async fn unshare_file(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<Kind>,
    Path((id, file)): Path<(String, String)>,
) -> Answer {
    kind.manage(&call, &caller, &id)?;
    let payload = json!({ "type": "REMOVE", "file_id": file });
    call.app.change_group(&id, "SHARE_FILE", payload, |group| {
        group.files.retain(|entry| entry["file_id"] != json!(file));
    })?;
    Ok(call.group(json!({ "data": { "groupid": id, "file_id": file, "result": true } })))
}

async fn super_admins(call: Call, _: AppOnly) -> Answer {
    let admins = call.app.data.lock().super_admins.clone();
    Ok(call.group(json!({ "count": admins.len(), "data": admins })))
}

async fn add_super_admin(call: Call, _: AppOnly, fields: Fields) -> Answer {
    let user = fields.text("superadmin").map(|user| call.app.fold(user)).ok_or_else(ApiError::body)?;
    call.app.with_user(&user, |_| ())?;
    let mut data = call.app.data.lock();
    if !data.super_admins.contains(&user) {
        data.super_admins.push(user);
    }
    drop(data);
    Ok(call.group(json!({ "data": { "result": "success", "resource": "" } })))
}

async fn remove_super_admin(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let user = call.app.fold(&user);
    call.app.data.lock().super_admins.retain(|admin| *admin != user);
    Ok(call.group(json!({ "data": { "newSuperAdmin": user, "resource": "" } })))
}

async fn attributes(call: Call, _: Caller, Extension(kind): Extension<Kind>, Path(id): Path<String>) -> Answer {
    let data = kind.read(&call, &id, |room| room.attributes.clone())?;
    Ok(call.group(json!({ "data": data })))
}

async fn set_attributes(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<Kind>,
    Path((id, user)): Path<(String, String)>,
    fields: Fields,
) -> Answer {
    caller.speaks_for(&call.app.fold(&user))?;
    kind.read(&call, &id, |_| ())?;
    let entries = fields.0.get("metaData").and_then(Value::as_object).cloned().ok_or_else(ApiError::body)?;
    let keys: Vec<String> = entries.keys().cloned().collect();
    let mut data = call.app.data.lock();
    let room = data.group_mut(&id)?;
    for (key, value) in entries {
        room.attributes.insert(key, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    drop(data);
    Ok(call.group(json!({ "data": { "successKeys": keys, "errorKeys": {} } })))
}

/// The name group events show for this caller.
pub(super) fn operator_of(caller: &Caller) -> String {
    match &caller.0 {
        Subject::App => ADMIN.to_owned(),
        Subject::User(user) => user.clone(),
    }
}
