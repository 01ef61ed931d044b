//! Key-value entries of a chatroom.

use serde_json::{Value, json};

use super::{Call, Endpoint, chatroom::room};
use crate::rongcloud::{
    model::{Room, RoomEntry},
    reply::{Answer, Refusal, done, fields},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/chatroom/entry/set.json", set),
    Endpoint::form("/chatroom/entry/batch/set.json", set_many),
    Endpoint::form("/chatroom/entry/remove.json", remove),
    Endpoint::form("/chatroom/entry/query.json", query),
];

const MAX_ENTRIES: usize = 100;

/// The pairs of `entryInfo`, if given.
pub(super) fn entry_pairs(call: &Call<'_>, max: usize) -> Result<Vec<(String, String)>, Refusal> {
    let Some(info) = call.params.json("entryInfo")? else { return Ok(Vec::new()) };
    let object = info.as_object().ok_or_else(|| Refusal::bad_parameter("entryInfo is not a JSON object"))?;
    if object.len() > max {
        return Err(Refusal::bad_parameter(format!("entryInfo has more than {max} pairs")));
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(object.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

/// Stores pairs, all or none.
pub(super) fn store(
    room: &mut Room,
    pairs: Vec<(String, String)>,
    owner: &str,
    auto_delete: bool,
    now_ms: i64,
) -> Result<(), Refusal> {
    for (key, value) in &pairs {
        if key.is_empty() || key.chars().count() > 128 {
            return Err(Refusal::too_long("key"));
        }
        if value.chars().count() > 4096 {
            return Err(Refusal::too_long("value"));
        }
    }
    let new = pairs.iter().filter(|(key, _)| !room.entries.contains_key(key)).count();
    if room.entries.len() + new > MAX_ENTRIES {
        return Err(Refusal::bad_parameter("chatroom has too many entries"));
    }
    for (key, value) in pairs {
        let entry = RoomEntry { value, owner: owner.to_owned(), auto_delete, set_ms: now_ms };
        room.entries.insert(key, entry);
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Answer {
    let owner = call.params.bounded("userId", 64)?;
    let pair = (call.params.required("key")?, call.params.required("value")?);
    let auto_delete = call.params.flag("autoDelete", false)?;
    let now_ms = call.now_ms;
    store(room(call)?, vec![pair], &owner, auto_delete, now_ms)?;
    done()
}

fn set_many(call: &mut Call<'_>) -> Answer {
    let owner = call.params.bounded("entryOwnerId", 64)?;
    let auto_delete = call.params.flag("autoDelete", false)?;
    let pairs = entry_pairs(call, 20)?;
    if pairs.is_empty() {
        return Err(Refusal::required("entryInfo"));
    }
    let now_ms = call.now_ms;
    store(room(call)?, pairs, &owner, auto_delete, now_ms)?;
    done()
}

fn remove(call: &mut Call<'_>) -> Answer {
    call.params.bounded("userId", 64)?;
    let key = call.params.required("key")?;
    room(call)?.entries.remove(&key);
    done()
}

fn query(call: &mut Call<'_>) -> Answer {
    let wanted = call.params.list("keys");
    let entries = room(call)?.entries.clone();
    let keys: Vec<Value> = entries
        .iter()
        .filter(|(key, _)| wanted.is_empty() || wanted.contains(key))
        .map(|(key, entry)| {
            json!({
                "key": key,
                "value": entry.value,
                "userId": entry.owner,
                "autoDelete": i64::from(entry.auto_delete).to_string(),
                "lastSetTime": call.core.local(entry.set_ms),
            })
        })
        .collect();
    fields(json!({ "keys": keys }))
}
