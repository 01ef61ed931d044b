//! The pull of `recent` that nobody asks for: after a login, a gap, and before a subscriber's first walk. It fills the
//! store; what was said before Switchboard had the app is delivered to nobody.

use futures::{StreamExt as _, stream};
use serde_json::json;
use switchboard_contract::{ErrorKind, Result, Timestamp};

use super::app::Source;
use super::slots::Request;
use super::telling::Telling;
use crate::catchup::{Pulled, alive_conversations};
use crate::history::Tier;

/// What is to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    /// From this time on, no further back than `recent` reaches.
    pub(super) since: Timestamp,
    /// Why: a stable lower-case word.
    pub(super) cause: &'static str,
}

impl Request for Fill {
    fn merge(self, newer: Self) -> Self {
        Self { since: self.since.min(newer.since), ..newer }
    }
}

/// What a filling came to.
#[derive(Debug, Default)]
struct Filled {
    conversations: usize,
    read: u64,
    brought: u64,
    calls: u32,
    failed: u64,
}

pub(super) async fn fill(source: &Source, telling: &Telling, fill: Fill) {
    match run(source, fill).await {
        Ok(None) => telling.fetched("recent", "nothing"),
        Ok(Some(filled)) => {
            telling.fetched("recent", if filled.failed > 0 { "partly" } else { "done" });
            let detail = json!({
                "conversations": filled.conversations, "read": filled.read, "brought": filled.brought,
                "calls": filled.calls, "failed": filled.failed,
            });
            telling.filled(fill.cause, detail).await;
        }
        Err(error) => {
            tracing::warn!(provider = %source.alias, %error, op = "fill_recent", "recent history could not be filled");
            telling.fetched("recent", "failed");
        }
    }
}

async fn run(source: &Source, fill: Fill) -> Result<Option<Filled>> {
    let (now, margin) = (source.clock.now(), source.catchup.clock_margin());
    let oldest = now - source.config.tiers.recent;
    // The newest part is what callbacks bring just now; the end moves by steps, so that one filling right after another
    // finds everything done.
    let (since, until) = (fill.since.max(oldest), step_down(now - margin * 2, margin));
    if since >= until || source.provider.roaming().is_none() {
        return Ok(None);
    }
    let most = source.config.automatic.max_conversations;
    let wanted = alive_conversations(&*source.store, &source.tenant, oldest, most).await?;
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut filled = Filled { conversations: wanted.len(), ..Filled::default() };
    let fetches = wanted.into_iter().filter(|one| source.can_query(one, Tier::Recent)).map(async |conversation| {
        let fetched = source.fetch(&conversation, (since, until), Tier::Recent, false).await;
        (conversation, fetched)
    });
    let mut fetches = stream::iter(fetches).buffer_unordered(source.config.recent.concurrency);
    while let Some((conversation, fetched)) = fetches.next().await {
        match fetched {
            Ok(Pulled { whole: false, calls: 0, .. }) => {
                // Nothing is left to spend: the rest waits for the next time.
                filled.failed += 1;
                break;
            }
            Ok(pulled) => {
                filled.read += u64::from(pulled.whole);
                filled.brought += pulled.fresh + pulled.history;
                filled.calls += pulled.calls;
            }
            // The account has no queries: asking for the rest would not change that.
            Err(error) if error.kind() == ErrorKind::Unsupported => break,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(provider = %source.alias, %conversation, %error, op = "fill_recent", "a query failed");
                filled.failed += 1;
            }
        }
    }
    Ok(Some(filled))
}

/// The last whole step of this length before a moment.
fn step_down(at: Timestamp, step: std::time::Duration) -> Timestamp {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp(at.0 - at.0.rem_euclid(step))
}
