//! Accounts: tokens, profile shown in push, presence, life cycle.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Call, Endpoint};
use crate::rongcloud::{
    quota::Quota,
    reply::{Answer, Refusal, done, fields},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/user/getToken.json", get_token).own_quota(),
    Endpoint::form("/user/refresh.json", refresh),
    Endpoint::form("/user/info.json", info),
    Endpoint::form("/user/token/expire.json", expire_tokens),
    Endpoint::form("/user/checkOnline.json", check_online),
    Endpoint::form("/user/deactivate.json", deactivate),
    Endpoint::form("/user/deactivate/query.json", deactivated).may_be_empty(),
    Endpoint::form("/user/reactivate.json", reactivate),
    Endpoint::form("/user/activate.json", reactivate),
    Endpoint::form("/user/query.json", list).may_be_empty(),
    Endpoint::form("/user/delusers.json", delete),
];

fn get_token(call: &mut Call<'_>) -> Answer {
    let quota = Quota::per_second(call.core.settings.quotas.token_per_second);
    call.charge(&[("/user/getToken.json", quota)], 1)?;
    let id = call.params.bounded("userId", 64)?;
    if id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=-_".contains(&byte)) {
        return Err(Refusal::bad_parameter("userId has characters that are not allowed"));
    }
    let name = call.params.optional("name", 64)?;
    let portrait = call.params.optional("portraitUri", 1024)?;
    refuse_beyond_test_users(call, &id)?;
    let serial = call.core.next_serial();
    let secret = Sha256::digest(format!("{}/{id}/{serial}", call.core.app_key).as_bytes());
    let token = format!("{}@demo.cn.example.test;demo.cn.example.test", STANDARD_NO_PAD.encode(secret));
    let now_ms = call.now_ms;
    let user = call.core.user(&id, now_ms);
    user.registered = true;
    user.name = name.unwrap_or_else(|| std::mem::take(&mut user.name));
    user.portrait = portrait.unwrap_or_else(|| std::mem::take(&mut user.portrait));
    user.tokens.insert(token.clone(), now_ms);
    fields(json!({ "userId": id, "token": token }))
}

fn refuse_beyond_test_users(call: &Call<'_>, id: &str) -> Result<(), Refusal> {
    let settings = &call.core.settings;
    if !settings.development || call.core.users.get(id).is_some_and(|user| user.registered) {
        return Ok(());
    }
    let registered = call.core.users.values().filter(|user| user.registered).count();
    if registered >= settings.limits.development_users { Err(Refusal::test_users()) } else { Ok(()) }
}

fn refresh(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let name = call.params.optional("name", 64)?;
    let portrait = call.params.optional("portraitUri", 1024)?;
    let user = call.core.user(&id, call.now_ms);
    if let Some(name) = name {
        user.name = name;
    }
    if let Some(portrait) = portrait {
        user.portrait = portrait;
    }
    done()
}

fn info(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let user = call.core.users.get(&id).filter(|user| user.registered);
    let user = user.ok_or_else(|| Refusal::bad_parameter("userId does not exist"))?;
    fields(json!({
        "userName": user.name,
        "userPortrait": user.portrait,
        "createTime": call.core.local(user.created_ms),
    }))
}

fn expire_tokens(call: &mut Call<'_>) -> Answer {
    let ids = call.params.ids("userId", 20)?;
    let before_ms = call.params.integer_in("time", 0..=i64::MAX)?;
    for id in ids {
        if let Some(user) = call.core.users.get_mut(&id) {
            user.tokens.retain(|_, issued_ms| *issued_ms >= before_ms);
        }
    }
    done()
}

fn check_online(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let online = call.core.users.get(&id).is_some_and(|user| !user.sessions.is_empty());
    fields(json!({ "status": if online { "1" } else { "0" } }))
}

fn deactivate(call: &mut Call<'_>) -> Answer {
    let ids = call.params.comma_ids("userId", 100)?;
    for id in &ids {
        let now_ms = call.now_ms;
        call.core.user(id, now_ms).deactivated = true;
        call.core.disconnect(id, now_ms);
    }
    let serial = call.core.next_serial();
    fields(json!({ "operateId": format!("op-{serial:08}") }))
}

fn deactivated(call: &mut Call<'_>) -> Answer {
    let page = call.params.integer_or("pageNo", 1, 1..=i64::MAX)?;
    let size = call.params.integer_or("pageSize", 50, 1..=1000)?;
    let ids = call.core.users.iter().filter(|(_, user)| user.deactivated).map(|(id, _)| id);
    let users: Vec<_> = page_of(ids, page, size).collect();
    fields(json!({ "users": users }))
}

fn reactivate(call: &mut Call<'_>) -> Answer {
    for id in call.params.comma_ids("userId", 100)? {
        if let Some(user) = call.core.users.get_mut(&id) {
            user.deactivated = false;
        }
    }
    let serial = call.core.next_serial();
    fields(json!({ "operateId": format!("op-{serial:08}") }))
}

fn list(call: &mut Call<'_>) -> Answer {
    let page = call.params.integer_or("page", 1, 1..=i64::MAX)?;
    let size = call.params.integer_or("pageSize", 20, 1..=100)?;
    let order = call.params.integer_or("order", 0, 0..=1)?;
    let core = &call.core;
    let mut registered: Vec<_> = core.users.iter().filter(|(_, user)| user.registered).collect();
    registered.sort_by_key(|(_, user)| user.created_ms);
    if order == 1 {
        registered.reverse();
    }
    let total = registered.len();
    let users: Vec<_> = page_of(registered.into_iter(), page, size)
        .map(|(id, user)| {
            json!({
                "userId": id,
                "userName": user.name,
                "userPortrait": user.portrait,
                "regTime": core.local(user.created_ms),
            })
        })
        .collect();
    fields(json!({ "total": total, "users": users }))
}

fn delete(call: &mut Call<'_>) -> Answer {
    for id in call.params.comma_ids("userId", 100)? {
        call.core.disconnect(&id, call.now_ms);
        call.core.users.remove(&id);
    }
    done()
}

/// A page, counted from 1.
pub(super) fn page_of<T>(items: impl Iterator<Item = T>, page: i64, size: i64) -> impl Iterator<Item = T> {
    let size = usize::try_from(size).unwrap_or(1);
    let skip = usize::try_from(page - 1).unwrap_or(0).saturating_mul(size);
    items.skip(skip).take(size)
}
