//! Withdrawing a message: a message of type `RC:RcCmd` of its own, while the original stays in the log.

use serde_json::json;

use super::{Call, Endpoint};
use crate::rongcloud::{
    callback::Operated,
    model::{ConversationKind, Origin},
    quota::Quota,
    reply::{Answer, Refusal, done},
    state::{Core, Draft, Event, Reserved},
};

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::form("/message/recall.json", recall).own_quota()];

fn recall(call: &mut Call<'_>) -> Answer {
    let from = call.params.bounded("fromUserId", 64)?;
    let number = call.params.integer_in("conversationType", 1..=10)?;
    let kind = ConversationKind::from_number(number)
        .filter(|kind| *kind != ConversationKind::Discussion && *kind != ConversationKind::CustomerService)
        .ok_or_else(|| Refusal::bad_parameter("conversationType is not recallable"))?;
    let withdrawal = Withdrawal {
        kind,
        target: call.params.bounded("targetId", 64)?,
        bus_channel: call.params.optional("busChannel", 20)?.unwrap_or_default(),
        uid: call.params.bounded("messageUID", 64)?,
        sent_ms: call.params.integer("sentTime")?,
        is_admin: call.params.flag("isAdmin", false)?,
        is_delete: call.params.flag("isDelete", false)?,
        extra: call.params.text("extra").unwrap_or_default(),
        by: from,
        origin: Origin::Server,
    };
    for flag in ["disablePush", "disableUpdateLastMsg"] {
        call.params.flag(flag, false)?;
    }
    let quota = Quota::per_second(call.core.settings.quotas.recall_per_second);
    call.charge(&[("recall", quota)], 1)?;
    check(call.core, &withdrawal, call.now_ms)?;
    withdraw(call.core, withdrawal, call.now_ms);
    done()
}

/// Who withdraws what.
#[derive(Clone)]
pub(crate) struct Withdrawal {
    pub(crate) by: String,
    pub(crate) kind: ConversationKind,
    pub(crate) target: String,
    pub(crate) bus_channel: String,
    pub(crate) uid: String,
    pub(crate) sent_ms: Option<i64>,
    pub(crate) is_admin: bool,
    pub(crate) is_delete: bool,
    pub(crate) extra: String,
    pub(crate) origin: Origin,
}

fn check(core: &Core, withdrawal: &Withdrawal, now_ms: i64) -> Result<(), Refusal> {
    let settings = &core.settings.messages;
    let sent_ms = match core.messages.get(&withdrawal.uid) {
        Some(message) => Some(message.time_ms),
        None if settings.known_only => return Err(Refusal::bad_parameter("message does not exist")),
        None => withdrawal.sent_ms,
    };
    let window_ms = i64::try_from(settings.recall_window_ms).unwrap_or(i64::MAX);
    if window_ms > 0 && sent_ms.is_some_and(|sent_ms| now_ms - sent_ms > window_ms) {
        return Err(Refusal::bad_parameter("message is too old to be recalled"));
    }
    Ok(())
}

/// Marks the original and sends the command with its routing, log line and operation callback.
pub(crate) fn withdraw(core: &mut Core, withdrawal: Withdrawal, now_ms: i64) -> Reserved {
    let sent_ms = match core.messages.get_mut(&withdrawal.uid) {
        Some(message) => {
            message.recalled = true;
            message.time_ms
        }
        None => withdrawal.sent_ms.unwrap_or_default(),
    };
    core.ledger.recall(&withdrawal.uid);
    let mut draft = Draft::server(withdrawal.kind, &withdrawal.by, &withdrawal.target)
        .with_content("RC:RcCmd", &command(&withdrawal, sent_ms));
    draft.origin = withdrawal.origin.clone();
    draft.bus_channel.clone_from(&withdrawal.bus_channel);
    let accepted = core.accept(draft, now_ms);
    if withdrawal.origin.is_server() && !core.settings.callbacks.server_api_operations {
        return accepted;
    }
    let operated = Operated {
        by: &withdrawal.by,
        at_ms: accepted.time_ms,
        source: withdrawal.origin.source(),
        kind: withdrawal.kind,
        target: &withdrawal.target,
        bus_channel: &withdrawal.bus_channel,
        uid: &withdrawal.uid,
        sent_ms,
    };
    let body = operated.recall_body(withdrawal.is_admin, withdrawal.is_delete, &withdrawal.extra);
    core.emit(Event::Operation { uid: withdrawal.uid.clone(), body });
    accepted
}

/// The command's content, keys in the order of captured ones.
fn command(withdrawal: &Withdrawal, sent_ms: i64) -> String {
    format!(
        r#"{{"messageUId":{},"conversationType":{},"targetId":{},"sentTime":{},"isAdmin":{},"isDelete":{}}}"#,
        json!(withdrawal.uid),
        withdrawal.kind.number(),
        json!(withdrawal.target),
        sent_ms,
        i64::from(withdrawal.is_admin),
        i64::from(withdrawal.is_delete),
    )
}
