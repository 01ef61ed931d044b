//! Push without a message. Accepted and checked, then nothing: a push leaves no trace on the server side.

use serde_json::json;

use super::{Call, Endpoint};
use crate::rongcloud::reply::{Answer, Refusal, fields};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::json("/push.json", to_audience),
    Endpoint::json("/push/user.json", to_users),
    Endpoint::json("/push/custom.json", to_audience),
];

fn id(call: &mut Call<'_>) -> Answer {
    let serial = call.core.next_serial();
    fields(json!({ "id": format!("push-{serial:016x}") }))
}

fn to_audience(call: &mut Call<'_>) -> Answer {
    for key in ["platform", "audience"] {
        if call.params.raw(key).is_none() {
            return Err(Refusal::required(key));
        }
    }
    id(call)
}

fn to_users(call: &mut Call<'_>) -> Answer {
    call.params.ids("userIds", 100)?;
    if call.params.raw("notification").is_none() {
        return Err(Refusal::required("notification"));
    }
    id(call)
}
