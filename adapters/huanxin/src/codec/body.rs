//! Bodies, both ways.
//!
//! REST requests, callbacks and history spell one body differently (`lat` as text or number, `customExts` as a map or a
//! list of one-key maps); decoding takes every form, encoding writes that of REST.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use switchboard_contract::{
    Body, Combined, Command, Custom, Error, Location, Media, Result, Text, Thumbnail, Unrecognised,
};

use crate::limits::MAX_CUSTOM_ENTRIES;
use crate::wire::{Int, Real, Size, Text as WireText, WireBody, object};

const COMBINED: &str = "sub_combine";

/// The vendor's `type` of a body.
pub(crate) fn wire_name(body: &Body) -> Result<&'static str> {
    Ok(match body {
        Body::Text(_) | Body::Combined(_) => "txt",
        Body::Image(_) => "img",
        Body::Audio(_) => "audio",
        Body::Video(_) => "video",
        Body::File(_) => "file",
        Body::Location(_) => "loc",
        Body::Command(_) => "cmd",
        Body::Custom(_) => "custom",
        _ => return Err(Error::unsupported(&format!("{} body", body.kind()))),
    })
}

/// The body of a REST send.
///
/// # Errors
/// `Unsupported` for a body or a field of it that the vendor cannot carry, `InvalidInput` for a value it refuses.
pub(crate) fn encode(body: &Body) -> Result<Map<String, Value>> {
    match body {
        Body::Text(text) => Ok(fields([("msg", Some(text.text.as_str().into()))])),
        Body::Image(media) => encode_media(media, "image"),
        Body::Audio(media) => encode_media(media, "audio"),
        Body::Video(media) => encode_media(media, "video"),
        Body::File(media) => encode_media(media, "file"),
        Body::Location(location) => encode_location(location),
        Body::Command(command) => encode_command(command),
        Body::Custom(custom) => encode_custom(custom),
        Body::Combined(combined) => encode_combined(combined),
        _ => Err(Error::unsupported(&format!("{} body", body.kind()))),
    }
}

fn fields<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn text(value: &Option<String>) -> Option<Value> {
    value.as_deref().map(Value::from)
}

/// Refuses the first field that is there and cannot be carried.
fn refuse(kind: &str, fields: &[(&str, bool)]) -> Result<()> {
    match fields.iter().find(|(_, present)| *present) {
        Some((field, _)) => Err(Error::unsupported(&format!("{kind}.{field}"))),
        None => Ok(()),
    }
}

fn encode_media(media: &Media, kind: &'static str) -> Result<Map<String, Value>> {
    let (pixels, time, film) = (matches!(kind, "image" | "video"), matches!(kind, "audio" | "video"), kind == "video");
    let thumbnail = media.thumbnail.as_ref();
    refuse(
        kind,
        &[
            ("data", media.data.is_some()),
            ("format", media.format.is_some()),
            ("width", !pixels && media.width.is_some()),
            ("height", !pixels && media.height.is_some()),
            ("duration", !time && media.duration.is_some()),
            ("thumbnail", !film && thumbnail.is_some()),
            ("thumbnail.data", thumbnail.is_some_and(|small| small.data.is_some())),
            ("thumbnail.width", thumbnail.is_some_and(|small| small.width.is_some())),
            ("thumbnail.height", thumbnail.is_some_and(|small| small.height.is_some())),
            ("thumbnail without url or secret", thumbnail.is_some_and(|small| *small == Thumbnail::default())),
        ],
    )?;
    if media.url.is_none() {
        return Err(Error::invalid("body.url", "this vendor carries files by the address of an upload"));
    }
    let size = fields([("width", media.width.map(Value::from)), ("height", media.height.map(Value::from))]);
    Ok(fields([
        ("url", text(&media.url)),
        ("filename", text(&media.name)),
        ("secret", text(&media.secret)),
        ("file_length", media.size.map(Value::from)),
        ("length", media.duration.map(Value::from)),
        ("size", (!size.is_empty()).then_some(Value::Object(size))),
        ("thumb", thumbnail.and_then(|small| text(&small.url))),
        ("thumb_secret", thumbnail.and_then(|small| text(&small.secret))),
    ]))
}

fn encode_location(location: &Location) -> Result<Map<String, Value>> {
    refuse("location", &[("map", location.map.is_some())])?;
    for (name, value, limit) in [("latitude", location.latitude, 90.0), ("longitude", location.longitude, 180.0)] {
        if !value.is_finite() || value.abs() > limit {
            return Err(Error::invalid(&format!("body.{name}"), format!("must be within ±{limit} degrees")));
        }
    }
    Ok(fields([
        ("lat", Some(location.latitude.to_string().into())),
        ("lng", Some(location.longitude.to_string().into())),
        ("addr", Some(location.address.as_deref().unwrap_or_default().into())),
    ]))
}

fn encode_command(command: &Command) -> Result<Map<String, Value>> {
    if command.data.as_ref().is_some_and(|data| !data.is_object()) {
        return Err(Error::unsupported("command.data that is not an object"));
    }
    Ok(fields([("action", Some(command.name.as_str().into())), ("param", command.data.clone())]))
}

fn encode_custom(custom: &Custom) -> Result<Map<String, Value>> {
    let name = custom.name.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b'.');
    if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
        return Err(Error::invalid("body.name", "1 to 32 of letters, digits, '-', '_', '/' and '.'"));
    }
    let entries = match &custom.data {
        Value::Null => None,
        Value::Object(entries) if entries.values().all(Value::is_string) => Some(entries),
        _ => return Err(Error::unsupported("custom.data other than an object of texts")),
    };
    if entries.is_some_and(|entries| entries.len() > MAX_CUSTOM_ENTRIES) {
        return Err(Error::invalid("body.data", format!("at most {MAX_CUSTOM_ENTRIES} entries")));
    }
    Ok(fields([("customEvent", Some(name.into())), ("customExts", entries.cloned().map(Value::Object))]))
}

/// The vendor documents combined messages in callbacks and history only; REST takes them as the clients send them.
fn encode_combined(combined: &Combined) -> Result<Map<String, Value>> {
    let file = combined.file.clone().unwrap_or_default();
    let plain = Media { url: None, name: None, secret: None, size: None, ..file.clone() };
    refuse(
        "combined",
        &[
            ("names", !combined.names.is_empty()),
            ("count", combined.count.is_some()),
            ("from", combined.from.is_some()),
            ("items", combined.items.is_some()),
            ("file other than url, name, secret and size", plain != Media::default()),
            ("file that is empty", combined.file.as_ref().is_some_and(|file| *file == Media::default())),
            ("summary with a line break", combined.summary.iter().any(|line| line.contains('\n'))),
        ],
    )?;
    let summary = (!combined.summary.is_empty()).then(|| combined.summary.join("\n").into());
    Ok(fields([
        ("subType", Some(COMBINED.into())),
        ("title", text(&combined.title)),
        ("summary", summary),
        ("msg", Some(combined.fallback.as_deref().unwrap_or_default().into())),
        ("combineLevel", combined.level.map(Value::from)),
        ("url", text(&file.url)),
        ("filename", text(&file.name)),
        ("secret", text(&file.secret)),
        ("file_length", file.size.map(Value::from)),
    ]))
}

/// A body in any of the vendor's forms. `kind` is its type where that stands outside, as in a REST request.
/// What cannot be understood is kept byte for byte.
pub(crate) fn decode(raw: &RawValue, kind: Option<&str>) -> Body {
    let keep = |kind: &str| Body::Unrecognised(Unrecognised::keep(kind, raw.get().as_bytes()));
    let Ok(wire) = object::<WireBody<'_>>(raw.get().as_bytes()) else { return keep(kind.unwrap_or("body")) };
    let kind = kind.or(wire.kind.as_deref()).unwrap_or_default();
    understood(kind, &wire).unwrap_or_else(|| keep(kind))
}

fn understood(kind: &str, wire: &WireBody<'_>) -> Option<Body> {
    Some(match kind {
        "txt" if wire.sub_type.as_deref() == Some(COMBINED) => Body::Combined(decode_combined(wire)),
        "txt" => Body::Text(Text { text: owned(&wire.msg)? }),
        "img" => Body::Image(decode_media(wire)?),
        "audio" => Body::Audio(decode_media(wire)?),
        "video" => Body::Video(decode_media(wire)?),
        "file" => Body::File(decode_media(wire)?),
        "loc" => Body::Location(Location {
            latitude: degrees(wire.lat, 90.0)?,
            longitude: degrees(wire.lng, 180.0)?,
            address: said(&wire.addr),
            map: None,
        }),
        // The vendor describes commands with `msg` and shows them with `action`.
        "cmd" => Body::Command(Command {
            name: owned(&wire.action).or_else(|| owned(&wire.msg))?,
            data: wire.param.map(|raw| serde_json::from_str(raw.get())).transpose().ok()?,
            notice: false,
        }),
        "custom" => Body::Custom(Custom { name: owned(&wire.custom_event)?, data: decode_entries(wire)? }),
        _ => return None,
    })
}

fn owned(text: &Option<WireText<'_>>) -> Option<String> {
    text.as_ref().map(|text| text.0.clone().into_owned())
}

/// A field the vendor requires, so that empty stands for absent.
fn said(text: &Option<WireText<'_>>) -> Option<String> {
    owned(text).filter(|text| !text.is_empty())
}

fn degrees(value: Option<Real>, limit: f64) -> Option<f64> {
    value.map(|Real(value)| value).filter(|value| value.abs() <= limit)
}

/// A number that does not fit makes the whole body unrecognised; dropping it silently would lose what was said.
fn narrow<T>(value: Option<Int>, fit: fn(Int) -> Option<T>) -> Option<Option<T>> {
    value.map_or(Some(None), |value| fit(value).map(Some))
}

fn decode_media(wire: &WireBody<'_>) -> Option<Media> {
    // Some clients write `size` as a number of bytes; only the form with pixels says something new.
    let size = wire.size.and_then(|raw| object::<Size>(raw.get().as_bytes()).ok());
    let (width, height) = size.map_or((None, None), |size| (size.width, size.height));
    let (url, secret) = (owned(&wire.thumb), owned(&wire.thumb_secret));
    let thumbnail = (url.is_some() || secret.is_some()).then(|| Thumbnail { url, secret, ..Thumbnail::default() });
    Some(Media {
        url: Some(owned(&wire.url)?),
        data: None,
        name: owned(&wire.filename),
        size: narrow(wire.file_length, Int::to_u64)?,
        format: None,
        width: narrow(width, Int::to_u32)?,
        height: narrow(height, Int::to_u32)?,
        duration: narrow(wire.length, Int::to_u32)?,
        secret: owned(&wire.secret),
        thumbnail,
    })
}

fn decode_combined(wire: &WireBody<'_>) -> Combined {
    let file = Media {
        url: owned(&wire.url),
        name: owned(&wire.filename),
        secret: owned(&wire.secret),
        size: wire.file_length.and_then(Int::to_u64),
        ..Media::default()
    };
    Combined {
        title: owned(&wire.title),
        summary: wire.summary.as_deref().map(|text| text.split('\n').map(str::to_owned).collect()).unwrap_or_default(),
        fallback: said(&wire.msg),
        level: wire.combine_level.and_then(Int::to_u32),
        file: (file != Media::default()).then_some(file),
        ..Combined::default()
    }
}

/// `v2:customExts` is a map; `customExts` a map in requests and a list of one-key maps elsewhere.
fn decode_entries(wire: &WireBody<'_>) -> Option<Value> {
    let Some(raw) = wire.custom_exts_v2.or(wire.custom_exts) else { return Some(Value::Null) };
    match serde_json::from_str(raw.get()).ok()? {
        Value::Array(list) => {
            let mut entries = BTreeMap::new();
            for entry in list {
                let Value::Object(entry) = entry else { return None };
                entries.extend(entry);
            }
            Some(json!(entries))
        }
        whole @ (Value::Object(_) | Value::Null) => Some(whole),
        _ => None,
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
