//! The vendor's forms to the contract's and back. Pure: bytes and values in, values out.

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use switchboard_contract::{
    Body, Clues, Custom, Error, EventKey, Inbound, InboundData, InboundMessage, InboundPlace, KeyClass, Location,
    Media, Result, Text, Timestamp, Unrecognised, VendorGroupId, VendorMessageId, VendorUserId,
};

use super::wire::{Address, Attachment, Kind, Letter, LetterRecalled, LetterSent, Parcel};

/// The tag that carries our mark; the business cannot use it.
pub(super) const MARK: &str = "pp-mark";

/// The parcel of a body, whole or not at all.
///
/// # Errors
/// `Unsupported` for what a parcel cannot hold, `InvalidInput` for a missing address.
pub(super) fn parcel(body: &Body) -> Result<Parcel> {
    Ok(match body {
        Body::Text(Text { text }) => Parcel::Note { words: text.clone() },
        Body::Image(media) => Parcel::Picture(attachment(media)?),
        Body::File(media) => Parcel::Paper(attachment(media)?),
        Body::Location(Location { latitude, longitude, address, map: None }) => {
            Parcel::Spot { north: *latitude, east: *longitude, address: address.clone() }
        }
        Body::Location(_) => return Err(Error::unsupported("a picture of the map")),
        Body::Custom(Custom { name, data }) => Parcel::Own { name: name.clone(), data: data.clone() },
        other => return Err(Error::unsupported(&format!("a body of kind {}", other.kind()))),
    })
}

// Taken apart in full, so that a new field of the contract cannot be dropped unnoticed.
fn attachment(media: &Media) -> Result<Attachment> {
    let Media { url, data, name, size, format, width, height, duration, secret, thumbnail } = media.clone();
    if data.is_some() || duration.is_some() || secret.is_some() || thumbnail.is_some() {
        return Err(Error::unsupported("inline data, durations, download keys and thumbnails"));
    }
    let href = url.ok_or_else(|| Error::invalid("url", "is missing"))?;
    Ok(Attachment { href, title: name, bytes: size, format, width, height })
}

fn media(attachment: Attachment) -> Media {
    let Attachment { href, title, bytes, format, width, height } = attachment;
    Media { url: Some(href), name: title, size: bytes, format, width, height, ..Media::default() }
}

fn body(parcel: &RawValue) -> Body {
    match serde_json::from_str(parcel.get()) {
        Ok(Parcel::Note { words }) => Body::text(words),
        Ok(Parcel::Picture(picture)) => Body::Image(media(picture)),
        Ok(Parcel::Paper(paper)) => Body::File(media(paper)),
        Ok(Parcel::Spot { north, east, address }) => {
            Body::Location(Location { latitude: north, longitude: east, address, map: None })
        }
        Ok(Parcel::Own { name, data }) => Body::Custom(Custom { name, data }),
        Err(_) => Body::Unrecognised(Unrecognised::keep(kind(parcel.get().as_bytes()), parcel.get().as_bytes())),
    }
}

/// One event of a notice. What cannot be understood keeps its bytes; `came_at` is its time if it names none.
pub(super) fn event(raw: Bytes, came_at: Timestamp) -> Inbound {
    let decoded = match kind(&raw).as_str() {
        "letter.sent" => {
            serde_json::from_slice::<LetterSent<'_>>(&raw).ok().and_then(|sent| message(sent.letter, &raw))
        }
        "letter.recalled" => serde_json::from_slice(&raw).ok().and_then(|event| recall(event, &raw)),
        _ => None,
    };
    decoded.unwrap_or_else(|| unrecognised(raw, came_at))
}

/// One letter of a history page.
pub(super) fn letter(raw: Bytes, came_at: Timestamp) -> Inbound {
    let decoded = serde_json::from_slice(&raw).ok().and_then(|letter| message(letter, &raw));
    decoded.unwrap_or_else(|| unrecognised(raw, came_at))
}

/// Bytes nobody understands, under a key that is the same each time they come.
pub(super) fn unrecognised(raw: Bytes, came_at: Timestamp) -> Inbound {
    Inbound {
        key: EventKey::new(KeyClass::Unrecognised, hex::encode(Sha256::digest(&raw))),
        place: InboundPlace::Nowhere,
        sent_at: came_at,
        sort_key: String::new(),
        data: InboundData::Unrecognised(Unrecognised::keep(kind(&raw), &raw)),
        mark: None,
        clues: Clues::default(),
        raw,
    }
}

fn kind(raw: &[u8]) -> String {
    serde_json::from_slice(raw).map_or_else(|_| "unreadable".to_owned(), |Kind { kind }| kind)
}

fn message(mut letter: Letter<'_>, raw: &Bytes) -> Option<Inbound> {
    let id = VendorMessageId::from(letter.id);
    let mark = match letter.tags.get(MARK) {
        Some(Value::String(mark)) => Some(mark.clone()),
        _ => None,
    };
    if mark.is_some() {
        letter.tags.remove(MARK);
    }
    Some(Inbound {
        key: EventKey::message(&id),
        place: place(&letter.from, letter.to)?,
        sent_at: Timestamp(letter.at),
        sort_key: sort_key(letter.number),
        data: InboundData::Message(InboundMessage {
            id,
            from: letter.from.into(),
            audience: Vec::new(),
            body: body(letter.parcel),
            ext: letter.tags,
            mentions_everyone: letter.mention_all,
            mentions: letter.mentions.into_iter().map(VendorUserId::from).collect(),
        }),
        mark,
        clues: Clues::default(),
        raw: raw.clone(),
    })
}

fn recall(event: LetterRecalled, raw: &Bytes) -> Option<Inbound> {
    let target = VendorMessageId::from(event.letter.id);
    Some(Inbound {
        key: EventKey::recall(&target),
        place: place(&event.letter.from, event.letter.to)?,
        sent_at: Timestamp(event.at),
        sort_key: sort_key(event.number),
        data: InboundData::Recall { target, by: Some(event.by.into()), reason: None },
        mark: None,
        clues: Clues::default(),
        raw: raw.clone(),
    })
}

/// A letter that has arrived stands in one place; an address of many is none.
fn place(from: &str, to: Address) -> Option<InboundPlace> {
    match to {
        Address::User(to) => Some(InboundPlace::Direct { from: from.into(), to: to.into() }),
        Address::Flock(id) => Some(InboundPlace::Group { group: VendorGroupId::from(id), channel: None }),
        Address::Square(id) => Some(InboundPlace::Room { room: VendorGroupId::from(id) }),
        Address::Users(_) => None,
    }
}

/// The vendor numbers everything it does. Keys are compared byte by byte, so all are as long as the longest.
fn sort_key(number: u64) -> String {
    format!("{number:020}")
}
