//! Changeable keys of a message.

use serde_json::{Map, Value, json};

use super::{
    Call, Endpoint,
    publish::{charge_send, expansion_pairs},
};
use crate::rongcloud::{
    model::{ConversationKind, ExpansionValue, Message},
    reply::{Answer, Refusal, done, fields},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/message/expansion/set.json", set).own_quota(),
    Endpoint::form("/message/expansion/delete.json", delete).own_quota(),
    Endpoint::form("/message/expansion/query.json", query),
    Endpoint::form("/ultragroup/message/expansion/set.json", set).own_quota(),
    Endpoint::form("/ultragroup/message/expansion/delete.json", delete).own_quota(),
    Endpoint::form("/ultragroup/message/expansion/query.json", query),
];

/// Keys of one message, and per page of a query.
const MAX_KEYS: usize = 300;
const PAGE: usize = 100;

/// Checks who and where, charges the send quota, and finds the message.
fn target<'a>(call: &'a mut Call<'_>) -> Result<&'a mut Message, Refusal> {
    let uid = call.params.bounded("msgUID", 64)?;
    let user = call.params.bounded("userId", 64)?;
    call.params.flag("isSyncSender", false)?;
    let kind = match call.params.integer("conversationType")? {
        Some(1) => ConversationKind::Private,
        Some(3) => ConversationKind::Group,
        Some(_) => return Err(Refusal::bad_parameter("conversationType is 1 or 3")),
        None => ConversationKind::UltraGroup,
    };
    let place = if kind == ConversationKind::UltraGroup { "groupId" } else { "targetId" };
    let place = call.params.bounded(place, 64)?;
    charge_send(call, kind, 1)?;
    // A private conversation is named by both its sides, in either order.
    let there = |message: &&mut Message| {
        message.kind == kind
            && match kind {
                ConversationKind::Private => {
                    (message.target == place && message.from == user)
                        || (message.target == user && message.from == place)
                }
                _ => message.target == place,
            }
    };
    let message = call.core.messages.get_mut(&uid).filter(there);
    let message = message.ok_or_else(|| Refusal::bad_parameter("message does not exist"))?;
    if message.expandable { Ok(message) } else { Err(Refusal::bad_parameter("message is not expandable")) }
}

fn set(call: &mut Call<'_>) -> Answer {
    let pairs = call.params.json("extraKeyVal")?.ok_or_else(|| Refusal::required("extraKeyVal"))?;
    let pairs = expansion_pairs(&pairs, 100)?;
    let now_ms = call.now_ms;
    let message = target(call)?;
    let new = pairs.keys().filter(|key| !message.expansion.contains_key(*key)).count();
    if message.expansion.len() + new > MAX_KEYS {
        return Err(Refusal::bad_parameter("message has too many expansion keys"));
    }
    let timed = |(key, value)| (key, ExpansionValue { value, at_ms: now_ms });
    message.expansion.extend(pairs.into_iter().map(timed));
    done()
}

fn delete(call: &mut Call<'_>) -> Answer {
    let keys = call.params.json("extraKey")?.ok_or_else(|| Refusal::required("extraKey"))?;
    let keys: Option<Vec<String>> =
        keys.as_array().and_then(|keys| keys.iter().map(|key| key.as_str().map(str::to_owned)).collect());
    let keys = keys.ok_or_else(|| Refusal::bad_parameter("extraKey is not a list of texts"))?;
    let message = target(call)?;
    message.expansion.retain(|key, _| !keys.contains(key));
    done()
}

fn query(call: &mut Call<'_>) -> Answer {
    let uid = call.params.bounded("msgUID", 64)?;
    let page = call.params.integer_or("pageNo", 1, 1..=i64::MAX)?;
    let skip = usize::try_from(page - 1).unwrap_or_default().saturating_mul(PAGE);
    let message = call.core.messages.get(&uid);
    let message = message.ok_or_else(|| Refusal::bad_parameter("message does not exist"))?;
    let pairs: Map<String, Value> = message
        .expansion
        .iter()
        .skip(skip)
        .take(PAGE)
        .map(|(key, item)| (key.clone(), json!({ "v": item.value, "ts": item.at_ms })))
        .collect();
    fields(json!({ "extraContent": pairs }))
}
