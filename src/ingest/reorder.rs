//! The reorder window: events of a conversation wait a moment, so that those whose order the vendor's delivery mixed up
//! come out in the order of the vendor's clock.
//!
//! Two events received within the window of each other come out in order. Whatever arrives later than that goes on as
//! it comes, marked late. What waits stands in the inbox, which a crash leaves as it is. No I/O here, and no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use switchboard_contract::{App, InboundData, InboundPlace, TenantId, Timestamp};

use super::offsets::Offsets;
use super::work::Item;

/// A conversation as the vendor names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    app: App,
    name: Box<str>,
}

/// The vendor's order: time, messages before what is said about them, the adapter's sort key, arrival.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    sent_at: Timestamp,
    about: bool,
    sort_key: Box<str>,
    arrival: u64,
}

/// Which waits the longest: by reception, then arrival.
type Turn = (Timestamp, u64);

/// What waits of one tenant.
#[derive(Debug, Default)]
struct Share {
    places: HashMap<Place, BTreeMap<Order, Item>>,
    turns: BTreeMap<Turn, (Place, Order)>,
    records: Offsets,
}

/// The events that wait, of all tenants.
#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    /// Events of one tenant.
    max_held: usize,
    arrivals: u64,
    tenants: HashMap<TenantId, Share>,
}

impl Window {
    pub(super) fn new(length: Duration, max_held: usize) -> Self {
        Self { length, max_held, arrivals: 0, tenants: HashMap::new() }
    }

    /// Takes an event of a conversation. What has no conversation has no order either, and comes back at once; so does,
    /// in order, what the bound of its tenant pushes out before its time.
    pub(super) fn take(&mut self, item: Item, out: &mut VecDeque<Item>) {
        let Some(place) = Place::of(&item) else { return out.push_back(item) };
        self.arrivals += 1;
        let order = Order::of(&item, self.arrivals);
        let share = self.tenants.entry(item.source.address.tenant.clone()).or_default();
        share.turns.insert((item.parcel.raw.received_at, self.arrivals), (place.clone(), order.clone()));
        share.records.add(item.parcel.offset);
        share.places.entry(place).or_default().insert(order, item);
        while share.turns.len() > self.max_held {
            metrics::counter!("switchboard_ingest_reorder_cut_short_total").increment(1);
            share.let_first_go(out);
        }
    }

    /// Lets everything go whose time has come, in order. `reached` says up to which reception all of a tenant's
    /// callbacks have been taken; `now` is the time.
    pub(super) fn release(
        &mut self,
        reached: impl Fn(&TenantId) -> Timestamp,
        now: Timestamp,
        out: &mut VecDeque<Item>,
    ) {
        let length = self.length;
        self.tenants.retain(|tenant, share| {
            let reached = reached(tenant);
            while let Some(((received_at, _), _)) = share.turns.first_key_value() {
                // One that is ahead of the clock was received before the clock was set back.
                if *received_at + length > reached && *received_at <= now {
                    break;
                }
                share.let_first_go(out);
            }
            !share.turns.is_empty()
        });
    }

    /// Lets everything go.
    pub(super) fn clear(&mut self, out: &mut VecDeque<Item>) {
        for (_, mut share) in self.tenants.drain() {
            while !share.turns.is_empty() {
                share.let_first_go(out);
            }
        }
    }

    /// How long until the time of the next event comes, `None` when nothing waits of the tenants asked for.
    pub(super) fn next(&self, now: Timestamp, of: impl Fn(&TenantId) -> bool) -> Option<Duration> {
        let shares = self.tenants.iter().filter(|(tenant, _)| of(tenant));
        let first = shares.filter_map(|(_, share)| share.turns.keys().next()).min()?;
        // Whatever the clock does, nobody waits longer than that.
        Some(
            (first.0 + self.length)
                .since(now)
                .clamp(Duration::from_millis(1), self.length.max(Duration::from_millis(1))),
        )
    }

    /// The first record of which something waits.
    pub(super) fn low_water(&self) -> Option<u64> {
        self.tenants.values().filter_map(|share| share.records.first()).min()
    }

    /// How many events wait.
    pub(super) fn events(&self) -> usize {
        self.tenants.values().map(|share| share.turns.len()).sum()
    }
}

impl Share {
    /// Lets the event go that has waited longest, behind those that come before it in its conversation.
    fn let_first_go(&mut self, out: &mut VecDeque<Item>) {
        let Some((_, (place, last))) = self.turns.pop_first() else { return };
        let Some(items) = self.places.get_mut(&place) else { return };
        while let Some(first) = items.first_entry() {
            if *first.key() > last {
                break;
            }
            let (order, item) = first.remove_entry();
            self.turns.remove(&(item.parcel.raw.received_at, order.arrival));
            self.records.remove(item.parcel.offset);
            out.push_back(item);
        }
        if items.is_empty() {
            self.places.remove(&place);
        }
    }
}

impl Place {
    fn of(item: &Item) -> Option<Self> {
        let name = match &item.inbound.place {
            InboundPlace::Direct { from, to } => {
                let (one, other) = if from <= to { (from, to) } else { (to, from) };
                format!("d{one}\0{other}")
            }
            InboundPlace::System { from, to } => format!("s{from}\0{to}"),
            InboundPlace::Group { group, channel } => format!("g{group}\0{}", channel.as_deref().unwrap_or_default()),
            // Told as either, it may be told as itself the next time.
            InboundPlace::Room { room: id } | InboundPlace::GroupOrRoom { id } => format!("g{id}\0"),
            InboundPlace::Nowhere => return None,
        };
        Some(Self { app: item.source.address.app.clone(), name: name.into() })
    }
}

impl Order {
    fn of(item: &Item, arrival: u64) -> Self {
        let message = matches!(item.inbound.data, InboundData::Message(_) | InboundData::Offline { .. });
        Self {
            sent_at: item.inbound.sent_at,
            about: !message,
            sort_key: item.inbound.sort_key.as_str().into(),
            arrival,
        }
    }
}
