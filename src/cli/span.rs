//! A span of time and a provider, as several subcommands take them.

use serde_json::Value;
use switchboard_contract::{Error, Timestamp};

/// Which provider, from when until when.
#[derive(Debug, clap::Args)]
pub(crate) struct Span {
    /// Only this provider.
    #[arg(long, visible_alias = "app")]
    pub(crate) provider: Option<String>,
    /// From this time on, RFC 3339. Without it coverage and reconcile begin three days ago.
    #[arg(long)]
    from: Option<String>,
    /// Up to this time, RFC 3339; now by default.
    #[arg(long, visible_alias = "to")]
    until: Option<String>,
}

impl Span {
    pub(crate) fn from(&self) -> Result<Option<i64>, Error> {
        time("from", self.from.as_deref())
    }

    pub(crate) fn until(&self) -> Result<Option<i64>, Error> {
        time("until", self.until.as_deref())
    }

    /// As a query string takes it.
    pub(crate) fn query(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let mut query = Vec::new();
        query.extend(self.provider.clone().map(|provider| ("provider", provider)));
        query.extend(self.from()?.map(|from| ("from", from.to_string())));
        query.extend(self.until()?.map(|until| ("until", until.to_string())));
        Ok(query)
    }
}

/// A time as people write it, in milliseconds.
pub(crate) fn time(field: &str, text: Option<&str>) -> Result<Option<i64>, Error> {
    let read = |text: &str| {
        Timestamp::from_rfc3339(text)
            .map(Timestamp::as_millis)
            .ok_or_else(|| Error::invalid(field, "must be a time such as 2026-11-20T15:00:00Z"))
    };
    text.map(read).transpose()
}

/// Milliseconds of the API for people.
pub(crate) fn shown(millis: &Value) -> String {
    let text = millis.as_i64().map(|millis| Timestamp(millis).to_rfc3339()).unwrap_or_default();
    text.replace(":00.000Z", "Z")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        assert_eq!(time("from", Some("2026-11-20T19:00:00Z")).unwrap(), Some(1_795_201_200_000));
        assert!(time("from", Some("yesterday")).unwrap_err().message().contains("from"));
        assert_eq!(shown(&Value::from(1_795_201_200_000_i64)), "2026-11-20T19:00Z");
    }
}
