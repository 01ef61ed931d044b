//! How often a device must show that it is there: less and less often while its network bears it, more often again
//! after it was lost.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_contract::UserId;

use crate::proto::Network;

/// Bounds of the interval.
#[derive(Clone, Copy, Debug)]
pub struct CadenceConfig {
    /// Where a device on a network begins.
    pub start: Duration,
    /// The shortest.
    pub least: Duration,
    /// The longest on a network that keeps idle connections for long.
    pub most: Duration,
    /// The longest on a cellular network, whose gateways forget idle connections sooner.
    pub most_cellular: Duration,
    /// What is added after [`calm`](Self::calm) heartbeats in time.
    pub step: Duration,
    /// So many heartbeats in a row lengthen it.
    pub calm: u32,
}

impl Default for CadenceConfig {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            least: Duration::from_secs(15),
            most: Duration::from_secs(300),
            most_cellular: Duration::from_secs(180),
            step: Duration::from_secs(30),
            calm: 3,
        }
    }
}

/// The interval of one device on one network.
#[derive(Clone, Copy, Debug)]
pub struct Cadence {
    interval: Duration,
    in_time: u32,
}

impl Cadence {
    /// Begins.
    pub fn new(config: &CadenceConfig) -> Self {
        Self { interval: config.start.max(config.least), in_time: 0 }
    }

    /// The interval now.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// A heartbeat came in time.
    pub fn beat(&mut self, config: &CadenceConfig, network: Network) {
        let most = if network == Network::Cellular { config.most_cellular } else { config.most };
        self.in_time += 1;
        if self.in_time >= config.calm {
            self.in_time = 0;
            self.interval = (self.interval + config.step).min(most.max(config.least));
        }
        self.interval = self.interval.min(most.max(config.least));
    }

    /// The device fell silent.
    pub fn lost(&mut self, config: &CadenceConfig) {
        self.in_time = 0;
        self.interval = (self.interval / 2).max(config.least);
    }
}

/// What was learned of devices on their networks; all of it is forgotten when it is too much.
#[derive(Debug, Default)]
pub(super) struct Cadences(Mutex<HashMap<(UserId, String, Network), Cadence>>);

const REMEMBERED: usize = 100_000;

impl Cadences {
    pub(super) fn of(&self, user: &UserId, device: &str, network: Network, config: &CadenceConfig) -> Cadence {
        let known = self.0.lock().get(&(user.clone(), device.to_owned(), network)).copied();
        known.unwrap_or_else(|| Cadence::new(config))
    }

    pub(super) fn keep(&self, user: &UserId, device: &str, network: Network, cadence: Cadence) {
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert((user.clone(), device.to_owned(), network), cadence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c8_the_interval_grows_while_all_is_well_and_halves_after_a_loss() {
        let config = CadenceConfig::default();
        let mut cadence = Cadence::new(&config);
        let mut seen = vec![cadence.interval().as_secs()];
        for _ in 0..30 {
            cadence.beat(&config, Network::Wifi);
            seen.push(cadence.interval().as_secs());
        }
        seen.dedup();
        assert_eq!(seen, [60, 90, 120, 150, 180, 210, 240, 270, 300]);
        cadence.beat(&config, Network::Cellular);
        assert_eq!(cadence.interval().as_secs(), 180, "another network has another bound");
        for expected in [90, 45, 22, 15, 15] {
            cadence.lost(&config);
            assert_eq!(cadence.interval().as_secs(), expected);
        }
    }
}
