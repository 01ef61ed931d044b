//! Steps of one leg through its states, each with the event that tells of it.

use switchboard_contract::storage::{FailedAttempt, FailedAttempts, Leg, LegChange, SetbackChange};
use switchboard_contract::{Origin, SendState, Timestamp, VendorMessageId};

use super::own::{Carried, Status, Subject, dead_letter, message_draft, status_draft};
use crate::recovery::alert;

/// A stable word for `reason`.
pub(crate) type Reason = String;

/// The reasons that are ours; those of vendors are the kinds of their errors.
pub(crate) mod reason {
    /// Nothing could tell whether the vendor took it.
    pub(crate) const OUTCOME_UNKNOWN: &str = "outcome_unknown";
    /// The process ended while the call was under way.
    pub(crate) const INTERRUPTED: &str = "interrupted";
    /// The vendor's answer did not name this recipient.
    pub(crate) const NOT_NAMED: &str = "not_named";
    /// The vendor's own history proves that it never arrived.
    pub(crate) const PROVED_ABSENT: &str = "proved_absent";
    /// It was accepted, and the answer told no id: its message stands under our own key.
    pub(crate) const NO_VENDOR_ID: &str = "no_vendor_id";
    /// It was called back before it left.
    pub(crate) const WITHDRAWN: &str = "withdrawn";
    /// Its time ran out.
    pub(crate) const EXPIRED: &str = "expired";
    /// It had failed, and somebody asked for it to be sent again.
    pub(crate) const REDRIVEN: &str = "redriven";
    /// The caller withdrew it.
    pub(crate) const CANCELLED: &str = "cancelled";
}

/// A step of a leg from one of `expect` to `to`, with its status event.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    expect: Vec<SendState>,
    to: SendState,
    attempts: u32,
    next_attempt_at: Timestamp,
    dispatched_at: Option<Timestamp>,
    reason: Option<Reason>,
    carried: Option<Carried>,
    /// The attempt that failed with it.
    failure: Option<FailedAttempt>,
}

impl Step {
    fn new(leg: &Leg, expect: &[SendState], to: SendState) -> Self {
        debug_assert!(expect.iter().all(|from| from.may_become(to)), "{expect:?} -> {to:?}");
        Self {
            expect: expect.to_vec(),
            to,
            attempts: leg.attempts,
            next_attempt_at: leg.next_attempt_at,
            dispatched_at: leg.dispatched_at,
            reason: None,
            carried: None,
            failure: None,
        }
    }

    /// The attempt it ends counts as the message's own, and failed.
    pub(crate) fn bearing(self, failure: FailedAttempt) -> Self {
        Self { failure: Some(failure), ..self }
    }

    /// About to be handed to the vendor.
    pub(crate) fn dispatched(leg: &Leg, now: Timestamp) -> Self {
        Self { dispatched_at: Some(now), ..Self::new(leg, &[SendState::Queued], SendState::Dispatched) }
    }

    /// Back in the queue from `Dispatched` or `InDoubt`: nothing arrived.
    pub(crate) fn requeued(leg: &Leg, attempts: u32, not_before: Timestamp, why: impl Into<Reason>) -> Self {
        Self {
            attempts,
            next_attempt_at: not_before,
            reason: Some(why.into()),
            ..Self::new(leg, &[SendState::Dispatched, SendState::InDoubt], SendState::Queued)
        }
    }

    /// The answer never came. `since` is kept where the next attempt's time stands: the vendor may carry the call out
    /// until shortly after it.
    pub(crate) fn in_doubt(leg: &Leg, since: Timestamp, why: impl Into<Reason>) -> Self {
        Self {
            next_attempt_at: since,
            reason: Some(why.into()),
            ..Self::new(leg, &[SendState::Dispatched], SendState::InDoubt)
        }
    }

    /// The vendor took it. Legal from every open state, since an echo may overtake everything.
    pub(crate) fn accepted(leg: &Leg, carried: Carried) -> Self {
        let open = [SendState::Queued, SendState::Dispatched, SendState::InDoubt];
        let reason = carried.vendor_id.is_none().then(|| reason::NO_VENDOR_ID.to_owned());
        Self { carried: Some(carried), reason, attempts: borne(leg), ..Self::new(leg, &open, SendState::Accepted) }
    }

    /// It will not be sent.
    pub(crate) fn failed(leg: &Leg, attempts: u32, why: impl Into<Reason>) -> Self {
        let open = [SendState::Queued, SendState::Dispatched, SendState::InDoubt];
        Self { attempts, reason: Some(why.into()), ..Self::new(leg, &open, SendState::Failed) }
    }

    /// As [`failed`](Self::failed), of a leg in doubt alone.
    pub(crate) fn unknown(leg: &Leg, now: Timestamp) -> Self {
        let failure = FailedAttempt { at: now, outcome: reason::OUTCOME_UNKNOWN.to_owned(), code: None };
        Self {
            attempts: borne(leg),
            reason: Some(reason::OUTCOME_UNKNOWN.to_owned()),
            failure: Some(failure),
            ..Self::new(leg, &[SendState::InDoubt], SendState::Failed)
        }
    }

    /// Its time ran out before it was sent.
    pub(crate) fn expired(leg: &Leg) -> Self {
        Self { reason: Some(reason::EXPIRED.to_owned()), ..Self::new(leg, &[SendState::Queued], SendState::Expired) }
    }

    /// It was withdrawn before it was sent.
    pub(crate) fn cancelled(leg: &Leg) -> Self {
        Self {
            reason: Some(reason::CANCELLED.to_owned()),
            ..Self::new(leg, &[SendState::Queued], SendState::Cancelled)
        }
    }

    /// It reached (or was read by) its recipient.
    pub(crate) fn received(leg: &Leg, to: SendState) -> Self {
        Self { reason: leg.reason.clone(), ..Self::new(leg, &[leg.state], to) }
    }

    /// Failed, and sent again because somebody has decided so: it has all its attempts again.
    pub(crate) fn redriven(leg: &Leg, now: Timestamp) -> Self {
        Self {
            attempts: 0,
            next_attempt_at: now,
            reason: Some(reason::REDRIVEN.to_owned()),
            ..Self::new(leg, &[SendState::Failed], SendState::Queued)
        }
    }

    /// Where it leads.
    pub(crate) fn to(&self) -> SendState {
        self.to
    }

    /// The change alone with its status event; the message itself is journalled by somebody else.
    pub(crate) fn status_only(self, leg: &Leg, now: Timestamp) -> LegChange {
        let vendor_id = self.carried.as_ref().and_then(|carried| carried.vendor_id.clone());
        let status = Status {
            state: self.to,
            attempts: self.attempts,
            reason: self.reason.clone(),
            vendor_id: vendor_id.clone().or_else(|| leg.vendor_id.clone()),
        };
        let mut drafts = vec![status_draft(Subject::from(leg), status, now)];
        let history = self.history(leg);
        let setback = match self.to {
            SendState::Failed => {
                let letter = dead_letter(leg, self.attempts, history.as_ref(), self.reason.as_deref(), now);
                drafts.push(alert(&letter, None));
                Some(SetbackChange::Put(Box::new(letter)))
            }
            SendState::Queued if self.expect.contains(&SendState::Failed) => {
                Some(SetbackChange::sent_again(&leg.send.tenant, leg.message_id))
            }
            _ => None,
        };
        LegChange {
            tenant: leg.send.tenant.clone(),
            message_id: leg.message_id,
            expect: self.expect,
            to: self.to,
            attempts: self.attempts,
            history,
            next_attempt_at: self.next_attempt_at,
            dispatched_at: self.dispatched_at,
            reason: self.reason,
            vendor_id,
            setback,
            drafts,
        }
    }

    /// All failed attempts, once this one is among them.
    fn history(&self, leg: &Leg) -> Option<FailedAttempts> {
        let failure = self.failure.clone()?;
        let mut history = leg.history.clone();
        history.push(failure);
        Some(history)
    }

    /// The change with its status event and, for an accepted leg, the message itself before it.
    pub(crate) fn change(self, leg: &Leg, now: Timestamp) -> LegChange {
        let message = self.carried.as_ref().map(|carried| message_draft(leg, carried, now));
        let mut change = self.status_only(leg, now);
        if let Some(message) = message {
            change.drafts.insert(0, message);
        }
        change
    }

    /// Brings the copy in memory to where the step led.
    pub(crate) fn apply(&self, leg: &mut Leg) {
        leg.state = self.to;
        leg.attempts = self.attempts;
        leg.next_attempt_at = self.next_attempt_at;
        leg.dispatched_at = self.dispatched_at;
        leg.reason.clone_from(&self.reason);
        if let Some(failure) = &self.failure {
            leg.history.push(failure.clone());
        }
        if let Some(id) = self.carried.as_ref().and_then(|carried| carried.vendor_id.clone()) {
            leg.vendor_id = Some(id);
        }
    }
}

/// Attempts of a leg once the one under way, if one is, has counted.
pub(crate) fn borne(leg: &Leg) -> u32 {
    if leg.state == SendState::Queued { leg.attempts } else { leg.attempts.saturating_add(1) }
}

/// Records the vendor's id of a leg that was accepted without one. No change of state, hence no event.
pub(crate) fn learn_vendor_id(leg: &Leg, id: &VendorMessageId) -> LegChange {
    LegChange {
        tenant: leg.send.tenant.clone(),
        message_id: leg.message_id,
        expect: vec![leg.state],
        to: leg.state,
        attempts: leg.attempts,
        next_attempt_at: leg.next_attempt_at,
        dispatched_at: leg.dispatched_at,
        reason: leg.reason.clone(),
        history: None,
        vendor_id: Some(id.clone()),
        setback: None,
        drafts: Vec::new(),
    }
}

/// What the vendor's answer told of one recipient.
pub(crate) fn carried_by_reply(vendor_id: Option<VendorMessageId>, now: Timestamp) -> Carried {
    Carried { vendor_id, sent_at: now, origin: Origin::Send, sort_key: None }
}
