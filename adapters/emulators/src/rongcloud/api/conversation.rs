//! Per-user options of a conversation.

use serde_json::json;

use super::{Call, Endpoint};
use crate::rongcloud::{
    model::ConversationKind,
    reply::{Answer, Refusal, done, fields},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/conversation/top/set.json", set_top),
    Endpoint::form("/conversation/notification/set.json", set_notification),
    Endpoint::form("/conversation/notification/get.json", notification),
    Endpoint::form("/conversation/type/notification/set.json", set_kind_notification),
    Endpoint::form("/conversation/type/notification/get.json", kind_notification),
];

const TOP: &str = "top";
const LEVELS: [i64; 6] = [-1, 0, 1, 2, 4, 5];

fn kind(call: &Call<'_>) -> Result<ConversationKind, Refusal> {
    let number = call.params.integer_in("conversationType", 1..=10)?;
    ConversationKind::from_number(number).ok_or_else(|| Refusal::bad_parameter("conversationType is unknown"))
}

fn level(call: &Call<'_>) -> Result<Option<i64>, Refusal> {
    match call.params.integer("unpushLevel")? {
        Some(level) if !LEVELS.contains(&level) => Err(Refusal::bad_parameter("unpushLevel is out of range")),
        other => Ok(other),
    }
}

fn conversation(call: &Call<'_>, option: &str) -> Result<String, Refusal> {
    let channel = call.params.optional("busChannel", 20)?.unwrap_or_default();
    Ok(key(option, kind(call)?, &call.params.bounded("targetId", 64)?, &channel))
}

fn key(option: &str, kind: ConversationKind, target: &str, channel: &str) -> String {
    format!("{option}/{}/{target}/{channel}", kind.number())
}

/// The option of standing above other conversations.
pub(crate) fn on_top(kind: ConversationKind, target: &str, channel: &str) -> String {
    key(TOP, kind, target, channel)
}

fn set_top(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    let key = conversation(call, TOP)?;
    call.params.required("setTop")?;
    let top = call.params.flag("setTop", true)?;
    call.core.conversation_options.insert((user, key), top.into());
    done()
}

fn set_notification(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("requestId", 64)?;
    let key = conversation(call, "muted")?;
    let muted = call.params.flag("isMuted", false)?;
    let level = level(call)?;
    if call.params.text("isMuted").is_none() && level.is_none() {
        return Err(Refusal::required("isMuted"));
    }
    let muted = muted || level.is_some_and(|level| level > 0);
    call.core.conversation_options.insert((user, key), muted.into());
    done()
}

fn notification(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("requestId", 64)?;
    let key = conversation(call, "muted")?;
    let muted = call.core.conversation_options.get(&(user, key)).copied().unwrap_or_default();
    fields(json!({ "isMuted": muted }))
}

fn set_kind_notification(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("requestId", 64)?;
    let key = format!("kind/{}", kind(call)?.number());
    let level = level(call)?.ok_or_else(|| Refusal::required("unpushLevel"))?;
    call.core.conversation_options.insert((user, key), level);
    done()
}

fn kind_notification(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("requestId", 64)?;
    let key = format!("kind/{}", kind(call)?.number());
    let level = call.core.conversation_options.get(&(user, key)).copied().unwrap_or_default();
    fields(json!({ "isMuted": level }))
}
