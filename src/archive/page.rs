//! Reading back: pages of history.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;
use switchboard_contract::storage::{
    Archive, ArchiveChange, ArchivePage, Day, Entry, HeldSpan, HistoryKey, HistoryQuery, PageDirection,
};
use switchboard_contract::{
    ConversationId, Error, ErrorKind, MessageId, Origin, Position, Result, Sequence, Shard, TenantId, Timestamp, Topic,
};

use super::manifest::{ArchiveFile, Manifest};
use super::read::{OpenFile, Unit};
use super::run::changed;
use super::schema::Row;
use super::service::Inner;

/// What became of the messages of a conversation's day since its files were written.
pub(super) type Changes = HashMap<MessageId, ArchiveChange>;

/// A message where it stands.
struct Spot {
    key: HistoryKey,
    file: usize,
    group: usize,
    row: usize,
}

impl Inner {
    pub(super) async fn changes(&self, tenant: &TenantId, conversation: &ConversationId, day: Day) -> Result<Changes> {
        let changes = self.ledger()?.archive_changes(tenant, Some((conversation, day))).await?;
        Ok(changes.into_iter().map(|change| (change.message_id, change)).collect())
    }

    async fn files_of(
        &self,
        tenant: &TenantId,
        list: &Manifest,
        conversation: &ConversationId,
        day: Day,
    ) -> Result<Vec<OpenFile>> {
        let mut open = Vec::new();
        let holds = |file: &&ArchiveFile| file.may_hold(conversation.as_str());
        for file in list.of_day(day).iter().filter(holds) {
            open.push(self.open_file(tenant, file).await?);
        }
        Ok(open)
    }

    /// The messages of a day that a query asks for, `wanted` of them or all there are.
    async fn day_page(
        &self,
        query: &HistoryQuery,
        list: &Manifest,
        day: Day,
        wanted: usize,
    ) -> Result<Vec<(HistoryKey, Entry)>> {
        let (tenant, conversation) = (&query.tenant, &query.conversation);
        let files = self.files_of(tenant, list, conversation, day).await?;
        let changes = self.changes(tenant, conversation, day).await?;
        let mut spots = Vec::new();
        for (at, file) in files.iter().enumerate() {
            self.spots(query, &changes, (at, file), wanted, &mut spots).await?;
        }
        spots.sort_by(|one, other| order(query.direction, &one.key, &other.key));
        spots.dedup_by(|one, other| one.key == other.key);
        spots.truncate(wanted);
        let mut rows = self.rows_at(conversation, &files, &spots, false).await?;
        let mut found = Vec::with_capacity(spots.len());
        for spot in spots {
            let row = rows.remove(&spot.key.message_id).ok_or_else(lost)?;
            found.push((spot.key, entry(row, &changes)?));
        }
        Ok(found)
    }

    /// Adds where a file has the messages a query asks for: the first `wanted` of them in its direction.
    async fn spots(
        &self,
        query: &HistoryQuery,
        changes: &Changes,
        (at, file): (usize, &OpenFile),
        wanted: usize,
        spots: &mut Vec<Spot>,
    ) -> Result<()> {
        let (since, until) = bounds(query);
        let mut units = file.units(query.conversation.as_str(), since, until)?;
        if query.direction == PageDirection::Older {
            units.reverse();
        }
        let enough = spots.len() + wanted;
        for unit in units {
            let (first, keys) = file.keys(&self.objects, &unit, query.conversation.as_str()).await?;
            let own = Unit { group: unit.group, rows: first..first + keys.len() };
            let filtered = query.filter.sender.is_some() || !query.filter.bodies.is_empty();
            let traits = if filtered && !keys.is_empty() {
                file.traits(&self.objects, &own).await?
            } else {
                vec![(None, None); keys.len()]
            };
            let rows = keys.into_iter().zip(traits).enumerate().map(|(row, (key, traits))| (first + row, key, traits));
            let mut some: Vec<Spot> = rows
                .filter(|(_, key, traits)| asked(query, key) && (!filtered || passes(query, changes, key, traits)))
                .map(|(row, key, _)| Spot { key, file: at, group: unit.group, row })
                .collect();
            if query.direction == PageDirection::Older {
                some.reverse();
            }
            spots.extend(some);
            if spots.len() >= enough {
                break;
            }
        }
        Ok(())
    }

    /// The rows of a conversation at some places. What lies between them on a page is decoded with them and left out.
    async fn rows_at(
        &self,
        conversation: &ConversationId,
        files: &[OpenFile],
        spots: &[Spot],
        with_raw: bool,
    ) -> Result<HashMap<MessageId, Row>> {
        let mut runs: Vec<(usize, Unit, Vec<Option<HistoryKey>>)> = Vec::new();
        let mut places: Vec<&Spot> = spots.iter().collect();
        places.sort_unstable_by_key(|spot| (spot.file, spot.group, spot.row));
        for Spot { key, file, group, row } in places {
            match runs.last_mut() {
                Some((of, unit, keys)) if of == file && unit.group == *group && *row < unit.rows.end + 64 => {
                    unit.rows.end = row + 1;
                    keys.resize(unit.rows.len() - 1, None);
                    keys.push(Some(key.clone()));
                }
                _ => runs.push((*file, Unit { group: *group, rows: *row..row + 1 }, vec![Some(key.clone())])),
            }
        }
        let mut found = HashMap::with_capacity(spots.len());
        for (file, unit, keys) in runs {
            let rows = files[file].rest(&self.objects, &unit, (conversation.clone(), keys), with_raw).await?;
            found.extend(rows.into_iter().map(|row| (row.at.message_id, row)));
        }
        Ok(found)
    }

    /// Some messages of a conversation's day, by their ids.
    pub(super) async fn by_id(
        &self,
        tenant: &TenantId,
        list: &Manifest,
        (conversation, day): (&ConversationId, Day),
        ids: &HashSet<MessageId>,
        with_raw: bool,
    ) -> Result<HashMap<MessageId, Row>> {
        let files = self.files_of(tenant, list, conversation, day).await?;
        let mut spots = Vec::new();
        for (at, file) in files.iter().enumerate() {
            for unit in file.units(conversation.as_str(), None, None)? {
                let (first, keys) = file.keys(&self.objects, &unit, conversation.as_str()).await?;
                let keys = keys.into_iter().enumerate().filter(|(_, key)| ids.contains(&key.message_id));
                spots.extend(keys.map(|(row, key)| Spot { key, file: at, group: unit.group, row: first + row }));
            }
        }
        self.rows_at(conversation, &files, &spots, with_raw).await
    }

    /// Does something with the list of files, once more when files were replaced meanwhile.
    pub(super) async fn with_list<T, F: Future<Output = Result<T>> + Send>(
        &self,
        tenant: &TenantId,
        act: impl Fn(std::sync::Arc<Manifest>) -> F + Send + Sync,
    ) -> Result<T> {
        let list = self.list(tenant).await?;
        let outcome = act(list.clone()).await;
        let now = self.list(tenant).await?;
        if outcome.is_err() && !std::sync::Arc::ptr_eq(&list, &now) {
            return act(now).await;
        }
        outcome
    }

    async fn page_of(&self, query: &HistoryQuery, list: &Manifest) -> Result<ArchivePage> {
        let (since, until) = bounds(query);
        let first = since.map_or(Day(i32::MIN), Day::of);
        let last = until.map_or(Day(i32::MAX), |until| Day::of(Timestamp(until.0.saturating_sub(1))));
        let mut days = self.ledger()?.archived_days(&query.tenant, &query.conversation, first, last).await?;
        if query.direction == PageDirection::Older {
            days.reverse();
        }
        // One more tells whether there is a next page.
        let (wanted, mut found) = (query.limit.saturating_add(1), Vec::new());
        for day in days {
            found.extend(self.day_page(query, list, day, wanted - found.len()).await?);
            if found.len() >= wanted {
                break;
            }
        }
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(|(key, _)| key.clone());
        metrics::counter!("switchboard_archive_pages_total").increment(1);
        Ok(ArchivePage { rows: found, next })
    }
}

pub(super) fn lost() -> Error {
    Error::new(ErrorKind::Storage, "a message is not in its file of the archive").with_operation("archive_read")
}

fn order(direction: PageDirection, one: &HistoryKey, other: &HistoryKey) -> std::cmp::Ordering {
    match direction {
        PageDirection::Newer => one.cmp(other),
        PageDirection::Older => other.cmp(one),
    }
}

/// The times a query can find something in: from the first (included) to the second (excluded).
fn bounds(query: &HistoryQuery) -> (Option<Timestamp>, Option<Timestamp>) {
    match (&query.after, query.direction) {
        (None, _) => (query.since, query.until),
        (Some(after), PageDirection::Newer) => (query.since.max(Some(after.sent_at)), query.until),
        (Some(after), PageDirection::Older) => {
            let behind = Timestamp(after.sent_at.0.saturating_add(1));
            (query.since, Some(query.until.map_or(behind, |until| until.min(behind))))
        }
    }
}

/// Whether a message lies where a query asks, but for its filter.
fn asked(query: &HistoryQuery, key: &HistoryKey) -> bool {
    query.since.is_none_or(|since| key.sent_at >= since)
        && query.until.is_none_or(|until| key.sent_at < until)
        && query.after.as_ref().is_none_or(|after| order(query.direction, key, after).is_gt())
}

fn passes(
    query: &HistoryQuery,
    changes: &Changes,
    key: &HistoryKey,
    (sender, body): &(Option<String>, Option<String>),
) -> bool {
    // All that ever changes is that a message becomes a tombstone, which has no body.
    let body = body.as_ref().filter(|_| !changes.contains_key(&key.message_id));
    query.filter.sender.as_ref().is_none_or(|wanted| sender.as_deref() == Some(wanted.as_str()))
        && (query.filter.bodies.is_empty() || body.is_some_and(|body| query.filter.bodies.contains(body)))
}

fn entry(row: Row, changes: &Changes) -> Result<Entry> {
    let json = content_of(&row, changes)?;
    Ok(Entry {
        shard: Shard(0),
        position: Position(row.position),
        sequence: Some(Sequence(row.sequence)),
        topic: if row.origin == Origin::History { Topic::History } else { Topic::Messages },
        conversation: Some(row.conversation),
        app: row.app.map(std::sync::Arc::new),
        message_id: Some(row.at.message_id),
        sent_at: row.at.sent_at,
        received_at: row.received_at,
        late: row.late,
        json,
    })
}

pub(super) fn content_of(row: &Row, changes: &Changes) -> Result<Bytes> {
    match changes.get(&row.at.message_id) {
        Some(change) => changed(&row.event, row.position, row.sequence, change),
        None => Ok(row.event.clone()),
    }
}

#[async_trait]
impl Archive for Inner {
    async fn page(&self, query: &HistoryQuery) -> Result<ArchivePage> {
        if query.limit == 0 {
            return Ok(ArchivePage::default());
        }
        self.with_list(&query.tenant, |list| async move { self.page_of(query, &list).await }).await
    }

    async fn held(&self, tenant: &TenantId, conversation: Option<&ConversationId>) -> Result<Vec<HeldSpan>> {
        let list = self.list(tenant).await?;
        let mut days: Vec<Day> = match conversation {
            _ if list.files.is_empty() => Vec::new(),
            // Behind `held` may stand a page, so a conversation's own days are asked for: one look at an index.
            Some(conversation) => {
                self.ledger()?.archived_days(tenant, conversation, Day(i32::MIN), Day(i32::MAX)).await?
            }
            None => list.files.iter().map(|file| file.day).collect(),
        };
        days.dedup();
        let mut spans: Vec<HeldSpan> = Vec::new();
        for day in days {
            match spans.last_mut() {
                Some(last) if last.until == day.start() => last.until = day.end(),
                _ => spans.push(HeldSpan { since: day.start(), until: day.end() }),
            }
        }
        Ok(spans)
    }
}
