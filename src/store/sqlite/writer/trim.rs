//! Retention: removing the oldest rows of a stream, a bounded number at a time.

use rusqlite::{Connection, params};
use switchboard_contract::{Result, TenantId};

use super::errands::Errand;
use super::memory::{Memory, STREAM_SHIFT};
use super::sql;
use crate::store::sqlite::error::failed;

/// Rows that one transaction removes: small enough that appends behind it do not wait long.
const STEP: u64 = 1000;

/// What removes a range of places.
struct Removal {
    spots: &'static str,
    removals: [&'static str; 5],
}

macro_rules! removal {
    ($gone:literal) => {
        Removal {
            spots: concat!(
                "SELECT tenant, conversation, sequence FROM journal
                 WHERE place > ? AND place <= ? AND conversation IS NOT NULL",
                $gone
            ),
            removals: [
                concat!(
                    "DELETE FROM threads WHERE (tenant, conversation, sequence) IN
                     (SELECT tenant, conversation, sequence FROM journal
                      WHERE place > ? AND place <= ? AND conversation IS NOT NULL",
                    $gone,
                    ")"
                ),
                concat!(
                    "DELETE FROM histories WHERE (tenant, conversation, sent_at, sort_key, message, place) IN
                     (SELECT tenant, conversation, sent_at, sort_key, message, place FROM journal
                      WHERE place > ? AND place <= ? AND conversation IS NOT NULL AND message IS NOT NULL",
                    $gone,
                    ")"
                ),
                concat!(
                    "DELETE FROM raws WHERE place IN (SELECT place FROM journal WHERE place > ? AND place <= ?",
                    $gone,
                    ")"
                ),
                concat!(
                    "DELETE FROM variants WHERE place IN (SELECT place FROM journal WHERE place > ? AND place <= ?",
                    $gone,
                    ")"
                ),
                concat!("DELETE FROM journal WHERE place > ? AND place <= ?", $gone),
            ],
        }
    };
}

const WHOLLY: Removal = removal!("");
const PARTLY: Removal = removal!(" AND (message IS NULL OR conversation IS NULL)");

/// Removes some of the rows up to `until`.
pub(crate) struct Trim {
    pub(crate) tenant: TenantId,
    pub(crate) until: u64,
}

impl Errand for Trim {
    /// How many rows went, and whether there is more to remove.
    type Outcome = (u64, bool);

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<(u64, bool)> {
        let fail = failed("trim");
        let tenant = memory.tenant(db, &self.tenant)?;
        let stream = memory.stream(db, tenant)?;
        let trimmed: i64 =
            sql::scalar(db, "SELECT trimmed FROM streams WHERE id = ?", params![stream.id]).map_err(&fail)?;
        let (trimmed, until) = (trimmed.cast_unsigned(), self.until.min(stream.tail));
        if until <= trimmed {
            return Ok((0, false));
        }
        let step = until.min(trimmed + STEP);
        let place = |position: u64| (stream.id << STREAM_SHIFT) | position.cast_signed();
        // What the journal will no longer tell of these conversations.
        sql::execute(
            db,
            "UPDATE conversations SET last_sequence = gone.sequence, last_at = gone.sent_at
             FROM (SELECT conversation, max(sequence) AS sequence, sent_at FROM journal
                   WHERE place > ? AND place <= ? AND conversation IS NOT NULL GROUP BY conversation) AS gone
             WHERE conversations.id = gone.conversation",
            params![place(trimmed), place(step)],
        )
        .map_err(&fail)?;
        // An archive takes messages from here when they are old enough, and knows by their keys what comes again.
        let keeps: bool = sql::scalar(db, "SELECT EXISTS (SELECT 1 FROM archives WHERE tenant = ?)", params![tenant])
            .map_err(&fail)?;
        let statements = if keeps { &PARTLY } else { &WHOLLY };
        let spots: Vec<(i64, i64, i64)> =
            sql::rows(db, statements.spots, params![place(trimmed), place(step)]).map_err(&fail)?;
        spots.into_iter().for_each(|spot| memory.index.drop(spot));
        for sql in statements.removals {
            sql::execute(db, sql, params![place(trimmed), place(step)]).map_err(&fail)?;
        }
        sql::execute(db, "UPDATE streams SET trimmed = ? WHERE id = ?", params![step.cast_signed(), stream.id])
            .map_err(&fail)?;
        // Positions have no gaps.
        Ok((step - trimmed, step < until))
    }
}
