//! Numbers that were given out and whose rows are gone: somebody removed them by hand, or the database was damaged.

use std::collections::BTreeSet;
use std::time::Duration;

use switchboard_contract::storage::{CoverageState, PositionRun, SequenceHole, SequenceRange};
use switchboard_contract::{Position, Result, Sequence, Shard, Timestamp};

use super::hints::{Hint, MISMATCH};
use super::tasks::App;

/// Holes followed in one look.
const HOLES: usize = 100;

/// Looks at the newest part of the journal; every hole in a conversation of this app is a hint.
pub(super) async fn look(app: &App) -> Result<()> {
    let source = &app.source;
    let (store, tenant, shard) = (&source.store, &source.tenant, Shard(0));
    let last = store.tail(tenant, shard).await?;
    let first = Position(last.0.saturating_sub(source.config.hints.verify_rows) + 1);
    if first > last {
        return Ok(());
    }
    let gone = store.gone_places(tenant, shard, PositionRun { first, last }, HOLES).await?;
    if gone.is_empty() {
        return Ok(());
    }
    for hole in store.gone_sequences(tenant, shard, &gone, HOLES).await? {
        let (since, until) = times(app, &hole).await?;
        let known = source.told(&hole.conversation, since, until).await?;
        // What was pulled since is here, under another number.
        let pulled = |range: &switchboard_contract::storage::CoveredRange| {
            range.state != CoverageState::Suspect && range.checked_at > Timestamp(0)
        };
        if !known.known().between(since, until).iter().all(pulled) {
            let hint = Hint { cause: MISMATCH, named: BTreeSet::new(), certain: true, since, until };
            app.hint(hole.conversation, hint);
        }
    }
    Ok(())
}

/// Between which times what is gone was said.
async fn times(app: &App, hole: &SequenceHole) -> Result<(Timestamp, Timestamp)> {
    let source = &app.source;
    let at = async |sequence: Sequence| {
        let range = SequenceRange { first: sequence, last: sequence };
        let found = source.store.read_conversation(&source.tenant, &hole.conversation, range, 1, false).await?;
        Ok::<_, switchboard_contract::Error>(found.first().map(|entry| entry.sent_at))
    };
    let (before, behind) = (at(Sequence(hole.first.0.saturating_sub(1))).await?, at(Sequence(hole.last.0 + 1)).await?);
    let last = behind.unwrap_or_else(|| source.clock.now());
    let first = before.unwrap_or(last - source.config.hints.window);
    // What was repaired late stands behind what was said later.
    Ok((first.min(last), first.max(last) + Duration::from_millis(1)))
}
