//! Roaming: the server-side query of 2026, and the one-way deletions.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Extension, Path};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::data::Data;
use super::super::error::ApiError;
use super::super::model::{ChatType, Message};
use super::super::msync::{DIRECT_DOMAIN, GROUP_DOMAIN, encoded};
use super::Answer;
use super::request::{AppOnly, Call, Caller, Fields};

const BASE: &str = "/rest/message/roaming";

pub(super) fn routes() -> Router<Arc<App>> {
    let by_id = |kind| delete(delete_ids).layer(Extension(kind));
    let by_time = |kind| delete(delete_until).post(delete_until).layer(Extension(kind));
    Router::new()
        .route("/v6/roaming/chat", post(query).layer(Extension(ChatType::Chat)))
        .route("/v6/roaming/group", post(query).layer(Extension(ChatType::GroupChat)))
        .route(&format!("{BASE}/chat/user/{{owner}}"), by_id(ChatType::Chat))
        .route(&format!("{BASE}/group/user/{{owner}}"), by_id(ChatType::GroupChat))
        .route(&format!("{BASE}/chat/user/{{owner}}/time"), by_time(ChatType::Chat))
        .route(&format!("{BASE}/group/user/{{owner}}/time"), by_time(ChatType::GroupChat))
        .route(&format!("{BASE}/user/{{owner}}/delete/all"), post(delete_all))
        .route("/users/{owner}/user_channel", delete(delete_conversation))
        .route("/users/{owner}/messageroaming", post(client_query))
        .route("/sdk/user/{owner}/user_channels/list", get(client_conversations))
        // The web SDK's spelling.
        .route("/user/{owner}/user_channel", delete(delete_conversation))
}

fn open(app: &App) -> Result<(), ApiError> {
    if app.settings().history.roaming.enabled {
        return Ok(());
    }
    Err(ApiError::new(400, "service open exception", "this appKey not open message roaming"))
}

/// What of a conversation `user` may see.
pub(super) fn visible(app: &App, data: &Data, user: &str, key: &str, message: &Message) -> bool {
    let keep_ms = app.settings().messages.retention_days * 86_400_000;
    let party = message.from == user || message.to == user;
    let member = match message.kind {
        ChatType::Chat => party,
        ChatType::GroupChat | ChatType::ChatRoom => {
            data.groups.get(&message.to).is_some_and(|group| group.joined_ms(user).is_some())
        }
    };
    let chosen = message
        .audience
        .as_ref()
        .is_none_or(|audience| message.from == user || audience.iter().any(|name| name == user));
    member
        && chosen
        && message.recalled_ms.is_none()
        && !message.online_only
        && !message.hidden_from.iter().any(|name| name == user)
        && app.now_ms() - message.time_ms <= keep_ms
        && data.removed.get(user).is_none_or(|removed| !removed.covers(key, message))
}

async fn query(call: Call, _: AppOnly, Extension(kind): Extension<ChatType>, fields: Fields) -> Answer {
    let app = &call.app;
    let settings = app.settings();
    let roaming = &settings.history.roaming;
    if !roaming.deployed {
        return Err(ApiError::new(404, "service_resource_not_found", "Service resource not found"));
    }
    open(app)?;
    let required = |key: &str| {
        let text = fields.text(key).filter(|text| !text.is_empty());
        text.ok_or_else(|| ApiError::argument(format!("{key} can't be empty")))
    };
    let user = app.fold(required("username")?);
    let peer = match kind {
        ChatType::Chat => app.fold(required("to")?),
        ChatType::GroupChat | ChatType::ChatRoom => required("groupId")?.to_owned(),
    };
    let limit = fields.number("limit").unwrap_or(20);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=roaming.max_limit).contains(limit));
    let limit = limit.ok_or_else(|| ApiError::argument("limit is illegal"))?;
    let order = fields.text("order").unwrap_or("down");
    let ascending = order == roaming.ascending_word;
    if !ascending && order != "down" {
        return Err(ApiError::argument("order is illegal"));
    }
    let after = match fields.text("cursor").filter(|cursor| !cursor.is_empty()) {
        Some(cursor) => Some(read_cursor(cursor).ok_or_else(|| ApiError::argument("cursor is illegal"))?),
        None => None,
    };
    let range = fields.number("startTimestamp").unwrap_or(0)..=fields.number("endTimestamp").unwrap_or(i64::MAX);
    let key = Data::conversation(kind, &user, &peer);
    let page = Page { user: &user, key: &key, ascending, after, limit, range };
    let now_ms = app.now_ms();
    let (messages, next) = page.read(app, |message| message.history_line(now_ms));
    let next = next.map(|(time_ms, id)| URL_SAFE_NO_PAD.encode(format!("{time_ms}:{id}")));
    let mut data: Map<String, Value> = Map::new();
    data.insert(roaming.messages_field.clone(), json!(messages));
    data.insert("pagination".to_owned(), next.map_or_else(|| json!({}), |next| json!({ "cursor": next })));
    let path = call.path.trim_start_matches("/v6").to_owned();
    Ok(call.full(&path, json!({ "data": data })))
}

fn read_cursor(cursor: &str) -> Option<(i64, u64)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (time, id) = text.split_once(':')?;
    Some((time.parse().ok()?, id.parse().ok()?))
}

struct Page<'a> {
    user: &'a str,
    key: &'a str,
    ascending: bool,
    after: Option<(i64, u64)>,
    limit: usize,
    range: std::ops::RangeInclusive<i64>,
}

impl Page<'_> {
    /// Messages in order of (time, id), each shown by `show`, and the cursor behind the last one when more follow.
    fn read<T>(&self, app: &App, show: impl Fn(&Message) -> T) -> (Vec<T>, Option<(i64, u64)>) {
        let data = app.data.lock();
        let indexes = data.conversations.get(self.key).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<&Message> = indexes
            .iter()
            .map(|index| &data.messages[*index])
            .filter(|message| self.range.contains(&message.time_ms))
            .filter(|message| visible(app, &data, self.user, self.key, message))
            .collect();
        found.sort_unstable_by_key(|message| (message.time_ms, message.id));
        if !self.ascending {
            found.reverse();
        }
        let beyond = |message: &&&Message| {
            let place = (message.time_ms, message.id);
            self.after.is_none_or(|after| if self.ascending { place > after } else { place < after })
        };
        let mut rest = found.iter().filter(beyond);
        let page: Vec<&&Message> = rest.by_ref().take(self.limit).collect();
        let last = page.last().filter(|_| rest.next().is_some());
        let next = last.map(|last| (last.time_ms, last.id));
        (page.iter().map(|message| show(message)).collect(), next)
    }
}

/// What the web SDK asks with its user's token: `queue` is the peer's or the group's address, `start` the id to go on
/// from. Client-internal; observed.
async fn client_query(call: Call, caller: Caller, Path(owner): Path<String>, fields: Fields) -> Answer {
    open(&call.app)?;
    let owner = call.app.fold(&owner);
    caller.speaks_for(&owner)?;
    let (peer, domain) = fields.text("queue").and_then(|queue| queue.split_once('@')).ok_or_else(ApiError::body)?;
    let kind = match domain {
        GROUP_DOMAIN => ChatType::GroupChat,
        DIRECT_DOMAIN => ChatType::Chat,
        _ => return Err(ApiError::body()),
    };
    let key = Data::conversation(kind, &owner, &call.app.fold(peer));
    let limit = fields.number("pull_number").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(20).clamp(1, 50);
    let ascending = fields.flag("is_positive").unwrap_or(false);
    // -1 is the newest or the oldest; nothing comes behind an id that nothing has.
    let start = fields.number("start").and_then(|start| u64::try_from(start).ok());
    let after = start.map(|start| {
        let data = call.app.data.lock();
        let place = data.by_id.get(&start).map(|index| (data.messages[*index].time_ms, start));
        place.unwrap_or(if ascending { (i64::MAX, u64::MAX) } else { (i64::MIN, 0) })
    });
    let moment = |name: &str, default: i64| fields.number(name).unwrap_or(default);
    let page = Page {
        user: &owner,
        key: &key,
        ascending,
        after,
        limit,
        range: moment("startTime", 0)..=moment("endTime", i64::MAX),
    };
    let app_key = &call.app.app_key;
    let (messages, next) = page.read(&call.app, |message| (message.id, json!({ "msg": encoded(app_key, message) })));
    // The last page has a key too.
    let next_key = messages.last().map_or_else(String::new, |(id, _)| id.to_string());
    let messages: Vec<Value> = messages.into_iter().map(|(_, message)| message).collect();
    let data = json!({ "is_last": next.is_none(), "next_key": next_key, "msgs": messages });
    Ok(call.brief(json!({ "data": data })))
}

/// The conversations the web SDK lists: one per peer, group or room, with its newest message.
async fn client_conversations(call: Call, caller: Caller, Path(owner): Path<String>) -> Answer {
    let owner = call.app.fold(&owner);
    caller.speaks_for(&owner)?;
    let limit = call.number("limit", 20, 50).max(1);
    let data = call.app.data.lock();
    let newest = |key: &String, indexes: &Vec<usize>| {
        let seen = |message: &&Message| visible(&call.app, &data, &owner, key, message);
        indexes.iter().rev().map(|index| &data.messages[*index]).find(seen)
    };
    let mut found: Vec<&Message> =
        data.conversations.iter().filter_map(|(key, indexes)| newest(key, indexes)).collect();
    found.sort_unstable_by_key(|message| std::cmp::Reverse((message.time_ms, message.id)));
    let infos: Vec<Value> = found
        .into_iter()
        .take(limit)
        .map(|message| {
            let group = message.kind != ChatType::Chat;
            let peer = if group || message.from == owner { &message.to } else { &message.from };
            let domain = if group { GROUP_DOMAIN } else { DIRECT_DOMAIN };
            json!({
                "channel_id": format!("{}_{peer}@{domain}", call.app.app_key), "unread_num": 0,
                "lastMessage": encoded(&call.app.app_key, message),
            })
        })
        .collect();
    drop(data);
    Ok(call.brief(json!({ "data": { "channel_infos": infos, "cursor": "" } })))
}

fn deleted(call: &Call) -> Response {
    Json(json!({ "requestStatusCode": "ok", "timestamp": call.app.now_ms() })).into_response()
}

fn conversation_of(call: &Call, kind: ChatType, owner: &str) -> Result<String, ApiError> {
    let name = if kind == ChatType::Chat { "userId" } else { "groupId" };
    let peer = call.query(name).ok_or_else(|| ApiError::new(400, "param exception", format!("{name} is empty")))?;
    Ok(Data::conversation(kind, owner, &call.app.fold(peer)))
}

async fn delete_ids(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<ChatType>,
    Path(owner): Path<String>,
) -> Answer {
    open(&call.app)?;
    let owner = call.app.fold(&owner);
    caller.speaks_for(&owner)?;
    conversation_of(&call, kind, &owner)?;
    let ids: Vec<u64> =
        call.query("msgIdList").unwrap_or_default().split(',').filter_map(|id| id.trim().parse().ok()).collect();
    if ids.is_empty() || ids.len() > 50 {
        return Err(ApiError::new(400, "param exception", "msgIdList size must be between 1 and 50"));
    }
    call.app.data.lock().removed.entry(owner).or_default().ids.extend(ids);
    Ok(deleted(&call))
}

async fn delete_until(
    call: Call,
    caller: Caller,
    Extension(kind): Extension<ChatType>,
    Path(owner): Path<String>,
) -> Answer {
    open(&call.app)?;
    let owner = call.app.fold(&owner);
    caller.speaks_for(&owner)?;
    let until = call.query("delTime").and_then(|time| time.parse::<i64>().ok());
    let until = until.ok_or_else(|| ApiError::new(400, "param exception", "delTime is illegal"))?;
    let key = conversation_of(&call, kind, &owner)?;
    call.app.data.lock().removed.entry(owner).or_default().until.insert(key, until);
    Ok(deleted(&call))
}

async fn delete_all(call: Call, caller: Caller, Path(owner): Path<String>) -> Answer {
    open(&call.app)?;
    let owner = call.app.fold(&owner);
    caller.speaks_for(&owner)?;
    let now_ms = call.app.now_ms();
    call.app.data.lock().removed.entry(owner).or_default().all_until = now_ms;
    Ok(deleted(&call))
}

async fn delete_conversation(call: Call, caller: Caller, Path(owner): Path<String>, fields: Fields) -> Answer {
    let owner = call.app.fold(&owner);
    caller.speaks_for(&owner)?;
    call.app.count_call("delete_conversation", &format!("delete_conversation {owner}"))?;
    let channel = fields.text("channel").ok_or_else(ApiError::body)?;
    let kind = fields.text("type").and_then(ChatType::parse).ok_or_else(ApiError::body)?;
    let key = Data::conversation(kind, &owner, &call.app.fold(channel));
    if fields.flag("delete_roam").unwrap_or(false) {
        let now_ms = call.app.now_ms();
        call.app.data.lock().removed.entry(owner).or_default().until.insert(key, now_ms);
    }
    Ok(call.full("/users/user_channel", json!({ "entities": [], "data": { "result": "ok" } })))
}
