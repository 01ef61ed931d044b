//! One stored or routed message, wherever it was found, as an event of the contract.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use switchboard_contract::{
    Body, Clues, EventKey, Inbound, InboundData, InboundMessage, InboundPlace, KeyClass, ReceiptKind, Timestamp,
    Unrecognised, VendorMessageId, VendorUserId,
};

use super::Codec;
use super::Decoded;
use crate::wire::content::{ReadNotice, RecallCommand};
use crate::wire::lenient::Str;

const RECALL: &str = "RC:RcCmd";
const READ: &str = "RC:ReadNtf";

/// Whether what has this name is a message, whatever it contains.
pub(crate) fn is_message(object_name: &str) -> bool {
    object_name != RECALL && object_name != READ
}

/// A message as every source tells it.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) place: InboundPlace,
    pub(crate) from: &'a str,
    pub(crate) object_name: &'a str,
    pub(crate) content: &'a str,
    pub(crate) uid: &'a str,
    /// The message that this one replaces; empty for none.
    pub(crate) original_uid: &'a str,
    pub(crate) sent_at: Timestamp,
    pub(crate) audience: Vec<VendorUserId>,
    pub(crate) raw: Bytes,
}

impl Codec {
    /// A message, or the recall, edit or receipt that travels as one.
    pub(crate) fn inbound(&self, record: Record<'_>) -> Inbound {
        if let Some(inbound) = side_effect(&record) {
            return inbound;
        }
        let Decoded { body, ext, mark, mentions_everyone, mentions } = self.decode(record.object_name, record.content);
        let id = VendorMessageId::from(record.uid);
        let from = VendorUserId::from(record.from);
        if !record.original_uid.is_empty() {
            let target = VendorMessageId::from(record.original_uid);
            let key = EventKey::new(KeyClass::Edit, format!("{target}/{id}"));
            let data = InboundData::Edit { target, version: None, by: Some(from), body: Some(body), ext: Some(ext) };
            // The mark names a send, and an edit is none: it is taken out and not passed on.
            return record.event(key, data, None);
        }
        let key = EventKey::message(&id);
        let audience = record.audience.clone();
        let clues = Clues { answers: answers(&body), number: None };
        let message = InboundMessage { id, from, audience, body, ext, mentions_everyone, mentions };
        Inbound { clues, ..record.event(key, InboundData::Message(message), mark) }
    }
}

/// The message that a reference or an answer in parts names.
fn answers(body: &Body) -> Option<VendorMessageId> {
    let Body::Native(native) = body else { return None };
    let named = match native.kind.as_str() {
        "RC:ReferenceMsg" => native.content.get("referMsgUid"),
        "RC:StreamMsg" => native.content.get("referMsg").and_then(|refer| refer.get("messageUId")),
        _ => None,
    };
    let named = named?.as_str().filter(|id| !id.is_empty())?;
    Some(VendorMessageId::from(named))
}

impl Record<'_> {
    fn event(self, key: EventKey, data: InboundData, mark: Option<String>) -> Inbound {
        Inbound {
            key,
            place: self.place,
            sent_at: self.sent_at,
            sort_key: self.uid.to_owned(),
            data,
            mark,
            clues: Clues::default(),
            raw: self.raw,
        }
    }
}

/// Recalls and read statements are messages to the vendor and events of their own to us.
fn side_effect(record: &Record<'_>) -> Option<Inbound> {
    let (key, data) = match record.object_name {
        RECALL => {
            let command: RecallCommand<'_> = serde_json::from_str(record.content).ok()?;
            let target = VendorMessageId::from(command.uid.0.as_ref());
            let reason = command.extra.map(|extra| extra.0.into_owned()).filter(|extra| !extra.is_empty());
            (EventKey::recall(&target), InboundData::Recall { target, by: Some(record.from.into()), reason })
        }
        READ if matches!(record.place, InboundPlace::Direct { .. }) => {
            let notice: ReadNotice<'_> = serde_json::from_str(record.content).ok()?;
            let target = notice.uid.filter(|uid| !uid.0.is_empty()).map(|uid| VendorMessageId::from(uid.0.as_ref()));
            let reader = VendorUserId::from(record.from);
            // Without a message it is the time that was read up to which makes it unique.
            let what = match &target {
                Some(target) => target.as_str().to_owned(),
                None => notice.until.integer()?.to_string(),
            };
            let key = EventKey::new(KeyClass::Receipt, format!("read/{what}/{reader}"));
            (key, InboundData::Receipt { kind: ReceiptKind::Read, reader, target, whole_conversation: true })
        }
        _ => return None,
    };
    Some(Inbound {
        key,
        place: record.place.clone(),
        sent_at: record.sent_at,
        sort_key: record.uid.to_owned(),
        data,
        mark: None,
        clues: Clues::default(),
        raw: record.raw.clone(),
    })
}

/// What verified and could not be understood, kept byte for byte; a retry of it has the same key.
pub(crate) fn unrecognised(kind: impl Into<String>, raw: Bytes, at: Timestamp) -> Inbound {
    Inbound {
        key: EventKey::new(KeyClass::Unrecognised, hex::encode(Sha256::digest(&raw))),
        place: InboundPlace::Nowhere,
        sent_at: at,
        sort_key: String::new(),
        data: InboundData::Unrecognised(Unrecognised::keep(kind, &raw)),
        mark: None,
        clues: Clues::default(),
        raw,
    }
}

/// The content text of a record that holds it as text, or as the JSON itself.
pub(crate) fn from_text_or_object(raw: &RawValue) -> Cow<'_, str> {
    serde_json::from_str::<Str<'_>>(raw.get()).map_or(Cow::Borrowed(raw.get()), |text| text.0)
}
