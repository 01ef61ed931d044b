//! What the archive and exports read, and the calls that settle them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{
    ArchiveChange, ArchiveLedger, ArchivedEntries, Day, DueDay, Entry, ImportMark, Moved, StoredEvent, Transfer,
};
use switchboard_contract::{
    App, ConversationId, Error, ErrorKind, EventKey, KeyClass, Origin, Position, Result, Sequence, Shard, TenantId,
    Timestamp, UserId,
};

use super::entries::message_id;
use super::{bounded, place};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::head::Head;
use crate::store::sqlite::sql::{signed, unsigned};
use crate::store::sqlite::writer::{
    Import, OpenArchive, SettleGeneration, SettleMoved, SweepIndexes, day, position_of,
};

const SHARD: Shard = Shard(0);

/// The messages of a tenant before a time and up to a place, conversation by conversation in the order of history.
macro_rules! due {
    () => {
        " FROM conversations c CROSS JOIN histories j ON j.tenant = c.tenant AND j.conversation = c.id
          AND j.sent_at < ?2 AND j.place <= ?3 "
    };
}

const STORED: &str =
    "SELECT j.place, c.name, j.class, j.key, j.digest, j.origin, j.sort_key, j.message, j.sender, j.body,
    j.head, j.json, r.raw FROM journal j JOIN conversations c ON c.id = j.conversation
    LEFT JOIN raws r ON r.place = j.place WHERE j.place IN (SELECT value FROM json_each(?))";

const BY_SEQUENCE: &str = "SELECT t.sequence, t.place FROM threads t WHERE t.tenant = ?1 AND t.conversation = ?2
    AND t.sequence > ?3 ORDER BY t.sequence LIMIT ?4 + 0";

impl SqliteStore {
    /// Gives entries back the content that stands in the archive.
    pub(super) async fn restored(&self, tenant: &TenantId, entries: Vec<Entry>) -> Result<Vec<Entry>> {
        if entries.iter().all(|entry| !entry.json.is_empty()) {
            return Ok(entries);
        }
        self.archive_of()?.restore(tenant, entries).await
    }

    pub(super) fn archive_of(&self) -> Result<Arc<dyn ArchivedEntries>> {
        self.0.archived.get().and_then(std::sync::Weak::upgrade).ok_or_else(|| {
            let text = "messages of this store are in an archive, and [archive] names none";
            Error::new(ErrorKind::Storage, text).with_operation("read")
        })
    }

    /// The vendor's bytes of a message whose content stands in the archive.
    pub(super) async fn archived_raw(&self, tenant: &TenantId, place: i64) -> Result<Option<Bytes>> {
        let row: Option<(String, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT c.name, j.sent_at, j.message FROM journal j JOIN conversations c ON c.id = j.conversation
             WHERE j.place = ? AND j.message IS NOT NULL AND length(j.json) = 0",
        )
        .bind(place)
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("read"))?;
        let Some((name, sent_at, message)) = row else { return Ok(None) };
        let conversation = name.parse().map_err(|_| damaged("conversation"))?;
        self.archive_of()?.raw(tenant, &conversation, Timestamp(sent_at), message_id(&message)?).await
    }

    async fn stored_event(&self, row: &SqliteRow) -> Result<StoredEvent> {
        let fail = failed("stored");
        let head = Head::decode(row.try_get(10).map_err(&fail)?).ok_or_else(|| damaged("head"))?;
        let text = |at: usize| row.try_get::<Option<String>, _>(at).map_err(failed("stored"));
        let class = KeyClass::from_code(row.try_get(2).map_err(&fail)?).ok_or_else(|| damaged("class"))?;
        let message: Option<&[u8]> = row.try_get(7).map_err(&fail)?;
        let raw: Option<Vec<u8>> = row.try_get(12).map_err(&fail)?;
        let json: Vec<u8> = row.try_get(11).map_err(&fail)?;
        let app: Option<Arc<App>> = match head.app {
            0 => None,
            number => Some(self.app(number).await?),
        };
        Ok(StoredEvent {
            position: position_of(row.try_get(0).map_err(&fail)?),
            sequence: Sequence(head.sequence),
            conversation: text(1)?.unwrap_or_default().parse().map_err(|_| damaged("conversation"))?,
            app,
            key: EventKey::new(class, text(3)?.unwrap_or_default()),
            digest: unsigned(row.try_get(4).map_err(&fail)?),
            origin: Origin::from_code(row.try_get(5).map_err(&fail)?).ok_or_else(|| damaged("origin"))?,
            sort_key: text(6)?.unwrap_or_default(),
            sent_at: Timestamp(head.sent_at),
            received_at: Timestamp(head.received_at),
            late: head.late,
            message_id: message.map(message_id).transpose()?,
            sender: text(8)?.map(UserId::from),
            body: text(9)?,
            json: json.into(),
            raw: raw.map(Into::into),
        })
    }

    async fn stored_at(&self, places: &[i64]) -> Result<Vec<StoredEvent>> {
        let mut found: HashMap<i64, StoredEvent> = HashMap::with_capacity(places.len());
        for part in places.chunks(1024) {
            let list = serde_json::to_string(part).unwrap_or_default();
            let rows = sqlx::query(STORED).bind(list).fetch_all(self.readers()?).await.map_err(failed("stored"))?;
            for row in rows {
                found.insert(row.try_get(0).map_err(failed("stored"))?, self.stored_event(&row).await?);
            }
        }
        Ok(places.iter().filter_map(|place| found.remove(place)).collect())
    }
}

#[async_trait]
impl ArchiveLedger for SqliteStore {
    async fn open_archive(&self, tenant: &TenantId) -> Result<()> {
        self.write(OpenArchive(tenant.clone())).await
    }

    async fn archive_generation(&self, tenant: &TenantId) -> Result<u64> {
        let generation: Option<i64> = sqlx::query_scalar(
            "SELECT a.generation FROM archives a JOIN tenants t ON t.id = a.tenant WHERE t.name = ?",
        )
        .bind(tenant.as_str())
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("archive"))?;
        Ok(generation.map_or(0, unsigned))
    }

    async fn prepare_archive(&self) -> Result<()> {
        // What was added while a sweep was under way is in the next.
        let mut ended = 0;
        while ended < 2 {
            let (end, left) = self.write(SweepIndexes).await?;
            ended += u8::from(end);
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn due_days(&self, tenant: &TenantId, before: Timestamp, until: Position) -> Result<Vec<DueDay>> {
        let numbers = self.tenant_number(tenant).await?.zip(self.stream(tenant, SHARD).await?);
        let Some((tenant, stream)) = numbers else { return Ok(Vec::new()) };
        let rows: Vec<(i64, i64)> = sqlx::query_as(concat!(
            "SELECT ",
            day!(),
            " AS day, count(*)",
            due!(),
            "WHERE c.tenant = ?1 GROUP BY day ORDER BY day"
        ))
        .bind(tenant)
        .bind(before.0)
        .bind(place(stream, until.0))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("archive"))?;
        let day = |day: i64| Day::of(Timestamp(day.saturating_mul(86_400_000)));
        Ok(rows.into_iter().map(|(at, messages)| DueDay { day: day(at), messages: unsigned(messages) }).collect())
    }

    async fn due(
        &self,
        tenant: &TenantId,
        first: Day,
        last: Day,
        before: Timestamp,
        until: Position,
    ) -> Result<Vec<(Day, Vec<Position>)>> {
        let numbers = self.tenant_number(tenant).await?.zip(self.stream(tenant, SHARD).await?);
        let Some((tenant, stream)) = numbers else { return Ok(Vec::new()) };
        let mut days: std::collections::BTreeMap<Day, Vec<Position>> = std::collections::BTreeMap::new();
        let mut reader = self.readers()?.acquire().await.map_err(failed("archive"))?;
        let mut rows = sqlx::query_as::<_, (i64, i64)>(concat!(
            "SELECT j.sent_at, j.place",
            due!(),
            "AND j.sent_at >= ?4 WHERE c.tenant = ?1 ORDER BY c.name, j.sent_at, j.sort_key, j.message"
        ))
        .bind(tenant)
        .bind(before.min(last.end()).0)
        .bind(place(stream, until.0))
        .bind(first.start().0)
        .fetch(&mut *reader);
        while let Some((sent_at, place)) = rows.try_next().await.map_err(failed("archive"))? {
            days.entry(Day::of(Timestamp(sent_at))).or_default().push(position_of(place));
        }
        Ok(days.into_iter().collect())
    }

    async fn stored(&self, tenant: &TenantId, positions: &[Position]) -> Result<Vec<StoredEvent>> {
        let Some(stream) = self.stream(tenant, SHARD).await? else { return Ok(Vec::new()) };
        let places: Vec<i64> = positions.iter().map(|position| place(stream, position.0)).collect();
        self.stored_at(&places).await
    }

    async fn settle_moved(&self, tenant: &TenantId, moved: Vec<Moved>) -> Result<u64> {
        self.write(SettleMoved { tenant: tenant.clone(), moved }).await
    }

    async fn settle_generation(
        &self,
        tenant: &TenantId,
        generation: u64,
        applied: Vec<(Position, u64)>,
        expired: Option<Day>,
    ) -> Result<()> {
        self.write(SettleGeneration { tenant: tenant.clone(), generation, applied, expired }).await
    }

    async fn archived_days(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        first: Day,
        last: Day,
    ) -> Result<Vec<Day>> {
        let days: Vec<i32> = sqlx::query_scalar(
            "SELECT d.day FROM archived_days d JOIN conversations c ON c.tenant = d.tenant AND c.id = d.conversation
             WHERE c.tenant = (SELECT id FROM tenants WHERE name = ?) AND c.name = ? AND d.day >= ? AND d.day <= ?
             ORDER BY d.day",
        )
        .bind(tenant.as_str())
        .bind(conversation.as_str())
        .bind(first.0)
        .bind(last.0)
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("archive"))?;
        Ok(days.into_iter().map(Day).collect())
    }

    async fn archive_changes(
        &self,
        tenant: &TenantId,
        of: Option<(&ConversationId, Day)>,
    ) -> Result<Vec<ArchiveChange>> {
        let rows = sqlx::query(
            "SELECT a.place, c.name, a.day, a.message, a.revision, a.json FROM archive_changes a
             JOIN conversations c ON c.id = a.conversation
             WHERE a.tenant = (SELECT id FROM tenants WHERE name = ?1)
             AND (?2 IS NULL OR (a.day = ?3 AND a.conversation =
                  (SELECT id FROM conversations w WHERE w.tenant = a.tenant AND w.name = ?2)))
             ORDER BY a.place",
        )
        .bind(tenant.as_str())
        .bind(of.map(|(conversation, _)| conversation.as_str()))
        .bind(of.map(|(_, day)| day.0))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("archive"))?;
        let fail = failed("archive");
        rows.iter()
            .map(|row| {
                let name: &str = row.try_get(1).map_err(&fail)?;
                let json: Option<Vec<u8>> = row.try_get(5).map_err(&fail)?;
                Ok(ArchiveChange {
                    message_id: message_id(row.try_get(3).map_err(&fail)?)?,
                    position: position_of(row.try_get(0).map_err(&fail)?),
                    conversation: name.parse().map_err(|_| damaged("conversation"))?,
                    day: Day(row.try_get(2).map_err(&fail)?),
                    revision: unsigned(row.try_get(4).map_err(&fail)?),
                    json: json.map(Into::into),
                })
            })
            .collect()
    }
}

#[async_trait]
impl Transfer for SqliteStore {
    async fn conversation_events(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        after: Sequence,
        limit: usize,
        sender: Option<&UserId>,
    ) -> Result<(Vec<StoredEvent>, Option<Sequence>)> {
        let Some(thread) = self.thread(tenant, conversation).await? else { return Ok((Vec::new(), None)) };
        // First what waits for the index, then the index: see `behind`.
        let from = i64::try_from(after.0).unwrap_or(i64::MAX).saturating_add(1);
        let mut rows: Vec<(i64, i64)> = {
            let behind = self.0.behind.read();
            behind.of(thread, from, i64::MAX).take(limit).map(|(sequence, stand)| (sequence, stand.place)).collect()
        };
        rows.extend(
            sqlx::query_as::<_, (i64, i64)>(BY_SEQUENCE)
                .bind(thread.0)
                .bind(thread.1)
                .bind(signed(after.0))
                .bind(bounded(limit))
                .fetch_all(self.readers()?)
                .await
                .map_err(failed("export"))?,
        );
        rows.sort_unstable();
        rows.dedup();
        rows.truncate(limit);
        let last = rows.last().map(|(sequence, _)| Sequence(unsigned(*sequence)));
        let places: Vec<i64> = rows.into_iter().map(|(_, place)| place).collect();
        let mut events = self.stored_at(&places).await?;
        if let Some(sender) = sender {
            events.retain(|event| event.sender.as_ref() == Some(sender));
        }
        if events.iter().any(StoredEvent::is_archived) {
            events = self.archive_of()?.complete(tenant, events).await?;
        }
        Ok((events, last))
    }

    async fn event_count(&self, tenant: &TenantId) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM journal INDEXED BY journal_walk
             WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND conversation IS NOT NULL",
        )
        .bind(tenant.as_str())
        .fetch_one(self.readers()?)
        .await
        .map_err(failed("export"))?;
        Ok(unsigned(count))
    }

    async fn import_mark(&self, tenant: &TenantId) -> Result<Option<ImportMark>> {
        let mark: Option<String> =
            sqlx::query_scalar("SELECT i.mark FROM imports i JOIN tenants t ON t.id = i.tenant WHERE t.name = ?")
                .bind(tenant.as_str())
                .fetch_optional(self.readers()?)
                .await
                .map_err(failed("import"))?;
        mark.map(|mark| serde_json::from_str(&mark).map_err(|_| damaged("import"))).transpose()
    }

    async fn import(&self, tenant: &TenantId, events: Vec<StoredEvent>, mark: ImportMark) -> Result<()> {
        self.write(Import { tenant: tenant.clone(), events, mark }).await
    }
}
