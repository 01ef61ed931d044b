//! Forbidding a user to log in.

use serde_json::json;

use super::{Call, Endpoint, user::page_of};
use crate::rongcloud::reply::{Answer, done, fields};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/user/block.json", block),
    Endpoint::form("/user/unblock.json", unblock),
    Endpoint::form("/user/block/query.json", query).may_be_empty(),
];

fn block(call: &mut Call<'_>) -> Answer {
    let ids = call.params.ids("userId", 20)?;
    let minutes = call.params.integer_in("minute", 1..=43_200)?;
    for id in ids {
        call.core.user(&id, call.now_ms).blocked_until_ms = Some(call.now_ms + minutes * 60_000);
        call.core.disconnect(&id, call.now_ms);
    }
    done()
}

fn unblock(call: &mut Call<'_>) -> Answer {
    for id in call.params.ids("userId", 20)? {
        if let Some(user) = call.core.users.get_mut(&id) {
            user.blocked_until_ms = None;
        }
    }
    done()
}

fn query(call: &mut Call<'_>) -> Answer {
    let page = call.params.integer_or("page", 1, 1..=i64::MAX)?;
    let size = call.params.integer_or("size", 50, 1..=1000)?;
    let core = &call.core;
    let blocked = core
        .users
        .iter()
        .filter_map(|(id, user)| Some((id, user.blocked_until_ms.filter(|until| *until > call.now_ms)?)));
    let users: Vec<_> = page_of(blocked, page, size)
        .map(|(id, until)| json!({ "userId": id, "blockEndTime": core.local(until) }))
        .collect();
    fields(json!({ "users": users }))
}
