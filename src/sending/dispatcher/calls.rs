//! Calls: chosen, prepared, written down as dispatched, made, and judged by their answers.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use switchboard_contract::storage::{FailedAttempt, Leg};
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, Result, SendId, SendState, SentTo, Target, TenantId, Timestamp,
};
use tokio::task::JoinError;

use super::outfit::{Outfit, call, match_answer, panicked, prepare};
use super::search::Looked;
use super::settle::Pending;
use super::{Dispatcher, within};
use crate::recovery::breaker::Gate;
use crate::recovery::verdict::{self, Verdict};
use crate::sending::AppMode;
use crate::sending::context::Context;
use crate::sending::queue::{Pick, Rules};
use crate::sending::quota::{Quotas, Ticket};
use crate::sending::step::{Step, carried_by_reply, reason};

/// Sends whose calls are kept small.
const MAX_PACKS: usize = 1024;

/// What a task beside the dispatcher hands back.
#[derive(Debug)]
pub(super) enum Done {
    /// A notice was journalled, or could not be.
    Told,
    Prepared(u64, Result<Box<Outfit>>),
    Called(u64, Result<Vec<SentTo>>),
    Probed(Result<()>),
    Looked(Looked),
}

/// One call on its way.
#[derive(Debug)]
pub(super) struct Flight {
    tenant: TenantId,
    kind: ConversationKind,
    legs: Vec<Leg>,
    ticket: Ticket,
    era: u64,
    outfit: Option<Box<Outfit>>,
    /// Legs the store has yet to write down as dispatched.
    boarding: usize,
    left: bool,
}

/// What [`Queue::pick`](crate::sending::queue::Queue::pick) asks.
struct Desk<'a> {
    ctx: &'a Context,
    modes: &'a HashMap<TenantId, AppMode>,
    barred: &'a BTreeSet<TenantId>,
    quotas: &'a mut Quotas<ConversationKind>,
    packs: &'a HashMap<SendId, u32>,
    max_users: u32,
    max_system_users: u32,
    shared: bool,
    /// Kinds of which one call is out to see whether it still goes too fast.
    trying: Vec<ConversationKind>,
    now: Timestamp,
}

impl Rules for Desk<'_> {
    fn room(&mut self, tenant: &TenantId, kind: ConversationKind) -> u32 {
        let may = !self.trying.contains(&kind) && !self.barred.contains(tenant);
        if may && self.modes.get(tenant) == Some(&AppMode::Active) {
            self.quotas.room(kind, tenant, self.shared, self.now)
        } else {
            0
        }
    }

    fn pack(&self, kind: ConversationKind, send: SendId) -> u32 {
        let most = match kind {
            ConversationKind::Direct => self.max_users,
            ConversationKind::System => self.max_system_users,
            ConversationKind::Group | ConversationKind::Room => 1,
        };
        most.min(self.packs.get(&send).copied().unwrap_or(u32::MAX)).max(1)
    }

    fn claim(&mut self, leg: &Leg) -> Result<(), Option<Timestamp>> {
        self.ctx.holds.claim(&leg.send.tenant, &leg.conversation, leg.message_id, leg.order, self.now)
    }
}

impl Dispatcher {
    /// Sends off as many calls as may leave now.
    pub(super) fn dispatch(&mut self) {
        let now = self.ctx.clock.now();
        while self.may_dispatch() && !self.store_is_down(now) {
            match self.breaker.gate(now) {
                Gate::Open | Gate::Trial => {}
                Gate::Probe => return self.probe(),
                Gate::Paused(_) | Gate::Trying => return,
            }
            let trying = self.too_fast.keys().copied().filter(|kind| self.is_trying(*kind)).collect();
            let mut desk = Desk {
                ctx: &self.ctx,
                modes: &self.modes,
                barred: &self.barred,
                quotas: &mut self.quotas,
                packs: &self.packs,
                max_users: self.limits.max_users,
                max_system_users: self.limits.max_system_users,
                shared: self.queue.is_shared(),
                trying,
                now,
            };
            let Some(pick) = self.queue.pick(now, &mut desk) else { return };
            self.prepare(pick);
        }
    }

    /// Whether another call may be under way.
    pub(super) fn may_dispatch(&self) -> bool {
        let config = &self.ctx.config;
        self.flights.len() < config.concurrency && self.doubts.len() < config.max_in_doubt
    }

    /// Whether a call is under way that shows whether the vendor still refuses this kind as too fast. Others wait for it:
    /// after a pause all of them would be refused together.
    pub(super) fn is_trying(&self, kind: ConversationKind) -> bool {
        self.too_fast.contains_key(&kind) && self.flights.values().any(|flight| flight.kind == kind)
    }

    fn probe(&mut self) {
        self.breaker.probing();
        let (ctx, provider) = (Arc::clone(&self.ctx), self.post.provider());
        self.tasks.spawn(async move {
            let probe = AssertUnwindSafe(provider.probe())
                .catch_unwind()
                .map(|outcome| outcome.unwrap_or_else(|_| Err(panicked())));
            let outcome = within(&*ctx.clock, ctx.config.call_timeout, probe).await;
            Done::Probed(outcome.unwrap_or_else(|| Err(Error::new(ErrorKind::Timeout, "the probe was not answered"))))
        });
    }

    fn prepare(&mut self, Pick { tenant, kind, legs }: Pick) {
        let units = u32::try_from(legs.len()).unwrap_or(u32::MAX);
        let ticket = self.quotas.reserve(kind, &tenant, units);
        self.breaker.called();
        self.flight_ids += 1;
        let id = self.flight_ids;
        let (ctx, provider, crew) = (Arc::clone(&self.ctx), self.post.provider(), legs.clone());
        self.tasks.spawn(async move { Done::Prepared(id, prepare(ctx, provider, crew).await) });
        let era = self.breaker.era();
        let flight = Flight { tenant, kind, legs, ticket, era, outfit: None, boarding: 0, left: false };
        self.flights.insert(id, flight);
    }

    pub(super) fn take_done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Prepared(id, outcome)) => self.prepared(id, outcome),
            Ok(Done::Called(id, outcome)) => self.called(id, outcome),
            Ok(Done::Told) => {}
            Ok(Done::Probed(Ok(()))) => {
                self.breaker.probed();
                if self.queue.len() == 0 {
                    // There is no call to try it with; the next one will tell.
                    self.breaker.answered(self.breaker.era());
                }
            }
            Ok(Done::Probed(Err(error))) => {
                let era = self.breaker.era();
                self.trip(era, &error, None);
            }
            Ok(Done::Looked(looked)) => self.looked(looked),
            // Panics are caught inside; this is the end of the process.
            Err(error) => tracing::error!(provider = %self.alias, op = "join", %error),
        }
    }

    fn prepared(&mut self, id: u64, outcome: Result<Box<Outfit>>) {
        let now = self.ctx.clock.now();
        // It may have been withdrawn meanwhile.
        let Some(flight) = self.flights.get_mut(&id) else { return };
        match outcome {
            Ok(outfit) => {
                flight.outfit = Some(outfit);
                flight.boarding = flight.legs.len();
                for leg in flight.legs.drain(..) {
                    let step = Step::dispatched(&leg, now);
                    self.pending.push(Pending { leg, step, flight: Some(id) });
                }
            }
            Err(error) => {
                if let Some(flight) = self.flights.remove(&id) {
                    self.quotas.cancel(flight.kind, flight.ticket);
                    self.judge(flight, &error, verdict::of_repeatable(&error));
                }
            }
        }
    }

    /// The store has written a leg down as dispatched, or has another state for it.
    pub(super) fn boarded(&mut self, id: u64, leg: Leg, applied: bool) {
        let Some(flight) = self.flights.get_mut(&id) else { return self.finish(&leg) };
        flight.boarding -= 1;
        if applied {
            flight.legs.push(leg);
            return self.leave_when_full(id);
        }
        self.finish(&leg);
        self.leave_when_full(id);
    }

    fn leave_when_full(&mut self, id: u64) {
        let Some(flight) = self.flights.get_mut(&id).filter(|flight| flight.boarding == 0) else { return };
        if flight.legs.is_empty() {
            let (kind, ticket, era) = (flight.kind, flight.ticket, flight.era);
            self.flights.remove(&id);
            self.quotas.cancel(kind, ticket);
            return self.breaker.withdrawn(era);
        }
        let Some(outfit) = &mut flight.outfit else { return };
        let mut message = outfit.message.clone();
        if let Target::Users(users) | Target::System(users) = &mut message.target {
            *users = flight.legs.iter().filter_map(|leg| outfit.users.get(&leg.message_id).cloned()).collect();
        }
        flight.left = true;
        let now = self.ctx.clock.now();
        self.quotas.left(flight.kind, flight.ticket, now);
        let (ctx, provider) = (Arc::clone(&self.ctx), self.post.provider());
        let about = self.ctx.hooks.about(&self.post, &self.alias, flight.kind, &flight.legs);
        self.tasks.spawn(async move { Done::Called(id, call(&ctx, &*provider, message, about).await) });
    }

    /// Calls back whatever of the tenant has not left.
    pub(super) fn withdraw(&mut self, tenant: &TenantId) {
        let grounded: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| !flight.left && flight.tenant == *tenant)
            .map(|(id, _)| *id)
            .collect();
        let (back, pending) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending: &Pending| pending.flight.is_some_and(|flight| grounded.contains(&flight)));
        self.pending = pending;
        let mut boarded = Vec::new();
        for id in grounded {
            let Some(flight) = self.flights.remove(&id) else { continue };
            self.quotas.cancel(flight.kind, flight.ticket);
            self.breaker.withdrawn(flight.era);
            boarded.extend(flight.legs);
        }
        let back: Vec<Pending> = back;
        for leg in boarded.into_iter().chain(back.into_iter().map(|pending| pending.leg)) {
            if leg.state == SendState::Dispatched {
                // Written down before the others of its call were; it has not left either.
                let step = Step::requeued(&leg, leg.attempts, self.ctx.clock.now(), reason::WITHDRAWN);
                self.pending.push(Pending::of(leg, step));
            } else {
                // It keeps its conversation, wherever it goes next.
                self.keep_hold(&leg);
                self.queue.finish(&leg, self.ctx.clock.now());
                self.queue.wake(tenant, true);
            }
        }
    }

    fn called(&mut self, id: u64, outcome: Result<Vec<SentTo>>) {
        let now = self.ctx.clock.now();
        let Some(mut flight) = self.flights.remove(&id) else { return };
        self.quotas.answered(flight.kind, flight.ticket, now);
        match outcome {
            Ok(sent) => {
                self.metrics.attempt("accepted");
                self.breaker.answered(flight.era);
                self.successes += 1;
                self.too_fast.remove(&flight.kind);
                let users = flight.outfit.take().map(|outfit| outfit.users).unwrap_or_default();
                for (leg, answer) in match_answer(flight.legs, &users, sent) {
                    let step = match answer {
                        Some(vendor_id) => Step::accepted(&leg, carried_by_reply(vendor_id, now)),
                        None => Step::in_doubt(&leg, now, reason::NOT_NAMED),
                    };
                    self.pending.push(Pending::of(leg, step));
                }
            }
            Err(error) => self.judge(flight, &error, verdict::of_call(&error)),
        }
    }

    /// Acts on a failed attempt.
    fn judge(&mut self, flight: Flight, error: &Error, verdict: Verdict) {
        let now = self.ctx.clock.now();
        let Flight { kind, legs, era, left, .. } = flight;
        self.metrics.attempt(error.kind().as_str());
        tracing::warn!(provider = %self.alias, op = "send", messages = legs.len(), left, %error, "an attempt failed");
        // The call that had the app paused is not the one it is tried with next: it may be at fault itself.
        let mut not_before = now;
        match verdict {
            Verdict::AppDown { after } => not_before = self.trip(era, error, after).unwrap_or(now),
            Verdict::Doubt { app_down: true } => {
                self.trip(era, error, None);
            }
            Verdict::TooFast { after } => {
                self.breaker.answered(era);
                self.slow_down(kind, after);
            }
            _ if left => self.breaker.answered(era),
            // What fails before the call says nothing of the app.
            _ => self.breaker.withdrawn(era),
        }
        let split = legs.len() > 1 && verdict == Verdict::Fail && verdict::may_be_one_recipient(error.kind());
        if split && let Some(leg) = legs.first() {
            let half = u32::try_from(legs.len() / 2).unwrap_or(1).max(1);
            if self.packs.len() >= MAX_PACKS {
                // Those forgotten are split again.
                self.packs.clear();
            }
            self.packs.insert(leg.send.id, half);
        }
        let why = error.kind().as_str();
        for leg in legs {
            match verdict {
                Verdict::Doubt { .. } => {
                    let step = Step::in_doubt(&leg, now, why);
                    self.pending.push(Pending::of(leg, step));
                }
                Verdict::Again { after } => self.again(leg, FailedAttempt::of(error, now), after),
                Verdict::Fail if !split => {
                    let failure = FailedAttempt::of(error, now);
                    let step = Step::failed(&leg, leg.attempts.saturating_add(1), why).bearing(failure);
                    self.pending.push(Pending::of(leg, step));
                }
                Verdict::AppDown { after } if self.is_at_fault(&leg) => {
                    self.again(leg, FailedAttempt::of(error, now), after);
                }
                _ => self.untouched(leg, not_before, why),
            }
        }
    }

    /// Back into the queue without an attempt spent.
    fn untouched(&mut self, leg: Leg, not_before: Timestamp, why: &str) {
        if leg.state == SendState::Queued {
            self.put_back(leg);
        } else {
            let step = Step::requeued(&leg, leg.attempts, not_before, why);
            self.pending.push(Pending::of(leg, step));
        }
    }

    /// One more attempt is spent; another follows later, or none.
    pub(super) fn again(&mut self, mut leg: Leg, failure: FailedAttempt, after: Option<Duration>) {
        let (now, config) = (self.ctx.clock.now(), &self.ctx.config);
        let (attempts, why) = (leg.attempts.saturating_add(1), failure.outcome.clone());
        if attempts >= config.max_attempts() {
            let step = Step::failed(&leg, attempts, why).bearing(failure);
            return self.pending.push(Pending::of(leg, step));
        }
        let wait = self.ctx.jitter.wait(attempts, config.backoff_min, config.backoff_max, after);
        if leg.state == SendState::Queued {
            // It failed while it was prepared: the store knows no way from `queued` to `queued`.
            let step = Step::dispatched(&leg, now);
            self.pending.push(Pending::of(leg.clone(), step.clone()));
            step.apply(&mut leg);
        }
        let step = Step::requeued(&leg, attempts, now + wait, why).bearing(failure);
        self.pending.push(Pending::of(leg, step));
    }

    /// Pauses the app. For the call that did it: when the others have had their chance.
    fn trip(&mut self, era: u64, error: &Error, after: Option<Duration>) -> Option<Timestamp> {
        let (now, ctx) = (self.ctx.clock.now(), Arc::clone(&self.ctx));
        let (min, max) = (ctx.config.pause_min, ctx.config.pause_max);
        let mut until = now;
        let fresh = self.breaker.failed(era, now, error.kind(), |trips| {
            let pause = ctx.jitter.wait(trips, min, max, after);
            until = now + pause;
            pause
        });
        if !fresh {
            return None;
        }
        self.metrics.tripped();
        let trips = self.breaker.trips();
        tracing::warn!(provider = %self.alias, op = "pause", trips, %error, "the app is paused");
        Some(until + min)
    }

    fn slow_down(&mut self, kind: ConversationKind, after: Option<Duration>) {
        self.metrics.rate_limited();
        if after.is_none() && self.quotas.is_paused(kind, self.ctx.clock.now()) {
            // Calls that left together were refused together.
            return;
        }
        let refusals = self.too_fast.entry(kind).or_default();
        *refusals = refusals.saturating_add(1);
        let (min, max) = (self.ctx.config.pause_min, self.ctx.config.pause_max);
        let wait = self.ctx.jitter.wait(*refusals, min, max, after);
        self.quotas.pause(kind, self.ctx.clock.now() + wait);
    }
}
