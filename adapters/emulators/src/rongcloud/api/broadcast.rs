//! Messages to the whole app, to everyone online, or to all chatrooms. None of them ever reaches the routing callback.

use serde_json::{Value, json};

use super::{Call, Endpoint, publish::Outgoing};
use crate::rongcloud::{
    model::ConversationKind,
    quota::Quota,
    reply::{Answer, Refusal, done, fields},
    state::Draft,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/message/broadcast.json", to_app).own_quota(),
    Endpoint::form("/message/broadcast/recall.json", recall).own_quota(),
    Endpoint::form("/message/online/broadcast.json", to_online),
    Endpoint::form("/message/chatroom/broadcast.json", to_rooms).own_quota(),
];

fn charge_broadcast(call: &mut Call<'_>, name: &str) -> Result<(), Refusal> {
    let quotas = &call.core.settings.quotas;
    let (hour, day) = (Quota::per_hour(quotas.broadcast_per_hour), Quota::per_day(quotas.broadcast_per_day));
    call.charge(&[(&format!("{name}/hour"), hour), (&format!("{name}/day"), day)], 1)
}

fn to_app(call: &mut Call<'_>) -> Answer {
    let outgoing = Outgoing::read(call)?;
    if !call.core.settings.messages.broadcast {
        // Documented: the vendor answers a service that is off like a rate error.
        return Err(Refusal::too_frequent());
    }
    charge_broadcast(call, "broadcast")?;
    if outgoing.object_name == "RC:RcCmd" {
        let command: Option<Value> = serde_json::from_str(&outgoing.content).ok();
        if let Some(uid) = command.as_ref().and_then(|command| command["messageUId"].as_str()) {
            mark_recalled(call, uid);
        }
    }
    let mut draft = outgoing.draft(call, ConversationKind::System, "");
    draft.unrouted = true;
    let accepted = call.core.accept(draft, call.now_ms);
    fields(json!({ "messageUID": accepted.uid }))
}

fn mark_recalled(call: &mut Call<'_>, uid: &str) {
    if let Some(message) = call.core.messages.get_mut(uid) {
        message.recalled = true;
    }
    call.core.ledger.recall(uid);
}

fn recall(call: &mut Call<'_>) -> Answer {
    let from = call.params.bounded("fromUserId", 64)?;
    let uid = call.params.bounded("messageUID", 64)?;
    let is_admin = call.params.flag("isAdmin", false)?;
    let is_delete = call.params.flag("isDelete", false)?;
    let sent_ms = call.params.integer("sentTime")?.unwrap_or_default();
    let extra = call.params.text("extra");
    charge_broadcast(call, "broadcast_recall")?;
    mark_recalled(call, &uid);
    let mut content = json!({
        "messageUId": uid,
        "conversationType": ConversationKind::System.number(),
        "sentTime": sent_ms,
        "isAdmin": i64::from(is_admin),
        "isDelete": i64::from(is_delete),
    });
    if let Some(extra) = extra {
        content["extra"] = json!(extra);
    }
    let mut draft = Draft::server(ConversationKind::System, &from, "").with_content("RC:RcCmd", &content.to_string());
    draft.unrouted = true;
    call.core.accept(draft, call.now_ms);
    done()
}

fn to_online(call: &mut Call<'_>) -> Answer {
    let outgoing = Outgoing::read(call)?;
    let online: Vec<String> =
        call.core.users.iter().filter(|(_, user)| !user.sessions.is_empty()).map(|(id, _)| id.clone()).collect();
    for user in online {
        let mut draft = outgoing.draft(call, ConversationKind::System, &user);
        draft.unrouted = true;
        call.core.accept(draft, call.now_ms);
    }
    done()
}

fn to_rooms(call: &mut Call<'_>) -> Answer {
    let outgoing = Outgoing::read(call)?;
    let quota = Quota::per_second(call.core.settings.quotas.chatroom_broadcast_per_second);
    call.charge(&[("chatroom_broadcast", quota)], 1)?;
    let rooms: Vec<String> = call.core.rooms.keys().cloned().collect();
    for room in rooms {
        let mut draft = outgoing.draft(call, ConversationKind::Chatroom, &room);
        draft.unrouted = true;
        call.core.accept(draft, call.now_ms);
    }
    done()
}
