//! Settings of retention.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use switchboard_contract::{Error, ErrorKind, Result, TenantId};

const FOREVER: &str = "forever";

/// How long events are kept: a duration such as `90d`, or `forever`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep(pub Option<Duration>);

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => write!(f, "{}", humantime_serde::re::humantime::format_duration(duration)),
            None => f.write_str(FOREVER),
        }
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == FOREVER {
            return Ok(Self(None));
        }
        let duration = humantime_serde::re::humantime::parse_duration(&text);
        duration.map(|duration| Self(Some(duration))).map_err(|_| D::Error::custom("must be a duration or `forever`"))
    }
}

/// Settings of retention, `[retention]` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// How long events are kept after they were received. What a subscriber has still to acknowledge stays longer.
    /// Default `forever`.
    pub keep: Keep,
    /// Other times for some tenants.
    pub keep_for: BTreeMap<TenantId, Keep>,
    /// How often what is due is removed. The first time so long after a start. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { keep: Keep(None), keep_for: BTreeMap::new(), every: Duration::from_secs(3600) }
    }
}

impl RetentionConfig {
    /// Checks the values. What is kept for less than `recent` would come back from the vendor: so far back the past is
    /// fetched without anybody asking.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self, recent: Duration) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Config, format!("retention.{what}")));
        let all = self.keep_for.iter().map(|(tenant, keep)| (format!("keep_for.{tenant}"), keep));
        for (name, keep) in all.chain([("keep".to_owned(), &self.keep)]) {
            if keep.0.is_some_and(|keep| keep < recent) {
                return wrong(format!(
                    "{name}: must be at least history.tiers.recent, which is fetched again by itself"
                ));
            }
        }
        if self.every < Duration::from_secs(1) {
            return wrong("every: must be at least 1s".to_owned());
        }
        Ok(())
    }

    /// How long this tenant's events are kept.
    pub fn keep_of(&self, tenant: &TenantId) -> Option<Duration> {
        self.keep_for.get(tenant).unwrap_or(&self.keep).0
    }

    /// Whether anything can ever be due.
    pub(super) fn removes(&self) -> bool {
        self.keep.0.is_some() || self.keep_for.values().any(|keep| keep.0.is_some())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn times_are_read_and_shown() {
        let config: RetentionConfig = serde_json::from_value(serde_json::json!({
            "keep": "90d", "keep_for": { "acme": "forever", "brief": "14days" },
        }))
        .unwrap();
        assert_eq!(config.keep_of(&"anybody".into()), Some(90 * DAY));
        assert_eq!(config.keep_of(&"acme".into()), None);
        assert_eq!(config.keep_of(&"brief".into()), Some(14 * DAY));
        assert!(config.removes() && config.check(7 * DAY).is_ok());
        let again = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(config, again);
        assert!(!RetentionConfig::default().removes());
        assert!(serde_json::from_value::<Keep>("soon".into()).is_err());
    }

    #[test]
    fn what_would_come_back_is_not_removed() {
        let brief = RetentionConfig { keep: Keep(Some(6 * DAY)), ..RetentionConfig::default() };
        assert!(brief.check(7 * DAY).unwrap_err().message().starts_with("retention.keep: "));
        let keep_for = BTreeMap::from([("acme".into(), Keep(Some(DAY)))]);
        let one = RetentionConfig { keep_for, ..RetentionConfig::default() };
        assert!(one.check(7 * DAY).unwrap_err().message().starts_with("retention.keep_for.acme: "));
        let busy = RetentionConfig { every: Duration::ZERO, ..RetentionConfig::default() };
        assert!(busy.check(7 * DAY).unwrap_err().message().starts_with("retention.every: "));
    }
}
