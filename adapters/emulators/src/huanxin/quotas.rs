//! Rates per AppKey, and the split the vendor makes between too many calls (429) and too many messages (403).

use std::collections::HashMap;

use super::error::ApiError;
use super::settings::{QuotaSettings, Rate};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

/// Windows in progress.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    windows: HashMap<String, (i64, u64)>,
}

/// The documented rate of a name.
fn built_in(name: &str) -> Rate {
    let (limit, window_ms) = match name {
        "token" => (300, SECOND),
        "presence" | "room_create" => (50, SECOND),
        "history" => (10, MINUTE),
        "bulk_delete_users" => (30, SECOND),
        "delete_conversation" => (5, MINUTE),
        "send_users_messages" => (6_000, MINUTE),
        "send_groups" | "send_groups_messages" => (20, SECOND),
        "broadcast" => (1, 30 * MINUTE),
        "broadcast_day" => (3, DAY),
        "broadcast_online" => (1, MINUTE),
        "broadcast_online_day" => (50, DAY),
        "broadcast_rooms" => (10, MINUTE),
        "broadcast_rooms_day" => (100, DAY),
        _ => (100, SECOND),
    };
    Rate { limit, window_ms }
}

impl Quotas {
    /// Takes `cost` from the window of `key` under the rate `name`. The counter is compared before the cost is
    /// added: the vendor's example (3 groups by 7 calls pass, the 8th is refused, at 20 a second) reads so.
    pub(crate) fn take(&mut self, settings: &QuotaSettings, name: &str, key: &str, cost: u64, now_ms: i64) -> bool {
        if !settings.enabled {
            return true;
        }
        let rate = settings.rates.get(name).copied().unwrap_or_else(|| built_in(name));
        let window = now_ms.div_euclid(rate.window_ms.max(1));
        let slot = self.windows.entry(key.to_owned()).or_insert((window, 0));
        if slot.0 != window {
            *slot = (window, 0);
        }
        if slot.1 >= rate.limit {
            return false;
        }
        slot.1 += cost;
        true
    }

    /// A call; refused with 429.
    pub(crate) fn call(
        &mut self,
        settings: &QuotaSettings,
        name: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<(), ApiError> {
        if self.take(settings, name, key, 1, now_ms) { Ok(()) } else { Err(ApiError::rate()) }
    }

    /// Messages; refused with 403 "message send reach limit".
    pub(crate) fn messages(
        &mut self,
        settings: &QuotaSettings,
        name: &str,
        count: u64,
        now_ms: i64,
    ) -> Result<(), ApiError> {
        if self.take(settings, name, name, count, now_ms) { Ok(()) } else { Err(ApiError::message_limit()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_groups_by_seven_calls_pass_and_the_eighth_does_not() {
        let (mut quotas, settings) = (Quotas::default(), QuotaSettings::default());
        let results: Vec<bool> =
            (0..8).map(|_| quotas.messages(&settings, "send_groups_messages", 3, 500).is_ok()).collect();
        assert_eq!(results, [true, true, true, true, true, true, true, false]);
        assert!(quotas.messages(&settings, "send_groups_messages", 3, 1_000).is_ok());
    }

    #[test]
    fn daily_counters_start_at_midnight_utc() {
        let (mut quotas, settings) = (Quotas::default(), QuotaSettings::default());
        let midnight = 1_795_219_200_000;
        assert_eq!(midnight % DAY, 0);
        let taken = (0..4).map(|n| quotas.call(&settings, "broadcast_day", "b", midnight - 1 - n).is_ok());
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, true, false]);
        assert!(quotas.call(&settings, "broadcast_day", "b", midnight).is_ok());
    }
}
