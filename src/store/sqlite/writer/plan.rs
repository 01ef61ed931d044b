//! Deciding what a batch writes, from the facts alone: no I/O, in the order of the calls.

use std::borrow::Cow;
use std::collections::VecDeque;

use foldhash::HashMap;
use switchboard_contract::storage::{
    Appended, ChangeOutcome, Commit, Committed, Enqueued, FailedAttempts, LegChange, LegGuard, NewLeg, NewSend,
    SetbackChange,
};
use switchboard_contract::{Event, EventData, KeyClass, MessageId, MessageRef, Position, Result, SendState, Sequence};

use super::Command;
use super::facts::{Awaited, Facts, HeadState, Known, LegFact};
use super::memory::{Head, STREAM_SHIFT};
use crate::store::content;

/// What a call hears after the commit.
pub(super) enum Answer {
    Committed(Result<Committed>),
    Enqueued(Vec<Enqueued>),
}

/// A row to journal.
pub(super) struct Row<'a> {
    /// In [`Facts::items`].
    pub(super) item: usize,
    pub(super) event: Cow<'a, Event>,
    pub(super) place: i64,
    pub(super) position: Position,
    pub(super) sequence: Option<Sequence>,
    pub(super) received_max: i64,
    pub(super) buried: bool,
}

/// Other content under a key that is taken.
pub(super) struct Variant {
    pub(super) item: usize,
    pub(super) place: i64,
    pub(super) conflict: bool,
}

/// Where a leg stands after the batch.
pub(super) struct Step<'a> {
    pub(super) change: &'a LegChange,
    /// The vendor's id of this or an earlier step of the batch.
    pub(super) vendor: Option<&'a str>,
    /// The failed attempts as this or an earlier step of the batch left them.
    pub(super) history: Option<&'a FailedAttempts>,
}

/// A send to write.
pub(super) struct Accepted<'a> {
    pub(super) id: i64,
    pub(super) tenant: i64,
    pub(super) app: i64,
    pub(super) send: &'a NewSend,
}

#[derive(Default)]
pub(super) struct Plan<'a> {
    pub(super) rows: Vec<Row<'a>>,
    /// Rows journalled before, to be turned into tombstones.
    pub(super) buried: Vec<i64>,
    pub(super) variants: Vec<Variant>,
    pub(super) sends: Vec<Accepted<'a>>,
    pub(super) legs: Vec<(i64, usize, &'a NewLeg)>,
    pub(super) steps: HashMap<i64, Step<'a>>,
    pub(super) setbacks: Vec<&'a SetbackChange>,
    pub(super) consumed: HashMap<&'a str, u64>,
    /// Messages of this batch by our id, when there are recalls that may ask for them.
    fresh_ids: HashMap<(i64, MessageId), usize>,
    /// The next of [`Facts::items`].
    next: usize,
}

/// Plans the whole batch.
pub(super) fn plan<'a>(facts: &mut Facts<'a>, batch: &'a [Command]) -> (Plan<'a>, VecDeque<Answer>) {
    let mut plan = Plan { rows: Vec::with_capacity(facts.items.len()), ..Plan::default() };
    let mut answers = VecDeque::new();
    for command in batch {
        match command {
            Command::Commit(commit, _) => answers.push_back(Answer::Committed(plan.commit(facts, commit))),
            Command::Enqueue(sends, _) => {
                let enqueued = sends.iter().map(|send| plan.accept(facts, send)).collect();
                answers.push_back(Answer::Enqueued(enqueued));
            }
            Command::Errand(_) => {}
        }
    }
    (plan, answers)
}

impl<'a> Plan<'a> {
    fn commit(&mut self, facts: &mut Facts<'a>, commit: &'a Commit) -> Result<Committed> {
        let holds = |guard: &LegGuard| {
            let leg = facts.legs.get(&(facts.tenants[&guard.tenant], guard.message_id));
            leg.is_some_and(|leg| guard.states.contains(&leg.state))
        };
        if !commit.only_if.iter().all(holds) {
            self.next += commit.drafts.len() + commit.changes.iter().map(|change| change.drafts.len()).sum::<usize>();
            return Err(LegGuard::broken());
        }
        let changes = commit.changes.iter().map(|change| self.change(facts, change)).collect();
        let drafts = commit.drafts.iter().map(|_| self.append(facts, commit.only_missing)).collect();
        self.setbacks.extend(&commit.setbacks);
        if let Some(mark) = &commit.consumed {
            let offset = self.consumed.entry(&mark.inbox).or_default();
            *offset = mark.offset.max(*offset);
        }
        Ok(Committed { drafts, changes })
    }

    fn change(&mut self, facts: &mut Facts<'a>, change: &'a LegChange) -> ChangeOutcome {
        let tenant = facts.tenants[&change.tenant];
        let leg = facts.legs.get_mut(&(tenant, change.message_id));
        let refused = match &leg {
            None => Some(ChangeOutcome::Unknown),
            Some(leg) if !change.expect.contains(&leg.state) => Some(ChangeOutcome::Stale(leg.state)),
            // Without drafts it may be no step, and only tell what became known.
            Some(leg) if leg.state == change.to && change.drafts.is_empty() => None,
            Some(leg) if !leg.state.may_become(change.to) => Some(ChangeOutcome::Stale(leg.state)),
            Some(_) => None,
        };
        let (Some(leg), None) = (leg, &refused) else {
            self.next += change.drafts.len();
            return refused.unwrap_or(ChangeOutcome::Unknown);
        };
        leg.state = change.to;
        let step = self.steps.entry(leg.id).or_insert(Step { change, vendor: None, history: None });
        step.change = change;
        step.history = change.history.as_ref().or(step.history);
        self.setbacks.extend(change.setback.as_ref());
        if let Some(vendor) = &change.vendor_id {
            step.vendor = Some(vendor.as_str());
            facts.sent.entry((tenant, leg.app, vendor.as_str().to_owned())).or_insert(change.message_id);
        }
        ChangeOutcome::Applied(change.drafts.iter().map(|_| self.append(facts, false)).collect())
    }

    fn accept(&mut self, facts: &mut Facts<'a>, send: &'a NewSend) -> Enqueued {
        let tenant = facts.tenants[&send.tenant];
        if let Some(id) = &send.client_message_id {
            let key = (tenant, id.as_str().to_owned());
            let first = facts.clients.get(&key).copied();
            if let Some((first, digest)) = first {
                self.next += send.drafts.len();
                return if digest == send.digest { Enqueued::Repeated(first) } else { Enqueued::Conflict(first) };
            }
            facts.clients.insert(key, (send.id, send.digest));
        }
        for _ in &send.drafts {
            self.append(facts, false);
        }
        let app = facts.apps[&send.app];
        self.sends.push(Accepted { id: facts.next_send, tenant, app, send });
        facts.next_send += 1;
        for leg in &send.legs {
            let id = facts.next_leg;
            facts.next_leg += 1;
            facts.legs.insert((tenant, leg.message_id), LegFact { id, app, state: SendState::Queued });
            self.legs.push((id, self.sends.len() - 1, leg));
        }
        Enqueued::Fresh
    }

    /// Journals the next draft, or finds it journalled, where other content leaves a trace unless it is `quiet`.
    fn append(&mut self, facts: &mut Facts<'a>, quiet: bool) -> Appended {
        let at = self.next;
        self.next += 1;
        let (draft, tenant, app, key) = {
            let item = &facts.items[at];
            (item.draft, item.tenant, item.app, item.key)
        };
        if let Some(known) = facts.known[key] {
            return self.repeat(facts, at, known, quiet);
        }
        let target = content::target(&draft.event).and_then(|target| resolve(facts, tenant, app, target));
        let mut event = content::with_target(&draft.event, target);
        let mut buried = false;
        if let Some(id) = take_awaited(facts, at) {
            event = Cow::Owned(content::buried(&event, id));
            buried = true;
        }
        let (position, place, received_max) = {
            let tail = &mut facts.streams[facts.items[at].stream];
            tail.moved = true;
            tail.end.tail += 1;
            tail.end.received_max = tail.end.received_max.max(event.received_at.0);
            let place = (tail.end.id << STREAM_SHIFT) | tail.end.tail.cast_signed();
            (Position(tail.end.tail), place, tail.end.received_max)
        };
        let sequence = facts.items[at].head.map(|head| advance(&mut facts.heads[head], &mut facts.next_conversation));
        let row = self.rows.len();
        let message = content::message(&event).map(|message| message.id);
        let known = Known {
            place,
            sequence: sequence.map(|sequence| sequence.0),
            digest: draft.digest,
            origin: event.origin,
            message,
            row: Some(row),
        };
        facts.known[key] = Some(known);
        if let (true, Some(id)) = (facts.recalls, message) {
            self.fresh_ids.entry((tenant, id)).or_insert(row);
        }
        let recall = match &event.data {
            EventData::Recall(recall) => Some(recall.target.clone()),
            _ => None,
        };
        self.rows.push(Row { item: at, event, place, position, sequence, received_max, buried });
        if let Some(target) = recall {
            self.recall(facts, tenant, app, target);
        }
        Appended::Fresh { position, sequence }
    }

    fn repeat(&mut self, facts: &Facts<'a>, at: usize, known: Known, quiet: bool) -> Appended {
        let draft = facts.items[at].draft;
        let position = position_of(known.place);
        let sequence = known.sequence.map(Sequence);
        if quiet || known.digest == draft.digest {
            return Appended::Known { position, sequence };
        }
        let conflict = content::contradicts(known.origin, &draft.event);
        self.variants.push(Variant { item: at, place: known.place, conflict });
        if conflict { Appended::Conflict { position } } else { Appended::Variant { position, sequence } }
    }

    /// Buries the target, or remembers that it must be buried when it comes.
    fn recall(&mut self, facts: &mut Facts<'a>, tenant: i64, app: i64, target: MessageRef) {
        let by_name = target.vendor_id.as_ref().and_then(|vendor| named(facts, tenant, app, vendor.as_str()));
        let by_id = || {
            let key = (tenant, target.id?);
            let place = facts.by_id.get(&key).map(|known| (known.place, None));
            place.or_else(|| self.fresh_ids.get(&key).map(|row| (0, Some(*row))))
        };
        match by_name.map(|known| (known.place, known.row)).or_else(by_id) {
            Some((_, Some(row))) => {
                let row = &mut self.rows[row];
                content::bury(row.event.to_mut());
                row.buried = true;
            }
            Some((place, None)) => self.buried.push(place),
            None => facts.awaited.push(Awaited {
                id: None,
                tenant,
                app,
                vendor: target.vendor_id.map(|vendor| vendor.as_str().to_owned()),
                message: target.id,
                gone: false,
            }),
        }
    }
}

/// The position within a place.
pub(crate) const fn position_of(place: i64) -> Position {
    Position(place.cast_unsigned() & ((1 << STREAM_SHIFT) - 1))
}

/// The next number of a conversation, which is made when it is new.
fn advance(state: &mut HeadState<'_>, next: &mut i64) -> Sequence {
    let head = state.head.get_or_insert_with(|| {
        state.fresh = true;
        *next += 1;
        Head { id: *next - 1, last: 0 }
    });
    head.last += 1;
    state.moved = true;
    Sequence(head.last)
}

/// The message with this vendor id.
fn named(facts: &Facts<'_>, tenant: i64, app: i64, vendor: &str) -> Option<Known> {
    let at = facts.keys.get(&(tenant, app, KeyClass::Message.code(), vendor))?;
    facts.known[*at].filter(|known| known.message.is_some())
}

/// Our id of what an event is about.
fn resolve(facts: &Facts<'_>, tenant: i64, app: i64, target: &MessageRef) -> Option<MessageId> {
    if target.id.is_some() {
        return target.id;
    }
    let vendor = target.vendor_id.as_ref()?.as_str();
    let journalled = named(facts, tenant, app, vendor).and_then(|known| known.message);
    journalled.or_else(|| facts.sent.get(&(tenant, app, vendor.to_owned())).copied())
}

/// Whether the message was recalled before it came, and the id the recall gave it.
fn take_awaited(facts: &mut Facts<'_>, at: usize) -> Option<Option<MessageId>> {
    if facts.awaited.is_empty() {
        return None;
    }
    let item = &facts.items[at];
    let message = content::message(&item.draft.event)?;
    let mut found = None;
    for awaited in facts.awaited.iter_mut().filter(|awaited| !awaited.gone && awaited.tenant == item.tenant) {
        let by_name = awaited.app == item.app
            && awaited
                .vendor
                .as_deref()
                .is_some_and(|vendor| content::vendor_names(item.draft).any(|own| own == vendor));
        if by_name || awaited.message == Some(message.id) {
            awaited.gone = true;
            found = Some(found.flatten().or(awaited.message));
        }
    }
    found
}
