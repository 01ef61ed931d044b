//! Lines of the log as events of a vendor, and bodies both ways. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use switchboard_contract::storage::Line;
use switchboard_contract::{
    Body, Clues, ConversationId, ConversationKind, Custom, Error, ErrorKind, EventKey, Ext, Inbound, InboundData,
    InboundMessage, InboundPlace, KeyClass, Native, OutboundMessage, PresenceState, ReceiptKind, Result, Timestamp,
    Unrecognised, VendorGroupId, VendorMessageId, VendorUserId,
};

use super::KIND;
use crate::proto::{self, entry::Event};
use crate::service::entry_bytes;

/// To whom clients' reports go, as far as conversations are concerned.
const BUSINESS: &str = "business";
/// The native body that holds a sealed payload.
const SEALED: &str = "sealed";

/// One event of a notice.
#[derive(Serialize, Deserialize)]
struct Told {
    entry: proto::Entry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
}

/// A line as it stands in a notice.
pub(super) fn told(line: &Line) -> Result<Bytes> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Decode, "a stored line cannot be read").with_source(error)
    };
    let bytes = entry_bytes(&line.payload, line.position, line.sequence);
    let entry = proto::Entry::decode(bytes).map_err(|error| unreadable(error.into()))?;
    let told = Told { entry, mark: line.mark.clone() };
    serde_json::to_vec(&told).map(Bytes::from).map_err(|error| unreadable(error.into()))
}

/// An event from its bytes. What cannot be understood keeps them; `came_at` is its time if it names none.
pub(super) fn event(raw: Bytes, came_at: Timestamp) -> Inbound {
    let told: Option<Told> = serde_json::from_slice(&raw).ok();
    told.and_then(|told| inbound(told, &raw)).unwrap_or_else(|| unrecognised(raw, came_at))
}

/// Bytes nobody understands, under a key that is the same each time they come.
pub(super) fn unrecognised(raw: Bytes, came_at: Timestamp) -> Inbound {
    Inbound {
        key: EventKey::new(KeyClass::Unrecognised, hex::encode(Sha256::digest(&raw))),
        place: InboundPlace::Nowhere,
        sent_at: came_at,
        sort_key: String::new(),
        data: InboundData::Unrecognised(Unrecognised::keep("event".to_owned(), &raw)),
        mark: None,
        clues: Clues::default(),
        raw,
    }
}

fn user(name: &str) -> VendorUserId {
    VendorUserId::from(name)
}

fn message_id(text: &str) -> VendorMessageId {
    VendorMessageId::from(text)
}

fn inbound(told: Told, raw: &Bytes) -> Option<Inbound> {
    let Told { entry, mark } = told;
    let by = user(&entry.by);
    let mut place = place(&entry.conversation, &entry.by)?;
    let (key, data) = match entry.event? {
        Event::Message(message) => (EventKey::message(&message_id(&entry.id)), said(&entry.id, &by, message)),
        Event::Recall(recall) => {
            let target = message_id(&recall.target);
            (EventKey::recall(&target), InboundData::Recall { target, by: Some(by), reason: None })
        }
        Event::Edit(edit) => {
            let key = EventKey::new(KeyClass::Edit, format!("{}/{}", edit.target, edit.version));
            let content = edit.content.unwrap_or_default();
            let data = InboundData::Edit {
                target: message_id(&edit.target),
                version: Some(edit.version.into()),
                by: Some(by),
                body: Some(body(&content)),
                ext: Some(ext(&content)),
            };
            (key, data)
        }
        Event::Receipt(receipt) => {
            let kind = match receipt.kind() {
                proto::receipt::Kind::Read => ReceiptKind::Read,
                proto::receipt::Kind::Delivered => ReceiptKind::Delivered,
                proto::receipt::Kind::Unspecified => return None,
            };
            let key = format!("{kind:?}/{}/{}", receipt.target, receipt.user).to_lowercase();
            let target = Some(message_id(&receipt.target));
            let data = InboundData::Receipt { kind, reader: user(&receipt.user), target, whole_conversation: true };
            (EventKey::new(KeyClass::Receipt, key), data)
        }
        Event::Group(group) => {
            let members = group.users.iter().map(|name| user(name)).collect();
            let detail = if group.value.is_empty() { json!({}) } else { json!({ "value": group.value }) };
            let data = InboundData::Group { change: group.change, by: Some(by), members, detail };
            (EventKey::new(KeyClass::Group, entry.id.as_str()), data)
        }
        Event::Presence(presence) => {
            let platform = proto::DeviceClass::try_from(presence.device_class).unwrap_or_default();
            let platform = platform.as_str_name().trim_start_matches("DEVICE_CLASS_").to_lowercase();
            let data = InboundData::Presence {
                user: by,
                state: if presence.online { PresenceState::Online } else { PresenceState::Offline },
                reason: Some(presence.reason),
                platform: Some(platform),
                device: Some(presence.device),
            };
            (EventKey::new(KeyClass::Presence, entry.id.as_str()), data)
        }
        Event::Report(report) => {
            place = InboundPlace::System { from: by.clone(), to: user(BUSINESS) };
            let data = serde_json::from_str(&report.data).ok()?;
            let body = Body::Custom(Custom { name: report.topic, data });
            let id = message_id(&entry.id);
            (EventKey::message(&id), InboundData::Message(plain(id, by, body)))
        }
    };
    let sort_key = format!("{:020}", entry.position);
    // Lines that change nothing in the conversation have no number.
    let clues = Clues { answers: None, number: Some(entry.sequence).filter(|number| *number > 0) };
    Some(Inbound { key, place, sent_at: Timestamp(entry.at), sort_key, data, mark, clues, raw: raw.clone() })
}

fn plain(id: VendorMessageId, from: VendorUserId, body: Body) -> InboundMessage {
    let (audience, mentions) = (Vec::new(), Vec::new());
    InboundMessage { id, from, audience, body, ext: Ext::new(), mentions_everyone: false, mentions }
}

fn said(id: &str, by: &VendorUserId, message: proto::Message) -> InboundData {
    let Some(content) = message.content else {
        // Taken back before it was told of; the recall follows.
        let gone = Body::Unrecognised(Unrecognised::keep("recalled".to_owned(), b""));
        return InboundData::Message(plain(message_id(id), by.clone(), gone));
    };
    InboundData::Message(InboundMessage {
        body: body(&content),
        ext: ext(&content),
        mentions_everyone: content.mentions_everyone,
        mentions: content.mentions.iter().map(|name| user(name)).collect(),
        ..plain(message_id(id), by.clone(), Body::text(""))
    })
}

fn place(conversation: &str, by: &str) -> Option<InboundPlace> {
    if conversation.is_empty() {
        return Some(InboundPlace::Nowhere);
    }
    let id: ConversationId = conversation.parse().ok()?;
    let parts = id.parts();
    let group = || parts.first().map(|id| VendorGroupId::from(id.as_str()));
    Some(match id.kind() {
        ConversationKind::Direct => {
            let peer = id.peer_of(&by.into())?;
            InboundPlace::Direct { from: user(by), to: user(peer.as_str()) }
        }
        ConversationKind::Group => InboundPlace::Group { group: group()?, channel: None },
        ConversationKind::Room => InboundPlace::Room { room: group()? },
        ConversationKind::System => InboundPlace::System { from: user(parts.first()?), to: user(parts.get(1)?) },
    })
}

fn ext(content: &proto::Content) -> Ext {
    serde_json::from_str(&content.ext).unwrap_or_default()
}

fn body(content: &proto::Content) -> Body {
    if !content.sealed.is_empty() {
        let data = json!({ "data": STANDARD.encode(&content.sealed) });
        return Body::Native(Native { vendor: KIND.into(), kind: SEALED.to_owned(), content: data });
    }
    serde_json::from_str(&content.body)
        .unwrap_or_else(|_| Body::Unrecognised(Unrecognised::keep("body".to_owned(), content.body.as_bytes())))
}

/// A message's content, whole or not at all.
///
/// # Errors
/// `Unsupported` for another vendor's body or one nobody knows.
pub(super) fn content(message: &OutboundMessage) -> Result<proto::Content> {
    let unwritable = |error: serde_json::Error| Error::invalid("body", "cannot be written as JSON").with_source(error);
    let mut content = proto::Content {
        mentions: message.mentions.iter().map(|user| user.as_str().to_owned()).collect(),
        mentions_everyone: message.mentions_everyone,
        silent: message.options.silent,
        ..Default::default()
    };
    if !message.ext.is_empty() {
        content.ext = serde_json::to_string(&message.ext).map_err(unwritable)?;
    }
    match &message.body {
        Body::Unrecognised(_) => return Err(Error::unsupported("a body nobody knows")),
        Body::Native(native) if native.vendor.as_str() != KIND => {
            return Err(Error::unsupported("another vendor's body"));
        }
        Body::Native(native) => {
            let data = native.content.get("data").and_then(|data| data.as_str());
            let data = data.filter(|_| native.kind == SEALED).and_then(|text| STANDARD.decode(text).ok());
            content.sealed = data.ok_or_else(|| Error::invalid("body", "holds no sealed payload"))?.into();
        }
        body => content.body = serde_json::to_string(body).map_err(unwritable)?,
    }
    Ok(content)
}
