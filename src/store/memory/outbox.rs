//! Sends and their legs.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use switchboard_contract::storage::{
    BoundReceipt, ChangeOutcome, EarlyReceipt, Enqueued, FailedAttempts, Leg, LegChange, LegGuard, NewSend, Outbox,
    SendRecord,
};
use switchboard_contract::{
    App, ClientMessageId, EventKey, MessageId, Result, SendId, SendState, TenantId, Timestamp, VendorMessageId,
};

use super::MemoryStore;
use super::state::{Fresh, Legs, State};

impl State {
    pub(super) fn stands(&self, guard: &LegGuard) -> bool {
        let order = self.legs.by_message.get(&(guard.tenant.clone(), guard.message_id));
        let leg = order.and_then(|order| self.legs.by_order.get(order));
        leg.is_some_and(|leg| guard.states.contains(&leg.state))
    }

    /// Takes a step if the leg stands where the step begins, and journals what it says.
    pub(super) fn change(&mut self, change: &LegChange, fresh: &mut Fresh) -> Result<ChangeOutcome> {
        let key = (change.tenant.clone(), change.message_id);
        let Some(order) = self.legs.by_message.get(&key).copied() else { return Ok(ChangeOutcome::Unknown) };
        let Some(leg) = self.legs.by_order.get_mut(&order) else { return Ok(ChangeOutcome::Unknown) };
        let known = leg.state == change.to && change.drafts.is_empty();
        let legal = known || leg.state.may_become(change.to);
        if !change.expect.contains(&leg.state) || !legal {
            return Ok(ChangeOutcome::Stale(leg.state));
        }
        leg.state = change.to;
        leg.attempts = change.attempts;
        leg.next_attempt_at = change.next_attempt_at;
        leg.dispatched_at = change.dispatched_at;
        leg.reason = change.reason.clone();
        if let Some(history) = &change.history {
            leg.history = history.clone();
        }
        if let Some(id) = &change.vendor_id {
            leg.vendor_id = Some(id.clone());
            let key = (change.tenant.clone(), leg.app.clone(), id.as_str().to_owned());
            let first = self.legs.by_vendor.entry(key).or_insert(order);
            *first = order.min(*first);
        }
        self.setbacks.change(change.setback.iter());
        let appended = change.drafts.iter().map(|draft| self.append(draft, false, fresh));
        Ok(ChangeOutcome::Applied(appended.collect::<Result<_>>()?))
    }

    /// Notes a receipt, but that of a message that is journalled and no send's.
    pub(super) fn note(&mut self, receipt: EarlyReceipt) {
        let own = self.legs.by_vendor.contains_key(&vendor_key(&receipt));
        let key = (Some(receipt.app.clone()), EventKey::message(&receipt.vendor_id));
        let journalled = self.streams.get(&receipt.tenant).is_some_and(|stream| stream.keys.contains_key(&key));
        let same = |other: &EarlyReceipt| vendor_key(other) == vendor_key(&receipt) && other.kind == receipt.kind;
        if (own || !journalled) && !self.early.values().any(same) {
            self.noted += 1;
            self.early.insert(self.noted, receipt);
        }
    }

    fn accept(&mut self, send: NewSend, fresh: &mut Fresh) -> Result<Enqueued> {
        if let Some(id) = &send.client_message_id {
            let key = (send.tenant.clone(), id.clone());
            match self.legs.by_client.get(&key) {
                Some((first, digest)) if *digest == send.digest => return Ok(Enqueued::Repeated(*first)),
                Some((first, _)) => return Ok(Enqueued::Conflict(*first)),
                None => self.legs.by_client.insert(key, (send.id, send.digest)),
            };
        }
        for draft in &send.drafts {
            self.append(draft, false, fresh)?;
        }
        let record = Arc::new(SendRecord {
            id: send.id,
            tenant: send.tenant,
            client_message_id: send.client_message_id,
            payload: send.payload,
            created_at: send.created_at,
            expires_at: send.expires_at,
        });
        for leg in send.legs {
            self.legs.insert(Leg {
                send: Arc::clone(&record),
                order: self.legs.by_order.last_key_value().map_or(1, |(order, _)| order + 1),
                message_id: leg.message_id,
                conversation: leg.conversation,
                recipient: leg.recipient,
                app: send.app.clone(),
                state: SendState::Queued,
                attempts: 0,
                history: FailedAttempts::default(),
                next_attempt_at: send.created_at,
                dispatched_at: None,
                reason: None,
                vendor_id: None,
            });
        }
        Ok(Enqueued::Fresh)
    }
}

fn vendor_key(receipt: &EarlyReceipt) -> (TenantId, App, String) {
    (receipt.tenant.clone(), receipt.app.clone(), receipt.vendor_id.as_str().to_owned())
}

impl Legs {
    fn insert(&mut self, leg: Leg) {
        let tenant = leg.send.tenant.clone();
        self.by_message.insert((tenant.clone(), leg.message_id), leg.order);
        self.by_send.entry((tenant, leg.send.id)).or_default().push(leg.order);
        self.by_order.insert(leg.order, leg);
    }

    fn open(&self) -> impl Iterator<Item = &Leg> {
        self.by_order.values().filter(|leg| leg.state.is_open())
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn enqueue(&self, sends: Vec<NewSend>) -> Result<Vec<Enqueued>> {
        let mut state = self.state()?;
        let mut fresh = Fresh::new();
        let answers: Result<_> = sends.into_iter().map(|send| state.accept(send, &mut fresh)).collect();
        state.announce(&fresh);
        answers
    }

    async fn open_legs(&self, app: &App, after: u64, limit: usize) -> Result<Vec<Leg>> {
        let state = self.state()?;
        let legs = state.legs.open().filter(|leg| leg.order > after && leg.app == *app);
        Ok(legs.take(limit).cloned().collect())
    }

    async fn open_legs_of(&self, app: &App, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Leg>> {
        let state = self.state()?;
        let legs = state.legs.open().filter(|leg| leg.order > after && leg.app == *app && leg.send.tenant == *tenant);
        Ok(legs.take(limit).cloned().collect())
    }

    async fn open_count(&self, app: &App) -> Result<u64> {
        Ok(self.state()?.legs.open().filter(|leg| leg.app == *app).count() as u64)
    }

    async fn open_apps(&self) -> Result<Vec<App>> {
        let mut apps: Vec<App> = self.state()?.legs.open().map(|leg| leg.app.clone()).collect();
        apps.sort();
        apps.dedup();
        Ok(apps)
    }

    async fn legs(&self, tenant: &TenantId, send: SendId) -> Result<Vec<Leg>> {
        let state = self.state()?;
        let orders = state.legs.by_send.get(&(tenant.clone(), send));
        Ok(orders.into_iter().flatten().filter_map(|order| state.legs.by_order.get(order)).cloned().collect())
    }

    async fn leg(&self, tenant: &TenantId, message: MessageId) -> Result<Option<Leg>> {
        let state = self.state()?;
        let order = state.legs.by_message.get(&(tenant.clone(), message));
        Ok(order.and_then(|order| state.legs.by_order.get(order)).cloned())
    }

    async fn leg_by_vendor_id(&self, tenant: &TenantId, app: &App, id: &VendorMessageId) -> Result<Option<Leg>> {
        let state = self.state()?;
        let order = state.legs.by_vendor.get(&(tenant.clone(), app.clone(), id.as_str().to_owned()));
        Ok(order.and_then(|order| state.legs.by_order.get(order)).cloned())
    }

    async fn early_receipts(&self, app: &App, limit: usize) -> Result<Vec<BoundReceipt>> {
        let state = self.state()?;
        let bound = state.early.iter().filter(|(_, receipt)| receipt.app == *app).filter_map(|(id, receipt)| {
            let order = state.legs.by_vendor.get(&vendor_key(receipt))?;
            let message_id = state.legs.by_order.get(order)?.message_id;
            Some(BoundReceipt { id: *id, tenant: receipt.tenant.clone(), message_id, kind: receipt.kind })
        });
        Ok(bound.take(limit).collect())
    }

    async fn forget_receipts(&self, app: &App, ids: Vec<u64>, before: Timestamp, keep: u32) -> Result<u64> {
        let mut state = self.state()?;
        let mut kept: HashMap<TenantId, u32> = HashMap::new();
        let mut gone = Vec::new();
        for (id, receipt) in state.early.iter().rev().filter(|(_, receipt)| receipt.app == *app) {
            let number = kept.entry(receipt.tenant.clone()).or_default();
            if ids.contains(id) || receipt.at < before || *number >= keep {
                gone.push(*id);
            } else {
                *number += 1;
            }
        }
        gone.iter().for_each(|id| drop(state.early.remove(id)));
        Ok(kept.values().map(|number| u64::from(*number)).sum())
    }

    async fn send_by_client_id(&self, tenant: &TenantId, id: &ClientMessageId) -> Result<Option<SendId>> {
        let state = self.state()?;
        Ok(state.legs.by_client.get(&(tenant.clone(), id.clone())).map(|(send, _)| *send))
    }

    async fn reroute(&self, tenant: &TenantId, from: &App, to: &App) -> Result<u64> {
        let mut state = self.state()?;
        let Legs { by_order, by_vendor, .. } = &mut state.legs;
        let mut moved = 0;
        for leg in by_order.values_mut() {
            if leg.state == SendState::Queued && leg.app == *from && leg.send.tenant == *tenant {
                if let Some(id) = &leg.vendor_id {
                    by_vendor.remove(&(tenant.clone(), from.clone(), id.as_str().to_owned()));
                    by_vendor.insert((tenant.clone(), to.clone(), id.as_str().to_owned()), leg.order);
                }
                leg.app = to.clone();
                moved += 1;
            }
        }
        Ok(moved)
    }
}
