//! What the vendor still counts of calls that an earlier life of this process made.
//!
//! A step to `dispatched` is journalled before its call leaves, so the last stretch of the journal tells what is in
//! the vendor's windows, even after a kill. Nothing is sent before the stretches of all have been read who sent by this
//! app, those included for whom it is no longer served.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use switchboard_contract::{
    ConversationKind, EventData, MessageId, Result, SendId, SendState, Shard, TenantId, Timestamp, Topic,
};

use super::Dispatcher;

/// Where events without a conversation stand.
const SHARD: Shard = Shard(0);
/// Entries read at once.
const PAGE: usize = 1024;

/// A message that left.
struct Departure {
    send: SendId,
    message: MessageId,
    at: Timestamp,
    /// When its state changed again: the vendor has counted it by then.
    answered: Option<Timestamp>,
}

/// The messages of one send that left together.
struct Crew {
    first: MessageId,
    units: u32,
    /// `None` when the process ended before the state of some of them changed.
    answered: Option<Timestamp>,
}

impl Dispatcher {
    /// Charges the quotas with what tenants sent before this dispatcher was there.
    pub(super) async fn charge_past(&mut self) {
        if self.strangers.is_none() {
            if self.store_is_down(self.ctx.clock.now()) {
                return;
            }
            match self.ctx.store.served(&self.post.app).await {
                Ok(served) => {
                    let others = served.into_iter().map(|(tenant, _)| tenant);
                    let strangers: BTreeSet<TenantId> = others.filter(|one| !self.modes.contains_key(one)).collect();
                    self.uncharged.extend(strangers.iter().cloned());
                    self.strangers = Some(strangers);
                }
                Err(error) => return self.store_failed("charge_past", &error),
            }
        }
        while let Some(tenant) = self.uncharged.first().cloned() {
            if self.store_is_down(self.ctx.clock.now()) {
                return;
            }
            match self.charge(&tenant).await {
                Ok(0) => {}
                Ok(calls) => {
                    tracing::info!(provider = %self.alias, op = "charge_past", calls, "earlier calls still count");
                }
                Err(error) => return self.store_failed("charge_past", &error),
            }
            self.uncharged.remove(&tenant);
        }
    }

    /// Charges the calls of one tenant. Returns how many there were.
    async fn charge(&mut self, tenant: &TenantId) -> Result<usize> {
        let Some(longest) = self.limits.quotas.iter().map(|(_, quota)| quota.per).max() else { return Ok(0) };
        // Its answer may have come as late as a call can last.
        let reach = longest.mul_f64(1.0 + self.ctx.config.quota_margin) + self.ctx.config.call_timeout;
        let crews = crews(self.departures(tenant, reach).await?);
        let now = self.ctx.clock.now();
        let mut calls = 0;
        for crew in crews {
            let Some(leg) = self.ctx.store.leg(tenant, crew.first).await? else { continue };
            let kind = leg.conversation.kind();
            let most = match kind {
                ConversationKind::Direct => self.limits.max_users.max(1),
                ConversationKind::System => self.limits.max_system_users.max(1),
                ConversationKind::Group | ConversationKind::Room => 1,
            };
            let mut rest = crew.units;
            while rest > 0 {
                let units = rest.min(most);
                rest -= units;
                calls += 1;
                let ticket = self.quotas.reserve(kind, tenant, units);
                match crew.answered {
                    Some(answered) => self.quotas.answered(kind, ticket, answered),
                    // The process ended with the call under way: it may have left at any moment up to now.
                    None => self.quotas.left(kind, ticket, now),
                }
            }
        }
        Ok(calls)
    }

    /// What left by this app in the last `reach`, in order.
    async fn departures(&self, tenant: &TenantId, reach: Duration) -> Result<Vec<Departure>> {
        let store = &self.ctx.store;
        let mut after = store.position_before(tenant, SHARD, self.ctx.clock.now() - reach).await?;
        let mut departures: Vec<Departure> = Vec::new();
        let mut out: HashMap<MessageId, usize> = HashMap::new();
        loop {
            let page = store.read(tenant, SHARD, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(departures) };
            after = last.position;
            let ours = |app: Option<&switchboard_contract::App>| app == Some(&self.post.app);
            for entry in page.iter().filter(|entry| entry.topic == Topic::SendStatus && ours(entry.app.as_deref())) {
                let EventData::SendStatus(status) = entry.event()?.data else { continue };
                if status.state == SendState::Dispatched {
                    out.insert(status.message_id, departures.len());
                    let (send, message, at) = (status.send_id, status.message_id, entry.received_at);
                    departures.push(Departure { send, message, at, answered: None });
                } else if let Some(known) = out.remove(&status.message_id) {
                    // A doubt is no answer: the vendor may carry the call out a little later.
                    let late = if status.state == SendState::InDoubt { self.ctx.config.settle } else { Duration::ZERO };
                    departures[known].answered = Some(entry.received_at + late);
                }
            }
        }
    }
}

/// Messages of one send that were written down as dispatched in the same moment shared their calls.
fn crews(departures: Vec<Departure>) -> impl Iterator<Item = Crew> {
    let mut crews: BTreeMap<(Timestamp, SendId), Crew> = BTreeMap::new();
    for Departure { send, message, at, answered } in departures {
        let crew = crews.entry((at, send)).or_insert(Crew { first: message, units: 0, answered: Some(at) });
        crew.units = crew.units.saturating_add(1);
        crew.answered = crew.answered.zip(answered).map(|(one, other)| one.max(other));
    }
    crews.into_values()
}
