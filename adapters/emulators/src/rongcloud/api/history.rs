//! The hourly log files' endpoints, and cleaning of cloud history.

use serde_json::json;

use super::{Call, Endpoint};
use crate::rongcloud::{
    local_time,
    log_file::{self, Availability},
    model::ConversationKind,
    reply::{Answer, Refusal, done, fields},
    store::ConversationKey,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/message/history.json", file),
    Endpoint::form("/message/history/delete.json", delete),
    Endpoint::form("/conversation/message/history/clean.json", clean),
];

fn hour(call: &Call<'_>) -> Result<(String, i64), Refusal> {
    if !call.core.settings.log.enabled {
        return Err(Refusal::not_enabled());
    }
    let date = call.params.required("date")?;
    let hour_ms = local_time::parse_hour(&date, call.core.settings.data_centre);
    Ok((date, hour_ms.ok_or_else(|| Refusal::bad_parameter("date is not YYYYMMDDHH"))?))
}

fn file(call: &mut Call<'_>) -> Answer {
    let (date, hour_ms) = hour(call)?;
    let available = log_file::availability(call.core, call.history_faults, hour_ms, &date, call.now_ms);
    let url = match available {
        Availability::Absent => String::new(),
        Availability::Growing | Availability::Complete => {
            let base = call.core.settings.log.download_base.as_deref().unwrap_or(call.base_url);
            let name = log_file::archive_name(&call.core.app_key, &date);
            format!("{}/_files/9/{date}/{name}", base.trim_end_matches('/'))
        }
    };
    fields(json!({ "url": url, "date": date }))
}

fn delete(call: &mut Call<'_>) -> Answer {
    let (_, hour_ms) = hour(call)?;
    let delay_ms = i64::try_from(call.core.settings.log.delete_delay_ms).unwrap_or(i64::MAX);
    call.core.log.delete(hour_ms, call.now_ms.saturating_add(delay_ms));
    done()
}

/// Clears the caller's side of a conversation; a chatroom is cleared for everyone.
fn clean(call: &mut Call<'_>) -> Answer {
    let number = call.params.integer_in("conversationType", 1..=6)?;
    let kind = ConversationKind::from_number(number)
        .filter(|_| [1, 3, 4, 6].contains(&number))
        .ok_or_else(|| Refusal::bad_parameter("conversationType is 1, 3, 4 or 6"))?;
    let user = call.params.bounded("fromUserId", 64)?;
    let target = call.params.bounded("targetId", 64)?;
    let until_ms = call.params.integer("msgTimestamp")?.unwrap_or(call.now_ms);
    let key = ConversationKey::new(kind, &user, &target, "");
    let side = if kind == ConversationKind::Chatroom { String::new() } else { user };
    let mark = call.core.cleaned.entry((side, key)).or_insert(until_ms);
    *mark = (*mark).max(until_ms);
    done()
}
