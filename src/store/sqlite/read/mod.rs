//! Reading, on connections of its own.

mod backfill;
mod cold;
mod coverage;
mod entries;
mod history;
mod journal;
mod neighbours;
mod outbox;
mod ranges;
mod setbacks;
mod subscribers;
mod tables;
mod threads;
mod timelines;
mod windows;

pub(super) use ranges::{RangeColumns, range};
pub(super) use timelines::{LineColumns, SqliteTimelines, columns, line, lines};

use switchboard_contract::{App, Result, Shard, TenantId};

use super::SqliteStore;
use super::error::failed;

impl SqliteStore {
    /// The number of a stream, if anything was ever journalled in it.
    async fn stream(&self, tenant: &TenantId, shard: Shard) -> Result<Option<i64>> {
        let key = (tenant.clone(), shard);
        if let Some(id) = self.0.streams.get(&key) {
            return Ok(Some(id));
        }
        let id: Option<i64> = sqlx::query_scalar(
            "SELECT s.id FROM streams s JOIN tenants t ON t.id = s.tenant WHERE t.name = ? AND s.shard = ?",
        )
        .bind(tenant.as_str())
        .bind(shard.0)
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("read"))?;
        if let Some(id) = id {
            self.0.streams.insert(key, id);
        }
        Ok(id)
    }

    /// The number of an app, if it was ever written.
    async fn app_number(&self, app: &App) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT id FROM apps WHERE kind = ? AND key = ?")
            .bind(app.kind.as_str())
            .bind(app.key.as_str())
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("read"))
    }

    /// The number of a tenant, if it was ever written.
    async fn tenant_number(&self, tenant: &TenantId) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT id FROM tenants WHERE name = ?")
            .bind(tenant.as_str())
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("read"))
    }
}

/// A limit for SQL, which knows signed numbers only.
///
/// A statement takes it as `LIMIT ? + 0`: of a bare parameter the planner reads the value, and so SQLite compiles the
/// statement anew whenever another is bound, which is at every execution. That cost more than most of our reads.
fn bounded(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The place of a position; positions beyond what a stream can hold stand at its end.
fn place(stream: i64, position: u64) -> i64 {
    const LAST: u64 = (1 << super::writer::STREAM_SHIFT) - 1;
    (stream << super::writer::STREAM_SHIFT) | position.min(LAST).cast_signed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::{Path, PathBuf};

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { sources(&path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn no_statement_is_compiled_anew_for_its_limit() {
        let (mut found, mut limits) = (Vec::new(), 0);
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sqlite"), &mut found);
        for path in found {
            let text = std::fs::read_to_string(&path).unwrap();
            for (at, bare) in text.match_indices(concat!("LIMIT", " ?")) {
                let rest = text[at + bare.len()..].trim_start_matches(|next: char| next.is_ascii_digit());
                assert!(rest.starts_with(" + 0"), "{}: {:.40}", path.display(), &text[at..]);
                limits += 1;
            }
        }
        assert!(limits > 20, "the statements are elsewhere: {limits}");
    }
}
