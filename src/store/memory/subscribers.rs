//! Subscribers and their cursors.

use async_trait::async_trait;
use switchboard_contract::storage::{CursorState, ShardCursor, SubscriberSpec, SubscriberUpdate, Subscribers};
use switchboard_contract::{Result, SubscriberName, TenantId, Timestamp};

use super::MemoryStore;

fn apply(state: &mut CursorState, update: SubscriberUpdate) {
    if let Some(seen_at) = update.seen_at {
        let away = seen_at.since(state.seen_at);
        // Whoever moves its cursor is back; whoever returns too late has to be told first.
        if state.spec.expires_after.is_some_and(|longest| away > longest) {
            state.expired = true;
        } else if !update.cursors.is_empty() {
            state.expired = false;
        }
        state.seen_at = state.seen_at.max(seen_at);
    } else if !update.cursors.is_empty() {
        state.expired = false;
    }
    for cursor in update.cursors {
        match state.cursors.iter_mut().find(|known| known.shard == cursor.shard) {
            Some(known) if known.low > cursor.low => {}
            Some(known) => *known = cursor,
            None => state.cursors.push(cursor),
        }
    }
    state.cursors.sort_by_key(|cursor| cursor.shard);
    state.parked.retain(|parked| !update.unpark.contains(&parked.conversation));
    for parked in update.park {
        state.parked.retain(|known| known.conversation != parked.conversation);
        state.parked.push(parked);
    }
    state.parked.sort_by(|one, other| one.conversation.cmp(&other.conversation));
    for (shard, position, attempts) in update.attempts {
        state.attempts.retain(|known| (known.0, known.1) != (shard, position));
        if attempts > 0 {
            state.attempts.push((shard, position, attempts));
        }
    }
    state.attempts.sort();
}

#[async_trait]
impl Subscribers for MemoryStore {
    async fn put_subscriber(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        spec: &SubscriberSpec,
        start: &[ShardCursor],
        now: Timestamp,
    ) -> Result<bool> {
        let mut state = self.state()?;
        let key = (tenant.clone(), name.clone());
        if let Some(known) = state.subscribers.get_mut(&key) {
            known.spec = spec.clone();
            return Ok(false);
        }
        let mut cursors = start.to_vec();
        cursors.sort_by_key(|cursor| cursor.shard);
        let fresh = CursorState {
            spec: spec.clone(),
            cursors,
            parked: Vec::new(),
            attempts: Vec::new(),
            seen_at: now,
            expired: false,
        };
        state.subscribers.insert(key, fresh);
        Ok(true)
    }

    async fn subscriber(&self, tenant: &TenantId, name: &SubscriberName) -> Result<Option<CursorState>> {
        Ok(self.state()?.subscribers.get(&(tenant.clone(), name.clone())).cloned())
    }

    async fn subscribers(&self, tenant: &TenantId) -> Result<Vec<(SubscriberName, CursorState)>> {
        let state = self.state()?;
        let own = state.subscribers.iter().filter(|((owner, _), _)| owner == tenant);
        Ok(own.map(|((_, name), known)| (name.clone(), known.clone())).collect())
    }

    async fn rewind_subscriber(
        &self,
        tenant: &TenantId,
        name: &SubscriberName,
        cursors: &[ShardCursor],
        now: Timestamp,
    ) -> Result<bool> {
        let mut state = self.state()?;
        let Some(known) = state.subscribers.get_mut(&(tenant.clone(), name.clone())) else { return Ok(false) };
        let mut cursors = cursors.to_vec();
        cursors.sort_by_key(|cursor| cursor.shard);
        *known = CursorState {
            spec: known.spec.clone(),
            cursors,
            parked: Vec::new(),
            attempts: Vec::new(),
            seen_at: now,
            expired: false,
        };
        Ok(true)
    }

    async fn remove_subscriber(&self, tenant: &TenantId, name: &SubscriberName) -> Result<bool> {
        Ok(self.state()?.subscribers.remove(&(tenant.clone(), name.clone())).is_some())
    }

    async fn update_subscribers(&self, updates: Vec<SubscriberUpdate>) -> Result<()> {
        let mut state = self.state()?;
        for update in updates {
            // One removed in the meantime has nothing left to update.
            if let Some(known) = state.subscribers.get_mut(&(update.tenant.clone(), update.name.clone())) {
                apply(known, update);
            }
        }
        Ok(())
    }
}
