//! The bodies of every callback family, as the vendor's samples show them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::app::App;
use super::bodies::content_suffix;
use super::dispatch::{Event, Facts};
use super::model::{ChatType, Device, EventFamily, Group, Message, or_empty};

/// The console and REST calls act under this name in group events.
pub(crate) const ADMIN: &str = "@ppAdmin";
const HOST: &str = "easemob@emulator-msync0";

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn message_facts(message: &Message) -> Facts {
    Facts {
        from: Some(message.from.clone()),
        to: Some(message.to.clone()),
        group: (message.kind != ChatType::Chat).then(|| message.to.clone()),
        ext: Some(Arc::clone(&message.ext)),
        env: message.env.clone(),
        source: Some(message.source),
        offline: false,
        versioned: true,
    }
}

/// `chat`, or `chat_offline` for one receiver.
pub(crate) fn message(message: &Message, offline_receiver: Option<&str>) -> Event {
    let id = message.id.to_string();
    let label = if offline_receiver.is_some() { "chat_offline" } else { "chat" };
    let kind = message.kind;
    let mut body = object(json!({
        "eventType": label,
        "chat_type": kind.callback_word(),
        "from": message.from,
        "to": offline_receiver.unwrap_or(&message.to),
        "msg_id": id,
        "content_type": format!("chat:{}:{}", kind.content_word(), content_suffix(&message.body)),
        "payload": {
            "ext": or_empty(&message.ext), "bodies": [&*message.body],
            "from": message.from, "to": message.to, "type": kind.word(),
        },
        "host": HOST,
    }));
    if kind != ChatType::Chat {
        body.insert("group_id".to_owned(), json!(message.to));
    }
    if message.group_ack {
        body["payload"]["msg_config"] = json!({ "allow_group_ack": true });
    }
    let facts = Facts { offline: offline_receiver.is_some(), ..message_facts(message) };
    Event {
        family: EventFamily::Message,
        label,
        key: id.clone(),
        message_id: Some(id),
        timestamp: message.time_ms,
        body,
        facts,
    }
}

impl App {
    fn about_message(&self, family: EventFamily, label: &'static str, original: &Message, body: Value) -> Event {
        let now_ms = self.now_ms();
        let id = self.data.lock().next_id(now_ms).to_string();
        let mut body = object(body);
        body.insert("eventType".to_owned(), json!("chat"));
        body.insert("msg_id".to_owned(), json!(id));
        body.insert("host".to_owned(), json!(HOST));
        Event {
            family,
            label,
            key: original.id.to_string(),
            message_id: Some(id),
            timestamp: now_ms,
            body,
            facts: Facts { versioned: false, ..message_facts(original) },
        }
    }

    pub(crate) fn recall_event(&self, original: &Message, by: &str) -> Event {
        let id = original.id.to_string();
        let body = json!({
            "chat_type": "recall", "from": by, "to": original.to, "recall_id": id,
            "payload": { "ext": {}, "ack_message_id": id, "bodies": [] },
        });
        self.about_message(EventFamily::Recall, "recall", original, body)
    }

    pub(crate) fn read_event(&self, original: &Message, reader: &str) -> Event {
        let id = original.id.to_string();
        let key = &self.app_key;
        let body = if original.kind == ChatType::Chat {
            json!({
                "chat_type": "read_ack", "from": reader, "to": original.from,
                "channel_channel": format!("{key}_{}@conference.easemob.com", original.from),
                "payload": { "ext": {}, "ack_message_id": id, "bodies": [] },
            })
        } else {
            json!({
                "chat_type": "read_ack", "content_type": "chat:ack:read", "from": reader, "to": original.to,
                "channel_channel": format!("{key}_{}@conference.easemob.com", original.to),
                "channel_user": format!("{key}_{reader}@easemob.com"), "writed_channel": false,
                "payload": {
                    "ext": {}, "ack_message_id": id, "msg_config": { "allow_group_ack": true }, "type": "read_ack",
                },
            })
        };
        self.about_message(EventFamily::Read, "read_ack", original, body)
    }

    pub(crate) fn conversation_read_event(&self, last: &Message, reader: &str, peer: &str) -> Event {
        let body = json!({
            "chat_type": "channel_ack", "from": reader, "to": peer,
            "payload": { "ack_message_id": last.id.to_string(), "type": "channel_ack" },
        });
        self.about_message(EventFamily::ConversationRead, "channel_ack", last, body)
    }

    pub(crate) fn edit_event(&self, edited: &Message, operator: &str) -> Event {
        let kind = edited.kind;
        let count = edited.edits.len();
        let edit_ms = edited.edits.last().map_or(edited.time_ms, |edit| edit.at_ms);
        let body = json!({
            "chat_type": "edit", "from": edited.from, "to": edited.to,
            "payload": {
                "edit_message_id": edited.id.to_string(), "ext": or_empty(&edited.ext),
                "bodies": [&*edited.body], "type": "edit",
                "meta": { "edit_msg": {
                    "chat_type": format!("chat:{}", kind.content_word()), "send_time": edited.time_ms,
                    "edit_time": edit_ms, "sender": edited.from, "count": count, "operator": operator,
                } },
            },
        });
        self.about_message(EventFamily::Edit, "edit", edited, body)
    }

    pub(crate) fn reaction_event(&self, original: &Message, user: &str, reaction: &str) -> Event {
        let now_ms = self.now_ms();
        let kind = original.kind.word();
        let body = json!({
            "chat_type": "notify", "from": user, "to": original.from,
            "payload": {
                "data": [{
                    "messageId": original.id.to_string(), "from": user, "to": original.from, "channel_type": kind,
                    "ts": now_ms,
                    "reactions": [{
                        "op": [{ "reactionType": "create", "operator": user }],
                        "reaction": reaction, "userList": [user], "count": 1,
                    }],
                }],
                "num": 1, "channel_type": kind, "type": "reaction",
            },
        });
        self.about_message(EventFamily::Reaction, "reaction", original, body)
    }

    pub(crate) fn moderation_event(&self, message: &Message) -> Event {
        let id = message.id.to_string();
        let mut event = self.plain(
            EventFamily::Moderation,
            "moderation",
            &id,
            json!({
                "eventType": "moderation", "moderationResult": "PASS", "providerResult": "PASS",
                "messageType": message.type_word(), "messageId": id, "targetType": message.kind.word(),
                "source": {}, "riskType": "", "from": message.from, "to": message.to, "url": "",
                "msg": message.body.get("msg").cloned().unwrap_or_else(|| json!("")),
            }),
        );
        event.facts = message_facts(message);
        event.facts.versioned = false;
        event
    }

    pub(crate) fn push_event(&self, message: &Message, target: &str) -> Event {
        let id = message.id.to_string();
        let mut event = self.plain(
            EventFamily::Push,
            "push",
            &id,
            json!({
                "chat_type": message.kind.callback_word(), "step": "push", "detail": "no push binding",
                "msg_id": id, "status": "fail", "target": target,
            }),
        );
        event.message_id = Some(id);
        event
    }

    /// `reason`: `login`, `logout` or `replaced`.
    pub(crate) fn status_event(&self, user: &str, device: &Device, reason: &'static str) -> Event {
        let status = if reason == "login" { "online" } else { "offline" };
        self.plain(
            EventFamily::UserStatus,
            reason,
            user,
            json!({
                "reason": reason, "os": device.os, "ip": device.ip, "host": HOST,
                "user": format!("{}_{user}@easemob.com/{}", self.app_key, device.resource),
                "name": user, "version": device.version, "status": status,
            }),
        )
    }

    /// `operation` is add, remove, accept, decline, ban or allow.
    pub(crate) fn contact_event(&self, user: &str, resource: &str, other: &str, operation: &str) -> Event {
        let now_ms = self.now_ms();
        let id = self.data.lock().next_id(now_ms).to_string();
        let mut event = self.plain(
            EventFamily::Contact,
            "roster",
            user,
            json!({
                "eventType": "chat", "chat_type": "roster", "to": other, "msg_id": id, "host": HOST,
                "from": format!("{}_{user}@easemob.com/{resource}", self.app_key),
                "payload": { "reason": "", "operation": operation },
            }),
        );
        event.message_id = Some(id);
        event
    }

    /// `group_op_event`; `payload` may be null where the vendor sends none.
    pub(crate) fn emit_group(&self, group: &GroupRef, operation: &'static str, operator: &str, payload: Value) {
        let mut body = json!({
            "id": group.id, "type": if group.room { "CHATROOM" } else { "GROUP" },
            "event": "group_op_event", "operation": operation, "operator": operator,
        });
        if !payload.is_null() {
            body["payload"] = payload.clone();
        }
        let mut event = self.plain(EventFamily::Group, "group_op_event", &group.id, body);
        event.facts.group = Some(group.id.clone());
        self.emit(&event);
        if self.settings().callbacks.legacy_groups
            && let Some(word) = legacy_word(operation, payload.get("type").and_then(Value::as_str))
        {
            self.emit_legacy(group, word, operator);
        }
    }

    fn emit_legacy(&self, group: &GroupRef, word: &str, operator: &str) {
        let now_ms = self.now_ms();
        let id = self.data.lock().next_id(now_ms).to_string();
        let mut event = self.plain(
            EventFamily::Group,
            "muc",
            &group.id,
            json!({
                "eventType": "chat", "chat_type": "muc", "group_id": group.id, "to": group.owner, "msg_id": id,
                "from": format!("{}_{operator}@easemob.com", self.app_key), "host": HOST,
                "payload": {
                    "muc_id": format!("{}_{}@conference.easemob.com", self.app_key, group.id), "reason": "",
                    "is_chatroom": group.room, "operation": word,
                    "status": { "description": "", "error_code": "ok" },
                },
            }),
        );
        event.message_id = Some(id);
        event.facts.group = Some(group.id.clone());
        self.emit(&event);
    }

    fn plain(&self, family: EventFamily, label: &'static str, key: &str, body: Value) -> Event {
        Event {
            family,
            label,
            key: key.to_owned(),
            message_id: None,
            timestamp: self.now_ms(),
            body: object(body),
            facts: Facts::default(),
        }
    }
}

/// What an event needs of a group after its lock is gone.
#[derive(Clone, Debug)]
pub(crate) struct GroupRef {
    pub(crate) id: String,
    pub(crate) room: bool,
    pub(crate) owner: String,
}

impl From<&Group> for GroupRef {
    fn from(group: &Group) -> Self {
        Self { id: group.id.clone(), room: group.room, owner: group.owner.clone() }
    }
}

fn legacy_word(operation: &str, kind: Option<&str>) -> Option<&'static str> {
    Some(match (operation, kind) {
        ("CREATE", _) => "create",
        ("DELETE", _) => "destroy",
        ("JOIN", Some("INVITE")) => "invite",
        ("JOIN", _) => "direct_joined",
        ("LEAVE", Some("KICK" | "BLOCK")) => "kick",
        ("LEAVE", _) => "leave",
        ("UPDATE", _) => "update",
        ("MUTE", Some("ADD")) => "add_mute",
        ("MUTE", _) => "remove_mute",
        ("ADMIN", Some("ADD")) => "add_admin",
        ("ADMIN", _) => "remove_admin",
        _ => return None,
    })
}
