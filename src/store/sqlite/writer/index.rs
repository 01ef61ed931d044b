//! Writing the indexes by conversation, behind the journal: see [`behind`](crate::store::sqlite::behind).
//!
//! When more events wait than may, a sweep goes over them in the order of their keys, in each transaction over as many as
//! there are too many: so no caller waits for the whole, and the longer a conversation waited for its turn the more of it
//! is written to the same page. At its end each stream's mark moves to where the stream ended when the sweep began, and
//! the next one begins.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use switchboard_contract::Result;

use super::memory::STREAM_SHIFT;
use super::sql::{self, List};
use crate::store::sqlite::behind::{Named, Shared, Spot, Stand};
use crate::store::sqlite::error::failed;

// A sweep that a crash interrupted wrote some of its rows already.
static THREADS: List =
    List::new("INSERT OR IGNORE INTO threads (tenant, conversation, sequence, place) VALUES ", "(?,?,?,?)");
static HISTORIES: List = List::new(
    "INSERT OR IGNORE INTO histories (tenant, conversation, sent_at, sort_key, message, place) VALUES ",
    "(?,?,?,?,?,?)",
);

/// Events that are swept in one transaction, at most, for each that is appended: a file that was opened with too many
/// gets rid of them bit by bit.
const PACE: usize = 4;

/// What waits for the indexes, and how far they are.
pub(super) struct Index {
    behind: Shared,
    /// So many may wait.
    limit: usize,
    /// The last place of each stream that has anything waiting.
    ends: HashMap<i64, i64>,
    sweep: Sweep,
    // What follows is what this transaction changes, and is true when it is committed.
    fresh: Vec<(Spot, Stand)>,
    swept: Vec<Spot>,
    finished: bool,
    gone: Vec<Spot>,
}

#[derive(Default)]
struct Sweep {
    /// The last event it went over; `None` before the first.
    cursor: Option<Spot>,
    ends: HashMap<i64, i64>,
}

impl Index {
    /// Reads what the indexes lack from the journal.
    pub(super) fn load(db: &Connection, behind: Shared, limit: usize) -> rusqlite::Result<Self> {
        let mut ends = HashMap::new();
        let mut missing = db.prepare(
            "SELECT j.tenant, j.conversation, j.sequence, j.place, j.sent_at, j.sort_key,
                    CASE WHEN length(j.json) > 0 THEN j.message END
             FROM streams s CROSS JOIN journal j ON j.place > (s.id << 40) + s.indexed AND j.place < (s.id + 1) << 40
             WHERE j.conversation IS NOT NULL",
        )?;
        let mut rows = missing.query(())?;
        while let Some(row) = rows.next()? {
            let (place, sort_key): (i64, String) = (row.get(3)?, row.get(5)?);
            let message: Option<[u8; 16]> = row.get(6)?;
            let message = message.map(|message| Named { sort_key: sort_key.into(), message });
            let stand = Stand { place, sent_at: row.get(4)?, message };
            ends.insert(place >> STREAM_SHIFT, place);
            behind.write().insert((row.get(0)?, row.get(1)?, row.get(2)?), stand);
        }
        let (fresh, swept, gone) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { behind, limit: limit.max(1), ends, sweep: Sweep::default(), fresh, swept, finished: false, gone })
    }

    /// Notes an event of this transaction.
    pub(super) fn add(&mut self, spot: Spot, stand: Stand) {
        self.fresh.push((spot, stand));
    }

    /// Notes that an event is gone from the journal; the number to go [back](Self::keep) to before it.
    pub(super) fn drop(&mut self, spot: Spot) {
        self.gone.push(spot);
    }

    /// How many are [gone](Self::drop) in this transaction.
    pub(super) const fn dropped(&self) -> usize {
        self.gone.len()
    }

    /// Takes back all but the first `dropped` that are gone.
    pub(super) fn keep(&mut self, dropped: usize) {
        self.gone.truncate(dropped);
    }

    /// The last sequence of a conversation, as far as it waits.
    pub(super) fn last(&self, thread: (i64, i64)) -> Option<i64> {
        self.behind.read().last(thread).map(|(sequence, _)| sequence)
    }

    /// Writes this transaction's share to the indexes.
    pub(super) fn write(&mut self, db: &Connection) -> Result<()> {
        let share = (self.behind.read().len() + self.fresh.len()).saturating_sub(self.limit);
        let share = share.min(self.fresh.len() * PACE);
        if share == 0 {
            return Ok(());
        }
        (self.swept, self.finished) = self.next(db, self.sweep.cursor, share)?;
        Ok(())
    }

    /// Writes up to `most` of what waits, for somebody who needs all of it in the indexes: whether a sweep ended with it,
    /// and how many are left. A failure leaves everything as it was.
    pub(super) fn sweep(&mut self, db: &Connection, most: usize) -> Result<(bool, usize)> {
        if !self.finished {
            let cursor = self.swept.last().copied().or(self.sweep.cursor);
            let (swept, finished) = self.next(db, cursor, most)?;
            self.swept.extend(swept);
            self.finished = finished;
        }
        Ok((self.finished, self.waiting()))
    }

    /// Writes the next `most` events behind `cursor`: which they were, and whether they were the last.
    fn next(&mut self, db: &Connection, cursor: Option<Spot>, most: usize) -> Result<(Vec<Spot>, bool)> {
        if cursor.is_none() {
            self.sweep.ends.clone_from(&self.ends);
        }
        // Nobody else ever waits to write here, so holding it while the database works holds nobody up.
        let behind = self.behind.read();
        let mut left = behind.after(cursor);
        let taken: Vec<(Spot, &Stand)> = left.by_ref().take(most).collect();
        let finished = left.next().is_none();
        threads(db, &taken)?;
        histories(db, &taken)?;
        if finished {
            self.ended(db)?;
        }
        Ok((taken.into_iter().map(|(spot, _)| spot).collect(), finished))
    }

    fn waiting(&self) -> usize {
        self.behind.read().len().saturating_sub(self.swept.len())
    }

    /// The mark of each stream moves to where it ended when the sweep began.
    fn ended(&self, db: &Connection) -> Result<()> {
        for (stream, end) in &self.sweep.ends {
            sql::execute(
                db,
                "UPDATE streams SET indexed = ? WHERE id = ?",
                params![end & ((1 << STREAM_SHIFT) - 1), stream],
            )
            .map_err(failed("index"))?;
        }
        Ok(())
    }

    /// After a commit.
    pub(super) fn settle(&mut self) {
        if let Some(last) = self.swept.last() {
            self.sweep.cursor = Some(*last);
        }
        if std::mem::take(&mut self.finished) {
            self.ends.retain(|stream, end| self.sweep.ends.get(stream) != Some(end));
            self.sweep = Sweep::default();
        }
        let mut behind = self.behind.write();
        for spot in self.swept.drain(..) {
            behind.remove(&spot);
        }
        for (spot, stand) in self.fresh.drain(..) {
            self.ends.insert(stand.place >> STREAM_SHIFT, stand.place);
            behind.insert(spot, stand);
        }
        for spot in self.gone.drain(..) {
            behind.remove(&spot);
        }
    }

    /// After a rollback.
    pub(super) fn forget(&mut self) {
        self.fresh.clear();
        self.swept.clear();
        self.gone.clear();
        self.finished = false;
    }
}

fn threads(db: &Connection, taken: &[(Spot, &Stand)]) -> Result<()> {
    THREADS.run(db, "index", taken, |values, ((tenant, conversation, sequence), stand)| {
        [tenant, conversation, sequence, &stand.place].into_iter().for_each(|value| values.push(value));
        Ok(())
    })
}

fn histories(db: &Connection, taken: &[(Spot, &Stand)]) -> Result<()> {
    let messages = taken.iter().filter_map(|(spot, stand)| Some((spot, *stand, stand.message.as_ref()?)));
    let messages: Vec<_> = messages.collect();
    HISTORIES.run(db, "index", &messages, |values, ((tenant, conversation, _), stand, named)| {
        values.push(tenant);
        values.push(conversation);
        values.push(stand.sent_at);
        values.push(&named.sort_key);
        values.push(named.message);
        values.push(stand.place);
        Ok(())
    })
}
