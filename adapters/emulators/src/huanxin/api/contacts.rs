//! Contacts and block lists.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::Answer;
use super::request::{Call, Caller, Fields};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/users/{user}/contacts/users", get(contacts))
        .route("/user/{user}/contacts", get(contacts_page))
        .route("/users/{user}/contacts/users/{friend}", post(add).delete(remove))
        .route("/users/{user}/blocks/users", get(blocks).post(block))
        .route("/users/{user}/blocks/users/{other}", delete(unblock))
}

async fn contacts(call: Call, caller: Caller, Path(user): Path<String>) -> Answer {
    caller.speaks_for(&call.app.fold(&user))?;
    let names = call.app.with_user(&user, |user| user.contacts.clone())?;
    Ok(call.brief(json!({ "data": names, "count": names.len() })))
}

async fn contacts_page(call: Call, caller: Caller, Path(user): Path<String>) -> Answer {
    caller.speaks_for(&call.app.fold(&user))?;
    let names = call.app.with_user(&user, |user| user.contacts.clone())?;
    let limit = call.number("limit", 10, 50).max(1);
    let from = call.number("cursor", 0, usize::MAX);
    let page: Vec<Value> = names.iter().skip(from).take(limit).map(|name| json!({ "username": name })).collect();
    let mut data = json!({ "contacts": page });
    if from + limit < names.len() {
        data["cursor"] = json!((from + limit).to_string());
    }
    Ok(call.brief(json!({ "data": data })))
}

async fn add(call: Call, caller: Caller, Path((user, friend)): Path<(String, String)>) -> Answer {
    let (user, friend) = (call.app.fold(&user), call.app.fold(&friend));
    caller.speaks_for(&user)?;
    call.app.with_user(&user, |_| ())?;
    let entity = call.app.with_user(&friend, |friend| friend.entity())?;
    call.app.change_contacts(&user, "accept", &friend);
    Ok(call.brief(json!({ "entities": [entity] })))
}

async fn remove(call: Call, caller: Caller, Path((user, friend)): Path<(String, String)>) -> Answer {
    let (user, friend) = (call.app.fold(&user), call.app.fold(&friend));
    caller.speaks_for(&user)?;
    let entity = call.app.with_user(&friend, |friend| friend.entity())?;
    call.app.change_contacts(&user, "remove", &friend);
    Ok(call.brief(json!({ "entities": [entity] })))
}

async fn blocks(call: Call, caller: Caller, Path(user): Path<String>) -> Answer {
    caller.speaks_for(&call.app.fold(&user))?;
    let names = call.app.with_user(&user, |user| user.blocked.clone())?;
    Ok(call.brief(json!({ "data": names, "count": names.len() })))
}

async fn block(call: Call, caller: Caller, Path(user): Path<String>, body: Fields) -> Answer {
    let user = call.app.fold(&user);
    caller.speaks_for(&user)?;
    let names = body.texts("usernames").ok_or_else(ApiError::body)?;
    for name in &names {
        call.app.change_contacts(&user, "ban", &call.app.fold(name));
    }
    Ok(call.brief(json!({ "data": names })))
}

async fn unblock(call: Call, caller: Caller, Path((user, other)): Path<(String, String)>) -> Answer {
    let user = call.app.fold(&user);
    caller.speaks_for(&user)?;
    call.app.change_contacts(&user, "allow", &call.app.fold(&other));
    Ok(call.brief(json!({})))
}
