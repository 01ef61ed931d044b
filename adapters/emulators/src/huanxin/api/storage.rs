//! The paid store of failed callbacks. Samples show both `/callbacks` and `/callback`, and `action:"post"` for GET.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::Answer;
use super::request::{AppOnly, Call, Fields};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/callbacks/storage/info", get(info))
        .route("/callback/storage/info", get(info))
        .route("/callbacks/storage/retry", post(retry))
        .route("/callback/storage/retry", post(retry))
}

fn bought(call: &Call) -> Result<(), ApiError> {
    if call.app.settings().callbacks.storage {
        return Ok(());
    }
    Err(ApiError::forbidden("callback storage service is unopened"))
}

async fn info(call: Call, _: AppOnly) -> Answer {
    bought(&call)?;
    let settings = call.app.settings();
    let slots =
        call.app.storage.lock().info(settings.history.zone, call.app.now_ms(), settings.callbacks.storage_keep_ms);
    let data: Vec<Value> =
        slots.into_iter().map(|slot| json!({ "date": slot.date, "size": slot.size, "retry": slot.retry })).collect();
    Ok(call.full("/callbacks", json!({ "action": "post", "data": data })))
}

/// `success` means only that the replay was accepted; the events then arrive as ordinary callbacks with their
/// original signature and time.
async fn retry(call: Call, _: AppOnly, fields: Fields) -> Answer {
    bought(&call)?;
    let date = fields.text("date").ok_or_else(|| ApiError::argument("date can't be empty"))?;
    let settings = call.app.settings();
    let target = fields.text("targetUrl").filter(|target| !target.is_empty());
    let events = call.app.storage.lock().replay(date, settings.history.zone, target, &settings.callbacks.rules);
    let word = if events.is_some() { "success" } else { "failure" };
    for event in events.unwrap_or_default() {
        call.app.sender.submit(event);
    }
    Ok(call.full("/callbacks", json!({ "action": "post", "data": word })))
}
