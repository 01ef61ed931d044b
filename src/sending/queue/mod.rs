//! What one app has to send, in memory: a bounded window of each tenant's queue. No I/O, no clock.
//!
//! Promises: at most one message of a conversation is out; within a conversation the lowest order goes first; tenants
//! take turns; a stopped conversation or a long queue of one tenant hides nobody else's messages.

mod lane;

use std::collections::{HashMap, VecDeque};

use switchboard_contract::storage::Leg;
use switchboard_contract::{ConversationId, ConversationKind, MessageId, SendId, TenantId, Timestamp};

use lane::Lane;

/// Messages to go in one call: several only for several recipients of one send.
#[derive(Debug)]
pub(crate) struct Pick {
    pub tenant: TenantId,
    pub kind: ConversationKind,
    /// One at least.
    pub legs: Vec<Leg>,
}

/// What the queue must ask while it picks.
pub(crate) trait Rules {
    /// Units that one more call may carry now; 0 for none.
    fn room(&mut self, tenant: &TenantId, kind: ConversationKind) -> u32;
    /// Recipients that one call may carry.
    fn pack(&self, kind: ConversationKind, send: SendId) -> u32;
    /// Takes the conversation, or says until when it is somebody else's.
    fn claim(&mut self, leg: &Leg) -> Result<(), Option<Timestamp>>;
}

/// The windows of all tenants of an app.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: HashMap<TenantId, Lane>,
    turns: VecDeque<TenantId>,
    window: usize,
    per_conversation: usize,
}

impl Queue {
    pub(crate) fn new(window: usize, per_conversation: usize) -> Self {
        Self { lanes: HashMap::new(), turns: VecDeque::new(), window, per_conversation }
    }

    /// Gives a tenant its turn, from now on.
    pub(crate) fn admit(&mut self, tenant: &TenantId) {
        if !self.lanes.contains_key(tenant) {
            self.lanes.insert(tenant.clone(), Lane::new(self.per_conversation));
            self.turns.push_back(tenant.clone());
        }
    }

    /// Whether several tenants take turns.
    pub(crate) fn is_shared(&self) -> bool {
        self.turns.len() > 1
    }

    /// There may be news of this tenant in the store: behind what was read, or anywhere.
    pub(crate) fn wake(&mut self, tenant: &TenantId, anywhere: bool) {
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.wake(anywhere);
        }
    }

    /// As [`wake`](Self::wake), of every tenant, from the start.
    pub(crate) fn wake_all(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.wake(true));
    }

    /// The next page to read: whose, after which order, and how many.
    pub(crate) fn wants(&self) -> Option<(TenantId, u64, usize)> {
        let page = (self.window / 8).max(1);
        self.lanes.iter().find_map(|(tenant, lane)| {
            let room = self.window.saturating_sub(lane.len());
            (lane.wants() && room >= page).then(|| (tenant.clone(), lane.cursor(), page))
        })
    }

    /// Takes in the page that [`wants`](Self::wants) asked for, of `asked` legs. Returns those that do not belong into
    /// a queue: dispatched or in doubt, and not known here.
    pub(crate) fn loaded(&mut self, tenant: &TenantId, page: Vec<Leg>, asked: usize, now: Timestamp) -> Vec<Leg> {
        self.lanes.get_mut(tenant).map(|lane| lane.loaded(page, asked, now)).unwrap_or_default()
    }

    /// The next call, of the tenant whose turn it is.
    pub(crate) fn pick(&mut self, now: Timestamp, rules: &mut dyn Rules) -> Option<Pick> {
        for _ in 0..self.turns.len() {
            let tenant = self.turns.pop_front()?;
            let lane = self.lanes.get_mut(&tenant);
            let picked = lane.and_then(|lane| lane.pick(&tenant, now, rules));
            self.turns.push_back(tenant.clone());
            if let Some((kind, legs)) = picked {
                return Some(Pick { tenant, kind, legs });
            }
        }
        None
    }

    /// The message is queued again; its conversation is free.
    pub(crate) fn put_back(&mut self, leg: Leg, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&leg.send.tenant) {
            lane.put_back(leg, now);
        }
    }

    /// Later messages of the conversation may go; this one stays known, so that it is not read again.
    pub(crate) fn release(&mut self, tenant: &TenantId, conversation: &ConversationId, of: MessageId, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.release(conversation, of, now);
        }
    }

    /// A message that is not queued (any more) has its conversation; it stays known.
    pub(crate) fn occupy(&mut self, leg: &Leg, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&leg.send.tenant) {
            lane.occupy(leg, now);
        }
    }

    /// The message is finished: forgets it and lets its conversation go.
    pub(crate) fn finish(&mut self, leg: &Leg, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&leg.send.tenant) {
            lane.finish(&leg.conversation, leg.message_id, now);
        }
    }

    /// Forgets a message that waits here. Returns whether one did.
    pub(crate) fn drop_waiting(&mut self, message: MessageId, now: Timestamp) -> bool {
        self.lanes.values_mut().any(|lane| lane.drop_waiting(message, now))
    }

    /// Forgets every message of the tenant that waits here; they are to be read again.
    pub(crate) fn drop_all_waiting(&mut self, tenant: &TenantId, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.drop_all_waiting(now);
        }
    }

    /// Takes out the messages whose time has run out.
    pub(crate) fn expired(&mut self, now: Timestamp) -> Vec<Leg> {
        self.lanes.values_mut().flat_map(|lane| lane.expired(now)).collect()
    }

    /// Conversations that were somebody else's may be free.
    pub(crate) fn unblock(&mut self, now: Timestamp) {
        self.lanes.values_mut().for_each(|lane| lane.unblock(now));
    }

    /// When [`pick`](Self::pick) can find something new by itself: a retry, or the end of somebody's hold.
    pub(crate) fn next_retry(&self) -> Option<Timestamp> {
        self.lanes.values().filter_map(Lane::next_retry).min()
    }

    /// When the next message expires.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.lanes.values().filter_map(Lane::next_expiry).min()
    }

    /// Kinds of conversation with messages that only wait for room.
    pub(crate) fn ready_kinds(&self) -> impl Iterator<Item = ConversationKind> {
        lane::KINDS.into_iter().filter(|kind| self.lanes.values().any(|lane| lane.is_ready(*kind)))
    }

    /// Messages that wait here.
    pub(crate) fn len(&self) -> usize {
        self.lanes.values().map(Lane::len).sum()
    }

    /// Whether nothing waits here and nothing more is known to be in the store.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.len() == 0 && !lane.wants())
    }
}

#[cfg(test)]
mod tests;
