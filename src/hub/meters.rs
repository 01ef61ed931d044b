//! What the hub counts. No label names a subscriber or a conversation.

use metrics::{Counter, Gauge, counter, gauge};
use switchboard_contract::reception::{DeliveryKind, Why};

use super::found::Run;
use super::step::Told;

pub(super) struct Meters {
    online: Counter,
    offline: Counter,
    historical: Counter,
    redelivered: Counter,
    acked: Counter,
    stale: Counter,
    refused: Counter,
    notices_lost: Counter,
    pub(super) saves: Counter,
    pub(super) save_failures: Counter,
    pub(super) saved_subscribers: Counter,
    lag: Gauge,
    lag_max: Gauge,
    in_flight: Gauge,
    parked: Gauge,
    loaded: Gauge,
    /// Of recent events kept for everybody.
    pub(super) tail_bytes: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        let delivered = |kind: DeliveryKind| counter!("switchboard_hub_deliveries_total", "kind" => kind.as_str());
        Self {
            online: delivered(DeliveryKind::Online),
            offline: delivered(DeliveryKind::Offline),
            historical: delivered(DeliveryKind::Historical),
            redelivered: counter!("switchboard_hub_redeliveries_total"),
            acked: counter!("switchboard_hub_acks_total"),
            stale: counter!("switchboard_hub_stale_acks_total"),
            refused: counter!("switchboard_hub_nacks_total"),
            notices_lost: counter!("switchboard_hub_notices_lost_total"),
            saves: counter!("switchboard_hub_cursor_writes_total"),
            save_failures: counter!("switchboard_hub_cursor_write_failures_total"),
            saved_subscribers: counter!("switchboard_hub_cursors_written_total"),
            lag: gauge!("switchboard_hub_lag"),
            lag_max: gauge!("switchboard_hub_lag_max"),
            in_flight: gauge!("switchboard_hub_in_flight"),
            parked: gauge!("switchboard_hub_parked_conversations"),
            loaded: gauge!("switchboard_hub_subscribers_loaded"),
            tail_bytes: gauge!("switchboard_hub_tail_bytes"),
        }
    }
}

/// Sums over the subscribers in memory.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) lag: u64,
    pub(super) lag_max: u64,
    pub(super) in_flight: usize,
    pub(super) parked: usize,
    pub(super) loaded: usize,
}

impl Meters {
    pub(super) fn delivered(&self, runs: &[Run]) {
        let (mut kinds, mut again) = ([0_u64; 3], 0);
        for run in runs {
            let count = u64::from(run.count);
            kinds[run.kind as usize] += count;
            again += if run.attempt > 1 { count } else { 0 };
        }
        for (counter, count) in [&self.online, &self.offline, &self.historical].into_iter().zip(kinds) {
            if count > 0 {
                counter.increment(count);
            }
        }
        if again > 0 {
            self.redelivered.increment(again);
        }
    }

    pub(super) fn acked(&self, acked: usize, stale: usize) {
        self.acked.increment(acked as u64);
        if stale > 0 {
            self.stale.increment(stale as u64);
        }
    }

    pub(super) fn nacked(&self, count: usize) {
        self.refused.increment(count as u64);
    }

    pub(super) fn told(&self, told: &Told) {
        let word = match told {
            Told::Aside(record) if record.why == Why::Redriving => return,
            Told::Aside(record) => record.why.as_str(),
            Told::Skipped { .. } => "skipped",
            Told::Restored(_) => "restored",
        };
        counter!("switchboard_hub_set_aside_total", "reason" => word).increment(1);
    }

    pub(super) fn notice_lost(&self) {
        self.notices_lost.increment(1);
    }

    pub(super) fn show(&self, sums: &Sums) {
        self.lag.set(sums.lag as f64);
        self.lag_max.set(sums.lag_max as f64);
        self.in_flight.set(sums.in_flight as f64);
        self.parked.set(sums.parked as f64);
        self.loaded.set(sums.loaded as f64);
    }
}
