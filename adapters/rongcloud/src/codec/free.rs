//! Contents that belong to the business: custom types, and built-in types without a canonical body.

use serde_json::{Map, Value};
use switchboard_contract::{Body, Custom, Error, Ext, Native, Result, Unrecognised, VendorKind, VendorUserId};

use super::{Beside, Decoded, Encoded, MAX_OBJECT_NAME, body, extra, mentions, to_json};
use crate::VENDOR;

/// What every built-in type's name begins with; custom names must not.
const BUILT_IN: &str = "RC:";
const EXTRA: &str = "extra";
const MENTIONS: &str = "mentionedInfo";

pub(crate) fn decode(object_name: &str, content: &str, mark_key: &str) -> Decoded {
    let mut found = Found::default();
    let built_in = object_name.starts_with(BUILT_IN);
    let body = match serde_json::from_str::<Value>(content) {
        Ok(Value::Object(mut object)) => {
            found = strip(&mut object, mark_key);
            let content = Value::Object(object);
            if built_in {
                Body::Native(Native { vendor: VendorKind::from(VENDOR), kind: object_name.to_owned(), content })
            } else {
                Body::Custom(Custom { name: object_name.to_owned(), data: content })
            }
        }
        _ if built_in => Body::Unrecognised(Unrecognised::keep(object_name, content.as_bytes())),
        Ok(data) => Body::Custom(Custom { name: object_name.to_owned(), data }),
        Err(_) => Body::Custom(Custom { name: object_name.to_owned(), data: Value::String(content.to_owned()) }),
    };
    Decoded {
        body,
        ext: found.ext,
        mark: found.mark,
        mentions_everyone: found.mentions_everyone,
        mentions: found.mentions,
    }
}

#[derive(Default)]
struct Found {
    ext: Ext,
    mark: Option<String>,
    mentions_everyone: bool,
    mentions: Vec<VendorUserId>,
}

/// Takes out what [`encode`] put in beside the business's own keys.
fn strip(object: &mut Map<String, Value>, mark_key: &str) -> Found {
    let mut found = Found::default();
    for carrier in [EXTRA, mark_key] {
        if let Some((ext, mark)) = object.get(carrier).and_then(|value| extra::read_envelope(value, mark_key)) {
            object.remove(carrier);
            (found.ext, found.mark) = (ext, mark);
            break;
        }
    }
    if let Some((everyone, users)) = object.get(MENTIONS).and_then(read_mentions) {
        object.remove(MENTIONS);
        (found.mentions_everyone, found.mentions) = (everyone, users);
    }
    found
}

fn read_mentions(value: &Value) -> Option<(bool, Vec<VendorUserId>)> {
    serde_json::from_value(value.clone()).ok().and_then(mentions::well_formed)
}

/// # Errors
/// See [`super::Codec::encode`].
pub(crate) fn encode_custom(custom: &Custom, beside: Beside<'_>, mark_key: &str) -> Result<Encoded> {
    check_name("body.name", &custom.name)?;
    if custom.name.starts_with(BUILT_IN) {
        return Err(Error::invalid("body.name", "`RC:` begins the vendor's own types; use a native body"));
    }
    let content = match &custom.data {
        Value::Object(object) => encode(object, beside, mark_key)?,
        data => {
            if !beside.ext.is_empty() {
                return Err(Error::unsupported("ext beside a custom body whose data is no JSON object"));
            }
            if beside.mentions_everyone || !beside.mentions.is_empty() {
                return Err(Error::unsupported("mentions in a custom body whose data is no JSON object"));
            }
            match data {
                // Plain text goes as it is, unless it would come back as something else.
                Value::String(text) if !text.is_empty() && serde_json::from_str::<Value>(text).is_err() => text.clone(),
                data => to_json(data)?,
            }
        }
    };
    Ok(Encoded { object_name: custom.name.clone().into(), content })
}

/// # Errors
/// See [`super::Codec::encode`].
pub(crate) fn encode_native(native: &Native, beside: Beside<'_>, mark_key: &str) -> Result<Encoded> {
    if native.vendor.as_str() != VENDOR {
        return Err(Error::unsupported(&format!("a body native to {}", native.vendor)));
    }
    check_name("body.kind", &native.kind)?;
    if !native.kind.starts_with(BUILT_IN) {
        return Err(Error::invalid("body.kind", "the vendor's own types begin with `RC:`; use a custom body"));
    }
    if body::is_canonical(&native.kind) {
        return Err(Error::invalid("body.kind", "this type has a body of its own, such as text or image"));
    }
    let Value::Object(object) = &native.content else {
        return Err(Error::invalid("body.content", "must be a JSON object"));
    };
    Ok(Encoded { object_name: native.kind.clone().into(), content: encode(object, beside, mark_key)? })
}

fn check_name(field: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.chars().count() > MAX_OBJECT_NAME {
        return Err(Error::invalid(field, format_args!("must have 1 to {MAX_OBJECT_NAME} characters")));
    }
    Ok(())
}

/// Puts the envelope and the mentions beside the business's own keys, and refuses keys that would be taken for them.
fn encode(object: &Map<String, Value>, beside: Beside<'_>, mark_key: &str) -> Result<String> {
    for key in [EXTRA, mark_key] {
        if object.get(key).is_some_and(|value| extra::read_envelope(value, mark_key).is_some()) {
            return Err(Error::invalid("body", format_args!("`{key}` holds the reserved key `{mark_key}`")));
        }
    }
    let mentioned = mentions::write(beside);
    let own_mentions = object.get(MENTIONS);
    if own_mentions.is_some_and(|own| mentioned.is_some() || read_mentions(own).is_some()) {
        return Err(Error::invalid("body", "`mentionedInfo` is written from the mentions of the message"));
    }
    let mut object = object.clone();
    if !beside.ext.is_empty() || beside.mark.is_some() {
        let carrier = [EXTRA, mark_key].into_iter().find(|key| !object.contains_key(*key)).ok_or_else(|| {
            Error::invalid("body", format_args!("both `extra` and the reserved key `{mark_key}` are in use"))
        })?;
        let envelope = extra::write_envelope(beside.ext, beside.mark, mark_key)?;
        object.insert(carrier.to_owned(), Value::String(envelope));
    }
    if let Some(info) = mentioned {
        let info = serde_json::to_value(info)
            .map_err(|error| Error::invalid("mentions", "cannot be written").with_source(error))?;
        object.insert(MENTIONS.to_owned(), info);
    }
    to_json(&object)
}
