//! Reading the log and the timelines of the self-hosted service.

mod pages;

use std::fmt;

use async_trait::async_trait;
use sqlx::FromRow as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{
    Account, ConversationMarks, DeviceCursor, Glimpse, Line, LineKind, MemberRole, NewLine, TimelineConversation,
    TimelineGroup, TimelineMember, Timelines, Written,
};
use switchboard_contract::{ConversationId, MessageId, Position, Result, Sequence, Timestamp, UserId};

use super::{bounded, place};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::writer::{AppendLines, PutAccount, RaiseMarks, STREAM_SHIFT, SaveDevices};

const OP: &str = "timelines";

/// The columns that [`line`] reads.
macro_rules! columns {
    () => {
        "l.place, l.sequence, l.kind, l.id, l.author, l.client, l.at, l.mark, l.recalled, l.payload, c.name, l.digest"
    };
}
pub(in crate::store::sqlite) use columns;

/// A statement that reads lines, for [`line_of`].
macro_rules! lines {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM gate_lines l LEFT JOIN gate_conversations c ON c.id = l.conversation ",
            $rest
        )
    };
}
pub(in crate::store::sqlite) use lines;

const LOG: &str = lines!("WHERE l.place > ? AND l.place <= ? ORDER BY l.place LIMIT ? + 0");
const ONE: &str = lines!("WHERE l.place = ?");
const BY_ID: &str = lines!("WHERE l.gate = ? AND l.id = ?");
const BEFORE: &str =
    lines!("WHERE l.conversation = ? AND l.sequence < ? AND l.kind = 0 ORDER BY l.sequence DESC LIMIT ? + 0");
const BETWEEN: &str = lines!(
    "WHERE l.conversation = ? AND l.sequence IS NOT NULL AND l.kind = 0 AND l.place > ? AND l.at >= ? AND l.at <= ?
     ORDER BY l.place LIMIT ? + 0"
);
const UNREAD: &str = "SELECT count(*) FROM gate_lines
     WHERE conversation = ? AND sequence > ? AND kind = 0 AND recalled = 0 AND author <> ?";

/// What [`columns!`] are.
pub(in crate::store::sqlite) type LineColumns = (
    i64,
    Option<i64>,
    u8,
    Vec<u8>,
    String,
    Option<String>,
    i64,
    Option<String>,
    bool,
    Vec<u8>,
    Option<String>,
    Option<i64>,
);

/// A line from a row of [`lines!`].
fn line_of(row: &SqliteRow) -> Result<Line> {
    line(LineColumns::from_row(row).map_err(failed(OP))?)
}

/// A line from its columns.
pub(in crate::store::sqlite) fn line(columns: LineColumns) -> Result<Line> {
    let (place, sequence, kind, id, author, client_id, at, mark, recalled, payload, conversation, digest) = columns;
    let conversation = conversation.map(|name| name.parse::<ConversationId>()).transpose();
    let (Some(kind), Ok(id), Ok(conversation)) = (LineKind::from_code(kind), <[u8; 16]>::try_from(id), conversation)
    else {
        return Err(damaged("line"));
    };
    Ok(Line {
        position: position(place),
        sequence: sequence.map(|number| Sequence(number.cast_unsigned())),
        conversation,
        kind,
        id: MessageId::from_bytes(id),
        by: author.into(),
        client_id,
        at: Timestamp(at),
        mark,
        recalled,
        payload: payload.into(),
        digest: digest.map_or(0, i64::cast_unsigned),
    })
}

fn position(place: i64) -> Position {
    Position((place & ((1 << STREAM_SHIFT) - 1)).cast_unsigned())
}

fn all(rows: &[SqliteRow]) -> Result<Vec<Line>> {
    rows.iter().map(line_of).collect()
}

/// One service's log in the file.
pub(in crate::store::sqlite) struct SqliteTimelines {
    pub(in crate::store::sqlite) store: SqliteStore,
    pub(in crate::store::sqlite) gate: i64,
}

impl fmt::Debug for SqliteTimelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTimelines").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl SqliteTimelines {
    async fn user(&self, user: &UserId) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT id FROM gate_users WHERE gate = ? AND name = ?")
            .bind(self.gate)
            .bind(user.as_str())
            .fetch_optional(self.store.readers()?)
            .await
            .map_err(failed(OP))
    }

    async fn number(&self, conversation: &ConversationId) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT id FROM gate_conversations WHERE gate = ? AND name = ?")
            .bind(self.gate)
            .bind(conversation.as_str())
            .fetch_optional(self.store.readers()?)
            .await
            .map_err(failed(OP))
    }

    async fn marks(&self, conversation: i64) -> Result<Vec<ConversationMarks>> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT u.name, m.delivered, m.read FROM gate_marks m JOIN gate_users u ON u.id = m.user
             WHERE m.conversation = ? LIMIT 100",
        )
        .bind(conversation)
        .fetch_all(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        let marks = |(user, delivered, read): (String, i64, i64)| ConversationMarks {
            user: user.into(),
            delivered: Sequence(delivered.cast_unsigned()),
            read: Sequence(read.cast_unsigned()),
        };
        Ok(rows.into_iter().map(marks).collect())
    }

    async fn listed(&self, user: &UserId, id: i64, name: String, last: i64) -> Result<Option<TimelineConversation>> {
        let row = sqlx::query(ONE).bind(last).fetch_optional(self.store.readers()?).await.map_err(failed(OP))?;
        let (Some(row), Ok(conversation)) = (row, name.parse::<ConversationId>()) else { return Ok(None) };
        let marks = self.marks(id).await?;
        let read: Option<i64> = sqlx::query_scalar(
            "SELECT m.read FROM gate_marks m JOIN gate_users u ON u.id = m.user
             WHERE m.conversation = ? AND u.gate = ? AND u.name = ?",
        )
        .bind(id)
        .bind(self.gate)
        .bind(user.as_str())
        .fetch_optional(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        let unread: i64 = sqlx::query_scalar(UNREAD)
            .bind(id)
            .bind(read.unwrap_or(0))
            .bind(user.as_str())
            .fetch_one(self.store.readers()?)
            .await
            .map_err(failed(OP))?;
        let unread = unread.cast_unsigned();
        Ok(Some(TimelineConversation { id: conversation, last: line_of(&row)?, unread, marks }))
    }
}

#[async_trait]
impl Timelines for SqliteTimelines {
    async fn append(&self, lines: Vec<NewLine>) -> Result<Vec<Written>> {
        self.store.write(AppendLines { gate: self.gate, lines }).await
    }

    async fn tail(&self) -> Result<Position> {
        let tail: i64 = sqlx::query_scalar("SELECT tail FROM gates WHERE id = ?")
            .bind(self.gate)
            .fetch_one(self.store.readers()?)
            .await
            .map_err(failed(OP))?;
        Ok(Position(tail.cast_unsigned()))
    }

    async fn log(&self, after: Position, limit: usize) -> Result<Vec<Line>> {
        let rows = sqlx::query(LOG)
            .bind(place(self.gate, after.0))
            .bind(place(self.gate, u64::MAX))
            .bind(bounded(limit))
            .fetch_all(self.store.readers()?)
            .await
            .map_err(failed(OP))?;
        all(&rows)
    }

    async fn timeline(&self, user: &UserId, after: Position, until: Position, limit: usize) -> Result<Vec<Line>> {
        self.lines_at(&self.places(user, after, until, limit).await?).await
    }

    async fn glimpses(&self, user: &UserId, after: Position, until: Position, limit: usize) -> Result<Vec<Glimpse>> {
        self.glimpses_at(&self.places(user, after, until, limit).await?).await
    }

    async fn line(&self, id: MessageId) -> Result<Option<Line>> {
        let row = sqlx::query(BY_ID)
            .bind(self.gate)
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.store.readers()?)
            .await
            .map_err(failed(OP))?;
        row.as_ref().map(line_of).transpose()
    }

    async fn messages_before(
        &self,
        conversation: &ConversationId,
        before: Sequence,
        limit: usize,
    ) -> Result<Vec<Line>> {
        let Some(conversation) = self.number(conversation).await? else { return Ok(Vec::new()) };
        let rows = sqlx::query(BEFORE)
            .bind(conversation)
            .bind(i64::try_from(before.0).unwrap_or(i64::MAX))
            .bind(bounded(limit))
            .fetch_all(self.store.readers()?)
            .await
            .map_err(failed(OP))?;
        all(&rows)
    }

    async fn messages_between(
        &self,
        conversation: &ConversationId,
        after: Position,
        since: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Line>> {
        let Some(conversation) = self.number(conversation).await? else { return Ok(Vec::new()) };
        let rows = sqlx::query(BETWEEN)
            .bind(conversation)
            .bind(place(self.gate, after.0))
            .bind(since.0)
            .bind(until.0)
            .bind(bounded(limit))
            .fetch_all(self.store.readers()?)
            .await
            .map_err(failed(OP))?;
        all(&rows)
    }

    async fn conversations_of(
        &self,
        user: &UserId,
        before: Position,
        limit: usize,
    ) -> Result<Vec<TimelineConversation>> {
        let Some(number) = self.user(user).await? else { return Ok(Vec::new()) };
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT c.id, c.name, (SELECT place FROM gate_lines l WHERE l.conversation = c.id
                AND l.sequence IS NOT NULL AND l.kind = 0 ORDER BY l.sequence DESC LIMIT 1) AS latest
             FROM gate_members m JOIN gate_conversations c ON c.id = m.conversation
             WHERE m.user = ? AND m.until IS NULL AND latest < ? ORDER BY latest DESC LIMIT ? + 0",
        )
        .bind(number)
        .bind(place(self.gate, before.0))
        .bind(bounded(limit))
        .fetch_all(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        let mut found = Vec::with_capacity(rows.len());
        for (id, name, last) in rows {
            found.extend(self.listed(user, id, name, last).await?);
        }
        Ok(found)
    }

    async fn timeline_group(&self, conversation: &ConversationId) -> Result<Option<TimelineGroup>> {
        let row: Option<(i64, String, String, bool, bool)> = sqlx::query_as(
            "SELECT id, title, owner, muted, ended FROM gate_conversations
             WHERE gate = ? AND name = ? AND title IS NOT NULL",
        )
        .bind(self.gate)
        .bind(conversation.as_str())
        .fetch_optional(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        let Some((id, name, owner, muted, ended)) = row else { return Ok(None) };
        let rows: Vec<(String, u8, Option<i64>, i64)> = sqlx::query_as(
            "SELECT u.name, m.role, m.muted_until, m.since FROM gate_members m JOIN gate_users u ON u.id = m.user
             WHERE m.conversation = ? AND m.until IS NULL ORDER BY m.since, u.id",
        )
        .bind(id)
        .fetch_all(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        let member = |(user, role, muted_until, since): (String, u8, Option<i64>, i64)| TimelineMember {
            user: user.into(),
            role: MemberRole::from_code(role),
            muted_until: muted_until.map(Timestamp),
            since: Position(since.cast_unsigned()),
        };
        let members = rows.into_iter().map(member).collect();
        Ok(Some(TimelineGroup { name, owner: owner.into(), muted, ended, members }))
    }

    async fn members_at(&self, conversation: &ConversationId, position: Position) -> Result<Vec<UserId>> {
        let Some(conversation) = self.number(conversation).await? else { return Ok(Vec::new()) };
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT u.name FROM gate_members m JOIN gate_users u ON u.id = m.user
             WHERE m.conversation = ?1 AND m.since <= ?2 AND (m.until IS NULL OR m.until >= ?2)
             ORDER BY m.since, u.id",
        )
        .bind(conversation)
        .bind(position.0.cast_signed())
        .fetch_all(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        Ok(names.into_iter().map(UserId::from).collect())
    }

    async fn takes_part(&self, user: &UserId, conversation: &ConversationId) -> Result<bool> {
        let Some((user, conversation)) = self.user(user).await?.zip(self.number(conversation).await?) else {
            return Ok(false);
        };
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM gate_members WHERE conversation = ? AND user = ? AND until IS NULL LIMIT 1",
        )
        .bind(conversation)
        .bind(user)
        .fetch_optional(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        Ok(found.is_some())
    }

    async fn account(&self, user: &UserId) -> Result<Option<Account>> {
        let row: Option<(String, Option<i64>)> = sqlx::query_as(
            "SELECT profile, banned_until FROM gate_users WHERE gate = ? AND name = ? AND profile IS NOT NULL",
        )
        .bind(self.gate)
        .bind(user.as_str())
        .fetch_optional(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        let Some((profile, banned_until)) = row else { return Ok(None) };
        let profile = serde_json::from_str(&profile).map_err(|_| damaged("profile"))?;
        Ok(Some(Account { user: user.clone(), profile, banned_until: banned_until.map(Timestamp) }))
    }

    async fn put_account(&self, account: &Account) -> Result<()> {
        self.store.write(PutAccount(self.gate, account.clone())).await
    }

    async fn device(&self, user: &UserId, device: &str) -> Result<Option<DeviceCursor>> {
        Ok(self.devices(user).await?.into_iter().find(|cursor| cursor.device == device))
    }

    async fn devices(&self, user: &UserId) -> Result<Vec<DeviceCursor>> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT d.device, d.low, d.seen_at FROM gate_devices d JOIN gate_users u ON u.id = d.user
             WHERE u.gate = ? AND u.name = ? ORDER BY d.device",
        )
        .bind(self.gate)
        .bind(user.as_str())
        .fetch_all(self.store.readers()?)
        .await
        .map_err(failed(OP))?;
        let cursor = |(device, low, seen_at): (String, i64, i64)| DeviceCursor {
            user: user.clone(),
            device,
            low: Position(low.cast_unsigned()),
            seen_at: Timestamp(seen_at),
        };
        Ok(rows.into_iter().map(cursor).collect())
    }

    async fn save_devices(&self, cursors: Vec<DeviceCursor>) -> Result<()> {
        self.store.write(SaveDevices(self.gate, cursors)).await
    }

    async fn raise_marks(&self, marks: Vec<(ConversationId, ConversationMarks)>) -> Result<()> {
        self.store.write(RaiseMarks(self.gate, marks)).await
    }
}
