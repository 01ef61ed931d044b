//! The business's fields and our mark inside `content.extra`.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use switchboard_contract::{Error, Ext, Result};

use crate::wire::lenient::Str;

/// The key an `extra` that is plain text gets in `ext`.
const PLAIN: &str = "extra";

/// Reads `extra` of a built-in content.
pub(crate) fn read(raw: Option<&RawValue>, mark_key: &str) -> (Ext, Option<String>) {
    let Some(raw) = raw else { return Default::default() };
    if raw.get() == "null" {
        return Default::default();
    }
    if let Ok(Str(text)) = serde_json::from_str::<Str<'_>>(raw.get()) {
        if text.is_empty() {
            return Default::default();
        }
        return match as_object(&text) {
            Some(object) => take_mark(object, mark_key),
            None => (single(Value::String(text.into_owned())), None),
        };
    }
    match serde_json::from_str::<Value>(raw.get()) {
        Ok(Value::Object(object)) => take_mark(object, mark_key),
        Ok(other) => (single(other), None),
        Err(_) => Default::default(),
    }
}

/// Writes `extra` of a built-in content; `None` when there is nothing to carry.
///
/// # Errors
/// `InvalidInput` for an `ext` that uses the reserved key.
pub(crate) fn write(ext: &Ext, mark: Option<&str>, mark_key: &str) -> Result<Option<String>> {
    refuse_reserved(ext, mark_key)?;
    if ext.is_empty() && mark.is_none() {
        return Ok(None);
    }
    if let (None, 1, Some(Value::String(text))) = (mark, ext.len(), ext.get(PLAIN))
        && !text.is_empty()
        && as_object(text).is_none()
    {
        return Ok(Some(text.clone()));
    }
    let mut object = ext.clone();
    if let Some(mark) = mark {
        object.insert(mark_key.to_owned(), Value::String(mark.to_owned()));
    }
    super::to_json(&object).map(Some)
}

/// Writes the object that travels in a content of the business's own: the reserved key is always in it.
///
/// # Errors
/// `InvalidInput` for an `ext` that uses the reserved key.
pub(crate) fn write_envelope(ext: &Ext, mark: Option<&str>, mark_key: &str) -> Result<String> {
    refuse_reserved(ext, mark_key)?;
    let mut object = ext.clone();
    object.insert(mark_key.to_owned(), mark.map_or(Value::Null, |mark| Value::String(mark.to_owned())));
    super::to_json(&object)
}

/// Reads what [`write_envelope`] wrote; `None` for anything else.
pub(crate) fn read_envelope(value: &Value, mark_key: &str) -> Option<(Ext, Option<String>)> {
    let mut object = as_object(value.as_str()?)?;
    match object.remove(mark_key)? {
        Value::String(mark) => Some((object, Some(mark))),
        Value::Null => Some((object, None)),
        _ => None,
    }
}

fn refuse_reserved(ext: &Ext, mark_key: &str) -> Result<()> {
    if ext.contains_key(mark_key) {
        return Err(Error::invalid("ext", format_args!("the key `{mark_key}` is reserved")));
    }
    Ok(())
}

fn as_object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

fn take_mark(mut object: Ext, mark_key: &str) -> (Ext, Option<String>) {
    match object.remove(mark_key) {
        Some(Value::String(mark)) => (object, Some(mark)),
        Some(other) => {
            // Not a mark of ours: somebody else's field stays where it was.
            object.insert(mark_key.to_owned(), other);
            (object, None)
        }
        None => (object, None),
    }
}

fn single(value: Value) -> Ext {
    let mut ext = Ext::new();
    ext.insert(PLAIN.to_owned(), value);
    ext
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;
    use switchboard_contract::ErrorKind;

    use super::*;

    fn read_json(extra: Value) -> (Value, Option<String>) {
        let text = extra.to_string();
        let raw: &RawValue = serde_json::from_str(&text).unwrap();
        let (ext, mark) = read(Some(raw), "sb");
        (Value::Object(ext), mark)
    }

    #[test]
    fn extra_is_read_in_every_form_clients_write() {
        assert_eq!(read_json(json!("order-7")), (json!({"extra": "order-7"}), None));
        assert_eq!(read_json(json!("")), (json!({}), None));
        assert_eq!(read_json(json!(null)), (json!({}), None));
        assert_eq!(read_json(json!("{\"k\":1,\"sb\":\"m\"}")), (json!({"k": 1}), Some("m".to_owned())));
        assert_eq!(read_json(json!({"k": 1, "sb": "m"})), (json!({"k": 1}), Some("m".to_owned())));
        assert_eq!(read_json(json!("{\"sb\":7}")), (json!({"sb": 7}), None));
        assert_eq!(read_json(json!("[1]")), (json!({"extra": "[1]"}), None));
        assert_eq!(read_json(json!(5)), (json!({"extra": 5}), None));
    }

    #[test]
    fn a_lone_plain_text_stays_plain_and_the_rest_becomes_an_object() {
        let write = |ext: Value, mark| write(&serde_json::from_value(ext).unwrap(), mark, "sb").unwrap();
        assert_eq!(write(json!({}), None), None);
        assert_eq!(write(json!({"extra": "order-7"}), None).unwrap(), "order-7");
        assert_eq!(write(json!({"extra": "order-7"}), Some("m")).unwrap(), r#"{"extra":"order-7","sb":"m"}"#);
        assert_eq!(write(json!({"extra": "{}"}), None).unwrap(), r#"{"extra":"{}"}"#);
        assert_eq!(write(json!({"extra": 1}), None).unwrap(), r#"{"extra":1}"#);
    }

    #[test]
    fn the_reserved_key_is_refused() {
        let ext = serde_json::from_value(json!({"sb": "forged"})).unwrap();
        assert_eq!(write(&ext, None, "sb").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(write_envelope(&ext, None, "sb").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
