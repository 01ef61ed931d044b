//! Fixed-window counters behind the vendor's 429.

use std::collections::HashMap;

use super::reply::Refusal;

/// Distinct counters kept before finished windows are forgotten.
const PRUNE_ABOVE: usize = 4096;

/// A number of permits per window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    count: u32,
    window_ms: i64,
}

impl Quota {
    pub(crate) fn per_second(count: u32) -> Self {
        Self { count, window_ms: 1000 }
    }

    pub(crate) fn per_minute(count: u32) -> Self {
        Self { count, window_ms: 60_000 }
    }

    pub(crate) fn per_hour(count: u32) -> Self {
        Self { count, window_ms: 3_600_000 }
    }

    pub(crate) fn per_day(count: u32) -> Self {
        Self { count, window_ms: 86_400_000 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Window {
    ends_ms: i64,
    used: u32,
}

/// All counters of one app.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    windows: HashMap<String, Window>,
}

impl Quotas {
    /// Takes `cost` permits from every named quota, or from none.
    ///
    /// # Errors
    /// 1008 when one of them has too few left.
    pub(crate) fn take(&mut self, wants: &[(&str, Quota)], cost: u32, now_ms: i64) -> Result<(), Refusal> {
        if self.windows.len() > PRUNE_ABOVE {
            self.windows.retain(|_, window| window.ends_ms > now_ms);
        }
        let fits = wants.iter().all(|(name, quota)| {
            let used = self.windows.get(*name).filter(|window| window.ends_ms > now_ms).map_or(0, |w| w.used);
            used.saturating_add(cost) <= quota.count
        });
        if !fits {
            return Err(Refusal::too_frequent());
        }
        for (name, quota) in wants {
            let fresh = Window { ends_ms: (now_ms.div_euclid(quota.window_ms) + 1) * quota.window_ms, used: 0 };
            let window = self.windows.entry((*name).to_owned()).or_insert(fresh);
            if window.ends_ms <= now_ms {
                *window = fresh;
            }
            window.used += cost;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{Quota, Quotas};

    #[test]
    fn a_window_refills_at_its_end_and_a_refusal_costs_nothing() {
        let mut quotas = Quotas::default();
        let wants = [("send", Quota::per_second(3))];
        quotas.take(&wants, 2, 1_000).unwrap();
        assert_eq!(quotas.take(&wants, 2, 1_999).unwrap_err().code, 1008);
        quotas.take(&wants, 1, 1_999).unwrap();
        quotas.take(&wants, 3, 2_000).unwrap();
    }

    #[test]
    fn either_every_quota_is_charged_or_none() {
        let mut quotas = Quotas::default();
        let both = [("hour", Quota::per_hour(2)), ("day", Quota::per_day(3))];
        quotas.take(&both, 1, 0).unwrap();
        quotas.take(&both, 1, 0).unwrap();
        assert!(quotas.take(&both, 1, 10).is_err());
        quotas.take(&both, 1, 3_600_000).unwrap();
        assert!(quotas.take(&both, 1, 3_600_001).is_err(), "three a day");
        quotas.take(&both, 1, 86_400_000).unwrap();
    }
}
