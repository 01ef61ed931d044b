//! One tenant's window.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use switchboard_contract::storage::{Leg, Recipients};
use switchboard_contract::{ConversationId, ConversationKind, MessageId, SendId, SendState, TenantId, Timestamp};

use super::Rules;

pub(super) const KINDS: [ConversationKind; 4] =
    [ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room, ConversationKind::System];

/// Where a conversation stands in the lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing of it waits, or one of it is out.
    #[default]
    Nowhere,
    /// Its first message may go; the order of that message.
    Ready(u64),
    /// Its first message may not go before this time.
    Waiting(Timestamp),
}

#[derive(Debug, Default)]
struct Line {
    legs: BTreeMap<u64, Leg>,
    out: Option<MessageId>,
    /// Somebody else has the conversation, until this time at most.
    blocked: Option<Timestamp>,
    place: Place,
    /// The first order that was left in the store because the line was full.
    skipped: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Lane {
    per_conversation: usize,
    lines: HashMap<ConversationId, Line>,
    ready: BTreeMap<ConversationKind, BTreeSet<(u64, ConversationId)>>,
    waiting: BTreeSet<(Timestamp, ConversationId)>,
    blocked: HashSet<ConversationId>,
    expiries: BTreeSet<(Timestamp, u64, ConversationId)>,
    /// Waiting legs of sends with several recipients.
    siblings: HashMap<SendId, BTreeMap<u64, ConversationId>>,
    /// Everything held, waiting or out, so that reading again finds nothing twice.
    known: HashMap<MessageId, (ConversationId, u64)>,
    len: usize,
    /// Everything up to here was read.
    frontier: u64,
    /// There may be more behind it.
    more: bool,
    /// Reading again, from here, for the sake of the hungry.
    again: Option<u64>,
    /// Conversations that ran dry while more of them is in the store.
    hungry: HashSet<ConversationId>,
}

fn has_siblings(leg: &Leg) -> bool {
    match &leg.send.payload.to {
        Recipients::Users(users) | Recipients::System(users) => users.len() > 1,
        Recipients::User(_) | Recipients::Group(_) | Recipients::Room(_) => false,
    }
}

impl Lane {
    pub(super) fn new(per_conversation: usize) -> Self {
        Self {
            per_conversation,
            lines: HashMap::new(),
            ready: BTreeMap::new(),
            waiting: BTreeSet::new(),
            blocked: HashSet::new(),
            expiries: BTreeSet::new(),
            siblings: HashMap::new(),
            known: HashMap::new(),
            len: 0,
            frontier: 0,
            more: true,
            again: None,
            hungry: HashSet::new(),
        }
    }

    pub(super) fn wake(&mut self, anywhere: bool) {
        self.more = true;
        if anywhere {
            self.frontier = 0;
            self.again = None;
            self.hungry.clear();
        }
    }

    pub(super) fn wants(&self) -> bool {
        self.more || self.again.is_some()
    }

    pub(super) fn cursor(&self) -> u64 {
        self.again.unwrap_or(self.frontier)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_ready(&self, kind: ConversationKind) -> bool {
        self.ready.get(&kind).is_some_and(|ready| !ready.is_empty())
    }

    pub(super) fn loaded(&mut self, page: Vec<Leg>, asked: usize, now: Timestamp) -> Vec<Leg> {
        let ended = page.len() < asked;
        let reached = page.last().map_or(self.cursor(), |leg| leg.order);
        let mut strays = Vec::new();
        for leg in page {
            if self.known.contains_key(&leg.message_id) {
                continue;
            }
            if leg.state == SendState::Queued {
                self.take_in(leg, now);
            } else {
                strays.push(leg);
            }
        }
        if self.again.is_some() {
            let caught_up = ended || reached >= self.frontier;
            self.again = (!caught_up && !self.hungry.is_empty()).then_some(reached);
            if caught_up {
                self.hungry.clear();
            }
        }
        if reached >= self.frontier {
            self.frontier = reached;
            self.more = !ended;
        }
        strays
    }

    fn take_in(&mut self, leg: Leg, now: Timestamp) {
        let conversation = leg.conversation.clone();
        let line = self.lines.entry(conversation.clone()).or_default();
        let beyond = line.skipped.is_some_and(|skipped| leg.order >= skipped);
        if beyond || line.legs.len() >= self.per_conversation {
            line.skipped = Some(line.skipped.map_or(leg.order, |skipped| skipped.min(leg.order)));
            self.hungry.remove(&conversation);
        } else {
            self.insert(leg);
            self.settle(&conversation, now);
        }
    }

    pub(super) fn pick(
        &mut self,
        tenant: &TenantId,
        now: Timestamp,
        rules: &mut dyn Rules,
    ) -> Option<(ConversationKind, Vec<Leg>)> {
        self.mature(now);
        let mut closed = Vec::new();
        loop {
            // The oldest message among the kinds that have room.
            let (order, kind, room) = KINDS
                .into_iter()
                .filter(|kind| !closed.contains(kind))
                .filter_map(|kind| Some((self.ready.get(&kind)?.first()?.0, kind)))
                .min_by_key(|(order, _)| *order)
                .map(|(order, kind)| (order, kind, rules.room(tenant, kind)))?;
            if room == 0 {
                closed.push(kind);
                continue;
            }
            let conversation = self.ready.get(&kind)?.first()?.1.clone();
            let Some(first) = self.take(&conversation, order, rules, now) else { continue };
            let most = room.min(rules.pack(kind, first.send.id));
            let mut legs = vec![first];
            self.add_siblings(&mut legs, most, rules, now);
            return Some((kind, legs));
        }
    }

    /// Adds recipients of the same send whose conversations are free, up to `most` in all.
    fn add_siblings(&mut self, legs: &mut Vec<Leg>, most: u32, rules: &mut dyn Rules, now: Timestamp) {
        if most < 2 {
            return;
        }
        let Some(siblings) = self.siblings.get(&legs[0].send.id) else { return };
        let free: Vec<(u64, ConversationId)> = siblings
            .iter()
            .filter(|(order, conversation)| {
                self.lines.get(*conversation).is_some_and(|line| line.place == Place::Ready(**order))
            })
            .take(most as usize - 1)
            .map(|(order, conversation)| (*order, conversation.clone()))
            .collect();
        legs.extend(free.into_iter().filter_map(|(order, conversation)| self.take(&conversation, order, rules, now)));
    }

    /// Takes the first message of a ready conversation, or notes that somebody else has the conversation.
    fn take(
        &mut self,
        conversation: &ConversationId,
        order: u64,
        rules: &mut dyn Rules,
        now: Timestamp,
    ) -> Option<Leg> {
        let line = self.lines.get_mut(conversation)?;
        let leg = line.legs.get(&order)?;
        if let Err(until) = rules.claim(leg) {
            line.blocked = Some(until.unwrap_or(Timestamp(i64::MAX)));
            self.blocked.insert(conversation.clone());
            self.settle(conversation, now);
            return None;
        }
        line.out = Some(leg.message_id);
        let leg = self.remove(conversation, order)?;
        self.settle(conversation, now);
        Some(leg)
    }

    pub(super) fn put_back(&mut self, leg: Leg, now: Timestamp) {
        let conversation = leg.conversation.clone();
        self.free(&conversation, leg.message_id);
        self.insert(leg);
        self.settle(&conversation, now);
    }

    pub(super) fn release(&mut self, conversation: &ConversationId, of: MessageId, now: Timestamp) {
        self.free(conversation, of);
        self.settle(conversation, now);
    }

    pub(super) fn occupy(&mut self, leg: &Leg, now: Timestamp) {
        self.known.insert(leg.message_id, (leg.conversation.clone(), leg.order));
        let line = self.lines.entry(leg.conversation.clone()).or_default();
        line.out.get_or_insert(leg.message_id);
        self.settle(&leg.conversation, now);
    }

    pub(super) fn finish(&mut self, conversation: &ConversationId, message: MessageId, now: Timestamp) {
        self.known.remove(&message);
        self.release(conversation, message, now);
    }

    pub(super) fn drop_waiting(&mut self, message: MessageId, now: Timestamp) -> bool {
        let Some((conversation, order)) = self.known.get(&message).cloned() else { return false };
        if self.remove(&conversation, order).is_none() {
            return false;
        }
        self.known.remove(&message);
        self.settle(&conversation, now);
        true
    }

    pub(super) fn drop_all_waiting(&mut self, now: Timestamp) {
        let waiting: Vec<MessageId> =
            self.lines.values().flat_map(|line| line.legs.values().map(|leg| leg.message_id)).collect();
        for message in waiting {
            self.drop_waiting(message, now);
        }
        self.wake(true);
    }

    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<Leg> {
        let mut expired = Vec::new();
        while let Some((at, order, conversation)) = self.expiries.first().cloned() {
            if at > now {
                break;
            }
            // Known still: the store has yet to be told.
            if let Some(leg) = self.remove(&conversation, order) {
                expired.push(leg);
            }
            self.settle(&conversation, now);
        }
        expired
    }

    pub(super) fn unblock(&mut self, now: Timestamp) {
        for conversation in std::mem::take(&mut self.blocked) {
            if let Some(line) = self.lines.get_mut(&conversation) {
                line.blocked = None;
                self.settle(&conversation, now);
            }
        }
    }

    pub(super) fn next_retry(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(at, _)| *at).filter(|at| at.0 < i64::MAX)
    }

    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, ..)| *at)
    }

    fn free(&mut self, conversation: &ConversationId, of: MessageId) {
        if let Some(line) = self.lines.get_mut(conversation)
            && line.out == Some(of)
        {
            line.out = None;
        }
    }

    fn insert(&mut self, leg: Leg) {
        self.known.insert(leg.message_id, (leg.conversation.clone(), leg.order));
        if let Some(at) = leg.send.expires_at {
            self.expiries.insert((at, leg.order, leg.conversation.clone()));
        }
        if has_siblings(&leg) {
            self.siblings.entry(leg.send.id).or_default().insert(leg.order, leg.conversation.clone());
        }
        let line = self.lines.entry(leg.conversation.clone()).or_default();
        if line.legs.insert(leg.order, leg).is_none() {
            self.len += 1;
        }
    }

    /// Takes a message out of its line; it stays known.
    fn remove(&mut self, conversation: &ConversationId, order: u64) -> Option<Leg> {
        let leg = self.lines.get_mut(conversation)?.legs.remove(&order)?;
        self.len -= 1;
        if let Some(at) = leg.send.expires_at {
            self.expiries.remove(&(at, order, conversation.clone()));
        }
        if let Some(siblings) = self.siblings.get_mut(&leg.send.id) {
            siblings.remove(&order);
            if siblings.is_empty() {
                self.siblings.remove(&leg.send.id);
            }
        }
        Some(leg)
    }

    /// Moves conversations whose wait is over among the ready.
    fn mature(&mut self, now: Timestamp) {
        while let Some((at, conversation)) = self.waiting.first().cloned() {
            if at > now {
                break;
            }
            if let Some(line) = self.lines.get_mut(&conversation)
                && line.blocked.is_some_and(|until| until <= now)
            {
                line.blocked = None;
                self.blocked.remove(&conversation);
            }
            self.settle(&conversation, now);
        }
    }

    /// Puts a conversation where it belongs, or forgets it when nothing is left of it.
    fn settle(&mut self, conversation: &ConversationId, now: Timestamp) {
        let Some(line) = self.lines.get_mut(conversation) else { return };
        let place = match line.legs.first_key_value() {
            _ if line.out.is_some() => Place::Nowhere,
            None => Place::Nowhere,
            Some(_) if line.blocked.is_some() => Place::Waiting(line.blocked.unwrap_or_default()),
            Some((_, leg)) if leg.next_attempt_at > now => Place::Waiting(leg.next_attempt_at),
            Some((order, _)) => Place::Ready(*order),
        };
        let before = std::mem::replace(&mut line.place, place);
        if line.legs.is_empty() {
            if let Some(skipped) = line.skipped.take() {
                let from = skipped.saturating_sub(1);
                self.again = Some(self.again.map_or(from, |again| again.min(from)));
                self.hungry.insert(conversation.clone());
            }
            if line.out.is_none() {
                self.lines.remove(conversation);
                self.blocked.remove(conversation);
            }
        }
        if before == place {
            return;
        }
        let ready = self.ready.entry(conversation.kind()).or_default();
        match before {
            Place::Nowhere => {}
            Place::Ready(order) => drop(ready.remove(&(order, conversation.clone()))),
            Place::Waiting(at) => drop(self.waiting.remove(&(at, conversation.clone()))),
        }
        match place {
            Place::Nowhere => {}
            Place::Ready(order) => drop(ready.insert((order, conversation.clone()))),
            Place::Waiting(at) => drop(self.waiting.insert((at, conversation.clone()))),
        }
    }
}
