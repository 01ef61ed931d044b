//! Ultra groups: life, members, channels, in the form-style paths.

use serde_json::{Value, json};

use super::{Call, Endpoint, publish::DEFAULT_CHANNEL, user::page_of};
use crate::rongcloud::{
    model::UltraGroup,
    reply::{Answer, Refusal, done, fields},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/ultragroup/create.json", create),
    Endpoint::form("/ultragroup/join.json", join),
    Endpoint::form("/ultragroup/quit.json", quit),
    Endpoint::form("/ultragroup/dis.json", dismiss),
    Endpoint::form("/ultragroup/refresh.json", refresh),
    Endpoint::form("/ultragroup/member/exist.json", member_exists),
    Endpoint::form("/ultragroup/channel/create.json", create_channel),
    Endpoint::form("/ultragroup/channel/del.json", delete_channel),
    Endpoint::form("/ultragroup/channel/get.json", channels),
];

fn group<'a>(call: &'a mut Call<'_>) -> Result<&'a mut UltraGroup, Refusal> {
    let id = call.params.bounded("groupId", 64)?;
    call.core.ultra_groups.get_mut(&id).ok_or_else(|| Refusal::bad_parameter("groupId does not exist"))
}

fn create(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    let owner = call.params.bounded("userId", 64)?;
    let name = call.params.bounded("groupName", 64)?;
    let now_ms = call.now_ms;
    let group = call.core.ultra_groups.entry(id).or_default();
    group.name = name;
    group.members.insert(owner);
    group.channels.entry(DEFAULT_CHANNEL.to_owned()).or_insert(now_ms);
    done()
}

fn join(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    group(call)?.members.insert(user);
    done()
}

fn quit(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    group(call)?.members.remove(&user);
    done()
}

fn dismiss(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("groupId", 64)?;
    call.core.ultra_groups.remove(&id);
    done()
}

fn refresh(call: &mut Call<'_>) -> Answer {
    let name = call.params.bounded("groupName", 64)?;
    group(call)?.name = name;
    done()
}

fn member_exists(call: &mut Call<'_>) -> Answer {
    let user = call.params.bounded("userId", 64)?;
    let inside = group(call)?.members.contains(&user);
    fields(json!({ "status": inside }))
}

fn create_channel(call: &mut Call<'_>) -> Answer {
    let channel = call.params.bounded("busChannel", 20)?;
    let now_ms = call.now_ms;
    group(call)?.channels.entry(channel).or_insert(now_ms);
    done()
}

fn delete_channel(call: &mut Call<'_>) -> Answer {
    let channel = call.params.bounded("busChannel", 20)?;
    group(call)?.channels.remove(&channel);
    done()
}

fn channels(call: &mut Call<'_>) -> Answer {
    let page = call.params.integer_or("page", 1, 1..=i64::MAX)?;
    let size = call.params.integer_or("limit", 20, 1..=100)?;
    let channels = group(call)?.channels.clone();
    let list: Vec<Value> = page_of(channels.iter(), page, size)
        .map(|(id, made_ms)| json!({ "channelId": id, "createTime": call.core.local(*made_ms) }))
        .collect();
    fields(json!({ "channelList": list }))
}
