//! Pages in the order of the vendor's clock.

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use sqlx::{QueryBuilder, Sqlite};
use switchboard_contract::storage::{
    ConversationSummary, History, HistoryKey, HistoryPage, HistoryQuery, PageDirection,
};
use switchboard_contract::{ConversationId, MessageId, Result, Sequence, TenantId, Timestamp};

use super::bounded;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::behind::{Named, Thread};
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::head::{Frame, Head, WIDTH};
use crate::store::sqlite::run::whole;
use crate::store::sqlite::sql::unsigned;

/// Rows of one value. More would make it so large that the system gives and takes its memory each time.
const RUN: usize = 64;

/// A run of rows as one value, for what the driver does for each row and each value would be most of the price of a page:
/// of each its key of order within one time, with its length, and what [`frames`](crate::store::sqlite::head::frames) takes.
macro_rules! run_of {
    () => {
        "SELECT group_concat(item, '') FROM (SELECT \
         length(CAST(j.sort_key AS BLOB)) || ' ' || j.sort_key || j.head || j.json AS item FROM "
    };
}

/// The first messages of the index behind `after`.
fn index_query(query: &HistoryQuery, thread: Thread, after: Option<&Key>, limit: usize) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(concat!(
        run_of!(),
        "histories h CROSS JOIN journal j ON j.place = h.place WHERE h.tenant = "
    ));
    sql.push_bind(thread.0).push(" AND h.conversation = ").push_bind(thread.1);
    if let Some(since) = query.since {
        sql.push(" AND h.sent_at >= ").push_bind(since.0);
    }
    if let Some(until) = query.until {
        sql.push(" AND h.sent_at < ").push_bind(until.0);
    }
    if let Some((sent_at, named)) = after {
        sql.push(match query.direction {
            PageDirection::Older => " AND (h.sent_at, h.sort_key, h.message) < (",
            PageDirection::Newer => " AND (h.sent_at, h.sort_key, h.message) > (",
        });
        sql.push_bind(*sent_at).push(", ").push_bind(named.sort_key.to_string());
        sql.push(", ").push_bind(named.message.to_vec()).push(")");
    }
    filter(&mut sql, query);
    sql.push(match query.direction {
        PageDirection::Older => " ORDER BY h.sent_at DESC, h.sort_key DESC, h.message DESC LIMIT ",
        PageDirection::Newer => " ORDER BY h.sent_at, h.sort_key, h.message LIMIT ",
    });
    sql.push_bind(bounded(limit)).push(" + 0)");
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

/// A row, and its place in the order of history.
type Found = (Key, Frame);

fn key(after: &HistoryKey) -> Key {
    let named = Named { sort_key: after.sort_key.as_str().into(), message: *after.message_id.as_bytes() };
    (after.sent_at.0, named)
}

/// Takes a run of rows apart. `None` when it is no such run.
fn taken_apart(mut run: Bytes, found: &mut Vec<Found>) -> Option<()> {
    while !run.is_empty() {
        let end = run.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&run.split_to(end)).ok()?.parse().ok()?;
        run.advance(1);
        if run.len() < length {
            return None;
        }
        let sort_key = run.split_to(length);
        let head = Head::decode(&run)?;
        run.advance(WIDTH);
        let length = usize::try_from(head.length).ok().filter(|length| *length <= run.len())?;
        let named = Named { sort_key: std::str::from_utf8(&sort_key).ok()?.into(), message: head.message };
        found.push(((head.sent_at, named), Frame { head, json: run.split_to(length) }));
    }
    Some(())
}

impl SqliteStore {
    /// The places of the messages that the index does not hold and the query asks for, but for its filter, in its order.
    fn waiting(&self, query: &HistoryQuery, thread: Thread) -> Vec<i64> {
        let after = query.after.as_ref().map(key);
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
    async fn passing(&self, query: &HistoryQuery, places: &[i64]) -> Result<Vec<Found>> {
        let (mut found, wanted) = (Vec::new(), query.limit.saturating_add(1));
        for part in places.chunks(RUN) {
            let mut sql = QueryBuilder::new(concat!(run_of!(), "journal j WHERE j.place IN ("));
            let mut list = sql.separated(", ");
            part.iter().for_each(|place| {
                list.push_bind(*place);
            });
            sql.push(")");
            filter(&mut sql, query);
            sql.push(")");
            self.run_of(sql, &mut found).await?;
            if found.len() >= wanted {
                break;
            }
        }
        Ok(found)
    }

    /// The first messages of the index, as many as tell whether there is a next page.
    async fn indexed(&self, query: &HistoryQuery, thread: Thread) -> Result<Vec<Found>> {
        let (mut found, wanted) = (Vec::new(), query.limit.saturating_add(1));
        let mut after = query.after.as_ref().map(key);
        while found.len() < wanted {
            let (before, limit) = (found.len(), RUN.min(wanted - found.len()));
            self.run_of(index_query(query, thread, after.as_ref(), limit), &mut found).await?;
            after = found.last().map(|(key, _): &Found| key.clone());
            if found.len() < before + limit {
                break;
            }
        }
        Ok(found)
    }

    async fn run_of(&self, mut sql: QueryBuilder<Sqlite>, found: &mut Vec<Found>) -> Result<()> {
        let run = sql.build().fetch_one(self.readers()?).await.and_then(whole).map_err(failed("history"))?;
        taken_apart(run, found).ok_or_else(|| damaged("run of messages"))
    }
}

/// The conversations of a tenant, without what the journal knows of them.
const LIST: &str = "SELECT c.tenant, c.id, c.name, c.last_sequence, c.last_at FROM conversations c
    WHERE c.tenant = (SELECT id FROM tenants WHERE name = ?) AND c.name > ? ORDER BY c.name LIMIT ? + 0";
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
                // What retention removed may be newer than what it left for the archive.
                let (last_sequence, last_at) = ends.get(&id).copied().map_or((last_sequence, last_at), |end| {
                    if end.0 >= last_sequence { end } else { (last_sequence, last_at) }
                });
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
        let mut found = self.passing(query, &waiting).await?;
        found.extend(self.indexed(query, thread).await?);
        found.sort_by(|(one, _), (other, _)| match query.direction {
            PageDirection::Older => other.cmp(one),
            PageDirection::Newer => one.cmp(other),
        });
        // What was written to the index meanwhile is found in both.
        found.dedup_by(|(one, _), (other, _)| one == other);
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let (keys, frames): (Vec<HistoryKey>, Vec<Frame>) = found
            .into_iter()
            .map(|((sent_at, named), frame)| {
                let message_id = MessageId::from_bytes(named.message);
                let (sent_at, sort_key) = (Timestamp(sent_at), named.sort_key.into_string());
                (HistoryKey { sent_at, sort_key, message_id }, frame)
            })
            .unzip();
        let next = keys.last().filter(|_| more).cloned();
        Ok(HistoryPage { entries: self.named(&query.tenant, frames).await?, keys, next })
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
