//! Decoded events against the files in `fixtures/golden`. `REWRITE_GOLDEN=1` writes them anew, to be read before
//! they are kept.

use serde_json::{Value, json};
use switchboard_contract::{Body, Ext, Inbound, InboundData, InboundMessage, InboundPlace, VendorUserId};

pub(crate) fn check(name: &str, events: &[Inbound]) {
    let path = super::root().join("fixtures/golden").join(format!("{name}.json"));
    let found = Value::Array(events.iter().map(event).collect());
    if std::env::var_os("REWRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{found:#}\n")).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kept: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found, kept, "{name}: decoded otherwise than {}", path.display());
}

pub(crate) fn event(inbound: &Inbound) -> Value {
    json!({
        "key": {"class": format!("{:?}", inbound.key.class), "id": inbound.key.id},
        "place": place(&inbound.place),
        "sent_at": inbound.sent_at.as_millis(),
        "sort_key": inbound.sort_key,
        "mark": inbound.mark,
        "data": data(&inbound.data),
        "raw": String::from_utf8(inbound.raw.to_vec()).unwrap(),
    })
}

fn place(place: &InboundPlace) -> Value {
    match place {
        InboundPlace::Direct { from, to } => json!({"direct": {"from": from, "to": to}}),
        InboundPlace::Group { group, channel } => json!({"group": {"group": group, "channel": channel}}),
        InboundPlace::Room { room } => json!({"room": {"room": room}}),
        InboundPlace::GroupOrRoom { id } => json!({"group_or_room": {"id": id}}),
        InboundPlace::System { from, to } => json!({"system": {"from": from, "to": to}}),
        InboundPlace::Nowhere => json!("nowhere"),
    }
}

fn body(body: &Body) -> Value {
    serde_json::to_value(body).unwrap()
}

fn ext(ext: &Ext) -> Value {
    Value::Object(ext.clone())
}

fn users(users: &[VendorUserId]) -> Value {
    json!(users)
}

fn message(message: &InboundMessage) -> Value {
    json!({
        "id": message.id,
        "from": message.from,
        "audience": users(&message.audience),
        "body": body(&message.body),
        "ext": ext(&message.ext),
        "mentions_everyone": message.mentions_everyone,
        "mentions": users(&message.mentions),
    })
}

fn data(data: &InboundData) -> Value {
    match data {
        InboundData::Message(found) => json!({"message": message(found)}),
        InboundData::Recall { target, by, reason } => json!({"recall": {"target": target, "by": by, "reason": reason}}),
        InboundData::Edit { target, version, by, body: new, ext: fields } => json!({"edit": {
            "target": target, "version": version, "by": by,
            "body": new.as_ref().map(body), "ext": fields.as_ref().map(ext),
        }}),
        InboundData::Receipt { kind, reader, target, whole_conversation } => json!({"receipt": {
            "kind": kind, "reader": reader, "target": target, "whole_conversation": whole_conversation,
        }}),
        InboundData::Presence { user, state, reason, platform, device } => json!({"presence": {
            "user": user, "state": state, "reason": reason, "platform": platform, "device": device,
        }}),
        InboundData::Group { change, by, members, detail } => json!({"group": {
            "change": change, "by": by, "members": users(members), "detail": detail,
        }}),
        InboundData::Moderation { target, verdict, detail } => json!({"moderation": {
            "target": target, "verdict": verdict, "detail": detail,
        }}),
        InboundData::Unrecognised(kept) => json!({"unrecognised": serde_json::to_value(kept).unwrap()}),
        other => panic!("RongCloud has no such event: {other:?}"),
    }
}
