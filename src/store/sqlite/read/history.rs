//! Pages in the order of the vendor's clock.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row as _, Sqlite};
use switchboard_contract::storage::{
    ConversationSummary, History, HistoryKey, HistoryPage, HistoryQuery, PageDirection,
};
use switchboard_contract::{ConversationId, Result, Sequence, TenantId, Timestamp};

use super::bounded;
use super::entries::{entry_columns, message_id};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::unsigned;

fn page_query(query: &HistoryQuery) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(concat!(
        "SELECT ",
        entry_columns!(),
        ", j.sort_key FROM conversations c JOIN tenants t ON t.id = c.tenant
          JOIN journal j ON j.tenant = c.tenant AND j.conversation = c.id
          WHERE j.message IS NOT NULL AND t.name = "
    ));
    sql.push_bind(query.tenant.as_str().to_owned());
    sql.push(" AND c.name = ").push_bind(query.conversation.as_str().to_owned());
    if let Some(since) = query.since {
        sql.push(" AND j.sent_at >= ").push_bind(since.0);
    }
    if let Some(until) = query.until {
        sql.push(" AND j.sent_at < ").push_bind(until.0);
    }
    if let Some(after) = &query.after {
        sql.push(match query.direction {
            PageDirection::Older => " AND (j.sent_at, j.sort_key, j.message) < (",
            PageDirection::Newer => " AND (j.sent_at, j.sort_key, j.message) > (",
        });
        sql.push_bind(after.sent_at.0).push(", ").push_bind(after.sort_key.clone());
        sql.push(", ").push_bind(after.message_id.as_bytes().to_vec()).push(")");
    }
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
    sql.push(match query.direction {
        PageDirection::Older => " ORDER BY j.sent_at DESC, j.sort_key DESC, j.message DESC LIMIT ",
        PageDirection::Newer => " ORDER BY j.sent_at, j.sort_key, j.message LIMIT ",
    });
    // One more tells whether there is a next page.
    sql.push_bind(bounded(query.limit).saturating_add(1));
    sql
}

const SUMMARY: &str = "
    SELECT c.name, coalesce(l.sequence, c.last_sequence), coalesce(l.sent_at, c.last_at)
    FROM conversations c LEFT JOIN journal l ON l.tenant = c.tenant AND l.conversation = c.id AND l.sequence =
        (SELECT max(j.sequence) FROM journal j WHERE j.tenant = c.tenant AND j.conversation = c.id)
    WHERE c.tenant = (SELECT id FROM tenants WHERE name = ?) AND c.name > ? ORDER BY c.name LIMIT ?";

const ONE_SUMMARY: &str = "
    SELECT c.name, coalesce(l.sequence, c.last_sequence), coalesce(l.sent_at, c.last_at)
    FROM conversations c LEFT JOIN journal l ON l.tenant = c.tenant AND l.conversation = c.id AND l.sequence =
        (SELECT max(j.sequence) FROM journal j WHERE j.tenant = c.tenant AND j.conversation = c.id)
    WHERE c.tenant = (SELECT id FROM tenants WHERE name = ?) AND c.name = ?";

fn summary((name, last_sequence, last_at): (String, i64, i64)) -> Result<ConversationSummary> {
    Ok(ConversationSummary {
        id: name.parse().map_err(|_| damaged("conversation"))?,
        last_sequence: Sequence(unsigned(last_sequence)),
        last_at: Timestamp(last_at),
    })
}

#[async_trait]
impl History for SqliteStore {
    async fn page(&self, query: &HistoryQuery) -> Result<HistoryPage> {
        if query.limit == 0 {
            return Ok(HistoryPage::default());
        }
        let mut sql = page_query(query);
        let mut rows = sql.build().fetch_all(self.readers()?).await.map_err(failed("history"))?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let next = match rows.last().filter(|_| more) {
            Some(row) => Some(HistoryKey {
                sent_at: Timestamp(row.try_get(6).map_err(failed("history"))?),
                sort_key: row.try_get(10).map_err(failed("history"))?,
                message_id: message_id(row.try_get(5).map_err(failed("history"))?)?,
            }),
            None => None,
        };
        Ok(HistoryPage { entries: self.entries(rows).await?, next })
    }

    async fn conversations(
        &self,
        tenant: &TenantId,
        after: Option<&ConversationId>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(SUMMARY)
            .bind(tenant.as_str())
            .bind(after.map_or("", ConversationId::as_str))
            .bind(bounded(limit))
            .fetch_all(self.readers()?)
            .await
            .map_err(failed("conversations"))?;
        rows.into_iter().map(summary).collect()
    }

    async fn conversation(&self, tenant: &TenantId, id: &ConversationId) -> Result<Option<ConversationSummary>> {
        let row: Option<(String, i64, i64)> = sqlx::query_as(ONE_SUMMARY)
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(self.readers()?)
            .await
            .map_err(failed("conversations"))?;
        row.map(summary).transpose()
    }
}
