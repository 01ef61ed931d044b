//! Events through the store: dedupe, position, sequence, encoding, all indexes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{Appended, Journal as _, Store as _};
use switchboard_contract::{Position, Result, Shard, TenantId};

use crate::cli::bench::callbacks::CONVERSATIONS;
use crate::cli::bench::events::Events;
use crate::cli::bench::measure::Figure;
use crate::store::sqlite::{SqliteOptions, SqliteStore, Synchronous};

/// The database of every directory that the bench makes.
pub(in crate::cli::bench) const FILE: &str = "switchboard.db";

/// Appends until time is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Append {
    /// Where the store is, or shall be.
    pub(in crate::cli::bench) dir: PathBuf,
    /// Events of one commit.
    pub(in crate::cli::bench) batch: usize,
    /// Time spent committing.
    pub(in crate::cli::bench) run_ms: u64,
}

/// Fills a store, without asking for durability.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Fill {
    /// Where the store shall be.
    pub(in crate::cli::bench) dir: PathBuf,
    /// Events it shall hold.
    pub(in crate::cli::bench) rows: u64,
    /// Conversations they are spread over.
    pub(in crate::cli::bench) conversations: u64,
}

/// Commits one batch after another, each when the one before is durable. Only the commits are timed: making events is
/// not the store's work.
pub(in crate::cli::bench) async fn run(append: Append) -> Result<Figure> {
    let store = SqliteStore::open(options(&append.dir)).await?;
    let tail = store.tail(&TenantId::default(), Shard(0)).await?;
    let mut events = Events::new(tail.0, CONVERSATIONS);
    let limit = Duration::from_millis(append.run_ms);
    let (mut took, mut count, mut faults) = (Duration::ZERO, 0, 0);
    while took < limit {
        let commit = events.commit(append.batch);
        let begun = Instant::now();
        let committed = store.commit(commit).await?;
        took += begun.elapsed();
        count += committed.drafts.len() as u64;
        faults += committed.drafts.iter().filter(|one| !matches!(one, Appended::Fresh { .. })).count() as u64;
    }
    store.close().await;
    Ok(Figure { faults, ..Figure::of(count, took) })
}

/// Fills the store up to `rows`.
pub(in crate::cli::bench) async fn fill(fill: Fill) -> Result<Figure> {
    let store = SqliteStore::open(SqliteOptions { synchronous: Synchronous::Normal, ..options(&fill.dir) }).await?;
    let Position(mut at) = store.tail(&TenantId::default(), Shard(0)).await?;
    let (begun, first) = (Instant::now(), at);
    let mut events = Events::new(at, fill.conversations);
    while at < fill.rows {
        let size = usize::try_from(fill.rows - at).unwrap_or(usize::MAX).min(1024);
        at += store.commit(events.commit(size)).await?.drafts.len() as u64;
    }
    store.close().await;
    Ok(Figure::of(at - first, begun.elapsed()))
}

/// The store as it is by default, in this directory.
pub(in crate::cli::bench) fn options(dir: &Path) -> SqliteOptions {
    SqliteOptions::at(dir.join(FILE))
}
