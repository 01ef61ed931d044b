//! Sends to users, groups and rooms, their targeted forms, and the old `/messages`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::bodies::{FileFacts, TYPES, canonical};
use super::super::error::ApiError;
use super::super::messages::{Draft, Options};
use super::super::model::ChatType;
use super::Answer;
use super::request::{AppOnly, Call, Fields, In};
use crate::common::Source;

pub(super) fn routes() -> Router<Arc<App>> {
    let to = |kind| post(send).layer(Extension(kind));
    let targeted = |kind| post(send_targeted).layer(Extension(kind));
    Router::new()
        .route("/messages/users", to(ChatType::Chat))
        .route("/messages/chatgroups", to(ChatType::GroupChat))
        .route("/messages/chatrooms", to(ChatType::ChatRoom))
        .route("/messages/chatgroups/users", targeted(ChatType::GroupChat))
        .route("/messages/chatrooms/users", targeted(ChatType::ChatRoom))
        .route("/messages", post(legacy))
}

/// What every form of a send says.
pub(super) struct Content {
    pub(super) from: String,
    pub(super) body: Arc<Value>,
    pub(super) ext: Arc<Value>,
    pub(super) options: Options,
}

impl Content {
    pub(super) fn draft(&self, kind: ChatType, to: &str, audience: Option<Vec<String>>) -> Draft {
        Draft {
            from: self.from.clone(),
            to: to.to_owned(),
            kind,
            audience,
            body: Arc::clone(&self.body),
            ext: Arc::clone(&self.ext),
            source: Source::Rest,
            options: self.options.clone(),
        }
    }
}

impl App {
    pub(in super::super) fn file_facts(&self, url: &str) -> Option<FileFacts> {
        let uuid = url.rsplit('/').next()?;
        let data = self.data.lock();
        let file = data.files.get(uuid)?;
        Some(FileFacts { name: file.name.clone(), length: file.bytes.len() })
    }

    /// Checks sender, type, body, extension and size, in that order.
    pub(super) fn content(&self, fields: &Fields) -> Result<Content, ApiError> {
        let from = sender(self, fields)?;
        let kind = fields.text("type").unwrap_or_default();
        if !TYPES.contains(&kind) {
            return Err(ApiError::send(format!("param type {kind} is not supported")));
        }
        let empty = Map::new();
        let body = fields.0.get("body").and_then(Value::as_object).unwrap_or(&empty);
        self.content_of(fields, from, kind, body)
    }

    fn content_of(
        &self,
        fields: &Fields,
        from: String,
        kind: &str,
        body: &Map<String, Value>,
    ) -> Result<Content, ApiError> {
        let ext = match fields.0.get("ext") {
            None => Value::Null,
            Some(ext @ Value::Object(_)) => ext.clone(),
            Some(_) => return Err(ApiError::send("param ext must be a map")),
        };
        let size =
            Value::Object(body.clone()).to_string().len() + if ext.is_null() { 0 } else { ext.to_string().len() };
        if size > self.settings().messages.max_bytes {
            return Err(ApiError::send_code(14007, "message is too large"));
        }
        let body = canonical(kind, body, |url| self.file_facts(url))?;
        let url = body.get("url").and_then(Value::as_str);
        if self.settings().messages.check_attachments && url.is_some_and(|url| self.file_facts(url).is_none()) {
            return Err(ApiError::send("param url is not a file of this app"));
        }
        Ok(Content { from, body: Arc::new(body), ext: Arc::new(ext), options: options(self, fields)? })
    }
}

pub(super) fn sender(app: &App, fields: &Fields) -> Result<String, ApiError> {
    match fields.0.get("from") {
        None | Some(Value::Null) => Ok("admin".to_owned()),
        Some(Value::String(from)) if from.is_empty() => Err(ApiError::send_code(14001, "param from can't be empty")),
        Some(Value::String(from)) => Ok(app.fold(from)),
        Some(_) => Err(ApiError::body()),
    }
}

fn options(app: &App, fields: &Fields) -> Result<Options, ApiError> {
    let route = fields.text("routetype");
    if route.is_some_and(|route| route != "ROUTE_ONLINE") {
        return Err(ApiError::send("param routetype is illegal"));
    }
    let env = fields.text("env").map(str::to_owned);
    let legal = |env: &String| (1..=8).contains(&env.len()) && env.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if env.as_ref().is_some_and(|env| !legal(env)) {
        return Err(ApiError::send("param env is illegal"));
    }
    let level = fields.text("chatroom_msg_level").map(str::to_owned);
    if level.as_ref().is_some_and(|level| !["high", "normal", "low"].contains(&level.as_str())) {
        return Err(ApiError::send("param chatroom_msg_level is illegal"));
    }
    let hidden = fields.texts("roam_ignore_users").unwrap_or_default();
    Ok(Options {
        online_only: route.is_some(),
        hidden_from: hidden.iter().map(|user| app.fold(user)).collect(),
        env,
        group_ack: fields.flag("need_group_ack").unwrap_or(false),
        level,
        sync_device: fields.flag("sync_device").unwrap_or(false),
        time_ms: None,
    })
}

/// The targets of a call, folded where they are users, within the documented number.
fn targets(app: &App, kind: ChatType, list: Option<Vec<String>>) -> Result<Vec<String>, ApiError> {
    let list = list.ok_or_else(ApiError::body)?;
    if list.is_empty() || list.iter().any(String::is_empty) {
        return Err(ApiError::send_code(14002, "param to can't be empty"));
    }
    let limit = match kind {
        ChatType::Chat => 600,
        ChatType::GroupChat => 3,
        ChatType::ChatRoom => 10,
    };
    if list.len() > limit {
        return Err(ApiError::send(format!("params to's size can't exceed limit {limit}")));
    }
    let mut targets: Vec<String> = Vec::with_capacity(list.len());
    for target in list {
        let target = if kind == ChatType::Chat { app.fold(&target) } else { target };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

fn message_rate(kind: ChatType) -> &'static str {
    match kind {
        ChatType::Chat => "send_users_messages",
        ChatType::GroupChat => "send_groups_messages",
        ChatType::ChatRoom => "send_rooms_messages",
    }
}

async fn send(call: Call, _: AppOnly, Extension(kind): Extension<ChatType>, fields: Fields) -> Answer {
    let app = &call.app;
    let to = targets(app, kind, fields.texts("to"))?;
    let content = app.content(&fields)?;
    app.count_messages(message_rate(kind), to.len())?;
    Ok(call.full(&call.path, json!({ "data": send_all(app, kind, &to, &content) })))
}

fn send_all(app: &App, kind: ChatType, to: &[String], content: &Content) -> Value {
    let mut ids = Map::new();
    for target in to {
        let id = app.accept(content.draft(kind, target, None));
        ids.insert(target.clone(), json!(id.to_string()));
    }
    Value::Object(ids)
}

/// One group or room; only the named members see it. Over rate is 403 here, not 429, as the pages say.
async fn send_targeted(call: Call, _: AppOnly, Extension(kind): Extension<ChatType>, fields: Fields) -> Answer {
    let app = &call.app;
    let to = fields.texts("to").ok_or_else(ApiError::body)?;
    let [group] = to.as_slice() else {
        if to.is_empty() {
            return Err(ApiError::send_code(14002, "param to can't be empty"));
        }
        // The vendor's text names three although one is allowed.
        return Err(ApiError::send("params to's size can't exceed limit 3"));
    };
    let users = fields.texts("users").unwrap_or_default();
    if users.is_empty() || users.len() > 20 {
        return Err(ApiError::send("params users's size can't exceed limit 20"));
    }
    let content = app.content(&fields)?;
    let audience = users.iter().map(|user| app.fold(user)).collect();
    let id = app.accept(content.draft(kind, group, Some(audience)));
    Ok(call.full(&call.path, json!({ "data": { group: id.to_string() } })))
}

/// The older endpoint: `target_type`, `target[]`, `msg{type, …}`.
async fn legacy(call: Call, _: AppOnly, fields: Fields) -> Answer {
    let app = &call.app;
    let (kind, rate) = match fields.text("target_type") {
        Some("users") => (ChatType::Chat, "send_users"),
        Some("chatgroups") => (ChatType::GroupChat, "send_groups"),
        Some("chatrooms") => (ChatType::ChatRoom, "send_rooms"),
        _ => return Err(ApiError::argument("target_type is illegal")),
    };
    app.count_call(rate, rate)?;
    let to = targets(app, kind, fields.texts("target"))?;
    let mut body = fields.0.get("msg").and_then(Value::as_object).cloned().ok_or_else(ApiError::body)?;
    let word = body.remove("type").and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    if !TYPES.contains(&word.as_str()) {
        return Err(ApiError::send(format!("param type {word} is not supported")));
    }
    let content = app.content_of(&fields, sender(app, &fields)?, &word, &body)?;
    app.count_messages(message_rate(kind), to.len())?;
    let ids = send_all(app, kind, &to, &content);
    Ok(legacy_reply(&call, &to, ids))
}

fn legacy_reply(call: &Call, to: &[String], ids: Value) -> Response {
    let data = if call.query("useMsgId") == Some("true") {
        ids
    } else {
        let word = call.app.settings().messages.legacy_result.clone();
        Value::Object(to.iter().map(|target| (target.clone(), json!(word))).collect())
    };
    call.full("/messages", json!({ "entities": [], "data": data }))
}

/// Lets other handlers build the fields they share with a send.
pub(super) fn fields(map: Map<String, Value>) -> Fields {
    In(map)
}
