//! Presence (paid add-on) and the group online count.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::super::model::User;
use super::Answer;
use super::request::{Call, Caller, In};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/users/{user}/presence", post(query).delete(unsubscribe))
        .route("/users/{user}/presence/sublist", get(subscriptions))
        .route("/users/{user}/presence/{expiry}", post(subscribe))
        .route("/users/{user}/presence/{resource}/{status}", post(publish))
        .route("/presence/online/{group}/type/1", get(group_count))
}

fn open(call: &Call) -> Result<(), ApiError> {
    if call.app.settings().users.presence {
        return Ok(());
    }
    Err(ApiError::argument("the app not open presence"))
}

/// `{usernames: […]}`, or the bare list the web SDK sends when unsubscribing.
fn names(call: &Call, body: &Value) -> Result<Vec<String>, ApiError> {
    let list = body.get("usernames").unwrap_or(body).as_array().ok_or_else(ApiError::body)?;
    if list.len() > 100 {
        return Err(ApiError::argument("request body exceeds maximum limit, maximum limit is 100"));
    }
    Ok(list.iter().filter_map(Value::as_str).map(|name| call.app.fold(name)).collect())
}

/// Times are seconds written as text.
fn entry(name: &str, user: Option<&User>, expiry_ms: Option<i64>, now_ms: i64) -> Value {
    let mut status: Map<String, Value> = Map::new();
    let mut last_ms = 0;
    if let Some(user) = user {
        for device in &user.devices {
            status.insert(device.os.clone(), json!("1"));
        }
        for (device, custom) in &user.presence {
            status.insert(device.clone(), json!(custom));
        }
        last_ms = if user.online() { now_ms } else { user.last_seen_ms };
    }
    let mut entry = json!({
        "uid": name, "last_time": (last_ms / 1_000).to_string(),
        "ext": user.map_or("", |user| user.presence_ext.as_str()), "status": status,
    });
    if let Some(expiry_ms) = expiry_ms {
        entry["expiry"] = json!((expiry_ms / 1_000).to_string());
    }
    entry
}

async fn query(call: Call, caller: Caller, Path(user): Path<String>, In(body): In<Value>) -> Answer {
    open(&call)?;
    caller.speaks_for(&call.app.fold(&user))?;
    let (names, now_ms) = (names(&call, &body)?, call.app.now_ms());
    let data = call.app.data.lock();
    let result: Vec<Value> = names.iter().map(|name| entry(name, data.users.get(name), None, now_ms)).collect();
    Ok(Json(json!({ "result": result })).into_response())
}

async fn subscribe(
    call: Call,
    caller: Caller,
    Path((user, expiry)): Path<(String, String)>,
    In(body): In<Value>,
) -> Answer {
    open(&call)?;
    let me = call.app.fold(&user);
    caller.speaks_for(&me)?;
    let seconds = expiry.parse::<i64>().ok().filter(|seconds| (1..=2_592_000).contains(seconds));
    let seconds = seconds.ok_or_else(|| ApiError::argument("expiry is not legal"))?;
    let (names, now_ms) = (names(&call, &body)?, call.app.now_ms());
    let until = now_ms + seconds * 1_000;
    call.app.with_user(&me, |user| {
        user.watching.extend(names.iter().map(|name| (name.clone(), until)));
    })?;
    let data = call.app.data.lock();
    let result: Vec<Value> = names.iter().map(|name| entry(name, data.users.get(name), Some(until), now_ms)).collect();
    Ok(Json(json!({ "result": result })).into_response())
}

async fn unsubscribe(call: Call, caller: Caller, Path(user): Path<String>, In(body): In<Value>) -> Answer {
    open(&call)?;
    let me = call.app.fold(&user);
    caller.speaks_for(&me)?;
    let names = names(&call, &body)?;
    call.app.with_user(&me, |user| user.watching.retain(|name, _| !names.contains(name)))?;
    Ok(Json(json!({ "result": "ok" })).into_response())
}

async fn subscriptions(call: Call, caller: Caller, Path(user): Path<String>) -> Answer {
    open(&call)?;
    let me = call.app.fold(&user);
    caller.speaks_for(&me)?;
    let now_ms = call.app.now_ms();
    let (page, size) = (call.number("pageNum", 1, usize::MAX).max(1), call.number("pageSize", 20, 100));
    let watching = call.app.with_user(&me, |user| user.watching.clone())?;
    let live: Vec<Value> = watching
        .iter()
        .filter(|(_, until)| **until > now_ms)
        .map(|(name, until)| json!({ "uid": name, "expiry": until / 1_000 }))
        .collect();
    let shown: Vec<&Value> = live.iter().skip((page - 1) * size).take(size).collect();
    let reply = json!({ "result": { "totalnum": live.len(), "sublist": shown } });
    Ok(Json(reply).into_response())
}

async fn publish(
    call: Call,
    caller: Caller,
    Path((user, resource, status)): Path<(String, String, String)>,
    In(body): In<Value>,
) -> Answer {
    open(&call)?;
    let me = call.app.fold(&user);
    caller.speaks_for(&me)?;
    let ext = body.get("ext").and_then(Value::as_str).unwrap_or_default();
    if ext.len() > 1_024 {
        return Err(ApiError::argument("ext is too long"));
    }
    call.app.with_user(&me, |user| {
        user.presence_ext = ext.to_owned();
        user.presence.insert(resource, status);
    })?;
    Ok(Json(json!({ "result": "ok" })).into_response())
}

async fn group_count(call: Call, _: Caller, Path(group): Path<String>) -> Answer {
    open(&call)?;
    let members = call
        .app
        .with_group(&group, |group| group.members.iter().map(|member| member.user.clone()).collect::<Vec<_>>())?;
    let data = call.app.data.lock();
    let online = members.iter().filter(|name| data.users.get(*name).is_some_and(User::online)).count();
    Ok(Json(json!({ "result": { "gid": group, "count": online } })).into_response())
}
