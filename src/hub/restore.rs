//! From what is stored to a machine that goes on from there, and back.

use std::collections::HashMap;

use switchboard_contract::reception::{Key, Place, Reception, Restored, Save, SetAside, Settings, Why};
use switchboard_contract::storage::{CursorState, ParkedConversation, ShardCursor, SubscriberSpec, SubscriberUpdate};
use switchboard_contract::{ConversationId, Position, Shard, SubscriberName, TenantId, Timestamp};

use super::core::first_lease;
use super::shared::Shared;

pub(super) fn settings(shared: &Shared, spec: &SubscriberSpec) -> Settings {
    let mut settings = Settings::new(spec);
    settings.retry_base = shared.config.retry_base;
    settings.retry_cap = shared.config.retry_cap;
    settings
}

/// A machine, and the names of what is set aside.
pub(super) fn machine(
    shared: &Shared,
    state: &CursorState,
    history: Vec<(Shard, Position)>,
    now: Timestamp,
) -> (Reception, HashMap<Key, ConversationId>) {
    let cursor = |shard| {
        let known = state.cursors.iter().find(|cursor| cursor.shard == shard);
        known.cloned().unwrap_or(ShardCursor { shard, ..ShardCursor::default() })
    };
    let key = |parked: &ParkedConversation| shared.keys.conversation(&parked.conversation);
    let names = state.parked.iter().map(|parked| (key(parked), parked.conversation.clone())).collect();
    let aside = state.parked.iter().map(|parked| SetAside {
        key: key(parked),
        place: Place { shard: parked.shard, position: parked.position },
        from: parked.from,
        attempts: parked.attempts,
        why: Why::from_word(&parked.reason),
        since: parked.since,
    });
    let restored = Restored {
        cursors: (0..shared.config.shards.max(1)).map(Shard).map(cursor).collect(),
        history,
        aside: aside.collect(),
        attempts: state.attempts.iter().map(|(shard, position, count)| (place(*shard, *position), *count)).collect(),
    };
    let lease = first_lease(now, shared.next_epoch());
    (Reception::restore(settings(shared, &state.spec), restored, lease, now), names)
}

fn place(shard: Shard, position: Position) -> Place {
    Place { shard, position }
}

/// Whether somebody last seen then has been away for longer than agreed.
pub(super) fn is_away(spec: &SubscriberSpec, seen_at: Timestamp, now: Timestamp) -> bool {
    spec.expires_after.is_some_and(|longest| now.since(seen_at) > longest)
}

/// The stored form of a save; `names` knows every conversation in it.
pub(super) fn update(
    tenant: &TenantId,
    name: &SubscriberName,
    save: Save,
    names: &HashMap<Key, ConversationId>,
    reasons: &mut HashMap<Place, String>,
    seen_at: Option<Timestamp>,
) -> SubscriberUpdate {
    let park = save.park.iter().filter_map(|record| {
        let conversation = names.get(&record.key)?.clone();
        let given = if record.why == Why::Failed { reasons.remove(&record.place) } else { None };
        Some(ParkedConversation {
            conversation,
            shard: record.place.shard,
            from: record.from,
            position: record.place.position,
            attempts: record.attempts,
            reason: given.unwrap_or_else(|| record.why.as_str().to_owned()),
            since: record.since,
        })
    });
    SubscriberUpdate {
        tenant: tenant.clone(),
        name: name.clone(),
        park: park.collect(),
        unpark: save.unpark.iter().filter_map(|key| names.get(key).cloned()).collect(),
        cursors: save.cursors,
        attempts: save.attempts.iter().map(|(at, count)| (at.shard, at.position, *count)).collect(),
        seen_at,
    }
}
