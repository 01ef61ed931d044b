//! Message bodies: from the form of a send to the form of callbacks and history files.

use serde_json::{Map, Value, json};

use super::error::ApiError;

/// The types a send may carry.
pub(crate) const TYPES: [&str; 8] = ["txt", "img", "audio", "video", "file", "loc", "cmd", "custom"];

/// What a stored attachment adds to the body that names it.
pub(crate) struct FileFacts {
    pub(crate) name: String,
    pub(crate) length: usize,
}

/// Turns a body as a sender writes it into the stored one. `file` finds an uploaded file by its address.
pub(crate) fn canonical(
    kind: &str,
    body: &Map<String, Value>,
    file: impl Fn(&str) -> Option<FileFacts>,
) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Err(ApiError::send_code(14005, "param body can't be empty"));
    }
    let mut stored = body.clone();
    stored.insert("type".to_owned(), json!(kind));
    match kind {
        "txt" => text(body, "msg")?,
        "cmd" => text(body, "action")?,
        "loc" => {
            for key in ["lat", "lng"] {
                stored.insert(key.to_owned(), coordinate(body, key)?);
            }
            text(body, "addr")?;
        }
        "custom" => custom(body, &mut stored)?,
        "img" | "audio" | "video" | "file" => {
            text(body, "url")?;
            attachment(&mut stored, file);
        }
        other => return Err(ApiError::send(format!("param type {other} is not supported"))),
    }
    Ok(Value::Object(stored))
}

fn text(body: &Map<String, Value>, key: &str) -> Result<(), ApiError> {
    match body.get(key) {
        Some(Value::String(_)) => Ok(()),
        _ => Err(ApiError::send(format!("param body.{key} is illegal"))),
    }
}

/// Strings in requests, numbers in callbacks and files.
fn coordinate(body: &Map<String, Value>, key: &str) -> Result<Value, ApiError> {
    let illegal = || ApiError::send(format!("param body.{key} is illegal"));
    match body.get(key) {
        Some(Value::Number(number)) => Ok(Value::Number(number.clone())),
        Some(Value::String(text)) => text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(|number| json!(number))
            .ok_or_else(illegal),
        _ => Err(illegal()),
    }
}

/// `customExts` is a map in requests; callbacks show it as an array of one-key maps beside `v2:customExts`.
fn custom(body: &Map<String, Value>, stored: &mut Map<String, Value>) -> Result<(), ApiError> {
    let event = body.get("customEvent").and_then(Value::as_str).unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
    if event.is_empty() || event.len() > 32 || !event.chars().all(legal) {
        return Err(ApiError::send("param customEvent is illegal"));
    }
    let exts = match body.get("customExts") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(exts)) if exts.len() <= 16 && exts.values().all(Value::is_string) => exts.clone(),
        Some(_) => return Err(ApiError::send("param customExts is illegal")),
    };
    let list: Vec<Value> = exts.iter().map(|(key, value)| json!({ key: value })).collect();
    stored.insert("customExts".to_owned(), Value::Array(list));
    stored.insert("v2:customExts".to_owned(), Value::Object(exts));
    Ok(())
}

fn attachment(stored: &mut Map<String, Value>, file: impl Fn(&str) -> Option<FileFacts>) {
    let facts = stored.get("url").and_then(Value::as_str).and_then(file);
    if let Some(facts) = facts {
        stored.entry("filename").or_insert_with(|| json!(facts.name));
        stored.entry("file_length").or_insert_with(|| json!(facts.length));
    }
}

/// The last word of `content_type`.
pub(crate) fn content_suffix(body: &Value) -> &'static str {
    if body.get("subType").is_some() {
        return "txt";
    }
    match body.get("type").and_then(Value::as_str).unwrap_or_default() {
        "txt" => "text",
        "img" => "image",
        "audio" => "voice",
        "loc" => "location",
        "video" => "video",
        "file" => "file",
        "cmd" => "command",
        "custom" => "custom",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn stored(kind: &str, body: Value) -> Value {
        canonical(kind, body.as_object().unwrap(), |_| None).unwrap()
    }

    #[test]
    fn coordinates_become_numbers() {
        let body = stored("loc", json!({"lat": "31.2304", "lng": "121.4737", "addr": "x"}));
        assert_eq!((&body["lat"], &body["lng"]), (&json!(31.2304), &json!(121.4737)));
    }

    #[test]
    fn custom_extensions_take_both_forms() {
        let body = stored("custom", json!({"customEvent": "e", "customExts": {"a": "1", "b": "2"}}));
        assert_eq!(body["customExts"], json!([{"a": "1"}, {"b": "2"}]));
        assert_eq!(body["v2:customExts"], json!({"a": "1", "b": "2"}));
    }
}
