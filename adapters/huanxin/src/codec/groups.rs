//! Groups and rooms changing, in the present form (`group_op_event`) and the older one (`muc`).

use serde_json::{Map, Value};
use switchboard_contract::{Inbound, InboundData, InboundPlace, KeyClass, VendorGroupId, VendorUserId};

use super::item::Context;
use super::keys;

/// The operator that stands for the console and REST.
const CONSOLE: &str = "@ppAdmin";

pub(super) fn operation(context: &Context<'_>) -> Option<Inbound> {
    let item = context.item;
    let id = item.id.as_deref()?;
    let operation = item.operation.as_deref()?;
    let raw = context.raw_payload().map_or("", |raw| raw.get());
    let mut payload: Map<String, Value> = serde_json::from_str(raw).unwrap_or_default();
    let kind = payload.remove("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    let members = match (operation, kind.as_str()) {
        ("UPDATE", "OWNER") => names(context, payload.get("new_owner")),
        _ => {
            let members = names(context, payload.get("member"));
            payload.remove("member");
            members
        }
    };
    let group = VendorGroupId::from(id);
    let place = match item.kind.as_deref() {
        Some("GROUP") => InboundPlace::Group { group, channel: None },
        Some("CHATROOM") => InboundPlace::Room { room: group },
        _ => InboundPlace::GroupOrRoom { id: group },
    };
    let time = context.sent_at.0.to_string();
    let hash = keys::content_hash(raw.as_bytes(), &[]);
    let data = InboundData::Group {
        change: change(operation, &kind, &payload),
        by: item.operator.as_deref().filter(|by| *by != CONSOLE).map(|by| context.codec.user(by)),
        members,
        detail: if payload.is_empty() { Value::Null } else { Value::Object(payload) },
    };
    Some(context.event(keys::joined(KeyClass::Group, &[id, operation, &kind, &time, &hash]), place, data))
}

/// The contract's word for a pair of operation and type; the vendor announces more pairs, which keep its own words.
fn change(operation: &str, kind: &str, payload: &Map<String, Value>) -> String {
    // The vendor's table says `disabled` and its sample `disable`.
    let is = |names: [&str; 2]| names.iter().any(|name| payload.get(*name).is_some_and(truthy));
    let word = match (operation, kind) {
        ("CREATE", _) => "created",
        ("DELETE", _) => "dissolved",
        ("JOIN", _) => "joined",
        ("LEAVE", "QUIT" | "DELETE") => "left",
        ("LEAVE", "KICK" | "BLOCK") => "removed",
        ("UPDATE", "INFO") => "updated",
        ("UPDATE", "OWNER") => "owner_changed",
        ("UPDATE", "MUTE") if is(["mute", "muted"]) => "muted",
        ("UPDATE", "MUTE") => "unmuted",
        ("UPDATE", "DISABLE") if is(["disabled", "disable"]) => "disabled",
        ("UPDATE", "DISABLE") => "enabled",
        ("UPDATE", "ANNOUNCEMENT") => "announcement",
        ("MUTE", "ADD") => "muted",
        ("MUTE", "REMOVE") => "unmuted",
        ("BLOCK", "ADD") => "blocked",
        ("BLOCK", "REMOVE") => "unblocked",
        ("ADMIN", "ADD") => "admin_added",
        ("ADMIN", "REMOVE") => "admin_removed",
        (operation, "") => return operation.to_lowercase(),
        (operation, kind) => return format!("{operation}_{kind}").to_lowercase(),
    };
    word.to_owned()
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Bool(yes) => *yes,
        Value::String(text) => text == "true",
        _ => false,
    }
}

fn names(context: &Context<'_>, value: Option<&Value>) -> Vec<VendorUserId> {
    let list = match value {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one @ Value::String(_)) => std::slice::from_ref(one),
        _ => &[],
    };
    list.iter().filter_map(Value::as_str).map(|name| context.codec.user(name)).collect()
}

/// Both forms may report one change; nothing in them lets them be told to be the same.
pub(super) fn older_operation(context: &Context<'_>) -> Option<Inbound> {
    let item = context.item;
    let operation = context.payload.operation.as_deref()?;
    let mut payload: Map<String, Value> = serde_json::from_str(context.raw_payload()?.get()).ok()?;
    payload.remove("operation");
    let long = payload.remove("muc_id");
    let id = item.group_id.as_deref().or_else(|| long.as_ref()?.as_str().map(|long| context.codec.plain(long)))?;
    let group = VendorGroupId::from(id);
    let place = match payload.remove("is_chatroom") {
        Some(Value::Bool(true)) => InboundPlace::Room { room: group },
        Some(Value::Bool(false)) => InboundPlace::Group { group, channel: None },
        _ => InboundPlace::GroupOrRoom { id: group },
    };
    let (change, concerns_recipient) = match operation {
        "create" => ("created", false),
        "destroy" => ("dissolved", false),
        "direct_joined" | "presence" => ("joined", true),
        "leave" | "absence" => ("left", true),
        "kick" => ("removed", true),
        "update" => ("updated", false),
        "ban" => ("blocked", true),
        "allow" => ("unblocked", true),
        other => (other, true),
    };
    let member = item.to.as_deref().filter(|_| concerns_recipient).map(|user| context.codec.user(user));
    let number = item.msg_id.as_deref().unwrap_or_default();
    let key = keys::joined(KeyClass::Group, &["muc", id, operation, number]);
    let data = InboundData::Group {
        change: change.to_lowercase(),
        by: context.sender().filter(|by| *by != CONSOLE).map(|by| context.codec.user(by)),
        members: member.into_iter().collect(),
        detail: if payload.is_empty() { Value::Null } else { Value::Object(payload) },
    };
    Some(context.event(key, place, data))
}
