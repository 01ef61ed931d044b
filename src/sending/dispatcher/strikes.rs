//! Messages whose calls look like an outage of the whole app.

use switchboard_contract::storage::Leg;

use super::Dispatcher;

/// Messages remembered of which a call ended with the failure of the whole app.
const MAX_STRIKES: usize = 4096;

/// Such failures of one message that are the app's when no other message could tell: far more than an outage brings,
/// since in an outage no probe is answered and nothing is tried.
const LONE_STRIKES: u32 = 100;

/// A message whose call ended with the failure of the whole app.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    /// Calls that had got through by then.
    successes: u64,
    count: u32,
}

impl Dispatcher {
    /// Whether a message bears what looks like a failure of the whole app: it does when others got through since the
    /// last time its call ended that way, and in the end also without others. Otherwise one message that the vendor
    /// never answers would keep its app paused for ever.
    pub(super) fn is_at_fault(&mut self, leg: &Leg) -> bool {
        if self.strikes.len() >= MAX_STRIKES {
            // Those forgotten are given another chance.
            self.strikes.clear();
        }
        let strike = self.strikes.entry(leg.message_id).or_insert(Strike { successes: self.successes, count: 0 });
        strike.count += 1;
        let others = std::mem::replace(&mut strike.successes, self.successes) < self.successes;
        others || strike.count > LONE_STRIKES
    }
}
