//! Publishing messages: private, group, ultra group, chatroom, system, status, discussion.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Endpoint};
use crate::rongcloud::{
    model::{ConversationKind, Push},
    quota::Quota,
    reply::{Answer, Fields, Refusal, done, fields},
    state::Draft,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/message/private/publish.json", private).own_quota(),
    // Seen in one third-party client only; its fields are unknown, so it reads a private publish.
    Endpoint::json("/v3/message/private/publish_stream.json", private).own_quota(),
    Endpoint::form("/message/group/publish.json", group).own_quota(),
    Endpoint::json("/message/ultragroup/publish.json", ultra_group).own_quota(),
    Endpoint::json("/v2/message/ultragroup/send", ultra_group).own_quota().v2(),
    Endpoint::form("/message/chatroom/publish.json", chatroom).own_quota(),
    Endpoint::form("/message/system/publish.json", system).own_quota(),
    Endpoint::form("/message/discussion/publish.json", discussion),
    Endpoint::form("/statusmessage/private/publish.json", status_private).own_quota(),
    Endpoint::form("/statusmessage/group/publish.json", status_group).own_quota(),
];

/// How long `msgRandom` is remembered.
pub(super) const RANDOM_MS: i64 = 60_000;
/// The channel of an ultra group when none is named.
pub(crate) const DEFAULT_CHANNEL: &str = "RCDefault";

/// The fields every publish call shares, checked.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) from: String,
    pub(super) object_name: String,
    pub(super) content: String,
    persisted: bool,
    pub(super) include_sender: bool,
    pub(super) verify_blacklist: bool,
    pub(super) push: Option<Push>,
    bus_channel: String,
    expandable: bool,
    expansion: BTreeMap<String, String>,
}

impl Outgoing {
    /// Reads and checks the shared fields.
    pub(super) fn read(call: &Call<'_>) -> Result<Self, Refusal> {
        let params = call.params;
        let from = params.bounded("fromUserId", 64)?;
        call.core.check_account(&from, "fromUserId")?;
        let object_name = params.bounded("objectName", 32)?;
        let content = params.required("content")?;
        if content.len() > call.core.settings.limits.content_bytes {
            return Err(Refusal::too_long("content"));
        }
        if object_name.starts_with("RC:") && serde_json::from_str::<serde::de::IgnoredAny>(&content).is_err() {
            return Err(Refusal::bad_parameter("content is not JSON"));
        }
        for flag in ["isCounted", "isMentioned", "disableUpdateLastMsg"] {
            params.flag(flag, false)?;
        }
        params.integer_or("count", 0, -1..=9999)?;
        let push = Push {
            content: params.text("pushContent").unwrap_or_default(),
            data: params.text("pushData").unwrap_or_default(),
            silent: params.flag("contentAvailable", false)?,
        };
        let expandable = params.flag("expansion", false)?;
        let extra = params.json("extraContent")?;
        let expansion = extra.map_or_else(|| Ok(BTreeMap::new()), |extra| expansion_pairs(&extra, 100))?;
        if !expandable && !expansion.is_empty() {
            return Err(Refusal::bad_parameter("extraContent needs expansion"));
        }
        Ok(Self {
            from,
            object_name,
            content,
            persisted: params.flag("isPersisted", true)?,
            include_sender: params.flag("isIncludeSender", false)?,
            verify_blacklist: params.flag("verifyBlacklist", false)?,
            push: (!params.flag("disablePush", false)?).then_some(push),
            bus_channel: params.optional("busChannel", 20)?.unwrap_or_default(),
            expandable,
            expansion,
        })
    }

    /// The draft for one target.
    pub(super) fn draft(&self, call: &Call<'_>, kind: ConversationKind, target: &str) -> Draft {
        let mut draft = Draft::server(kind, &self.from, target).with_content(&self.object_name, &self.content);
        if call.core.settings.messages.filter_server_api {
            (draft.content, draft.sensitivity) = call.core.filter_words(&self.object_name, &self.content);
        }
        draft.persisted = self.persisted;
        draft.push.clone_from(&self.push);
        draft.bus_channel.clone_from(&self.bus_channel);
        draft.expandable = self.expandable;
        draft.expansion.clone_from(&self.expansion);
        draft
    }
}

/// Expansion pairs from their JSON object, within the vendor's limits.
pub(super) fn expansion_pairs(value: &Value, max: usize) -> Result<BTreeMap<String, String>, Refusal> {
    let object = value.as_object().ok_or_else(|| Refusal::bad_parameter("expansion is not a JSON object"))?;
    if object.len() > max {
        return Err(Refusal::bad_parameter(format!("expansion has more than {max} keys")));
    }
    let mut pairs = BTreeMap::new();
    for (key, value) in object {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=-_".contains(&byte);
        if key.is_empty() || key.len() > 32 || !key.bytes().all(allowed) {
            return Err(Refusal::bad_parameter("expansion key is not allowed"));
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text.chars().count() > 4096 {
            return Err(Refusal::too_long("expansion value"));
        }
        pairs.insert(key.clone(), text);
    }
    Ok(pairs)
}

/// The answer of a publish call.
pub(super) fn published(call: &Call<'_>, key: &str, uids: &[(String, String)]) -> Answer {
    if !call.core.settings.message_uids {
        return done();
    }
    let list: Vec<Value> = uids.iter().map(|(target, uid)| json!({ key: target, "messageUID": uid })).collect();
    fields(json!({ "messageUIDs": list }))
}

/// The first answer to the same `msgRandom`, where the setting makes it de-duplicate; runs `send` otherwise.
fn once_per_random(call: &mut Call<'_>, from: &str, send: impl FnOnce(&mut Call<'_>) -> Answer) -> Answer {
    let random = call.params.text("msgRandom").filter(|_| call.core.settings.messages.random_deduplicates);
    let Some(random) = random else { return send(call) };
    let key = format!("{from}/{random}");
    let now_ms = call.now_ms;
    call.core.randoms.retain(|_, (at_ms, _)| now_ms - *at_ms <= RANDOM_MS);
    if let Some((_, Value::Object(first))) = call.core.randoms.get(&key) {
        return Ok(first.clone());
    }
    let answer: Fields = send(call)?;
    call.core.randoms.insert(key, (now_ms, Value::Object(answer.clone())));
    Ok(answer)
}

/// The quota a conversation kind's sends draw on, shared with template, status and expansion calls.
pub(super) fn charge_send(call: &mut Call<'_>, kind: ConversationKind, cost: usize) -> Result<(), Refusal> {
    let quotas = &call.core.settings.quotas;
    let (name, quota) = match kind {
        ConversationKind::Private => ("private", Quota::per_minute(quotas.private_per_minute)),
        ConversationKind::Chatroom => ("chatroom", Quota::per_second(quotas.chatroom_per_second)),
        ConversationKind::System => ("system", Quota::per_second(quotas.system_per_second)),
        ConversationKind::UltraGroup => ("ultra_group", Quota::per_second(quotas.ultra_group_per_second)),
        ConversationKind::Group | ConversationKind::Discussion | ConversationKind::CustomerService => {
            ("group", Quota::per_second(quotas.group_per_second))
        }
    };
    call.charge(&[(name, quota)], cost)
}

fn private(call: &mut Call<'_>) -> Answer {
    to_users(call, false)
}

fn status_private(call: &mut Call<'_>) -> Answer {
    to_users(call, true)
}

fn to_users(call: &mut Call<'_>, status: bool) -> Answer {
    let outgoing = Outgoing::read(call)?;
    let recipients = call.params.ids("toUserId", call.core.settings.limits.private_recipients)?;
    for recipient in &recipients {
        call.core.check_account(recipient, "toUserId")?;
    }
    once_per_random(call, &outgoing.from.clone(), |call| {
        charge_send(call, ConversationKind::Private, recipients.len())?;
        let single = recipients.len() == 1;
        let mut uids = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            if outgoing.verify_blacklist && call.core.has_blacklisted(&recipient, &outgoing.from) {
                continue;
            }
            let mut draft = outgoing.draft(call, ConversationKind::Private, &recipient);
            draft.status = status;
            // Documented for one recipient only; a fan-out never appears on the sender's side.
            draft.sender_sees = outgoing.include_sender && single;
            draft.fan_out_copy = !uids.is_empty();
            let accepted = call.core.accept(draft, call.now_ms);
            uids.push((recipient, accepted.uid));
        }
        published(call, "userId", &uids)
    })
}

fn group(call: &mut Call<'_>) -> Answer {
    to_groups(call, false)
}

fn status_group(call: &mut Call<'_>) -> Answer {
    to_groups(call, true)
}

fn to_groups(call: &mut Call<'_>, status: bool) -> Answer {
    let mut outgoing = Outgoing::read(call)?;
    let groups = call.params.ids("toGroupId", call.core.settings.limits.groups)?;
    let directed = call.params.list("toUserId");
    if !directed.is_empty() {
        if groups.len() > 1 {
            return Err(Refusal::bad_parameter("a directed message goes to one group"));
        }
        // Documented as without effect on directed messages.
        outgoing.expandable = false;
        outgoing.expansion.clear();
    }
    once_per_random(call, &outgoing.from.clone(), |call| {
        charge_send(call, ConversationKind::Group, groups.len())?;
        let mut uids = Vec::with_capacity(groups.len());
        for group in groups {
            let mut draft = outgoing.draft(call, ConversationKind::Group, &group);
            draft.status = status;
            draft.directed.clone_from(&directed);
            let accepted = call.core.accept(draft, call.now_ms);
            uids.push((group, accepted.uid));
        }
        published(call, "groupId", &uids)
    })
}

fn ultra_group(call: &mut Call<'_>) -> Answer {
    let mut outgoing = Outgoing::read(call)?;
    let groups = call.params.ids("toGroupIds", call.core.settings.limits.groups)?;
    let directed = call.params.list("toUserIds");
    if outgoing.bus_channel.is_empty() {
        DEFAULT_CHANNEL.clone_into(&mut outgoing.bus_channel);
    }
    once_per_random(call, &outgoing.from.clone(), |call| {
        let quotas = &call.core.settings.quotas;
        let app = Quota::per_second(quotas.ultra_group_per_second);
        let channel = Quota::per_second(quotas.ultra_group_channel_per_second);
        call.charge(&[("ultra_group", app)], groups.len())?;
        for group in &groups {
            let name = format!("ultra_group/{group}/{}", outgoing.bus_channel);
            call.charge(&[(&name, channel)], 1)?;
        }
        let mut uids = Vec::with_capacity(groups.len());
        for group in groups {
            let mut draft = outgoing.draft(call, ConversationKind::UltraGroup, &group);
            draft.directed.clone_from(&directed);
            let accepted = call.core.accept(draft, call.now_ms);
            uids.push((group, accepted.uid));
        }
        published(call, "groupId", &uids)
    })
}

fn chatroom(call: &mut Call<'_>) -> Answer {
    let outgoing = Outgoing::read(call)?;
    let rooms = call.params.ids("toChatroomId", call.core.settings.limits.chatrooms)?;
    if call.core.settings.chatrooms.strict && rooms.iter().any(|room| !call.core.rooms.contains_key(room)) {
        return Err(Refusal::bad_parameter("chatroom does not exist"));
    }
    charge_send(call, ConversationKind::Chatroom, rooms.len())?;
    let mut uids = Vec::with_capacity(rooms.len());
    for room in rooms {
        let draft = outgoing.draft(call, ConversationKind::Chatroom, &room);
        let accepted = call.core.accept(draft, call.now_ms);
        uids.push((room, accepted.uid));
    }
    published(call, "chatroomId", &uids)
}

fn system(call: &mut Call<'_>) -> Answer {
    let outgoing = Outgoing::read(call)?;
    let recipients = call.params.ids("toUserId", call.core.settings.limits.system_recipients)?;
    charge_send(call, ConversationKind::System, recipients.len())?;
    let mut uids = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let mut draft = outgoing.draft(call, ConversationKind::System, &recipient);
        draft.fan_out_copy = !uids.is_empty();
        let accepted = call.core.accept(draft, call.now_ms);
        uids.push((recipient, accepted.uid));
    }
    published(call, "userId", &uids)
}

fn discussion(call: &mut Call<'_>) -> Answer {
    let outgoing = Outgoing::read(call)?;
    let target = call.params.bounded("toDiscussionId", 64)?;
    let draft = outgoing.draft(call, ConversationKind::Discussion, &target);
    call.core.accept(draft, call.now_ms);
    done()
}
