//! Pages in the order of the vendor's clock.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};
use switchboard_contract::storage::{
    ConversationSummary, History, HistoryKey, HistoryPage, HistoryQuery, PageDirection,
};
use switchboard_contract::{ConversationId, MessageId, Result, Sequence, TenantId, Timestamp};

use super::bounded;
use super::entries::entry_columns;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::behind::{Named, Thread};
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::unsigned;

/// An entry, and its place in the history.
macro_rules! page_columns {
    () => {
        concat!("SELECT ", entry_columns!(), ", j.sent_at, j.sort_key, j.message FROM ")
    };
}

/// Messages of the index.
fn page_query(query: &HistoryQuery, thread: Thread) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(concat!(
        page_columns!(),
        "histories h CROSS JOIN journal j ON j.place = h.place WHERE h.tenant = "
    ));
    sql.push_bind(thread.0).push(" AND h.conversation = ").push_bind(thread.1);
    if let Some(since) = query.since {
        sql.push(" AND h.sent_at >= ").push_bind(since.0);
    }
    if let Some(until) = query.until {
        sql.push(" AND h.sent_at < ").push_bind(until.0);
    }
    if let Some(after) = &query.after {
        sql.push(match query.direction {
            PageDirection::Older => " AND (h.sent_at, h.sort_key, h.message) < (",
            PageDirection::Newer => " AND (h.sent_at, h.sort_key, h.message) > (",
        });
        sql.push_bind(after.sent_at.0).push(", ").push_bind(after.sort_key.clone());
        sql.push(", ").push_bind(after.message_id.as_bytes().to_vec()).push(")");
    }
    filter(&mut sql, query);
    sql.push(match query.direction {
        PageDirection::Older => " ORDER BY h.sent_at DESC, h.sort_key DESC, h.message DESC LIMIT ",
        PageDirection::Newer => " ORDER BY h.sent_at, h.sort_key, h.message LIMIT ",
    });
    // One more tells whether there is a next page.
    sql.push_bind(bounded(query.limit).saturating_add(1));
    sql
}

fn filter(sql: &mut QueryBuilder<Sqlite>, query: &HistoryQuery) {
    if let Some(sender) = &query.filter.sender {
        sql.push(" AND j.sender = ").push_bind(sender.as_str().to_owned());
    }
    if !query.filter.bodies.is_empty() {
        sql.push(" AND j.body IN (");
        let mut bodies = sql.separated(", ");
        query.filter.bodies.iter().for_each(|body| {
            bodies.push_bind(body.clone());
        });
        sql.push(")");
    }
}

/// A message's place in the order of history.
type Key = (i64, Named);

fn key_of(row: &SqliteRow) -> Result<Key> {
    let fail = failed("history");
    let message: &[u8] = row.try_get(4).map_err(&fail)?;
    let sort_key: &str = row.try_get(3).map_err(&fail)?;
    let message = message.try_into().map_err(|_| damaged("message id"))?;
    Ok((row.try_get(2).map_err(&fail)?, Named { sort_key: sort_key.into(), message }))
}

impl SqliteStore {
    /// The places of the messages that the index does not hold and the query asks for, but for its filter, in its order.
    fn waiting(&self, query: &HistoryQuery, thread: Thread) -> Vec<i64> {
        let after = query.after.as_ref().map(|after| {
            let sort_key = after.sort_key.as_str().into();
            (after.sent_at.0, Named { sort_key, message: *after.message_id.as_bytes() })
        });
        let behind = self.0.behind.read();
        let messages = behind.all(thread).filter_map(|(_, stand)| Some((stand, stand.message.as_ref()?)));
        let mut found: Vec<(i64, &Named, i64)> = messages
            .filter(|(stand, _)| query.since.is_none_or(|since| stand.sent_at >= since.0))
            .filter(|(stand, _)| query.until.is_none_or(|until| stand.sent_at < until.0))
            .filter(|(stand, named)| {
                let at = (stand.sent_at, *named);
                after.as_ref().is_none_or(|(sent_at, last)| match query.direction {
                    PageDirection::Older => at < (*sent_at, last),
                    PageDirection::Newer => at > (*sent_at, last),
                })
            })
            .map(|(stand, named)| (stand.sent_at, named, stand.place))
            .collect();
        found.sort_unstable();
        if matches!(query.direction, PageDirection::Older) {
            found.reverse();
        }
        found.into_iter().map(|(.., place)| place).collect()
    }

    /// The first rows at these places that pass the filter, enough for a page.
    async fn passing(&self, query: &HistoryQuery, places: &[i64]) -> Result<Vec<SqliteRow>> {
        let (mut rows, wanted) = (Vec::new(), query.limit.saturating_add(1));
        for part in places.chunks(wanted.clamp(64, 1024)) {
            let mut sql = QueryBuilder::new(concat!(page_columns!(), "journal j WHERE j.place IN ("));
            let mut list = sql.separated(", ");
            part.iter().for_each(|place| {
                list.push_bind(*place);
            });
            sql.push(")");
            filter(&mut sql, query);
            rows.extend(sql.build().fetch_all(self.readers()?).await.map_err(failed("history"))?);
            if rows.len() >= wanted {
                break;
            }
        }
        Ok(rows)
    }
}

/// The conversations of a tenant, without what the journal knows of them.
const LIST: &str = "SELECT c.tenant, c.id, c.name, c.last_sequence, c.last_at FROM conversations c
    WHERE c.tenant = (SELECT id FROM tenants WHERE name = ?) AND c.name > ? ORDER BY c.name LIMIT ?";
const ONE: &str = "SELECT c.tenant, c.id, c.name, c.last_sequence, c.last_at FROM conversations c
    WHERE c.tenant = (SELECT id FROM tenants WHERE name = ?) AND c.name = ?";

type Listed = (i64, i64, String, i64, i64);

impl SqliteStore {
    async fn summaries(&self, listed: Vec<Listed>) -> Result<Vec<ConversationSummary>> {
        let Some(tenant) = listed.first().map(|one| one.0) else { return Ok(Vec::new()) };
        let numbers: Vec<i64> = listed.iter().map(|one| one.1).collect();
        let ends = self.ends(tenant, &numbers).await?;
        listed
            .into_iter()
            .map(|(_, id, name, last_sequence, last_at)| {
                let (last_sequence, last_at) = ends.get(&id).copied().unwrap_or((last_sequence, last_at));
                Ok(ConversationSummary {
                    id: name.parse().map_err(|_| damaged("conversation"))?,
                    last_sequence: Sequence(unsigned(last_sequence)),
                    last_at: Timestamp(last_at),
                })
            })
            .collect()
    }
}

#[async_trait]
impl History for SqliteStore {
    async fn page(&self, query: &HistoryQuery) -> Result<HistoryPage> {
        if query.limit == 0 {
            return Ok(HistoryPage::default());
        }
        let Some(thread) = self.thread(&query.tenant, &query.conversation).await? else {
            return Ok(HistoryPage::default());
        };
        // First what waits for the index, then the index: see `behind`.
        let waiting = self.waiting(query, thread);
        let mut rows = self.passing(query, &waiting).await?;
        rows.extend(page_query(query, thread).build().fetch_all(self.readers()?).await.map_err(failed("history"))?);
        let mut rows = rows.into_iter().map(|row| Ok((key_of(&row)?, row))).collect::<Result<Vec<_>>>()?;
        rows.sort_by(|(one, _), (other, _)| match query.direction {
            PageDirection::Older => other.cmp(one),
            PageDirection::Newer => one.cmp(other),
        });
        // What was written to the index meanwhile is found in both.
        rows.dedup_by(|(one, _), (other, _)| one == other);
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let (keys, rows): (Vec<HistoryKey>, Vec<SqliteRow>) = rows
            .into_iter()
            .map(|((sent_at, named), row)| {
                let message_id = MessageId::from_bytes(named.message);
                let (sent_at, sort_key) = (Timestamp(sent_at), named.sort_key.into_string());
                (HistoryKey { sent_at, sort_key, message_id }, row)
            })
            .unzip();
        let next = keys.last().filter(|_| more).cloned();
        Ok(HistoryPage { entries: self.entries(rows).await?, keys, next })
    }

    async fn conversations(
        &self,
        tenant: &TenantId,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>> {
        let listed = sqlx::query_as(LIST)
            .bind(tenant.as_str())
            .bind(after.map_or("", ConversationId::as_str))
            .bind(bounded(limit))
            .fetch_all(self.readers()?)
            .await
            .map_err(failed("conversations"))?;
        self.summaries(listed).await
    }

    async fn conversation(&self, tenant: &TenantId, id: &ConversationId) -> Result<Option<ConversationSummary>> {
        let listed: Option<Listed> = sqlx::query_as(ONE)
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("conversations"))?;
        Ok(self.summaries(listed.into_iter().collect()).await?.pop())
    }
}
