//! Hosted user profiles.

use serde_json::{Value, json};

use super::{Call, Endpoint};
use crate::rongcloud::reply::{Answer, Refusal, done, fields};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/user/profile/set.json", set),
    Endpoint::form("/user/profile/clean.json", clean),
    Endpoint::form("/user/profile/query.json", query),
    Endpoint::form("/user/profile/batch/query.json", query),
];

fn merged(old: &str, new: Option<&Value>) -> Result<String, Refusal> {
    let Some(new) = new else { return Ok(old.to_owned()) };
    let Value::Object(new) = new else {
        return Err(Refusal::bad_parameter("profile is not a JSON object"));
    };
    let mut merged = serde_json::from_str::<Value>(old).ok().and_then(|value| match value {
        Value::Object(map) => Some(map),
        _ => None,
    });
    let map = merged.get_or_insert_default();
    map.extend(new.clone());
    Ok(serde_json::to_string(map).unwrap_or_default())
}

fn set(call: &mut Call<'_>) -> Answer {
    let id = call.params.bounded("userId", 64)?;
    let (profile, ext) = (call.params.json("userProfile")?, call.params.json("userExtProfile")?);
    if profile.is_none() && ext.is_none() {
        return Err(Refusal::required("userProfile"));
    }
    let user = call.core.user(&id, call.now_ms);
    user.profile = merged(&user.profile, profile.as_ref())?;
    user.ext_profile = merged(&user.ext_profile, ext.as_ref())?;
    user.profile_version += 1;
    done()
}

fn clean(call: &mut Call<'_>) -> Answer {
    for id in call.params.comma_ids("userId", 20)? {
        let user = call.core.user(&id, call.now_ms);
        user.profile.clear();
        user.ext_profile.clear();
        user.profile_version += 1;
    }
    done()
}

fn query(call: &mut Call<'_>) -> Answer {
    let ids = call.params.comma_ids("userId", 100)?;
    let users: Vec<_> = ids
        .iter()
        .filter_map(|id| Some((id, call.core.users.get(id)?)))
        .map(|(id, user)| {
            json!({
                "userId": id,
                "version": user.profile_version,
                "userProfile": user.profile,
                "userExtProfile": user.ext_profile,
            })
        })
        .collect();
    fields(json!({ "userList": users }))
}
