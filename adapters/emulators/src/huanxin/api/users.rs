//! Users: registration, bans, logins, online state, offline queues, global mutes.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::{delete, get, post, put};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::super::model::{GlobalMute, User};
use super::super::tokens::Subject;
use super::Answer;
use super::request::{AppOnly, Call, Caller, Fields, In};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/users", post(register).get(list).delete(delete_many))
        .route("/users/batch/status", post(batch_status))
        .route("/users/{user}", get(one).put(nickname).delete(delete_one))
        .route("/users/{user}/password", put(password).post(password))
        .route("/users/{user}/deactivate", post(deactivate))
        .route("/users/{user}/activate", post(activate))
        .route("/users/{user}/disconnect", get(disconnect))
        .route("/users/{user}/disconnect/{resource}", delete(disconnect_one).get(disconnect_one))
        .route("/users/{user}/resources", get(resources))
        .route("/users/{user}/status", get(status))
        .route("/users/{user}/offline_msg_count", get(offline_count))
        .route("/users/{user}/offline_msg_status/{message}", get(offline_status))
        .route("/mutes", post(mute).get(mutes))
        .route("/mutes/{user}", get(mute_of))
}

impl App {
    /// Checks an id and folds it.
    pub(in super::super) fn legal_name(&self, name: &str) -> Result<String, ApiError> {
        let folded = self.fold(name);
        if folded.len() > 64 {
            return Err(ApiError::argument("USERNAME_TOO_LONG"));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if folded.is_empty() || !folded.chars().all(legal) {
            return Err(ApiError::argument(format!("username [{name}] is not legal")));
        }
        Ok(folded)
    }

    /// Registers a user; an existing one is an error.
    pub(in super::super) fn register(
        &self,
        name: &str,
        password: &str,
        nickname: Option<&str>,
    ) -> Result<Value, ApiError> {
        let cap = self.settings().users.plan_cap;
        let now_ms = self.now_ms();
        let mut data = self.data.lock();
        if data.users.contains_key(name) {
            let text = format!(
                "Application {} Entity user requires that property named username be unique, value of {name} exists",
                self.id.uuid
            );
            return Err(ApiError::new(400, "duplicate_unique_property_exists", text));
        }
        if cap.is_some_and(|cap| data.users.len() >= cap) {
            return Err(ApiError::plan_cap());
        }
        let user = data.add_user(name, password, now_ms);
        user.nickname = nickname.map(str::to_owned);
        // The entity of a registration does not show the nickname.
        let mut entity = user.entity();
        entity.as_object_mut().map(|entity| entity.remove("nickname"));
        Ok(entity)
    }
}

struct Wanted {
    name: String,
    password: String,
    nickname: Option<String>,
}

fn wanted(app: &App, item: &Value) -> Result<Wanted, ApiError> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let name = text("username").ok_or_else(|| ApiError::argument("username must be provided"))?;
    let password = text("password").ok_or_else(|| ApiError::argument("password must be provided"))?;
    if password.is_empty() || password.chars().count() > 64 {
        return Err(ApiError::argument("password is not legal"));
    }
    if text("nickname").is_some_and(|nickname| nickname.chars().count() > 100) {
        return Err(ApiError::argument("nickname is too long"));
    }
    Ok(Wanted {
        name: app.legal_name(name)?,
        password: password.to_owned(),
        nickname: text("nickname").map(str::to_owned),
    })
}

async fn register(call: Call, In(body): In<Value>) -> Answer {
    let app = &call.app;
    let items = match body {
        Value::Array(items) => items,
        item @ Value::Object(_) => vec![item],
        _ => return Err(ApiError::body()),
    };
    match &call.caller {
        Ok(Subject::App) => {}
        _ if items.len() == 1 && app.settings().users.open_registration => {}
        _ if items.len() == 1 => return Err(ApiError::registration_closed()),
        Ok(Subject::User(_)) => return Err(ApiError::corrupt_token()),
        Err(error) => return Err(error.clone()),
    }
    if items.is_empty() || items.len() > 60 {
        return Err(ApiError::argument("the number of users must be between 1 and 60"));
    }
    let wanted: Vec<Wanted> = items.iter().map(|item| wanted(app, item)).collect::<Result<_, _>>()?;
    let single = wanted.len() == 1;
    let (mut entities, mut failed) = (Vec::new(), Vec::new());
    for user in wanted {
        match app.register(&user.name, &user.password, user.nickname.as_deref()) {
            Ok(entity) => entities.push(entity),
            Err(error) if single => return Err(error),
            Err(_) => {
                let reason = format!("the {} already exists", user.name);
                failed.push(json!({ "username": user.name, "registerUserFailReason": reason }));
            }
        }
    }
    let mut extra = json!({ "entities": entities });
    if !failed.is_empty() {
        extra["data"] = json!(failed);
    }
    Ok(call.full("/users", extra))
}

async fn one(call: Call, _: Caller, Path(user): Path<String>) -> Answer {
    let entity = call.app.with_user(&user, |user| user.entity())?;
    Ok(call.full("/users", json!({ "entities": [entity], "count": 1 })))
}

async fn list(call: Call, _: AppOnly) -> Answer {
    let (entities, cursor) = page(&call);
    Ok(listed(&call, entities, cursor))
}

/// Users in the order of creation from the cursor on.
fn page(call: &Call) -> (Vec<Value>, Option<String>) {
    let limit = call.number("limit", 10, 100).max(1);
    let after = call
        .query("cursor")
        .and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("users:").and_then(|order| order.parse::<u64>().ok()))
        .unwrap_or(0);
    let data = call.app.data.lock();
    let mut rest = data.user_order.range(after + 1..).peekable();
    let (mut entities, mut last) = (Vec::new(), after);
    while entities.len() < limit {
        let Some((order, name)) = rest.next() else { break };
        last = *order;
        entities.extend(data.users.get(name).map(User::entity));
    }
    let cursor = rest.peek().map(|_| URL_SAFE_NO_PAD.encode(format!("users:{last}")));
    (entities, cursor)
}

fn listed(call: &Call, entities: Vec<Value>, cursor: Option<String>) -> axum::response::Response {
    let count = entities.len();
    let mut extra = json!({ "entities": entities, "count": count });
    if let Some(limit) = call.query("limit") {
        extra["params"] = json!({ "limit": [limit] });
    }
    if let Some(cursor) = cursor {
        extra["cursor"] = json!(cursor);
    }
    call.full("/users", extra)
}

async fn delete_one(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let entity = remove(&call.app, &user)?;
    Ok(call.full("/users", json!({ "entities": [entity] })))
}

async fn delete_many(call: Call, _: AppOnly) -> Answer {
    let (entities, cursor) = page(&call);
    for entity in &entities {
        remove(&call.app, entity["username"].as_str().unwrap_or_default())?;
    }
    Ok(listed(&call, entities, cursor))
}

fn remove(app: &Arc<App>, name: &str) -> Result<Value, ApiError> {
    let name = app.fold(name);
    app.with_user(&name, |_| ())?;
    app.drop_devices(&name, None, "logout");
    app.forget_member(&name);
    app.tokens.lock().revoke_user(&name);
    let mut data = app.data.lock();
    let user = data.users.remove(&name).ok_or_else(ApiError::no_user)?;
    data.user_order.remove(&user.order);
    Ok(user.entity())
}

async fn nickname(call: Call, caller: Caller, Path(user): Path<String>, body: Fields) -> Answer {
    caller.speaks_for(&call.app.fold(&user))?;
    let now_ms = call.app.now_ms();
    let entity = call.app.with_user(&user, |user| {
        if let Some(nickname) = body.text("nickname") {
            user.nickname = Some(nickname.to_owned());
        }
        for key in ["notification_display_style", "notification_no_disturbing", "notifier_name", "device_token"] {
            if let Some(value) = body.0.get(key) {
                user.push.insert(key.to_owned(), value.clone());
            }
        }
        user.modified_ms = now_ms;
        user.entity()
    })?;
    Ok(call.full("/users", json!({ "entities": [entity] })))
}

async fn password(call: Call, _: AppOnly, Path(user): Path<String>, body: Fields) -> Answer {
    let new = body.text("newpassword").ok_or_else(|| ApiError::argument("newpassword must be provided"))?;
    call.app.with_user(&user, |user| user.password = new.to_owned())?;
    Ok(call.bare("set user password", json!({})))
}

async fn deactivate(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let name = call.app.fold(&user);
    let entity = call.app.with_user(&name, |user| {
        user.activated = false;
        user.entity()
    })?;
    call.app.tokens.lock().revoke_user(&name);
    call.app.drop_devices(&name, None, "logout");
    Ok(call.bare("Deactivate user", json!({ "entities": [entity] })))
}

async fn activate(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    call.app.with_user(&user, |user| user.activated = true)?;
    Ok(call.bare("activate user", json!({})))
}

async fn disconnect(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let name = call.app.fold(&user);
    call.app.with_user(&name, |_| ())?;
    call.app.drop_devices(&name, None, "logout");
    Ok(call.brief(json!({ "data": { "result": true }, "count": 0 })))
}

async fn disconnect_one(call: Call, _: AppOnly, Path((user, resource)): Path<(String, String)>) -> Answer {
    let name = call.app.fold(&user);
    call.app.with_user(&name, |_| ())?;
    let result = call.app.drop_devices(&name, Some(&resource), "logout");
    Ok(call.brief(json!({ "action": "delete", "data": { "result": result } })))
}

async fn resources(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let data = call.app.with_user(&user, |user| {
        let entry = |device: &super::super::model::Device| {
            json!({ "res": device.resource, "device_uuid": device.uuid, "device_name": device.name })
        };
        user.devices.iter().map(entry).collect::<Vec<_>>()
    })?;
    Ok(call.full(&call.path, json!({ "entities": [], "data": data })))
}

fn word(online: bool) -> &'static str {
    if online { "online" } else { "offline" }
}

async fn status(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let name = call.app.fold(&user);
    let online = call.app.with_user(&name, |user| user.online())?;
    Ok(call.brief(json!({ "data": { name: word(online) }, "count": 0 })))
}

async fn batch_status(call: Call, _: AppOnly, body: Fields) -> Answer {
    let names = body.texts("usernames").ok_or_else(ApiError::body)?;
    if names.len() > 100 {
        return Err(ApiError::argument("request body exceeds maximum limit, maximum limit is 100"));
    }
    let data = call.app.data.lock();
    let online = |name: &String| data.users.get(name).is_some_and(User::online);
    let states: Vec<Value> =
        names.iter().map(|name| call.app.fold(name)).map(|name| json!({ &name: word(online(&name)) })).collect();
    drop(data);
    Ok(call.bare("get batch user status", json!({ "data": states })))
}

async fn offline_count(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let name = call.app.fold(&user);
    let count = call.app.with_user(&name, |user| user.offline_direct.len() + user.offline_group.len())?;
    Ok(call.brief(json!({ "data": { name: count }, "count": 0 })))
}

async fn offline_status(call: Call, _: AppOnly, Path((user, message)): Path<(String, String)>) -> Answer {
    let id = message.parse::<u64>().unwrap_or(0);
    let waiting =
        call.app.with_user(&user, |user| user.offline_direct.contains(&id) || user.offline_group.contains(&id))?;
    let state = if waiting { "undelivered" } else { "delivered" };
    Ok(call.brief(json!({ "data": { message: state }, "count": 0 })))
}

async fn mute(call: Call, _: AppOnly, body: Fields) -> Answer {
    let user = body.text("username").ok_or_else(|| ApiError::argument("username must be provided"))?;
    let now_ms = call.app.now_ms();
    let until = |key: &str, before: i64| match body.number(key) {
        None => before,
        Some(-1) => i64::MAX,
        Some(seconds) => now_ms.saturating_add(seconds.saturating_mul(1_000)),
    };
    call.app.with_user(user, |user| {
        let before = user.mutes;
        user.mutes = GlobalMute {
            chat: until("chat", before.chat),
            group: until("groupchat", before.group),
            room: until("chatroom", before.room),
        };
    })?;
    Ok(call.full("/mutes", json!({ "data": { "result": "ok" } })))
}

/// Seconds left; -1 for ever, 0 for none.
fn mute_entry(user: &User, now_ms: i64) -> Value {
    let left = |until: i64| match until {
        i64::MAX => -1,
        until => (until - now_ms).max(0) / 1_000,
    };
    let mutes = user.mutes;
    json!({
        "username": user.name, "userid": user.name, "chat": left(mutes.chat), "groupchat": left(mutes.group),
        "chatroom": left(mutes.room), "unixtime": now_ms / 1_000,
    })
}

async fn mute_of(call: Call, _: AppOnly, Path(user): Path<String>) -> Answer {
    let now_ms = call.app.now_ms();
    let entry = call.app.with_user(&user, |user| mute_entry(user, now_ms))?;
    Ok(call.full(&call.path, json!({ "data": entry })))
}

async fn mutes(call: Call, _: AppOnly) -> Answer {
    let now_ms = call.app.now_ms();
    let entries: Vec<Value> = {
        let data = call.app.data.lock();
        let muted = |user: &&User| {
            let mutes = user.mutes;
            mutes.chat > now_ms || mutes.group > now_ms || mutes.room > now_ms
        };
        data.users.values().filter(muted).map(|user| mute_entry(user, now_ms)).collect()
    };
    Ok(call.full("/mutes", json!({ "data": { "data": entries, "unixtime": now_ms / 1_000 } })))
}
