//! Settings of history.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchboard_contract::{Error, ErrorKind, Result, Timestamp};

use super::{PlanSource, Tier};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where one tier ends and the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TierBounds {
    /// What is at most this old is `recent`. Default 7 days.
    #[serde(with = "humantime_serde")]
    pub recent: Duration,
    /// What is older than that and at most this old is `month`. Default 30 days.
    #[serde(with = "humantime_serde")]
    pub month: Duration,
}

impl Default for TierBounds {
    fn default() -> Self {
        Self { recent: 7 * DAY, month: 30 * DAY }
    }
}

impl TierBounds {
    /// The times of a tier as seen at `now`: from the first (included) to the second (excluded).
    pub fn of(&self, tier: Tier, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        let (recent, month) = (now - self.recent, now - self.month);
        match tier {
            Tier::Recent => (Some(recent), None),
            Tier::Month => (Some(month), Some(recent)),
            Tier::Archive => (None, Some(month)),
        }
    }

    /// The tier of a moment as seen at `now`.
    pub fn tier_of(&self, at: Timestamp, now: Timestamp) -> Tier {
        match now.since(at) {
            age if age <= self.recent => Tier::Recent,
            age if age <= self.month => Tier::Month,
            _ => Tier::Archive,
        }
    }
}

/// How the past of one age is fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TierConfig {
    /// Where it may come from beside the store: `archive`, `query`, `files`. Of several the plan takes the cheapest.
    pub sources: Vec<PlanSource>,
    /// Messages asked for in one query; lowered to what the vendor admits.
    pub page_size: u32,
    /// Conversations of one app fetched at once.
    pub concurrency: usize,
    /// Whose turn it is when fetches of several ages wait: the highest.
    pub priority: u8,
    /// Queries of one app in an hour. 0 for none.
    pub calls_per_hour: u32,
    /// The longest that a page of history waits for the vendor.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

impl TierConfig {
    fn of(priority: u8, calls_per_hour: u32, sources: &[PlanSource]) -> Self {
        let within = Duration::from_secs(10);
        Self { sources: sources.to_vec(), page_size: 100, concurrency: 2, priority, calls_per_hour, within }
    }
}

/// What a configuration says of one tier: each has defaults of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    sources: Option<Vec<PlanSource>>,
    page_size: Option<u32>,
    concurrency: Option<usize>,
    priority: Option<u8>,
    calls_per_hour: Option<u32>,
    #[serde(with = "humantime_serde")]
    within: Option<Duration>,
}

impl Said {
    fn over(self, default: TierConfig) -> TierConfig {
        TierConfig {
            sources: self.sources.unwrap_or(default.sources),
            page_size: self.page_size.unwrap_or(default.page_size),
            concurrency: self.concurrency.unwrap_or(default.concurrency),
            priority: self.priority.unwrap_or(default.priority),
            calls_per_hour: self.calls_per_hour.unwrap_or(default.calls_per_hour),
            within: self.within.unwrap_or(default.within),
        }
    }
}

fn recent<'de, D: serde::Deserializer<'de>>(settings: D) -> std::result::Result<TierConfig, D::Error> {
    Ok(Said::deserialize(settings)?.over(HistoryConfig::default().recent))
}

fn month<'de, D: serde::Deserializer<'de>>(settings: D) -> std::result::Result<TierConfig, D::Error> {
    Ok(Said::deserialize(settings)?.over(HistoryConfig::default().month))
}

fn archive<'de, D: serde::Deserializer<'de>>(settings: D) -> std::result::Result<TierConfig, D::Error> {
    Ok(Said::deserialize(settings)?.over(HistoryConfig::default().archive))
}

/// What is done when something names a message that nobody has seen, or numbers are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HintsConfig {
    /// Whether such hints lead to a pull of their conversation. Default true.
    pub enabled: bool,
    /// The message may be just behind: a hint waits this long. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// So much before the hint is pulled. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// A hint for which there was no turn in this long is given up; its time stays suspect. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
    /// Conversations of one app with a hint at once; further ones are counted and dropped. Default 1,000.
    pub max_waiting: usize,
    /// How often the newest part of the journal is asked whether rows are gone from it. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub verify_every: Duration,
    /// Places of the journal asked about each time. Default 100,000.
    pub verify_rows: u64,
}

impl Default for HintsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            settle: Duration::from_secs(5),
            window: DAY,
            stale_after: Duration::from_secs(600),
            max_waiting: 1000,
            verify_every: Duration::from_secs(3600),
            verify_rows: 100_000,
        }
    }
}

/// What is fetched though nobody asks for it: `recent`, and who is in groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutomaticConfig {
    /// Whether a login, a gap and the first walk of a subscriber lead to it. Default true.
    pub enabled: bool,
    /// Conversations, at most; the most recent ones first. Default 1,000.
    pub max_conversations: usize,
    /// Groups whose members are compared with the directory when a provider comes online, at most. Default 100.
    pub max_groups: usize,
    /// One that waited this long for its turn is dropped. Default 10 min.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
}

impl Default for AutomaticConfig {
    fn default() -> Self {
        Self { enabled: true, max_conversations: 1000, max_groups: 100, stale_after: Duration::from_secs(600) }
    }
}

/// Settings of history, `[history]` in the configuration. Durations are written as `7d`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Where the tiers meet.
    pub tiers: TierBounds,
    /// How `recent` is fetched.
    #[serde(deserialize_with = "recent")]
    pub recent: TierConfig,
    /// How `month` is fetched.
    #[serde(deserialize_with = "month")]
    pub month: TierConfig,
    /// How `archive` is fetched.
    #[serde(deserialize_with = "archive")]
    pub archive: TierConfig,
    /// Pages that one pull of a conversation reads from the vendor, at most. Default 200.
    pub max_pages: u32,
    /// Conversations of one app fetched at once in all tiers together. Default 4.
    pub concurrency: usize,
    /// A page that fetches asks the vendor for so much at a time, more where little was said. Default 1 day.
    #[serde(with = "humantime_serde")]
    pub stride: Duration,
    /// The pull of `recent` that nobody asks for.
    pub automatic: AutomaticConfig,
    /// Hints of something missing.
    pub hints: HintsConfig,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        use PlanSource::{Archive, Files, Query};
        Self {
            tiers: TierBounds::default(),
            recent: TierConfig::of(9, 3600, &[Archive, Query, Files]),
            month: TierConfig::of(5, 1800, &[Archive, Query]),
            archive: TierConfig::of(1, 600, &[Archive, Query]),
            max_pages: 200,
            concurrency: 4,
            stride: DAY,
            automatic: AutomaticConfig::default(),
            hints: HintsConfig::default(),
        }
    }
}

impl HistoryConfig {
    /// How a tier is fetched.
    pub const fn tier(&self, tier: Tier) -> &TierConfig {
        match tier {
            Tier::Recent => &self.recent,
            Tier::Month => &self.month,
            Tier::Archive => &self.archive,
        }
    }

    /// Checks the values against each other.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Config, format!("history.{what}")));
        if self.tiers.recent.is_zero() || self.tiers.month <= self.tiers.recent {
            return wrong("tiers.month: must be more than history.tiers.recent, which must not be 0".to_owned());
        }
        if self.max_pages == 0 || self.concurrency == 0 {
            return wrong("max_pages, history.concurrency: at least 1".to_owned());
        }
        if self.stride < Duration::from_secs(60) {
            return wrong("stride: at least 1m".to_owned());
        }
        for tier in Tier::ALL {
            let (name, one) = (tier.as_str(), self.tier(tier));
            if one.page_size == 0 || one.concurrency == 0 || one.within.is_zero() {
                return wrong(format!("{name}: page_size, concurrency and within must not be 0"));
            }
            if let Some(source) = one.sources.iter().find(|source| !source.may_be_chosen()) {
                return wrong(format!("{name}.sources: {} is none; choose of archive, query, files", source.as_str()));
            }
        }
        if self.hints.max_waiting == 0 || self.hints.verify_every < Duration::from_secs(1) {
            return wrong("hints.max_waiting: at least 1; history.hints.verify_every: at least 1s".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn tiers_meet_to_the_millisecond_in_every_time_zone() {
        let (bounds, ms) = (TierBounds::default(), Duration::from_millis(1));
        // Moments are told in UTC and in Beijing's time; the second is midnight there and is not in UTC.
        for text in ["2026-11-20T19:00:00.101Z", "2026-11-21T00:00:00.000+08:00", "2026-03-01T07:59:59.999+08:00"] {
            let now = Timestamp::from_rfc3339(text).unwrap();
            for (age, tier) in [
                (Duration::ZERO, Tier::Recent),
                (7 * DAY - ms, Tier::Recent),
                (7 * DAY, Tier::Recent),
                (7 * DAY + ms, Tier::Month),
                (30 * DAY - ms, Tier::Month),
                (30 * DAY, Tier::Month),
                (30 * DAY + ms, Tier::Archive),
                (3000 * DAY, Tier::Archive),
            ] {
                let at = now - age;
                let inside = |one: &Tier| {
                    let (since, until) = bounds.of(*one, now);
                    since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
                };
                let tiers: Vec<Tier> = Tier::ALL.into_iter().filter(inside).collect();
                assert_eq!(tiers, [tier], "{text} {age:?}");
                assert_eq!(bounds.tier_of(at, now), tier, "{text} {age:?}");
            }
        }
    }

    #[test]
    fn a_tier_keeps_its_own_defaults_beside_what_is_said_of_it() {
        let said = serde_json::json!({ "month": { "page_size": 7, "within": "3s" }, "recent": {} });
        let config: HistoryConfig = serde_json::from_value(said).unwrap();
        let default = HistoryConfig::default();
        let month = TierConfig { page_size: 7, within: Duration::from_secs(3), ..default.month.clone() };
        assert_eq!(config, HistoryConfig { month, ..default });
        assert!(serde_json::from_value::<HistoryConfig>(serde_json::json!({ "month": { "pages": 1 } })).is_err());
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        HistoryConfig::default().check().unwrap();
        let mut wrong = HistoryConfig::default();
        wrong.tiers.month = wrong.tiers.recent;
        assert!(wrong.check().unwrap_err().message().contains("history.tiers.month"));
        let mut wrong = HistoryConfig::default();
        wrong.month.sources.push(PlanSource::Nowhere);
        assert!(wrong.check().unwrap_err().message().contains("history.month.sources"));
        let mut wrong = HistoryConfig::default();
        wrong.archive.page_size = 0;
        assert!(wrong.check().unwrap_err().message().contains("history.archive"));
    }
}
