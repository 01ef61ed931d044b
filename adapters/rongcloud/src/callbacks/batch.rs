//! JSON callbacks: one object, or an array of them. Each item stands alone; a bad one does not spoil the rest.

use bytes::Bytes;
use serde_json::value::RawValue;
use switchboard_contract::{Inbound, RawCallback};

use super::events;
use crate::codec::{Codec, unrecognised};
use crate::wire::events::{Family, Probe};

pub(super) fn decode(raw: &RawCallback, codec: &Codec) -> Vec<Inbound> {
    if let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(&raw.body) {
        return items.into_iter().map(|item| decode_item(item, raw, codec)).collect();
    }
    match serde_json::from_slice::<&RawValue>(&raw.body) {
        Ok(item) => vec![decode_item(item, raw, codec)],
        Err(_) => vec![unrecognised(kind(raw, None), raw.body.clone(), raw.received_at)],
    }
}

fn decode_item(item: &RawValue, raw: &RawCallback, codec: &Codec) -> Inbound {
    let bytes = raw.body.slice_ref(item.get().as_bytes());
    let Ok(probe) = serde_json::from_str::<Probe<'_>>(item.get()) else {
        return unrecognised(kind(raw, None), bytes, raw.received_at);
    };
    let event = probe.family().and_then(|family| by_family(family, item, &bytes, raw, codec));
    event.unwrap_or_else(|| unrecognised(kind(raw, Some(&probe)), bytes, raw.received_at))
}

/// `None` for an item that lacks what its family promises.
fn by_family(family: Family, item: &RawValue, bytes: &Bytes, raw: &RawCallback, codec: &Codec) -> Option<Inbound> {
    let json = item.get();
    let (bytes, received_at) = (bytes.clone(), raw.received_at);
    match family {
        Family::Online => events::online(serde_json::from_str(json).ok()?, bytes),
        Family::Room => events::room(&serde_json::from_str(json).ok()?, bytes),
        Family::GroupOperation => events::group_operation(&serde_json::from_str(json).ok()?, bytes),
        Family::MessageOperation => events::message_operation(serde_json::from_str(json).ok()?, bytes),
        Family::Audit => events::audit(&serde_json::from_str(json).ok()?, bytes, received_at),
        Family::InfoAudit => events::info_audit(serde_json::from_str(json).ok()?, bytes),
        Family::Bot => events::bot(&serde_json::from_str(json).ok()?, bytes, codec),
    }
}

/// The vendor's name of the kind where it gives one, else the path it came to.
fn kind(raw: &RawCallback, probe: Option<&Probe<'_>>) -> String {
    let path = raw.path.trim_matches('/');
    match probe.and_then(Probe::name) {
        Some(name) => name,
        None if probe.and_then(Probe::family) == Some(Family::MessageOperation) => "message_operation".to_owned(),
        None if path.is_empty() => "json".to_owned(),
        None => path.to_owned(),
    }
}
