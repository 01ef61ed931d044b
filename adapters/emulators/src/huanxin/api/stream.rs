//! Text streams: chunks of one message. They bring no callback; only history and roaming show them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::super::app::App;
use super::super::error::ApiError;
use super::super::messages::{Draft, Options};
use super::super::model::{ChatType, Stream};
use super::Answer;
use super::request::{AppOnly, Call, Fields};
use super::send::sender;
use crate::common::Source;

const MAX_BYTES: usize = 128 * 1024;
const MAX_GAP_MS: i64 = 30_000;
const MAX_LIFE_MS: i64 = 30 * 60_000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/stream_message/user", post(chunk).layer(Extension(ChatType::Chat)))
        .route("/stream_message/chatgroup", post(chunk).layer(Extension(ChatType::GroupChat)))
}

async fn chunk(call: Call, _: AppOnly, Extension(kind): Extension<ChatType>, fields: Fields) -> Answer {
    let app = &call.app;
    let from = sender(app, &fields)?;
    let to = fields.text("to").filter(|to| !to.is_empty());
    let to = to.ok_or_else(|| ApiError::send_code(14002, "param to can't be empty"))?;
    let to = if kind == ChatType::Chat { app.fold(to) } else { to.to_owned() };
    let body = fields.0.get("body").filter(|body| body.as_object().is_some_and(|body| !body.is_empty()));
    let body = body.ok_or_else(|| ApiError::send_code(14005, "param body can't be empty"))?;
    let seq = body.get("seq").and_then(Value::as_i64).filter(|seq| *seq >= 0);
    let seq = seq.ok_or_else(|| ApiError::send_code(14030, "param seq is illegal"))?;
    let text = body.get("msg").and_then(Value::as_str).unwrap_or_default();
    let finish = body.get("finish").and_then(Value::as_bool).unwrap_or(false);
    let id = match body.get("msgId").and_then(Value::as_str) {
        None if seq == 0 => begin(&call, kind, &from, &to, body, text, &fields)?,
        None => return Err(ApiError::send_code(14031, "stream id is unknown")),
        Some(id) => extend(&call, id, &from, &to, seq, text)?,
    };
    if finish {
        complete(app, id);
    }
    Ok(reply(&call, (seq == 0).then_some(id)))
}

fn begin(
    call: &Call,
    kind: ChatType,
    from: &str,
    to: &str,
    body: &Value,
    text: &str,
    fields: &Fields,
) -> Result<u64, ApiError> {
    let now_ms = call.app.now_ms();
    if text.len() > MAX_BYTES {
        return Err(ApiError::send_code(14032, "stream is too large"));
    }
    let mut data = call.app.data.lock();
    let id = data.next_id(now_ms);
    data.streams.insert(
        id,
        Stream {
            from: from.to_owned(),
            to: to.to_owned(),
            kind,
            text: text.to_owned(),
            markdown: body.get("type").and_then(Value::as_str) == Some("markdown"),
            seq: 0,
            started_ms: now_ms,
            touched_ms: now_ms,
            finished: false,
            ext: fields.0.get("ext").cloned().unwrap_or(Value::Null),
        },
    );
    Ok(id)
}

fn extend(call: &Call, id: &str, from: &str, to: &str, seq: i64, text: &str) -> Result<u64, ApiError> {
    let unknown = || ApiError::send_code(14031, "stream id is unknown");
    let id: u64 = id.parse().map_err(|_| unknown())?;
    let now_ms = call.app.now_ms();
    let mut data = call.app.data.lock();
    let stream = data.streams.get_mut(&id).ok_or_else(unknown)?;
    let refused = match () {
        () if stream.finished => Some((14035, "stream is finished")),
        () if now_ms - stream.started_ms > MAX_LIFE_MS => Some((14034, "stream lasts too long")),
        () if now_ms - stream.touched_ms > MAX_GAP_MS => Some((14033, "stream timed out")),
        () if stream.from != from => Some((14036, "param from has changed")),
        () if stream.to != to => Some((14037, "param to has changed")),
        () if seq <= stream.seq => Some((14038, "param seq must increase")),
        () if stream.text.len() + text.len() > MAX_BYTES => Some((14032, "stream is too large")),
        () => None,
    };
    if let Some((code, text)) = refused {
        return Err(ApiError::send_code(code, text));
    }
    stream.text.push_str(text);
    stream.seq = seq;
    stream.touched_ms = now_ms;
    Ok(id)
}

/// A finished stream becomes one stored text message.
fn complete(app: &App, id: u64) {
    let draft = {
        let mut data = app.data.lock();
        let Some(stream) = data.streams.get_mut(&id) else { return };
        stream.finished = true;
        let mut body = json!({ "type": "txt", "msg": stream.text });
        if stream.markdown {
            body["subType"] = json!("markdown");
        }
        Draft {
            from: stream.from.clone(),
            to: stream.to.clone(),
            kind: stream.kind,
            audience: None,
            body: Arc::new(body),
            ext: Arc::new(stream.ext.clone()),
            source: Source::Stream,
            options: Options::default(),
        }
    };
    app.accept_as(id, draft);
}

fn reply(call: &Call, id: Option<u64>) -> Response {
    let data = id.map_or_else(|| json!({}), |id| json!({ "msgId": id.to_string() }));
    call.full(&call.path, json!({ "data": data }))
}
