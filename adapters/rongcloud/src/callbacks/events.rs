//! One item of a JSON callback as an event of the contract.

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_contract::{
    Clues, EventKey, Inbound, InboundData, InboundPlace, KeyClass, PresenceState, Timestamp, VendorMessageId,
    VendorUserId,
};

use crate::codec::{Channel, Codec, Record, from_text_or_object};
use crate::wire::events::{
    AuditEvent, AuditedMessage, BotEvent, GroupOperation, InfoAudit, MessageOperation, OnlineEvent, RoomEvent,
};
use crate::wire::lenient::{Scalar, Str};

fn event(key: EventKey, place: InboundPlace, sent_at: Timestamp, data: InboundData, raw: Bytes) -> Inbound {
    Inbound { key, place, sent_at, sort_key: String::new(), data, mark: None, clues: Clues::default(), raw }
}

fn millis(time: &Scalar<'_>) -> Option<Timestamp> {
    time.integer().map(Timestamp)
}

fn users(list: &[Str<'_>]) -> (Vec<VendorUserId>, String) {
    let joined = list.iter().map(|user| user.0.as_ref()).collect::<Vec<_>>().join(",");
    (list.iter().map(|user| VendorUserId::from(user.0.as_ref())).collect(), joined)
}

fn non_empty<'a>(text: Option<&'a Str<'_>>) -> Option<&'a str> {
    text.map(|text| text.0.as_ref()).filter(|text| !text.is_empty())
}

pub(super) fn online(item: OnlineEvent<'_>, raw: Bytes) -> Option<Inbound> {
    let status = item.status.text().into_owned();
    let (state, reason) = match status.as_str() {
        "0" => (PresenceState::Online, "login".to_owned()),
        "1" => (PresenceState::Offline, "disconnected".to_owned()),
        "2" => (PresenceState::Offline, "logout".to_owned()),
        other => (PresenceState::Unknown, other.to_owned()),
    };
    let session = item.session.as_ref().map(|session| session.text().into_owned()).unwrap_or_default();
    let time = millis(&item.time)?;
    let key = format!("{}/{session}/{status}/{}", item.userid.0, time.as_millis());
    let data = InboundData::Presence {
        user: item.userid.0.as_ref().into(),
        state,
        reason: Some(reason),
        platform: non_empty(item.os.as_ref()).map(str::to_ascii_lowercase),
        device: Some(session).filter(|session| !session.is_empty()),
    };
    Some(event(EventKey::new(KeyClass::Presence, key), InboundPlace::Nowhere, time, data, raw))
}

pub(super) fn room(item: &RoomEvent<'_>, raw: Bytes) -> Option<Inbound> {
    let (kind, status, time) = (item.kind.integer()?, item.status.integer()?, millis(&item.time)?);
    let change = match (kind, status) {
        (0, _) => "created".to_owned(),
        (1, _) => "joined".to_owned(),
        (2, 0) => "left".to_owned(),
        (2, 1) => "removed".to_owned(),
        (2, 2) => "blocked".to_owned(),
        (3, _) => "dissolved".to_owned(),
        (kind, status) => format!("room_{kind}_{status}"),
    };
    let (members, joined) = users(&item.users);
    let room = item.room.0.as_ref();
    let key = EventKey::new(KeyClass::Group, format!("room/{room}/{kind}/{status}/{}/{joined}", time.as_millis()));
    let data = InboundData::Group { change, by: None, members, detail: json!({"type": kind, "status": status}) };
    Some(event(key, InboundPlace::Room { room: room.into() }, time, data, raw))
}

pub(super) fn group_operation(item: &GroupOperation<'_>, raw: Bytes) -> Option<Inbound> {
    let (kind, time, group) = (item.event_type.integer()?, millis(&item.time)?, item.group.0.as_ref());
    let (members, joined) = users(&item.users);
    let by = non_empty(item.by.as_ref());
    let key = format!("hosted/{group}/{kind}/{}/{}/{joined}", time.as_millis(), by.unwrap_or_default());
    // The numbers are not published, so the word says the number and claims nothing.
    let data = InboundData::Group {
        change: format!("operation_{kind}"),
        by: by.map(VendorUserId::from),
        members,
        detail: json!({"event_type": kind}),
    };
    let place = InboundPlace::Group { group: group.into(), channel: None };
    Some(event(EventKey::new(KeyClass::Group, key), place, time, data, raw))
}

/// `None` for a deletion: somebody emptied a history of their own, and the message is still there for the others.
pub(super) fn message_operation(item: MessageOperation<'_>, raw: Bytes) -> Option<Inbound> {
    const RECALL: i64 = 1;
    if item.event_type.integer()? != RECALL {
        return None;
    }
    let from = item.from.0.as_ref();
    let channel = Channel::from_text(&item.conversation.kind.text())?;
    let place = channel.place(from, &item.conversation.target.0, non_empty(item.conversation.bus_channel.as_ref()));
    let target = VendorMessageId::from(item.original?.id.0.as_ref());
    let reason = item.recall.as_ref().and_then(|recall| non_empty(recall.extra.as_ref())).map(str::to_owned);
    let key = EventKey::recall(&target);
    let data = InboundData::Recall { target, by: Some(from.into()), reason };
    Some(event(key, place, millis(&item.time)?, data, raw))
}

pub(super) fn audit(item: &AuditEvent<'_>, raw: Bytes, received_at: Timestamp) -> Option<Inbound> {
    let result = item.result.integer()?;
    let verdict = match result {
        10_000 => "pass".to_owned(),
        10_001 => "reject".to_owned(),
        other => other.to_string(),
    };
    let target = VendorMessageId::from(item.uid.0.as_ref());
    let provider = non_empty(item.provider.as_ref());
    let key = format!("{target}/{}/{result}", provider.unwrap_or_default());
    let message = item.content.as_ref().and_then(|text| serde_json::from_str::<AuditedMessage<'_>>(&text.0).ok());
    let place = message.as_ref().and_then(|message| {
        let channel = Channel::from_text(&message.kind.text())?;
        Some(channel.place(&message.from.0, &message.target.0, non_empty(message.bus_channel.as_ref())))
    });
    let sent_at = message.as_ref().and_then(|message| millis(message.time.as_ref()?)).unwrap_or(received_at);
    let detail = json!({
        "result": result,
        "provider": provider,
        "detail": item.detail.map(|raw| from_text_or_object(raw).into_owned()).map(parsed),
        "from": message.as_ref().map(|message| message.from.0.as_ref()),
        "object_name": message.as_ref().and_then(|message| non_empty(message.object_name.as_ref())),
    });
    let data = InboundData::Moderation { target, verdict, detail };
    let key = EventKey::new(KeyClass::Moderation, key);
    Some(event(key, place.unwrap_or(InboundPlace::Nowhere), sent_at, data, raw))
}

fn parsed(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// `None` when it is about a user's profile: there is no group that changed.
pub(super) fn info_audit(item: InfoAudit<'_>, raw: Bytes) -> Option<Inbound> {
    let group = non_empty(item.group.as_ref())?;
    let (kind, time) = (item.event_type.integer()?, millis(&item.time)?);
    let by = non_empty(item.by.as_ref());
    let key = format!("info/{group}/{kind}/{}/{}", time.as_millis(), by.unwrap_or_default());
    let detail = json!({
        "event_type": kind,
        "result": item.result.as_ref().map(|result| match result {
            Scalar::Flag(flag) => Value::Bool(*flag),
            other => Value::String(other.text().into_owned()),
        }),
        "contents": item.contents,
    });
    let data = InboundData::Group {
        change: "info_audit".to_owned(),
        by: by.map(VendorUserId::from),
        members: non_empty(item.user.as_ref()).map(VendorUserId::from).into_iter().collect(),
        detail,
    };
    let place = InboundPlace::Group { group: group.into(), channel: None };
    Some(event(EventKey::new(KeyClass::Group, key), place, time, data, raw))
}

/// `None` for kinds whose shape nobody has published: receipts, recalls and membership of bots.
pub(super) fn bot(item: &BotEvent<'_>, raw: Bytes, codec: &Codec) -> Option<Inbound> {
    let from = item.data.from.0.as_ref();
    let place = match item.kind.0.as_ref() {
        "message:private" => InboundPlace::Direct { from: from.into(), to: item.bot.user.0.as_ref().into() },
        "message:group_mentioned" => {
            InboundPlace::Group { group: non_empty(item.data.group.as_ref())?.into(), channel: None }
        }
        _ => return None,
    };
    let content = from_text_or_object(item.data.content);
    Some(codec.inbound(Record {
        place,
        from,
        object_name: &item.data.object_name.0,
        content: &content,
        uid: &item.data.uid.0,
        original_uid: "",
        sent_at: millis(&item.timestamp)?,
        audience: Vec::new(),
        raw,
    }))
}
