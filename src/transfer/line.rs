//! A line of an export.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::StoredEvent;
use switchboard_contract::{
    Body, ConversationId, Error, ErrorKind, Event, EventData, EventKey, KeyClass, Position, Result, Sequence,
};

/// What stands before the end of each line: a hash of the line and of all lines before it.
const CHAIN: &str = ",\"chain\":\"";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    conversation: ConversationId,
    sequence: u64,
    /// The class of the dedupe key.
    class: u8,
    /// Its id.
    key: String,
    /// The hash of the canonical content.
    digest: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sort_key: String,
    #[serde(borrow)]
    event: &'a RawValue,
    /// The vendor's bytes, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chain: Option<String>,
}

/// A hash over all lines so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain([u8; 16]);

impl Chain {
    fn link(&self, body: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(self.0).chain_update(body).finalize();
        let mut next = [0; 16];
        next.copy_from_slice(&digest[..16]);
        Self(next)
    }

    pub(super) fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// The line of an event, a line feed behind it, and the chain up to here.
pub(super) fn write(event: &StoredEvent, chain: &Chain) -> Result<(Bytes, Chain)> {
    let json = Event::at_position(&event.json, Position::START)?;
    let unreadable = |error: serde_json::Error| {
        Error::new(ErrorKind::Storage, "an event of the store is no JSON").with_operation("export").with_source(error)
    };
    let line = Line {
        conversation: event.conversation.clone(),
        sequence: event.sequence.0,
        class: event.key.class.code(),
        key: event.key.id.clone(),
        digest: format!("{:016x}", event.digest),
        sort_key: event.sort_key.clone(),
        event: serde_json::from_slice(&json).map_err(unreadable)?,
        raw: event.raw.as_ref().map(|raw| STANDARD.encode(raw)),
        chain: None,
    };
    let mut text = serde_json::to_string(&line).map_err(unreadable)?;
    text.pop();
    let chain = chain.link(text.as_bytes());
    text.push_str(CHAIN);
    text.push_str(&chain.to_hex());
    text.push_str("\"}\n");
    Ok((text.into(), chain))
}

/// Reads a line, without its line feed, and the chain up to here. The fault says what is wrong with it.
pub(super) fn read(text: &str, chain: &Chain) -> std::result::Result<(StoredEvent, Chain), String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| format!("is no line of an export: {error}"))?;
    let body = text.rfind(CHAIN).map(|at| &text[..at]).ok_or("has no chain")?;
    let next = chain.link(body.as_bytes());
    if line.chain.as_deref() != Some(next.to_hex().as_str()) || text.len() != body.len() + CHAIN.len() + 34 {
        return Err("is not what was exported: its hash is another".to_owned());
    }
    let json = Bytes::copy_from_slice(line.event.get().as_bytes());
    let event = Event::decode(&json).map_err(|error| error.message().to_owned())?;
    if event.conversation.as_ref() != Some(&line.conversation) || line.sequence == 0 {
        return Err("names another conversation than its event".to_owned());
    }
    let message = match &event.data {
        EventData::Message(message) => Some(message),
        _ => None,
    };
    let digest = u64::from_str_radix(&line.digest, 16).map_err(|_| "has a digest that is none")?;
    let raw =
        line.raw.map(|raw| STANDARD.decode(raw)).transpose().map_err(|_| "has vendor bytes that are no base64")?;
    Ok((
        StoredEvent {
            position: Position::START,
            sequence: Sequence(line.sequence),
            conversation: line.conversation,
            app: event.app.clone().map(std::sync::Arc::new),
            key: EventKey::new(KeyClass::from_code(line.class).ok_or("has an unknown class")?, line.key),
            digest,
            origin: event.origin,
            sort_key: line.sort_key,
            sent_at: event.sent_at,
            received_at: event.received_at,
            late: event.late,
            message_id: message.map(|message| message.id),
            sender: message.map(|message| message.from.clone()),
            body: message.and_then(|message| message.body.as_ref()).map(|body| Body::kind(body).to_owned()),
            json,
            raw: raw.map(Bytes::from),
        },
        next,
    ))
}
