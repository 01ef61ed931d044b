//! What happens to a message after its send: recall, edit; and the import of old ones.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path};
use axum::routing::{post, put};
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::bodies::canonical;
use super::super::error::ApiError;
use super::super::model::{ChatType, Message};
use super::Answer;
use super::request::{AppOnly, Call, Fields};
use super::send::fields as send_fields;
use crate::common::Source;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/messages/msg_recall", post(recall))
        .route("/messages/batch_recall", post(recall_batch))
        .route("/messages/recall", post(recall_batch))
        .route("/messages/rewrite/{id}", put(rewrite))
        .route("/messages/users/import", post(import).layer(Extension(ChatType::Chat)))
        .route("/messages/chatgroups/import", post(import).layer(Extension(ChatType::GroupChat)))
}

fn recall_argument(text: &str) -> ApiError {
    ApiError::new(400, "message_recall_error", text)
}

async fn recall(call: Call, _: AppOnly, fields: Fields) -> Answer {
    let data = recall_one(&call.app, &fields)?;
    Ok(call.full(&call.path, json!({ "data": data })))
}

fn recall_one(app: &App, fields: &Fields) -> Result<Value, ApiError> {
    if !app.settings().messages.recall {
        return Err(ApiError::recall_off());
    }
    let text = |key: &str| fields.text(key).filter(|text| !text.is_empty());
    let id = text("msg_id").ok_or_else(|| recall_argument("param msg_id can't be empty"))?;
    let to = text("to").ok_or_else(|| recall_argument("param to can't be empty"))?;
    let kind = text("chat_type").and_then(ChatType::parse);
    let kind = kind.ok_or_else(|| recall_argument("param chat_type can't be empty"))?;
    let from = text("from").map_or_else(|| "admin".to_owned(), |from| app.fold(from));
    let to = if kind == ChatType::Chat { app.fold(to) } else { to.to_owned() };
    app.check_recall(id, &to, kind, fields.flag("force").unwrap_or(false))?;
    app.withdraw(id, &from)?;
    Ok(json!({ "recalled": "yes", "chattype": kind.word(), "from": from, "to": to, "msg_id": id }))
}

/// Up to 30. Every sample shows success only; here a message that cannot be recalled refuses the whole call before
/// any effect.
async fn recall_batch(call: Call, _: AppOnly, fields: Fields) -> Answer {
    // The single recall is named `/messages/recall` by the limits table.
    if !fields.0.contains_key("msgs") {
        let data = recall_one(&call.app, &fields)?;
        return Ok(call.full(&call.path, json!({ "data": data })));
    }
    let items = fields.0.get("msgs").and_then(Value::as_array).cloned().unwrap_or_default();
    if items.is_empty() || items.len() > 30 {
        return Err(recall_argument("param msgs's size can't exceed limit 30"));
    }
    let items: Vec<Fields> = items
        .into_iter()
        .map(|item| item.as_object().cloned().map(send_fields).ok_or_else(ApiError::body))
        .collect::<Result<_, _>>()?;
    for item in &items {
        let kind = item.text("chat_type").and_then(ChatType::parse);
        if let (Some(id), Some(to), Some(kind)) = (item.text("msg_id"), item.text("to"), kind) {
            let to = if kind == ChatType::Chat { call.app.fold(to) } else { to.to_owned() };
            call.app.check_recall(id, &to, kind, item.flag("force").unwrap_or(false))?;
        }
    }
    let data: Vec<Value> = items.iter().map(|item| recall_one(&call.app, item)).collect::<Result<_, _>>()?;
    Ok(call.full(&call.path, json!({ "data": data })))
}

async fn rewrite(call: Call, _: AppOnly, Path(id): Path<String>, fields: Fields) -> Answer {
    let app = &call.app;
    let settings = app.settings();
    if !settings.messages.edit {
        return Err(ApiError::new(403, "message_rewrite_error", "message rewrite service is unopened"));
    }
    if id.parse::<u64>().is_err() {
        return Err(ApiError::new(400, "InvalidMessageIdException", format!("invalid message id {id}")));
    }
    let message = app.data.lock().message(&id).filter(|message| message.recalled_ms.is_none()).cloned();
    let expired = |message: &Message| app.now_ms() - message.time_ms > settings.messages.retention_days * 86_400_000;
    let message = message
        .filter(|message| !expired(message))
        .ok_or_else(|| ApiError::new(404, "resource_not_found", format!("message {id} does not exist")))?;
    if message.edits.len() >= usize::try_from(settings.messages.max_edits).unwrap_or(usize::MAX) {
        return Err(ApiError::new(403, "message_rewrite_error", "exceed message rewrite limit"));
    }
    let body = new_body(&message, fields.0.get("new_msg"))?;
    let ext = new_ext(&message, &fields);
    app.rewrite(&id, body, ext, fields.text("user").unwrap_or("easemob_rest_app_admin"));
    Ok(call.full(&call.path, json!({ "data": "success" })))
}

/// Text and custom messages take a new body; attachments and locations only a new extension; commands nothing.
fn new_body(message: &Message, new: Option<&Value>) -> Result<Arc<Value>, ApiError> {
    let kind = message.type_word();
    let not_allowed = || ApiError::new(401, "message_rewrite_error", "message rewrite is not allowed");
    let Some(new) = new.and_then(Value::as_object) else {
        return if kind == "cmd" { Err(not_allowed()) } else { Ok(Arc::clone(&message.body)) };
    };
    match kind {
        "txt" | "custom" => {
            if new.get("type").and_then(Value::as_str).is_some_and(|word| word != kind) {
                return Err(ApiError::argument("message type can not be changed"));
            }
            let mut body: Map<String, Value> = new.clone();
            body.remove("type");
            canonical(kind, &body, |_| None).map(Arc::new)
        }
        "cmd" => Err(not_allowed()),
        _ => Ok(Arc::clone(&message.body)),
    }
}

fn new_ext(message: &Message, fields: &Fields) -> Arc<Value> {
    let Some(new) = fields.0.get("new_ext").and_then(Value::as_object) else {
        return Arc::clone(&message.ext);
    };
    let mut ext = match &*message.ext {
        Value::Object(old) if fields.flag("is_combine_ext").unwrap_or(true) => old.clone(),
        _ => Map::new(),
    };
    ext.extend(new.clone());
    Arc::new(Value::Object(ext))
}

async fn import(call: Call, _: AppOnly, Extension(kind): Extension<ChatType>, fields: Fields) -> Answer {
    let app = &call.app;
    let target = fields.text("target").filter(|target| !target.is_empty());
    let target = target.ok_or_else(|| ApiError::argument("target can't be empty"))?;
    let target = if kind == ChatType::Chat { app.fold(target) } else { target.to_owned() };
    if fields.text("from").is_none() {
        return Err(ApiError::argument("from can't be empty"));
    }
    let content = app.content(&fields)?;
    let mut draft = content.draft(kind, &target, None);
    draft.source = Source::Import;
    draft.options.time_ms = fields.number("msg_timestamp");
    let id = app.accept(draft);
    Ok(call.full(&call.path, json!({ "entities": [], "data": { "msg_id": id.to_string() } })))
}
