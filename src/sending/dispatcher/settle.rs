//! Writing down what happened, many steps at a time, and only then acting on it.

use std::sync::atomic::Ordering;

use switchboard_contract::storage::{ChangeOutcome, Commit, Leg};
use switchboard_contract::{Error, SendState, Timestamp};

use super::Dispatcher;
use crate::recovery::told;
use crate::sending::AppMode;
use crate::sending::own::dead_letter;
use crate::sending::step::Step;

/// Steps written in one transaction.
const STEPS_AT_ONCE: usize = 512;

/// A step that the store has yet to take.
#[derive(Debug)]
pub(super) struct Pending {
    pub leg: Leg,
    pub step: Step,
    /// The call that waits for it.
    pub flight: Option<u64>,
}

impl Pending {
    pub(super) fn of(leg: Leg, step: Step) -> Self {
        Self { leg, step, flight: None }
    }
}

impl Dispatcher {
    /// Writes all pending steps, in order, and acts on those that were taken.
    pub(super) async fn settle(&mut self) {
        while !self.pending.is_empty() {
            let now = self.ctx.clock.now();
            if self.store_is_down(now) {
                return;
            }
            let rest = self.pending.split_off(self.pending.len().min(STEPS_AT_ONCE));
            let batch = std::mem::replace(&mut self.pending, rest);
            // Before the store says so, so that no echo that follows goes unnoticed.
            let doubtful = batch.iter().filter(|pending| pending.step.to() == SendState::InDoubt).count();
            self.post.in_doubt.store(self.doubts.len() + doubtful, Ordering::Relaxed);
            let changes = batch.iter().map(|pending| pending.step.clone().change(&pending.leg, now)).collect();
            match self.ctx.store.commit(Commit { changes, ..Commit::default() }).await {
                Ok(committed) => {
                    self.store_failures = 0;
                    self.store_retry_at = None;
                    for (pending, outcome) in batch.into_iter().zip(committed.changes) {
                        self.settled(pending, &outcome, now);
                    }
                }
                Err(error) => {
                    let newer = std::mem::replace(&mut self.pending, batch);
                    self.pending.extend(newer);
                    return self.store_failed("settle", &error);
                }
            }
        }
    }

    fn settled(&mut self, pending: Pending, outcome: &ChangeOutcome, now: Timestamp) {
        let Pending { mut leg, step, flight } = pending;
        let applied = matches!(outcome, ChangeOutcome::Applied(_));
        if applied {
            step.apply(&mut leg);
            self.metrics.state(leg.state);
            if leg.state == SendState::Failed {
                let letter = dead_letter(&leg, leg.attempts, None, leg.reason.as_deref(), now);
                told(&letter, Some(&self.alias));
            }
        }
        match (flight, applied) {
            (Some(flight), _) => self.boarded(flight, leg, applied),
            (None, true) => self.took(leg, now),
            // An echo, a cancellation or another node was first; theirs stands.
            (None, false) => self.finish(&leg),
        }
    }

    fn took(&mut self, leg: Leg, now: Timestamp) {
        match leg.state {
            SendState::Queued => {
                if self.modes.get(&leg.send.tenant) == Some(&AppMode::ReceiveOnly) {
                    self.reroute_due = true;
                }
                self.put_back(leg);
            }
            // The first of two steps written at once.
            SendState::Dispatched => {}
            SendState::InDoubt => self.take_doubt(leg),
            SendState::Accepted => {
                self.metrics.accepted(now.since(leg.send.created_at));
                self.receipts_due |= leg.vendor_id.is_some() && self.post.early.load(Ordering::Relaxed);
                self.close(&leg);
            }
            _ => self.close(&leg),
        }
    }

    /// The message is first in its conversation again, here or at the app it is handed to.
    pub(super) fn put_back(&mut self, leg: Leg) {
        self.keep_hold(&leg);
        self.queue.put_back(leg, self.ctx.clock.now());
    }

    /// Keeps the conversation for a message that waits. That ends by itself: somebody else may finish the message
    /// while nobody here has it.
    pub(super) fn keep_hold(&self, leg: &Leg) {
        let until = leg.next_attempt_at.max(self.ctx.clock.now()) + self.ctx.config.in_doubt_hold;
        self.ctx.holds.queue(&leg.send.tenant, &leg.conversation, leg.message_id, leg.order, until);
    }

    fn close(&mut self, leg: &Leg) {
        self.post.closed(1);
        self.finish(leg);
    }

    /// The message needs nothing more from here: its conversation goes on.
    pub(super) fn finish(&mut self, leg: &Leg) {
        self.doubts.remove(leg.message_id);
        self.ctx.holds.release(&leg.send.tenant, &leg.conversation, leg.message_id);
        self.queue.finish(leg, self.ctx.clock.now());
    }

    /// From now on the message is looked for.
    pub(super) fn take_doubt(&mut self, leg: Leg) {
        let (tenant, conversation, message) = (leg.send.tenant.clone(), leg.conversation.clone(), leg.message_id);
        let until = self.doubts.insert(leg);
        self.ctx.holds.doubt(&tenant, &conversation, message, until);
    }

    pub(super) fn store_is_down(&self, now: Timestamp) -> bool {
        self.store_retry_at.is_some_and(|at| at > now)
    }

    pub(super) fn store_failed(&mut self, op: &'static str, error: &Error) {
        self.store_failures = self.store_failures.saturating_add(1);
        let config = &self.ctx.config;
        let wait = self.ctx.jitter.wait(self.store_failures, config.pause_min, config.pause_max, None);
        self.store_retry_at = Some(self.ctx.clock.now() + wait + std::time::Duration::from_millis(1));
        tracing::error!(provider = %self.alias, op, %error, "the store failed; sending waits");
    }
}
