//! Events through the store: dedupe, position, sequence, encoding, all indexes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use switchboard_contract::storage::{Appended, Journal as _, Store as _};
use switchboard_contract::{Result, Shard, TenantId};

use crate::cli::bench::callbacks::CONVERSATIONS;
use crate::cli::bench::events::Events;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::raw;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// The database of every directory that the bench makes.
pub(in crate::cli::bench) const FILE: &str = "switchboard.db";

/// Appends until time is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Append {
    /// Where the store is, or shall be.
    pub(in crate::cli::bench) dir: PathBuf,
    /// Events of one commit.
    pub(in crate::cli::bench) batch: usize,
    /// Events committed before measuring begins.
    pub(in crate::cli::bench) warm: u64,
    /// Time spent committing.
    pub(in crate::cli::bench) run_ms: u64,
}

/// Fills a new store, without asking for durability.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli::bench) struct Fill {
    /// Where the store shall be.
    pub(in crate::cli::bench) dir: PathBuf,
    /// Events it shall hold.
    pub(in crate::cli::bench) rows: u64,
    /// Conversations they are spread over.
    pub(in crate::cli::bench) conversations: u64,
    /// Characters of each text.
    pub(in crate::cli::bench) text: usize,
}

/// Commits one batch after another, each when the one before is durable. Only the commits are timed: making events is
/// not the store's work.
pub(in crate::cli::bench) async fn run(append: Append) -> Result<Figure> {
    let store = SqliteStore::open(options(&append.dir)).await?;
    let tail = store.tail(&TenantId::default(), Shard(0)).await?;
    let mut events = Events::new(tail.0, CONVERSATIONS);
    let mut warm = 0;
    while warm < append.warm {
        warm += store.commit(events.commit(append.batch)).await?.drafts.len() as u64;
    }
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

/// Fills the store, which is made for it.
pub(in crate::cli::bench) async fn fill(fill: Fill) -> Result<Figure> {
    SqliteStore::open(options(&fill.dir)).await?.close().await;
    let filled = tokio::task::spawn_blocking(move || {
        let mut events = Events::new(0, fill.conversations).with_text(fill.text);
        raw::fill::run(&fill.dir, (0..fill.rows).map(|_| events.draft()))
    });
    filled.await.map_err(failed("the store could not be filled"))?
}

/// The store as it is by default, in this directory.
pub(in crate::cli::bench) fn options(dir: &Path) -> SqliteOptions {
    SqliteOptions::at(dir.join(FILE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rusqlite::Connection;
    use rusqlite::types::Value;
    use switchboard_contract::storage::{Commit, Draft};

    use super::*;

    /// Every row of a table, in the order of the first column.
    fn rows(dir: &Path, table: &str) -> Vec<Vec<Value>> {
        let db = Connection::open(dir.join(FILE)).unwrap();
        let mut all = db.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let width = all.column_count();
        let all = all.query_map([], |row| (0..width).map(|at| row.get(at)).collect()).unwrap();
        all.collect::<Result<_, _>>().unwrap()
    }

    #[tokio::test]
    async fn a_filled_store_is_what_the_engine_would_have_written() {
        let (ours, filled) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut events = Events::new(0, 7);
        let drafts: Vec<Draft> = (0..100).map(|_| Draft { raw: None, ..events.draft() }).collect();
        // The last commit sweeps what the others left behind.
        let store = SqliteStore::open(SqliteOptions { index_behind: 1, ..options(ours.path()) }).await.unwrap();
        for part in drafts.chunks(50) {
            store.commit(Commit { drafts: part.to_vec(), ..Commit::default() }).await.unwrap();
        }
        store.close().await;
        SqliteStore::open(options(filled.path())).await.unwrap().close().await;
        raw::fill::run(filled.path(), drafts.into_iter()).unwrap();
        for table in ["tenants", "apps", "conversations", "journal"] {
            assert_eq!(rows(ours.path(), table), rows(filled.path(), table), "{table}");
        }
        for table in ["threads", "histories"] {
            let (swept, all) = (rows(ours.path(), table), rows(filled.path(), table));
            assert!(swept.len() >= 49 && all.len() == 100, "{} and {} of {table}", swept.len(), all.len());
            assert!(swept.iter().all(|row| all.contains(row)), "{table}");
        }
        assert_eq!(rows(filled.path(), "sqlite_master").len(), rows(ours.path(), "sqlite_master").len());
    }
}
