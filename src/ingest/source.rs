//! The providers whose callbacks are received.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};
use parking_lot::Mutex;
use switchboard_contract::storage::Appended;
use switchboard_contract::{EventKey, FixedVerdict, Origin, Provider, ProviderId, Timestamp};
use tokio::sync::watch;

use super::record::Address;

/// Names of unknown kinds counted for one provider; further ones count as `other`.
const KINDS: usize = 64;

/// One registered provider.
pub(super) struct Source {
    pub(super) address: Address,
    /// `address`, encoded.
    pub(super) encoded: Bytes,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) verdict: FixedVerdict,
    pub(super) accepted: Counter,
    pub(super) replies: Histogram,
    appended: [Counter; 4],
    kinds: Mutex<HashSet<String>>,
    /// Since when callbacks are being refused with 503, 0 when they are not, and how many were.
    refused_since: AtomicI64,
    refused: AtomicU64,
    arrivals: Meter,
    /// Whether `again` holds any time at all.
    asked_again: AtomicBool,
    again: Mutex<Again>,
}

/// What came of an app's callbacks since it was registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Callbacks accepted.
    pub accepted: u64,
    /// Callbacks answered otherwise, which the vendor takes for failures.
    pub refused: u64,
    /// When the last one was accepted, by our clock.
    pub last: Option<Timestamp>,
    /// The longest wait between two that were accepted, since this was last asked for.
    pub longest_gap: Duration,
}

/// The same, being counted.
#[derive(Debug, Default)]
struct Meter {
    accepted: AtomicU64,
    refused: AtomicU64,
    last: AtomicI64,
    longest_gap: AtomicI64,
}

/// Callbacks that the vendor was asked to send again: those of these times, and which came.
#[derive(Debug, Default)]
struct Again {
    spans: Vec<(Timestamp, Timestamp)>,
    came: HashSet<EventKey>,
    arrived: u64,
}

/// What came of callbacks that the vendor was asked to send again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CameAgain {
    /// Different ones: the vendor also tries those again that it sends again.
    pub(crate) callbacks: u64,
    /// Each time one came.
    pub(crate) arrivals: u64,
}

/// Callbacks were refused because they could not be kept; the vendor may not try them again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusals {
    pub(super) since: Timestamp,
    pub(super) count: u64,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Source {
    fn new(address: Address, provider: Arc<dyn Provider>, verdict: FixedVerdict) -> Self {
        let alias = address.alias.as_str().to_owned();
        let appended = |outcome: &'static str| counter!("switchboard_ingest_events_total", "provider" => alias.clone(), "outcome" => outcome);
        Self {
            encoded: address.encode(),
            verdict,
            accepted: counter!(
                "switchboard_ingest_callbacks_total", "provider" => alias.clone(), "outcome" => "accepted"
            ),
            replies: histogram!("switchboard_ingest_reply_seconds", "provider" => alias.clone()),
            appended: [appended("fresh"), appended("known"), appended("variant"), appended("conflict")],
            kinds: Mutex::default(),
            refused_since: AtomicI64::new(0),
            refused: AtomicU64::new(0),
            arrivals: Meter::default(),
            asked_again: AtomicBool::new(false),
            again: Mutex::default(),
            address,
            provider,
        }
    }

    pub(super) fn alias(&self) -> &ProviderId {
        &self.address.alias
    }

    /// Counts a callback that was not simply accepted.
    pub(super) fn count(&self, outcome: &'static str) {
        let alias = self.alias().as_str().to_owned();
        counter!("switchboard_ingest_callbacks_total", "provider" => alias, "outcome" => outcome).increment(1);
    }

    pub(super) fn count_appended(&self, appended: &Appended) {
        let at = match appended {
            Appended::Fresh { .. } => 0,
            Appended::Known { .. } => 1,
            Appended::Variant { .. } => 2,
            Appended::Conflict { .. } => 3,
        };
        self.appended[at].increment(1);
    }

    /// Counts an event that was not understood, under its kind while kinds are few.
    pub(super) fn count_unknown(&self, kind: &str) {
        let kind: String = kind.chars().take(48).collect();
        let mut kinds = self.kinds.lock();
        let label = if kinds.contains(&kind) {
            kind
        } else if kinds.len() < KINDS {
            kinds.insert(kind.clone());
            kind
        } else {
            "other".to_owned()
        };
        drop(kinds);
        let alias = self.alias().as_str().to_owned();
        counter!("switchboard_ingest_unknown_events_total", "provider" => alias, "kind" => label).increment(1);
    }

    /// A callback was accepted.
    pub(super) fn arrived(&self, at: Timestamp) {
        self.accepted.increment(1);
        let meter = &self.arrivals;
        meter.accepted.fetch_add(1, Ordering::Relaxed);
        let before = meter.last.fetch_max(at.0, Ordering::Relaxed);
        if before > 0 {
            meter.longest_gap.fetch_max(at.0 - before, Ordering::Relaxed);
        }
    }

    /// A callback was answered with what the vendor takes for a failure.
    pub(super) fn failed(&self) {
        self.arrivals.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn arrivals(&self) -> Arrivals {
        let meter = &self.arrivals;
        let longest = u64::try_from(meter.longest_gap.swap(0, Ordering::Relaxed)).unwrap_or(0);
        Arrivals {
            accepted: meter.accepted.load(Ordering::Relaxed),
            refused: meter.refused.load(Ordering::Relaxed),
            last: Some(Timestamp(meter.last.load(Ordering::Relaxed))).filter(|at| at.0 > 0),
            longest_gap: Duration::from_millis(longest),
        }
    }

    /// Callbacks of these times are those the vendor was asked to send again, until this is called once more. What came
    /// counts on, unless nothing is expected any more.
    pub(super) fn expect_again(&self, spans: Vec<(Timestamp, Timestamp)>) {
        self.asked_again.store(!spans.is_empty(), Ordering::Relaxed);
        let mut again = self.again.lock();
        if spans.is_empty() {
            *again = Again::default();
        } else {
            again.spans = spans;
        }
    }

    /// What came of those.
    pub(super) fn came_again(&self) -> CameAgain {
        let again = self.again.lock();
        CameAgain { callbacks: again.came.len() as u64, arrivals: again.arrived }
    }

    fn is_again(&self, sent_at: Timestamp) -> bool {
        self.asked_again.load(Ordering::Relaxed)
            && self.again.lock().spans.iter().any(|(since, until)| (*since..*until).contains(&sent_at))
    }

    /// How an event that came as a callback reached us.
    pub(super) fn origin(&self, sent_at: Timestamp) -> Origin {
        if self.is_again(sent_at) { Origin::Reissue } else { Origin::Callback }
    }

    /// Events of this callback's time are journalled.
    pub(super) fn journalled(&self, key: &EventKey, sent_at: Timestamp) {
        if self.is_again(sent_at) {
            let mut again = self.again.lock();
            again.arrived += 1;
            again.came.insert(key.clone());
        }
    }

    /// A callback was answered 503. Returns how many were since the last that was accepted.
    pub(super) fn refuse(&self, now: Timestamp) -> u64 {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = self.refused_since.compare_exchange(0, now.0.max(1), Ordering::AcqRel, Ordering::Relaxed);
        refused
    }

    /// A callback was accepted: gives the refusals before it, once.
    pub(super) fn accept(&self) -> Option<Refusals> {
        if self.refused_since.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.refused_since.swap(0, Ordering::AcqRel) {
            0 => None,
            since => Some(Refusals { since: Timestamp(since), count: self.refused.swap(0, Ordering::AcqRel) }),
        }
    }
}

/// All registered providers. Reading takes no lock.
#[derive(Debug, Default)]
pub(super) struct Sources {
    by_alias: ArcSwap<HashMap<ProviderId, Arc<Source>>>,
    registered: watch::Sender<u64>,
}

impl Sources {
    pub(super) fn register(&self, address: Address, provider: Arc<dyn Provider>, verdict: FixedVerdict) {
        let source = Arc::new(Source::new(address, provider, verdict));
        self.by_alias.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(source.alias().clone(), source.clone());
            known
        });
        self.registered.send_modify(|count| *count += 1);
    }

    pub(super) fn by_alias(&self, alias: &ProviderId) -> Option<Arc<Source>> {
        self.by_alias.load().get(alias).cloned()
    }

    /// Whoever decodes what once came to this address: the alias may have changed, the app may not.
    pub(super) fn by_address(&self, address: &Address) -> Option<Arc<Source>> {
        let known = self.by_alias.load();
        let same = |source: &&Arc<Source>| source.address.tenant == address.tenant && source.address.app == address.app;
        known.get(&address.alias).filter(same).or_else(|| known.values().find(same)).cloned()
    }

    /// Changes with every registration.
    pub(super) fn registered(&self) -> watch::Receiver<u64> {
        self.registered.subscribe()
    }
}
