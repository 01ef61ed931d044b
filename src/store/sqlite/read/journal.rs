//! The journal.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row as _;
use switchboard_contract::storage::{
    Commit, CommitListener, Committed, ConversationBacklog, Entry, Journal, SequenceRange, Variant,
};
use switchboard_contract::{
    App, ConversationId, EventKey, MessageId, Origin, Position, Result, Sequence, Shard, TenantId, Timestamp,
};

use super::entries::entry_columns;
use super::place;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::head::{Frame, frames};
use crate::store::sqlite::run::whole;
use crate::store::sqlite::sql::unsigned;
use crate::store::sqlite::writer::{Command, Trim, position_of};

/// Places of one value. More would make it so large that the system gives and takes its memory each time.
const RUN: usize = 512;

impl SqliteStore {
    async fn stream_number(&self, tenant: &TenantId, shard: Shard, column: &'static str) -> Result<u64> {
        let Some(stream) = self.stream(tenant, shard).await? else { return Ok(0) };
        let value: i64 =
            sqlx::query_scalar(column).bind(stream).fetch_one(self.readers()?).await.map_err(failed("read"))?;
        Ok(unsigned(value))
    }

    /// The rows of a span of places as one value. Without a subquery, whose every row would be copied: the table is walked
    /// in the order of its places, and a run that is not in order is refused.
    async fn run(&self, after: i64, until: i64) -> Result<Vec<Frame>> {
        let run = sqlx::query("SELECT group_concat(head || json, '') FROM journal WHERE place > ? AND place <= ?")
            .bind(after)
            .bind(until)
            .fetch_one(self.readers()?)
            .await
            .and_then(whole)
            .map_err(failed("read"))?;
        frames(run).ok_or_else(|| damaged("run of events"))
    }

    /// The next row behind a place, wherever it stands.
    async fn next(&self, after: i64, until: i64) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT min(place) FROM journal WHERE place > ? AND place <= ?")
            .bind(after)
            .bind(until)
            .fetch_one(self.readers()?)
            .await
            .map_err(failed("read"))
    }

    async fn one(
        &self,
        tenant: &TenantId,
        rows: sqlx::Result<Option<sqlx::sqlite::SqliteRow>>,
    ) -> Result<Option<Entry>> {
        let row = rows.map_err(failed("read"))?;
        Ok(self.entries(tenant, row.into_iter().collect()).await?.pop())
    }
}

/// A sequence for SQL, which knows signed numbers only.
fn number(sequence: Sequence) -> i64 {
    i64::try_from(sequence.0).unwrap_or(i64::MAX)
}

#[async_trait]
impl Journal for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed> {
        self.command(|reply| Command::Commit(commit, reply)).await
    }

    async fn read(&self, tenant: &TenantId, shard: Shard, after: Position, limit: usize) -> Result<Vec<Entry>> {
        let Some(stream) = self.stream(tenant, shard).await? else { return Ok(Vec::new()) };
        let mut found: Vec<Frame> = Vec::new();
        let (mut after, end) = (place(stream, after.0), place(stream, u64::MAX));
        while found.len() < limit {
            let wanted = RUN.min(limit - found.len());
            let until = after.saturating_add(i64::try_from(wanted).unwrap_or(i64::MAX)).min(end);
            let before = found.len();
            found.extend(self.run(after, until).await?);
            after = until;
            // Rows stand side by side. Where they do not, the journal ends or retention was there.
            if found.len() < before + wanted {
                let Some(next) = self.next(until, end).await? else { break };
                after = next - 1;
            }
        }
        self.named(tenant, found).await
    }

    async fn read_conversation(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        range: SequenceRange,
        limit: usize,
        newest: bool,
    ) -> Result<Vec<Entry>> {
        let Some(thread) = self.thread(tenant, conversation).await? else { return Ok(Vec::new()) };
        let range = (number(range.first), number(range.last));
        let places = self.places(thread, range, limit, newest).await?;
        self.entries(tenant, self.rows_at(&places).await?).await
    }

    async fn backlog(
        &self,
        tenant: &TenantId,
        shard: Shard,
        after: Position,
        until: Position,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConversationBacklog>> {
        let (Some(stream), Some(tenant)) = (self.stream(tenant, shard).await?, self.tenant_number(tenant).await?)
        else {
            return Ok(Vec::new());
        };
        let (after, until) = (place(stream, after.0), place(stream, until.0));
        let lags = self.lags(tenant, (after, until), skip, limit).await?;
        let mut names: HashMap<i64, Option<ConversationId>> =
            lags.iter().map(|lag| (lag.conversation, self.0.conversations.lock().get(&lag.conversation))).collect();
        self.load_names(&mut names).await?;
        lags.into_iter()
            .map(|lag| {
                let name = names.get_mut(&lag.conversation).and_then(Option::take);
                Ok(ConversationBacklog {
                    conversation: name.ok_or_else(|| damaged("conversation"))?,
                    range: SequenceRange { first: Sequence(unsigned(lag.first)), last: Sequence(unsigned(lag.last)) },
                    last_position: position_of(lag.place),
                })
            })
            .collect()
    }

    async fn tail(&self, tenant: &TenantId, shard: Shard) -> Result<Position> {
        self.stream_number(tenant, shard, "SELECT tail FROM streams WHERE id = ?").await.map(Position)
    }

    async fn trimmed(&self, tenant: &TenantId, shard: Shard) -> Result<Position> {
        self.stream_number(tenant, shard, "SELECT trimmed FROM streams WHERE id = ?").await.map(Position)
    }

    async fn trim(&self, tenant: &TenantId, shard: Shard, until: Position) -> Result<u64> {
        if self.stream(tenant, shard).await?.is_none() {
            return Ok(0);
        }
        let mut removed = 0;
        loop {
            let (gone, more) = self.write(Trim { tenant: tenant.clone(), until: until.0 }).await?;
            removed += gone;
            if !more {
                return Ok(removed);
            }
        }
    }

    async fn position_before(&self, tenant: &TenantId, shard: Shard, time: Timestamp) -> Result<Position> {
        let Some(stream) = self.stream(tenant, shard).await? else { return Ok(Position::START) };
        let (trimmed, tail): (i64, i64) = sqlx::query_as("SELECT trimmed, tail FROM streams WHERE id = ?")
            .bind(stream)
            .fetch_one(self.readers()?)
            .await
            .map_err(failed("read"))?;
        // The first position whose latest arrival is not before `time`; `received_max` only rises.
        let (mut low, mut high) = (unsigned(trimmed) + 1, unsigned(tail) + 1);
        while low < high {
            let middle = low.midpoint(high);
            // Rows may have been removed by hand, or trimmed meanwhile: the next one that is there speaks for them.
            let next: Option<(i64, i64)> = sqlx::query_as(
                "SELECT place, received_max FROM journal WHERE place >= ? AND place < ? ORDER BY place LIMIT 1",
            )
            .bind(place(stream, middle))
            .bind(place(stream, high))
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("read"))?;
            match next {
                Some((at, latest)) if latest < time.0 => low = position_of(at).0 + 1,
                _ => high = middle,
            }
        }
        Ok(Position(low - 1))
    }

    async fn find(&self, tenant: &TenantId, app: &App, key: &EventKey) -> Result<Option<Entry>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            entry_columns!(),
            " FROM journal j WHERE j.tenant = (SELECT id FROM tenants WHERE name = ?)
              AND j.app = (SELECT id FROM apps WHERE kind = ? AND key = ?) AND j.class = ? AND j.key = ?"
        ))
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .bind(key.class.code())
        .bind(key.id.as_str())
        .fetch_optional(self.readers()?)
        .await;
        self.one(tenant, row).await
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Entry>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            entry_columns!(),
            " FROM journal j WHERE j.tenant = (SELECT id FROM tenants WHERE name = ?) AND j.message = ?
              ORDER BY j.place LIMIT 1"
        ))
        .bind(tenant.as_str())
        .bind(id.as_bytes().as_slice())
        .fetch_optional(self.readers()?)
        .await;
        self.one(tenant, row).await
    }

    async fn raw(&self, tenant: &TenantId, shard: Shard, position: Position) -> Result<Option<Bytes>> {
        let Some(stream) = self.stream(tenant, shard).await? else { return Ok(None) };
        let raw = sqlx::query("SELECT raw FROM raws WHERE place = ?")
            .bind(place(stream, position.0))
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("read"))?;
        if let Some(row) = raw {
            return row.try_get::<Vec<u8>, _>(0).map(|raw| Some(Bytes::from(raw))).map_err(failed("read"));
        }
        self.archived_raw(tenant, place(stream, position.0)).await
    }

    async fn variants(&self, tenant: &TenantId, shard: Shard, position: Position) -> Result<Vec<Variant>> {
        let Some(stream) = self.stream(tenant, shard).await? else { return Ok(Vec::new()) };
        // Rows are only ever added, so their numbers tell the order.
        let rows: Vec<(i64, u8, i64, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT digest, origin, received_at, raw FROM variants WHERE place = ? ORDER BY rowid")
                .bind(place(stream, position.0))
                .fetch_all(self.readers()?)
                .await
                .map_err(failed("variants"))?;
        let variant = |(digest, origin, received_at, raw): (i64, u8, i64, Option<Vec<u8>>)| {
            Ok(Variant {
                digest: unsigned(digest),
                origin: Origin::from_code(origin).ok_or_else(|| damaged("origin"))?,
                received_at: Timestamp(received_at),
                raw: raw.map(Bytes::from),
            })
        };
        rows.into_iter().map(variant).collect()
    }

    async fn consumed(&self, inbox: &str) -> Result<u64> {
        let consumed: Option<i64> = sqlx::query_scalar("SELECT consumed FROM inboxes WHERE inbox = ?")
            .bind(inbox)
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("read"))?;
        Ok(consumed.map_or(0, unsigned))
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.0.listeners.write().push(listener);
    }
}
