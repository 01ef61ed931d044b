//! The vendor's quotas, kept exactly: both calls and units over a sliding window, by kind of conversation.
//!
//! A call counts from the moment it leaves until a window after the vendor can have counted it, which is when its
//! answer came (or the margin passed). So the vendor's window, sliding or fixed, never holds more than it admits,
//! and a full window is used at once rather than spread. A token bucket cannot promise that: over a boundary it
//! admits its burst and its refill.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use switchboard_contract::{Quota, TenantId, Timestamp};

/// The release of a call that is reserved and has not left.
const NOT_YET: Timestamp = Timestamp(i64::MAX);

/// A call that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// How finely the vendor's clock may cut: a slot is free only once the window has surely passed.
const GRAIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Slot {
    units: u32,
    tenant: TenantId,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    calls: u32,
    units: u32,
}

#[derive(Debug)]
struct Window {
    quota: Quota,
    margin: Duration,
    slots: BTreeMap<(Timestamp, Ticket), Slot>,
    releases: HashMap<Ticket, Timestamp>,
    used: Used,
    by_tenant: HashMap<TenantId, Used>,
}

impl Window {
    fn new(quota: Quota, margin: f64) -> Self {
        Self {
            quota,
            margin: quota.per.mul_f64(margin),
            slots: BTreeMap::new(),
            releases: HashMap::new(),
            used: Used::default(),
            by_tenant: HashMap::new(),
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.slots.first_entry() {
            let (release, ticket) = *first.key();
            if release > now {
                break;
            }
            let slot = first.remove();
            self.releases.remove(&ticket);
            self.used.calls -= 1;
            self.used.units -= slot.units;
            if let Some(used) = self.by_tenant.get_mut(&slot.tenant) {
                used.calls -= 1;
                used.units -= slot.units;
                if used.calls == 0 {
                    self.by_tenant.remove(&slot.tenant);
                }
            }
        }
    }

    /// Units one more call of this tenant may carry now; 0 for none.
    fn room(&self, tenant: &TenantId, reserve: f64) -> u32 {
        let own = self.by_tenant.get(tenant).copied().unwrap_or_default();
        let left = |limit: Option<u32>, used: u32, own: u32| {
            let Some(limit) = limit else { return u32::MAX };
            // The share kept for others never takes the last call from a tenant that has none.
            let share = ((f64::from(limit) * (1.0 - reserve)) as u32).max(1);
            limit.saturating_sub(used).min(share.saturating_sub(own))
        };
        if left(self.quota.calls, self.used.calls, own.calls) == 0 {
            return 0;
        }
        left(self.quota.units, self.used.units, own.units)
    }

    fn reserve(&mut self, ticket: Ticket, tenant: &TenantId, units: u32) {
        self.slots.insert((NOT_YET, ticket), Slot { units, tenant: tenant.clone() });
        self.releases.insert(ticket, NOT_YET);
        self.used.calls += 1;
        self.used.units += units;
        let own = self.by_tenant.entry(tenant.clone()).or_default();
        own.calls += 1;
        own.units += units;
    }

    fn left(&mut self, ticket: Ticket, now: Timestamp) {
        self.release(ticket, now + self.quota.per + self.margin + GRAIN);
    }

    fn answered(&mut self, ticket: Ticket, now: Timestamp) {
        self.release(ticket, now + self.quota.per + GRAIN);
    }

    /// Only ever earlier than known.
    fn release(&mut self, ticket: Ticket, at: Timestamp) {
        let Some(known) = self.releases.get_mut(&ticket) else { return };
        if at < *known
            && let Some(slot) = self.slots.remove(&(*known, ticket))
        {
            *known = at;
            self.slots.insert((at, ticket), slot);
        }
    }

    fn release_after(&self, now: Timestamp) -> Option<Timestamp> {
        let later = self.slots.range((now, Ticket(u64::MAX))..);
        later.map(|((release, _), _)| *release).find(|release| *release > now && *release != NOT_YET)
    }
}

/// Quotas by kind `K` of call, and the pauses the vendor asked for.
#[derive(Debug)]
pub(crate) struct Quotas<K> {
    windows: Vec<(K, Window)>,
    paused: HashMap<K, Timestamp>,
    tickets: u64,
    reserve: f64,
}

impl<K: Copy + Eq + Hash> Quotas<K> {
    /// `margin` is the part of a window by which a call may be counted late; `reserve` the part of a window one
    /// tenant leaves to others while there are several.
    pub(crate) fn new(quotas: &[(K, Quota)], margin: f64, reserve: f64) -> Self {
        Self {
            windows: quotas.iter().map(|(kind, quota)| (*kind, Window::new(*quota, margin))).collect(),
            paused: HashMap::new(),
            tickets: 0,
            reserve,
        }
    }

    /// Units (recipients, groups) one more call of `tenant` of this kind may carry now; 0 for none. `several` says
    /// whether other tenants share the quota.
    pub(crate) fn room(&mut self, kind: K, tenant: &TenantId, several: bool, now: Timestamp) -> u32 {
        if self.is_paused(kind, now) {
            return 0;
        }
        let reserve = if several { self.reserve } else { 0.0 };
        self.of(kind)
            .map(|window| {
                window.forget(now);
                window.room(tenant, reserve)
            })
            .min()
            .unwrap_or(u32::MAX)
    }

    /// Sets room aside for a call that is about to leave.
    pub(crate) fn reserve(&mut self, kind: K, tenant: &TenantId, units: u32) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.of(kind).for_each(|window| window.reserve(ticket, tenant, units));
        ticket
    }

    /// The call leaves now.
    pub(crate) fn left(&mut self, kind: K, ticket: Ticket, now: Timestamp) {
        self.of(kind).for_each(|window| window.left(ticket, now));
    }

    /// The answer of a call came: the vendor counted it no later than now.
    pub(crate) fn answered(&mut self, kind: K, ticket: Ticket, now: Timestamp) {
        self.of(kind).for_each(|window| window.answered(ticket, now));
    }

    /// The call was not made.
    pub(crate) fn cancel(&mut self, kind: K, ticket: Ticket) {
        self.of(kind).for_each(|window| {
            window.release(ticket, Timestamp(i64::MIN));
            window.forget(Timestamp(i64::MIN));
        });
    }

    /// The vendor refused for its rate: nothing more of this kind until then.
    pub(crate) fn pause(&mut self, kind: K, until: Timestamp) {
        let known = self.paused.entry(kind).or_insert(until);
        *known = (*known).max(until);
    }

    /// Whether the vendor asked for a pause that is not over.
    pub(crate) fn is_paused(&self, kind: K, now: Timestamp) -> bool {
        self.paused.get(&kind).is_some_and(|until| *until > now)
    }

    /// When room can next appear for this kind by itself; `None` when only an answer can make some.
    pub(crate) fn next_room(&self, kind: K, now: Timestamp) -> Option<Timestamp> {
        if let Some(until) = self.paused.get(&kind).filter(|until| **until > now) {
            return Some(*until);
        }
        self.windows.iter().filter(|(of, _)| *of == kind).filter_map(|(_, window)| window.release_after(now)).min()
    }

    fn of(&mut self, kind: K) -> impl Iterator<Item = &mut Window> {
        self.windows.iter_mut().filter(move |(of, _)| *of == kind).map(|(_, window)| window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switchboard_contract::ConversationKind;

    use super::*;

    fn take(quotas: &mut Quotas<ConversationKind>, tenant: &TenantId, units: u32, now: Timestamp) -> Ticket {
        let ticket = quotas.reserve(DIRECT, tenant, units);
        quotas.left(DIRECT, ticket, now);
        ticket
    }

    const DIRECT: ConversationKind = ConversationKind::Direct;

    fn quota(calls: Option<u32>, units: Option<u32>, seconds: u64) -> (ConversationKind, Quota) {
        (DIRECT, Quota { calls, units, per: Duration::from_secs(seconds) })
    }

    #[test]
    fn a_kind_without_a_quota_is_never_held() {
        let mut quotas = Quotas::new(&[quota(Some(1), None, 1)], 0.0, 0.0);
        let tenant = TenantId::default();
        assert_eq!(quotas.room(ConversationKind::Group, &tenant, false, Timestamp(0)), u32::MAX);
        take(&mut quotas, &tenant, 1, Timestamp(0));
        assert_eq!(quotas.room(DIRECT, &tenant, false, Timestamp(1000)), 0);
        assert_eq!(quotas.next_room(DIRECT, Timestamp(0)), Some(Timestamp(1001)));
        assert_eq!(quotas.room(DIRECT, &tenant, false, Timestamp(1001)), u32::MAX);
    }

    #[test]
    fn i11_one_tenant_cannot_use_up_a_window_it_shares() {
        let mut quotas = Quotas::new(&[quota(Some(10), Some(100), 60)], 0.0, 0.2);
        let (greedy, modest) = (TenantId::from("greedy"), TenantId::from("modest"));
        let mut calls = 0;
        while quotas.room(DIRECT, &greedy, true, Timestamp(0)) > 0 {
            take(&mut quotas, &greedy, 10, Timestamp(0));
            calls += 1;
        }
        assert_eq!(calls, 8);
        assert_eq!(quotas.room(DIRECT, &modest, true, Timestamp(0)), 20);
        assert_eq!(quotas.room(DIRECT, &greedy, false, Timestamp(0)), 20, "alone, it may have all");
    }

    #[test]
    fn a_reservation_holds_room_until_its_call_left_or_was_given_up() {
        let mut quotas = Quotas::new(&[quota(Some(1), None, 1)], 0.0, 0.0);
        let tenant = TenantId::default();
        let ticket = quotas.reserve(DIRECT, &tenant, 1);
        assert_eq!(quotas.room(DIRECT, &tenant, false, Timestamp(1_000_000)), 0);
        assert_eq!(quotas.next_room(DIRECT, Timestamp(0)), None);
        quotas.cancel(DIRECT, ticket);
        assert_eq!(quotas.room(DIRECT, &tenant, false, Timestamp(0)), u32::MAX);
    }

    #[test]
    fn a_pause_is_never_shortened() {
        let mut quotas = Quotas::<ConversationKind>::new(&[], 0.0, 0.0);
        quotas.pause(DIRECT, Timestamp(500));
        quotas.pause(DIRECT, Timestamp(200));
        assert_eq!(quotas.room(DIRECT, &TenantId::default(), false, Timestamp(499)), 0);
        assert_eq!(quotas.room(DIRECT, &TenantId::default(), false, Timestamp(500)), u32::MAX);
    }

    proptest! {
        /// Whatever the latencies below the margin, no window of the vendor, sliding or fixed, holds too much.
        #[test]
        fn the_vendor_never_counts_too_much(
            steps in proptest::collection::vec((0i64..300, 1u32..8, 0i64..40), 1..300),
        ) {
            let mut quotas = Quotas::new(&[quota(Some(5), None, 1), quota(None, Some(20), 3)], 0.04, 0.0);
            let tenant = TenantId::default();
            let mut now = Timestamp(0);
            let mut open: Vec<(Timestamp, Ticket)> = Vec::new();
            let mut counted: Vec<(i64, u32)> = Vec::new();
            for (gap, units, latency) in steps {
                now = now + Duration::from_millis(gap.unsigned_abs());
                open.retain(|(at, ticket)| {
                    if *at <= now { quotas.answered(DIRECT, *ticket, *at); }
                    *at > now
                });
                let room = quotas.room(DIRECT, &tenant, false, now);
                if room == 0 { continue; }
                let units = units.min(room);
                let ticket = take(&mut quotas, &tenant, units, now);
                // The vendor counts it at some moment before the answer.
                counted.push((now.0 + latency, units));
                open.push((now + Duration::from_millis(latency.unsigned_abs()), ticket));
            }
            for (at, _) in &counted {
                let calls = counted.iter().filter(|(other, _)| (*at..*at + 1000).contains(other)).count();
                let units: u32 =
                    counted.iter().filter(|(other, _)| (*at..*at + 3000).contains(other)).map(|(_, units)| units).sum();
                prop_assert!(calls <= 5 && units <= 20, "{calls} calls, {units} units from {at}");
            }
        }
    }
}
