//! A user's lines, from the rows that name them: whole, or as much as a device is given.

use bytes::{Buf as _, Bytes};
use sqlx::sqlite::SqliteArguments;
use switchboard_contract::storage::{Glimpse, Line, LineKind};
use switchboard_contract::{Position, Result, Sequence, UserId};

use super::{OP, SqliteTimelines, columns, line_of, lines, position};
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::read::{bounded, place};
use crate::store::sqlite::run::whole;
use crate::store::sqlite::sql::{Bulk, Values};

/// Places as one value, for the same reason as lines below.
const INBOX: &str = "SELECT group_concat(place, ' ') FROM (SELECT place FROM gate_inboxes
     WHERE user = ? AND place > ? AND place <= ? ORDER BY place LIMIT ? + 0)";
const SHARED: &str = "SELECT group_concat(place, ' ') FROM (SELECT place FROM gate_lines
     WHERE conversation = ? AND shared = 1 AND place > ? AND place <= ? ORDER BY place LIMIT ? + 0)";
static THESE: Bulk = Bulk::new(lines!("WHERE l.place IN ("), "?", ") ORDER BY l.place");

/// Lines as one value: what the driver does for each row and each value would be most of the price of a page. More rows
/// would make it so large that the system gives and takes its memory each time.
const RUN: usize = 256;
static GLIMPSES: Bulk = Bulk::new(
    "SELECT group_concat(place || ' ' || ifnull(sequence, 0) || ' ' || kind || ' ' || length(payload) || ' ' || payload, '')
     FROM gate_lines WHERE place IN (",
    "?",
    ")",
);

impl SqliteTimelines {
    /// Where the lines are that a user sees.
    pub(super) async fn places(
        &self,
        user: &UserId,
        after: Position,
        until: Position,
        limit: usize,
    ) -> Result<Vec<i64>> {
        let Some(user) = self.user(user).await? else { return Ok(Vec::new()) };
        let (first, last) = (place(self.gate, after.0), place(self.gate, until.0));
        let mut reader = self.store.readers()?.acquire().await.map_err(failed(OP))?;
        let own: Option<String> = sqlx::query_scalar(INBOX)
            .bind(user)
            .bind(first)
            .bind(last)
            .bind(bounded(limit))
            .fetch_one(&mut *reader)
            .await
            .map_err(failed(OP))?;
        let mut places = listed(own)?;
        // Only groups that have shared lines are looked through; most people are in few of them.
        let stays: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(
            "SELECT m.conversation, m.since, m.until FROM gate_members m WHERE m.user = ?
             AND EXISTS (SELECT 1 FROM gate_lines l WHERE l.conversation = m.conversation AND l.shared = 1)",
        )
        .bind(user)
        .fetch_all(&mut *reader)
        .await
        .map_err(failed(OP))?;
        for (conversation, since, until) in stays {
            let from = first.max(place(self.gate, since.cast_unsigned()) - 1);
            let to = until.map_or(last, |until| last.min(place(self.gate, until.cast_unsigned())));
            let shared: Option<String> = sqlx::query_scalar(SHARED)
                .bind(conversation)
                .bind(from)
                .bind(to)
                .bind(bounded(limit))
                .fetch_one(&mut *reader)
                .await
                .map_err(failed(OP))?;
            places.append(&mut listed(shared)?);
        }
        places.sort_unstable();
        places.dedup();
        places.truncate(limit);
        Ok(places)
    }

    pub(super) async fn lines_at(&self, places: &[i64]) -> Result<Vec<Line>> {
        let mut found = Vec::with_capacity(places.len());
        for part in places.chunks(1024) {
            let (size, values) = list(part)?;
            let rows = sqlx::query_with(THESE.text(size), values).fetch_all(self.store.readers()?).await;
            for row in &rows.map_err(failed(OP))? {
                found.push(line_of(row)?);
            }
        }
        Ok(found)
    }

    pub(super) async fn glimpses_at(&self, places: &[i64]) -> Result<Vec<Glimpse>> {
        let mut found = Vec::with_capacity(places.len());
        for part in places.chunks(RUN) {
            let (size, values) = list(part)?;
            let row = sqlx::query_with(GLIMPSES.text(size), values).fetch_one(self.store.readers()?).await;
            taken_apart(row.and_then(whole).map_err(failed(OP))?, &mut found).ok_or_else(|| damaged("run of lines"))?;
        }
        Ok(found)
    }
}

/// Places that came as one value.
fn listed(places: Option<String>) -> Result<Vec<i64>> {
    let places = places.unwrap_or_default();
    places.split_ascii_whitespace().map(|place| place.parse().map_err(|_| damaged("list of places"))).collect()
}

/// Places as the values of a list, and how long it is.
fn list(places: &[i64]) -> Result<(usize, SqliteArguments)> {
    let size = Bulk::padded(places.len());
    let mut values = Values::with_capacity(size);
    (0..size).for_each(|at| values.push(places[at.min(places.len() - 1)]));
    Ok((size, values.done().map_err(failed(OP))?))
}

/// Takes a run of lines apart. `None` when it is no such run.
fn taken_apart(mut run: Bytes, found: &mut Vec<Glimpse>) -> Option<()> {
    while !run.is_empty() {
        let mut number = || -> Option<i64> {
            let end = run.iter().position(|byte| *byte == b' ')?;
            let text = run.split_to(end);
            run.advance(1);
            std::str::from_utf8(&text).ok()?.parse().ok()
        };
        let (place, sequence, kind, length) = (number()?, number()?, number()?, number()?);
        let length = usize::try_from(length).ok().filter(|length| *length <= run.len())?;
        let position = position(place);
        // A run is in order; lines that changed places would be delivered wrongly.
        if found.last().is_some_and(|last| last.position >= position) {
            return None;
        }
        found.push(Glimpse {
            position,
            sequence: (sequence > 0).then(|| Sequence(sequence.cast_unsigned())),
            kind: LineKind::from_code(u8::try_from(kind).ok()?)?,
            payload: run.split_to(length),
        });
    }
    Some(())
}
