//! Black and white lists, tags, push display names and mutes of single users.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Call, Endpoint, user::page_of};
use crate::rongcloud::{
    model::{PushPeriod, User},
    reply::{Answer, Refusal, done, fields},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/user/blacklist/add.json", |call| change(call, "blackUserId", true, blacklist)),
    Endpoint::form("/user/blacklist/remove.json", |call| change(call, "blackUserId", false, blacklist)),
    Endpoint::form("/user/blacklist/query.json", |call| query(call, blacklist)),
    Endpoint::form("/user/whitelist/add.json", |call| change(call, "whiteUserId", true, whitelist)),
    Endpoint::form("/user/whitelist/remove.json", |call| change(call, "whiteUserId", false, whitelist)),
    Endpoint::form("/user/whitelist/query.json", |call| query(call, whitelist)),
    Endpoint::json("/user/tag/set.json", set_tags),
    Endpoint::json("/user/tag/batch/set.json", set_tags_of_many),
    Endpoint::form("/user/tags/get.json", tags),
    Endpoint::form("/user/blockPushPeriod/set.json", set_push_period),
    Endpoint::form("/user/blockPushPeriod/get.json", push_period),
    Endpoint::form("/user/blockPushPeriod/delete.json", delete_push_period),
    Endpoint::form("/user/remarks/set.json", set_remarks),
    Endpoint::form("/user/remarks/get.json", remarks),
    Endpoint::form("/user/remarks/del.json", delete_remark),
    Endpoint::form("/user/chat/fb/set.json", mute_chat),
    Endpoint::form("/user/chat/fb/querylist.json", muted_chats),
];

type List = fn(&mut User) -> &mut BTreeSet<String>;

fn blacklist(user: &mut User) -> &mut BTreeSet<String> {
    &mut user.blacklist
}

fn whitelist(user: &mut User) -> &mut BTreeSet<String> {
    &mut user.whitelist
}

fn change(call: &mut Call<'_>, key: &str, add: bool, list: List) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let others = call.params.ids(key, 20)?;
    let set = list(call.core.user(&id, call.now_ms));
    for other in others {
        if add {
            set.insert(other);
        } else {
            set.remove(&other);
        }
    }
    done()
}

fn query(call: &mut Call<'_>, list: List) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let users = call.core.users.get_mut(&id).map(|user| list(user).clone()).unwrap_or_default();
    fields(json!({ "users": users }))
}

fn tag_list(call: &Call<'_>) -> Result<Vec<String>, Refusal> {
    let tags = call.params.list("tags");
    if tags.len() > 20 || tags.iter().any(|tag| tag.len() > 40) {
        return Err(Refusal::too_long("tags"));
    }
    Ok(tags)
}

fn set_tags(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let tags = tag_list(call)?;
    call.core.user(&id, call.now_ms).tags = tags;
    done()
}

fn set_tags_of_many(call: &mut Call<'_>) -> Answer {
    let ids = call.params.ids("userIds", 1000)?;
    let tags = tag_list(call)?;
    for id in ids {
        call.core.user(&id, call.now_ms).tags.clone_from(&tags);
    }
    done()
}

fn tags(call: &mut Call<'_>) -> Answer {
    let ids = call.params.ids("userIds", 50)?;
    let result: Map<String, Value> = ids
        .into_iter()
        .map(|id| {
            let tags = call.core.users.get(&id).map(|user| user.tags.clone()).unwrap_or_default();
            (id, json!(tags))
        })
        .collect();
    fields(json!({ "result": result }))
}

fn set_push_period(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let start = call.params.required("startTime")?;
    if jiff::civil::Time::strptime("%H:%M:%S", &start).is_err() {
        return Err(Refusal::bad_parameter("startTime is not HH:MM:SS"));
    }
    let minutes = call.params.integer_in("period", 0..=1439)?;
    let level = call.params.integer_or("level", 1, 0..=5)?;
    if ![0, 1, 5].contains(&level) {
        return Err(Refusal::bad_parameter("level is out of range"));
    }
    call.core.user(&id, call.now_ms).push_period = Some(PushPeriod { start, minutes, level });
    done()
}

fn push_period(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let data = match call.core.users.get(&id).and_then(|user| user.push_period.as_ref()) {
        Some(period) => {
            json!({ "startTime": period.start, "period": period.minutes, "unPushLevel": period.level })
        }
        None => json!({}),
    };
    fields(json!({ "data": data }))
}

fn delete_push_period(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    call.core.user(&id, call.now_ms).push_period = None;
    done()
}

fn set_remarks(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let remarks = call.params.json("remarks")?.ok_or_else(|| Refusal::required("remarks"))?;
    let entries: Option<Vec<(String, String)>> = remarks.as_array().and_then(|entries| {
        let text = |entry: &Value, key: &str| entry.get(key)?.as_str().map(str::to_owned);
        entries.iter().map(|entry| Some((text(entry, "id")?, text(entry, "remark")?))).collect()
    });
    let entries = entries.ok_or_else(|| Refusal::bad_parameter("remarks is not a list of id and remark"))?;
    call.core.user(&id, call.now_ms).remarks.extend(entries);
    done()
}

fn remarks(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let page = call.params.integer_or("page", 1, 1..=i64::MAX)?;
    let size = call.params.integer_or("size", 50, 1..=100)?;
    let remarks = call.core.users.get(&id).map(|user| user.remarks.clone()).unwrap_or_default();
    let total = remarks.len();
    let users: Vec<_> =
        page_of(remarks.into_iter(), page, size).map(|(id, remark)| json!({ "id": id, "remark": remark })).collect();
    fields(json!({ "total": total, "users": users }))
}

fn delete_remark(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let target = call.params.bounded("targetId", 64)?;
    call.core.user(&id, call.now_ms).remarks.remove(&target);
    done()
}

fn mute_chat(call: &mut Call<'_>) -> Answer {
    let ids = call.params.ids("userId", 100)?;
    let muted = call.params.integer_in("state", 0..=1)? == 1;
    call.params.required("type")?;
    for id in ids {
        call.core.user(&id, call.now_ms).chat_muted = muted;
    }
    done()
}

fn muted_chats(call: &mut Call<'_>) -> Answer {
    call.params.required("type")?;
    let count = call.params.integer_or("num", 100, 1..=100)?;
    let skip = call.params.integer_or("offset", 0, 0..=i64::MAX)?;
    let muted: Vec<&String> = call.core.users.iter().filter(|(_, user)| user.chat_muted).map(|(id, _)| id).collect();
    let (skip, count) = (usize::try_from(skip).unwrap_or(usize::MAX), usize::try_from(count).unwrap_or(100));
    let users: Vec<_> = muted.iter().skip(skip).take(count).collect();
    fields(json!({ "total": muted.len(), "users": users }))
}
