//! Broadcasts: to all users, to those online, to active rooms.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::super::model::{ChatType, User};
use super::Answer;
use super::request::{AppOnly, Call, Fields};
use super::send::fields as send_fields;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/messages/broadcast", post(everybody))
        .route("/messages/users/broadcast", post(online))
        .route("/messages/chatrooms/broadcast", post(rooms))
}

async fn everybody(call: Call, _: AppOnly, fields: Fields) -> Answer {
    let targets = || call.app.data.lock().users.keys().cloned().collect();
    broadcast(&call, &fields, ["broadcast", "broadcast_day"], ChatType::Chat, targets)
}

async fn online(call: Call, _: AppOnly, fields: Fields) -> Answer {
    let targets = || {
        let data = call.app.data.lock();
        let online = data.users.iter().filter(|(_, user)| User::online(user));
        online.map(|(name, _)| name.clone()).collect()
    };
    broadcast(&call, &fields, ["broadcast_online", "broadcast_online_day"], ChatType::Chat, targets)
}

async fn rooms(call: Call, _: AppOnly, fields: Fields) -> Answer {
    let targets = || {
        let data = call.app.data.lock();
        data.groups.values().filter(|group| group.room).map(|room| room.id.clone()).collect()
    };
    broadcast(&call, &fields, ["broadcast_rooms", "broadcast_rooms_day"], ChatType::ChatRoom, targets)
}

/// The content stands in `msg{type, …}`. The reply holds one id for all; each receiver's copy has its own.
fn broadcast(
    call: &Call,
    fields: &Fields,
    rates: [&str; 2],
    kind: ChatType,
    targets: impl FnOnce() -> Vec<String>,
) -> Answer {
    let app = &call.app;
    let mut body = fields.0.get("msg").and_then(Value::as_object).cloned().ok_or_else(ApiError::body)?;
    let word = body.remove("type").unwrap_or(Value::Null);
    let mut send: Map<String, Value> = fields.0.clone();
    send.remove("msg");
    send.insert("type".to_owned(), word);
    send.insert("body".to_owned(), Value::Object(body));
    let content = app.content(&send_fields(send))?;
    for rate in rates {
        app.count_call(rate, rate)?;
    }
    let id = app.data.lock().next_id(app.now_ms());
    let mut targets = targets();
    targets.sort_unstable();
    for target in targets {
        app.accept(content.draft(kind, &target, None));
    }
    Ok(call.full(&call.path, json!({ "data": { "id": id } })))
}
