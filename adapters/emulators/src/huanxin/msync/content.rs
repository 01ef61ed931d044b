//! Between the client's protobuf contents and the vendor's stored JSON bodies.

use serde_json::{Map, Value, json};

use super::wire::{Content, KeyValue};

const TYPES: [&str; 8] = ["txt", "img", "video", "loc", "audio", "file", "cmd", "custom"];

const BOOL: i32 = 1;
const INT: i32 = 2;
const UINT: i32 = 3;
const LONG: i32 = 4;
const FLOAT: i32 = 5;
const DOUBLE: i32 = 6;
const STRING: i32 = 7;
const JSON: i32 = 8;

/// The body as a REST send would spell it; none for kinds without a JSON form here.
pub(super) fn to_body(content: &Content) -> Option<Value> {
    let kind = *TYPES.get(usize::try_from(content.kind.unwrap_or(0)).ok()?)?;
    let mut body = Map::new();
    body.insert("type".to_owned(), json!(kind));
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    match kind {
        "txt" => put("msg", text(&content.text)),
        "cmd" => put("action", text(&content.action)),
        "loc" => {
            put("lat", content.latitude.map(|degrees| json!(degrees)));
            put("lng", content.longitude.map(|degrees| json!(degrees)));
            put("addr", text(&content.address));
        }
        "custom" => {
            put("customEvent", text(&content.custom_event));
            let exts = content.custom_exts.iter().filter_map(|ext| Some((ext.key.clone()?, json!(ext.text))));
            put("customExts", Some(Value::Object(exts.collect())));
        }
        _ => {
            put("url", text(&content.remote_path));
            put("filename", text(&content.display_name));
            put("secret", text(&content.secret_key));
            put("file_length", content.file_length.map(|length| json!(length)));
            put("length", content.duration.map(|seconds| json!(seconds)));
        }
    }
    Some(Value::Object(body))
}

pub(super) fn from_body(body: &Value) -> Content {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| body.get(key).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    let kind = text("type").and_then(|kind| TYPES.iter().position(|name| *name == kind)).unwrap_or(0);
    let exts = body.get("v2:customExts").and_then(Value::as_object);
    let pair = |(key, value): (&String, &Value)| KeyValue {
        key: Some(key.clone()),
        kind: Some(STRING),
        text: value.as_str().map(str::to_owned),
        ..KeyValue::default()
    };
    Content {
        kind: i32::try_from(kind).ok(),
        text: text("msg"),
        latitude: body.get("lat").and_then(Value::as_f64),
        longitude: body.get("lng").and_then(Value::as_f64),
        address: text("addr"),
        display_name: text("filename"),
        remote_path: text("url"),
        secret_key: text("secret"),
        file_length: number("file_length"),
        action: text("action"),
        duration: number("length"),
        custom_event: text("customEvent"),
        custom_exts: exts.map(|exts| exts.iter().map(pair).collect()).unwrap_or_default(),
    }
}

/// The extension; null when there is none.
pub(super) fn to_ext(pairs: &[KeyValue]) -> Value {
    let value = |pair: &KeyValue| match pair.kind {
        Some(BOOL) => json!(pair.varint.unwrap_or(0) != 0),
        Some(INT | UINT | LONG) => json!(pair.varint),
        Some(FLOAT) => json!(pair.float),
        Some(DOUBLE) => json!(pair.double),
        Some(JSON) => {
            let text = pair.text.as_deref().unwrap_or_default();
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        _ => json!(pair.text),
    };
    let ext: Map<String, Value> = pairs.iter().filter_map(|pair| Some((pair.key.clone()?, value(pair)))).collect();
    if ext.is_empty() { Value::Null } else { Value::Object(ext) }
}

pub(super) fn from_ext(ext: &Value) -> Vec<KeyValue> {
    let pair = |(key, value): (&String, &Value)| {
        let mut pair = KeyValue { key: Some(key.clone()), ..KeyValue::default() };
        match value {
            Value::Bool(flag) => (pair.kind, pair.varint) = (Some(BOOL), Some(i64::from(*flag))),
            Value::Number(number) if number.is_i64() => {
                (pair.kind, pair.varint) = (Some(LONG), number.as_i64());
            }
            Value::Number(number) => (pair.kind, pair.double) = (Some(DOUBLE), number.as_f64()),
            Value::String(text) => (pair.kind, pair.text) = (Some(STRING), Some(text.clone())),
            other => (pair.kind, pair.text) = (Some(JSON), Some(other.to_string())),
        }
        pair
    };
    ext.as_object().map(|ext| ext.iter().map(pair).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bodies_and_extensions_survive_both_ways() {
        let bodies = [
            json!({"type": "txt", "msg": "hi"}),
            json!({"type": "cmd", "action": "go"}),
            json!({"type": "loc", "lat": 31.5, "lng": 121.25, "addr": "x"}),
            json!({"type": "audio", "url": "u", "filename": "f", "secret": "s", "file_length": 9, "length": 7}),
        ];
        for body in bodies {
            assert_eq!(to_body(&from_body(&body)).unwrap(), body);
        }
        let ext = json!({"a": true, "b": 7, "c": 1.5, "d": "x", "e": {"f": [1]}});
        assert_eq!(to_ext(&from_ext(&ext)), ext);
        assert_eq!(to_ext(&[]), Value::Null);
    }
}
