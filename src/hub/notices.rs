//! The hub's own events: what became of conversations that cannot be delivered.

use std::sync::Arc;

use serde_json::json;
use switchboard_contract::reception::{SetAside, Why};
use switchboard_contract::storage::{Commit, Draft, Store};
use switchboard_contract::{
    Clock, ConversationId, Error, ErrorKind, Event, EventData, EventId, EventKey, KeyClass, Notice, Origin, Position,
    Result, TenantId, Topic,
};
use tokio::sync::mpsc;

use super::core::Core;
use super::shared::Shared;
use super::step::Told;

/// Something to be made a notice of.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) core: Arc<Core>,
    pub(super) told: Told,
}

/// Journals an event of Switchboard's own.
pub(super) async fn announce(
    store: &dyn Store,
    clock: &dyn Clock,
    tenant: &TenantId,
    notice: Notice,
) -> Result<Position> {
    let (id, now) = (EventId::generate(), clock.now());
    let event = Event {
        id,
        tenant: tenant.clone(),
        app: None,
        conversation: None,
        sent_at: now,
        received_at: now,
        origin: Origin::Internal,
        late: false,
        data: EventData::Notice(notice),
    };
    let key = EventKey::new(KeyClass::Internal, id.to_string());
    let draft = Draft { event, key, sort_key: String::new(), digest: 0, raw: None };
    let committed = store.commit(Commit { drafts: vec![draft], ..Commit::default() }).await?;
    let appended = committed.drafts.first().map(|appended| appended.position());
    appended.ok_or_else(|| Error::new(ErrorKind::Internal, "the store gave no answer for a notice"))
}

/// Makes notices until the hub stops. A notice that cannot be stored is counted and let go: what it tells of is
/// stored with the subscriber.
pub(super) async fn run(shared: Arc<Shared>, mut untold: mpsc::Receiver<Untold>) {
    loop {
        let next = tokio::select! {
            next = untold.recv() => next,
            () = shared.stop.cancelled() => None,
        };
        let Some(next) = next else { return };
        if let Err(error) = make(&shared, &next).await {
            tracing::warn!(subscriber = %next.core.name, %error, "a notice could not be journalled");
            shared.meters.notice_lost();
        }
    }
}

async fn make(shared: &Shared, untold: &Untold) -> Result<()> {
    let core = &untold.core;
    let (kind, detail) = match untold.told {
        Told::Aside(record) => {
            let kind = match record.why {
                Why::Failed => "conversation_parked",
                Why::Blocked => "conversation_blocked",
                // These are steps on the way, not news.
                Why::Retrying | Why::Redriving => return Ok(()),
            };
            let conversation = shared.conversation(core, record.key, record.place).await?;
            (kind, aside(core, &record, conversation.as_ref()))
        }
        Told::Skipped { place, attempts } => {
            let found = shared.event_at(&core.tenant, place).await?;
            let entry = found.as_ref().and_then(|(chunk, index)| chunk.entries.get(*index as usize));
            // An event without a conversation may itself be a notice; news of it would never end.
            let Some(entry) = entry.filter(|entry| entry.conversation.is_some()) else { return Ok(()) };
            let detail = json!({
                "subscriber": core.name,
                "conversation": entry.conversation,
                "sequence": entry.sequence,
                "position": place.position,
                "attempts": attempts,
            });
            ("delivery_skipped", detail)
        }
        Told::Restored(key) => {
            let conversation = core.lock().names.get(&key).cloned();
            ("conversation_restored", json!({ "subscriber": core.name, "conversation": conversation }))
        }
    };
    let notice = Notice { topic: Topic::Conversations, kind: kind.to_owned(), provider: None, detail };
    announce(shared.store.as_ref(), shared.clock.as_ref(), &core.tenant, notice).await.map(drop)
}

fn aside(core: &Core, record: &SetAside, conversation: Option<&ConversationId>) -> serde_json::Value {
    json!({
        "subscriber": core.name,
        "conversation": conversation,
        "from": record.from,
        "position": record.place.position,
        "attempts": record.attempts,
    })
}
