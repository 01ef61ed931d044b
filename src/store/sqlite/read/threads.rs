//! Conversations by sequence: what the index holds, and behind it what [waits for it](crate::store::sqlite::behind).

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::{ConversationId, Result, TenantId};

use super::bounded;
use super::entries::entry_columns;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::behind::Thread;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{Bulk, Values};

static AT: Bulk =
    Bulk::new(concat!("SELECT ", entry_columns!(), " FROM journal j WHERE j.place IN ("), "?", ") ORDER BY j.place");

const ASCENDING: &str = "SELECT place FROM threads WHERE tenant = ? AND conversation = ? AND sequence >= ?
    AND sequence <= ? ORDER BY sequence LIMIT ? + 0";
const DESCENDING: &str = "SELECT place FROM threads WHERE tenant = ? AND conversation = ? AND sequence >= ?
    AND sequence <= ? ORDER BY sequence DESC LIMIT ? + 0";

/// For each conversation of a list its first sequence behind a place, by halving: sequences rise with places. Where
/// retention left messages for the archive, or an import brought a part, they have gaps. One more than the last when
/// nothing is behind the place; nothing without any row.
const FIRST_BEHIND: &str = "
    SELECT w.value, (
        WITH RECURSIVE half (low, high) AS (
            SELECT min(f.sequence), max(f.sequence) + 1 FROM threads f WHERE f.tenant = ?2 AND f.conversation = w.value
            UNION ALL
            SELECT CASE WHEN m.place > ?3 THEN half.low ELSE m.sequence + 1 END,
                   CASE WHEN m.place > ?3 THEN (half.low + half.high) / 2 ELSE half.high END
            FROM half JOIN threads m ON m.tenant = ?2 AND m.conversation = w.value
                 AND m.sequence = (SELECT min(s.sequence) FROM threads s WHERE s.tenant = ?2
                                   AND s.conversation = w.value AND s.sequence >= (half.low + half.high) / 2)
            WHERE half.low < half.high)
        SELECT coalesce((SELECT min(b.sequence) FROM threads b WHERE b.tenant = ?2 AND b.conversation = w.value
                         AND b.sequence >= half.low), half.low) FROM half WHERE half.low >= half.high)
    FROM json_each(?1) w";

/// The newest rows first, of all conversations alike.
const WALK: &str = "SELECT conversation, sequence, place FROM journal INDEXED BY journal_walk
    WHERE tenant = ? AND place > ? AND place < ? AND conversation IS NOT NULL ORDER BY place DESC LIMIT ? + 0";

/// Rows that one statement of a walk reads.
const STRIDE: i64 = 4096;

/// A conversation with something between two places.
pub(super) struct Lag {
    pub(super) conversation: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) place: i64,
}

impl SqliteStore {
    /// The numbers of a conversation, if anything ever happened in it.
    pub(super) async fn thread(&self, tenant: &TenantId, conversation: &ConversationId) -> Result<Option<Thread>> {
        sqlx::query_as(
            "SELECT c.tenant, c.id FROM conversations c JOIN tenants t ON t.id = c.tenant WHERE t.name = ? AND c.name = ?",
        )
        .bind(tenant.as_str())
        .bind(conversation.as_str())
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("read"))
    }

    /// The rows of the journal at these places, in their order.
    pub(super) async fn rows_at(&self, places: &[i64]) -> Result<Vec<SqliteRow>> {
        let mut rows = Vec::with_capacity(places.len());
        for part in places.chunks(1024) {
            let size = Bulk::padded(part.len());
            let mut values = Values::with_capacity(size);
            (0..size).for_each(|at| values.push(part[at.min(part.len() - 1)]));
            let values = values.done().map_err(failed("read"))?;
            let found = sqlx::query_with(AT.text(size), values).fetch_all(self.readers()?).await;
            rows.extend(found.map_err(failed("read"))?);
        }
        Ok(rows)
    }

    /// The places of a conversation's events from `first` to `last`, at most `limit`, the oldest or the newest of them;
    /// in their order.
    pub(super) async fn places(
        &self,
        thread: Thread,
        (first, last): (i64, i64),
        limit: usize,
        newest: bool,
    ) -> Result<Vec<i64>> {
        let (begins, waiting): (i64, Vec<i64>) = {
            let behind = self.0.behind.read();
            let some = behind.of(thread, first, last).map(|(_, stand)| stand.place);
            (behind.first(thread), if newest { some.rev().take(limit).collect() } else { some.take(limit).collect() })
        };
        let wanted = if newest { limit - waiting.len() } else { limit };
        let mut places: Vec<i64> = if wanted == 0 || first >= begins {
            Vec::new()
        } else {
            sqlx::query_scalar(if newest { DESCENDING } else { ASCENDING })
                .bind(thread.0)
                .bind(thread.1)
                .bind(first)
                .bind(last.min(begins - 1))
                .bind(bounded(wanted))
                .fetch_all(self.readers()?)
                .await
                .map_err(failed("read"))?
        };
        places.extend(waiting.iter().take(limit - places.len()));
        places.sort_unstable();
        Ok(places)
    }

    /// The conversations with events behind `after` and not behind `until`, the one that spoke last first, `limit` of
    /// them behind the first `skip`.
    pub(super) async fn lags(
        &self,
        tenant: i64,
        (after, until): (i64, i64),
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Lag>> {
        let mut lags = self.last_spoken(tenant, (after, until), skip, limit).await?;
        let (mut list, mut waiting) = (Vec::with_capacity(lags.len()), HashMap::new());
        for lag in &lags {
            let behind = self.0.behind.read();
            let thread = (tenant, lag.conversation);
            let mut all = behind.all(thread);
            let Some((begins, stand)) = all.next() else {
                list.push(lag.conversation);
                continue;
            };
            if stand.place > after {
                // Something of it may stand in the index as well.
                list.push(lag.conversation);
                waiting.insert(lag.conversation, begins);
            } else if let Some((first, _)) = all.find(|(_, stand)| stand.place > after) {
                waiting.insert(lag.conversation, first);
            }
        }
        let list = serde_json::to_string(&list).unwrap_or_default();
        let found: Vec<(i64, Option<i64>)> = sqlx::query_as(FIRST_BEHIND)
            .bind(list)
            .bind(tenant)
            .bind(after)
            .fetch_all(self.readers()?)
            .await
            .map_err(failed("backlog"))?;
        for (conversation, first) in found {
            if let Some(first) = first {
                waiting.insert(conversation, first);
            }
        }
        for lag in &mut lags {
            lag.first = waiting.get(&lag.conversation).copied().unwrap_or(lag.last);
        }
        Ok(lags)
    }

    async fn last_spoken(
        &self,
        tenant: i64,
        (after, until): (i64, i64),
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Lag>> {
        let (mut seen, mut lags, mut before) = (HashSet::new(), Vec::new(), until.saturating_add(1));
        while lags.len() < limit {
            let rows: Vec<(i64, i64, i64)> = sqlx::query_as(WALK)
                .bind(tenant)
                .bind(after)
                .bind(before)
                .bind(STRIDE)
                .fetch_all(self.readers()?)
                .await
                .map_err(failed("backlog"))?;
            let Some((.., last)) = rows.last() else { break };
            before = *last;
            for (conversation, last, place) in rows {
                if lags.len() < limit && seen.insert(conversation) && seen.len() > skip {
                    lags.push(Lag { conversation, first: last, last, place });
                }
            }
        }
        Ok(lags)
    }

    /// The last sequence of each of these conversations, with its time; of those that have one in the journal.
    pub(super) async fn ends(&self, tenant: i64, conversations: &[i64]) -> Result<HashMap<i64, (i64, i64)>> {
        let mut ends = HashMap::with_capacity(conversations.len());
        {
            let behind = self.0.behind.read();
            let waiting = conversations.iter().filter_map(|id| Some((*id, behind.last((tenant, *id))?)));
            ends.extend(waiting);
        }
        let rest: Vec<i64> = conversations.iter().filter(|id| !ends.contains_key(id)).copied().collect();
        if rest.is_empty() {
            return Ok(ends);
        }
        let rows = sqlx::query(
            "SELECT w.value, t.sequence, j.sent_at FROM json_each(?1) w CROSS JOIN threads t ON t.tenant = ?2
             AND t.conversation = w.value AND t.sequence =
                 (SELECT max(l.sequence) FROM threads l WHERE l.tenant = ?2 AND l.conversation = w.value)
             CROSS JOIN journal j ON j.place = t.place",
        )
        .bind(serde_json::to_string(&rest).unwrap_or_default())
        .bind(tenant)
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("conversations"))?;
        for row in rows {
            let get = |at: usize| row.try_get::<i64, _>(at).map_err(failed("conversations"));
            ends.insert(get(0)?, (get(1)?, get(2)?));
        }
        Ok(ends)
    }
}
