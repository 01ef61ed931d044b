//! The JSON form of a packet, for browsers: one JSON object in one text frame.
//!
//! `{"kind":"request","command":"send","id":"7","body":{…}}`; `error` is true for an ack with a fault. The body is the
//! canonical JSON mapping of the message, so both forms mean the same.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::body::{Body, body_from_json, body_to_json, decode_body, encode_body};
use super::header::{Command, FrameError, Kind, Packet, flags};

#[derive(Serialize)]
struct Written<'a> {
    kind: &'static str,
    command: &'static str,
    // As text: numbers of 64 bits do not survive a browser.
    id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    error: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a serde_json::Value>,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    command: std::borrow::Cow<'a, str>,
    #[serde(default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    error: bool,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// A packet as JSON.
///
/// # Errors
/// [`FrameError::Body`] when its body is not what its kind and command say.
pub fn to_json(packet: &Packet) -> Result<String, FrameError> {
    let body = decode_body(packet)?;
    let unwritten = |error: serde_json::Error| FrameError::Body(error.to_string());
    let value = body_to_json(&body).map_err(unwritten)?;
    let written = Written {
        kind: packet.kind.as_str(),
        command: packet.command.as_str(),
        id: packet.correlation.to_string(),
        error: packet.is_error(),
        body: value.as_ref(),
    };
    serde_json::to_string(&written).map_err(unwritten)
}

/// A packet from JSON.
///
/// # Errors
/// [`FrameError`], as for the binary form.
pub fn from_json(text: &str) -> Result<Packet, FrameError> {
    let read: Read<'_> = serde_json::from_str(text).map_err(|error| FrameError::Body(error.to_string()))?;
    let kind = Kind::from_word(&read.kind).ok_or_else(|| FrameError::Body(format!("no kind {:?}", read.kind)))?;
    let command =
        Command::from_word(&read.command).ok_or_else(|| FrameError::Body(format!("no command {:?}", read.command)))?;
    let correlation = match read.id {
        None => 0,
        Some(raw) => raw
            .get()
            .trim_matches('"')
            .parse()
            .map_err(|_| FrameError::Body("id: must be a whole number of 64 bits".to_owned()))?,
    };
    let bits = if read.error { flags::ERROR } else { 0 };
    let body: Body = body_from_json(kind, command, bits, read.body.map_or("{}", RawValue::get))?;
    Ok(Packet { kind, flags: bits, command, correlation, body: encode_body(&body) })
}
