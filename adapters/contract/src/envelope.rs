//! The CloudEvents 1.0 form of an event: encoded once when it is journalled, then shared by every receiver.

use std::cell::RefCell;
use std::fmt::{self, Display};

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventData, Origin};
use crate::ids::{App, EventId, Position, Sequence, TenantId};
use crate::time::Timestamp;

/// The prefix of every CloudEvents `type`.
pub const TYPE_PREFIX: &str = "switchboard.";

/// CloudEvents integers end at 2³¹, so `position` and `sequence` are decimal strings. Texts are read as they stand, and
/// written from whatever shows them.
#[derive(Serialize, Deserialize)]
struct Envelope<'a, T, D> {
    specversion: &'a str,
    id: EventId,
    source: T,
    #[serde(rename = "type")]
    kind: T,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    subject: Option<T>,
    time: T,
    datacontenttype: &'a str,
    tenant: TenantId,
    position: T,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    sequence: Option<T>,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    app: Option<T>,
    received: T,
    origin: Origin,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    data: D,
}

/// A text that is written without being put together first.
enum Text<'a> {
    Plain(&'a str),
    Shown(&'a dyn Display),
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Shown(text) => serializer.collect_str(text),
        }
    }
}

thread_local! {
    /// Where events are put together: what is kept of one has exactly its size.
    static DRAFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An event that took more is rare enough to give its memory back.
const DRAFT_KEPT: usize = 64 << 10;

#[derive(Serialize)]
#[serde(untagged)]
enum DataRef<'a> {
    Message(&'a crate::event::Message),
    Recall(&'a crate::event::Recall),
    Edit(&'a crate::event::Edit),
    Receipt(&'a crate::event::Receipt),
    RecipientOffline(&'a crate::event::RecipientOffline),
    SendStatus(&'a crate::event::SendStatus),
    Presence(&'a crate::event::Presence),
    Group(&'a crate::event::GroupChange),
    Contact(&'a crate::event::ContactChange),
    Reaction(&'a crate::event::Reaction),
    Moderation(&'a crate::event::Moderation),
    PushResult(&'a crate::event::PushResult),
    Notice(&'a crate::event::Notice),
    Unrecognised(&'a crate::body::Unrecognised),
}

impl<'a> From<&'a EventData> for DataRef<'a> {
    fn from(data: &'a EventData) -> Self {
        match data {
            EventData::Message(data) => Self::Message(data),
            EventData::Recall(data) => Self::Recall(data),
            EventData::Edit(data) => Self::Edit(data),
            EventData::Receipt(data) => Self::Receipt(data),
            EventData::RecipientOffline(data) => Self::RecipientOffline(data),
            EventData::SendStatus(data) => Self::SendStatus(data),
            EventData::Presence(data) => Self::Presence(data),
            EventData::Group(data) => Self::Group(data),
            EventData::Contact(data) => Self::Contact(data),
            EventData::Reaction(data) => Self::Reaction(data),
            EventData::Moderation(data) => Self::Moderation(data),
            EventData::PushResult(data) => Self::PushResult(data),
            EventData::Notice(data) => Self::Notice(data),
            EventData::Unrecognised(data) => Self::Unrecognised(data),
        }
    }
}

impl Event {
    /// Encodes the event as one CloudEvents JSON object at its place in the journal.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the content cannot be written as JSON, which no value of these types causes.
    pub fn encode(&self, position: Position, sequence: Option<Sequence>) -> Result<Bytes> {
        let source = fmt::from_fn(|f| match &self.app {
            Some(app) => write!(f, "/switchboard/{}", app.kind),
            None => f.write_str("/switchboard"),
        });
        let (time, received) = (self.sent_at.rfc3339(), self.received_at.rfc3339());
        let envelope = Envelope {
            specversion: "1.0",
            id: self.id,
            source: Text::Shown(&source),
            kind: Text::Plain(self.data.event_type()),
            subject: self.conversation.as_ref().map(|id| Text::Plain(id.as_str())),
            time: Text::Shown(&time),
            datacontenttype: "application/json",
            tenant: self.tenant.clone(),
            position: Text::Shown(&position),
            sequence: sequence.as_ref().map(|sequence| Text::Shown(sequence)),
            app: self.app.as_ref().map(|app| Text::Plain(app.key.as_str())),
            received: Text::Shown(&received),
            origin: self.origin,
            late: self.late,
            data: DataRef::from(&self.data),
        };
        DRAFT.with_borrow_mut(|draft| {
            draft.clear();
            serde_json::to_writer(&mut *draft, &envelope)
                .map_err(|error| Error::new(ErrorKind::Internal, "an event could not be encoded").with_source(error))?;
            let json = Bytes::copy_from_slice(draft);
            if draft.capacity() > DRAFT_KEPT {
                *draft = Vec::new();
            }
            Ok(json)
        })
    }

    /// The CloudEvents form `json` at another place of the journal; every other byte stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the bytes are not such a form.
    pub fn at_position(json: &[u8], position: Position) -> Result<Bytes> {
        // Within a string every quotation mark has a backslash in front: the first match is the field.
        const FIELD: &[u8] = b"\"position\":\"";
        let found = json.windows(FIELD.len()).position(|window| window == FIELD).map(|at| at + FIELD.len());
        let end = found.and_then(|at| Some(at + json[at..].iter().position(|byte| !byte.is_ascii_digit())?));
        let (Some(begin), Some(end)) = (found, end.filter(|end| json.get(*end) == Some(&b'"'))) else {
            return Err(Error::new(ErrorKind::Decode, "not an event of this product"));
        };
        let mut out = Vec::with_capacity(json.len() + 20);
        out.extend_from_slice(&json[..begin]);
        out.extend_from_slice(position.to_string().as_bytes());
        out.extend_from_slice(&json[end..]);
        Ok(out.into())
    }

    /// Reads an event back from its CloudEvents form. Inverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the bytes are not such an object.
    pub fn decode(json: &[u8]) -> Result<Self> {
        decode(json).map_err(|error| Error::new(ErrorKind::Decode, "not an event of this product").with_source(error))
    }
}

fn decode(json: &[u8]) -> serde_json::Result<Event> {
    let envelope: Envelope<'_, String, &RawValue> = serde_json::from_slice(json)?;
    let kind = envelope.kind.strip_prefix(TYPE_PREFIX).unwrap_or(&envelope.kind);
    let data = envelope.data.get();
    let data = match kind {
        "message" => EventData::Message(serde_json::from_str(data)?),
        "recall" => EventData::Recall(serde_json::from_str(data)?),
        "edit" => EventData::Edit(serde_json::from_str(data)?),
        "receipt" => EventData::Receipt(serde_json::from_str(data)?),
        "recipient_offline" => EventData::RecipientOffline(serde_json::from_str(data)?),
        "send_status" => EventData::SendStatus(serde_json::from_str(data)?),
        "presence" => EventData::Presence(serde_json::from_str(data)?),
        "group" => EventData::Group(serde_json::from_str(data)?),
        "contact" => EventData::Contact(serde_json::from_str(data)?),
        "reaction" => EventData::Reaction(serde_json::from_str(data)?),
        "moderation" => EventData::Moderation(serde_json::from_str(data)?),
        "push_result" => EventData::PushResult(serde_json::from_str(data)?),
        "notice" => EventData::Notice(serde_json::from_str(data)?),
        "unrecognised" => EventData::Unrecognised(serde_json::from_str(data)?),
        other => return Err(serde_json::Error::custom(format!("unknown type {other}"))),
    };
    let time =
        |text: &str| Timestamp::from_rfc3339(text).ok_or_else(|| serde_json::Error::custom("time is not RFC 3339"));
    Ok(Event {
        id: envelope.id,
        tenant: envelope.tenant,
        app: match (envelope.source.strip_prefix("/switchboard/"), envelope.app) {
            (Some(kind), Some(key)) => Some(App::new(kind, key)),
            _ => None,
        },
        conversation: envelope.subject.map(|id| id.parse().map_err(serde_json::Error::custom)).transpose()?,
        sent_at: time(&envelope.time)?,
        received_at: time(&envelope.received)?,
        origin: envelope.origin,
        late: envelope.late,
        data,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::body::Body;
    use crate::conversation::ConversationId;
    use crate::event::Message;
    use crate::ids::{MessageId, UserId};

    #[test]
    fn an_event_survives_its_cloudevents_form() {
        let (alice, bob) = (UserId::from("alice"), UserId::from("bob"));
        let event = Event {
            id: EventId::generate(),
            tenant: TenantId::default(),
            app: Some(App::new("huanxin", "org#app")),
            conversation: Some(ConversationId::direct(&alice, &bob)),
            sent_at: Timestamp(1_795_200_000_101),
            received_at: Timestamp(1_795_200_000_202),
            origin: Origin::Callback,
            late: true,
            data: EventData::Message(Message {
                id: MessageId::generate(),
                vendor_id: Some("1502300411223344556".into()),
                from: alice,
                audience: vec![bob],
                body: Some(Body::text("hi \"there\" 你好")),
                ext: serde_json::from_str(r#"{"n":1.1,"o":{"k":[1,null]}}"#).unwrap(),
                mentions: None,
                client_message_id: Some("order-1".into()),
                recalled: false,
            }),
        };
        let json = event.encode(Position(5_000_000_000), Some(Sequence(7))).unwrap();
        assert_eq!(Event::decode(&json).unwrap(), event);
        let moved = Event::at_position(&json, Position(17)).unwrap();
        assert_eq!(moved, event.encode(Position(17), Some(Sequence(7))).unwrap());
        assert!(Event::at_position(br#"{"position":"x"}"#, Position(1)).is_err());
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["specversion"], "1.0");
        assert_eq!(value["subject"], "direct~alice~bob");
        assert_eq!(value["position"], "5000000000");
        assert_eq!(value["time"], "2026-11-20T18:40:00.101Z");
    }
}
