//! Taking the content of archived messages out of the journal.

use std::collections::HashMap;

use rusqlite::{Connection, params};
use switchboard_contract::storage::{Day, Moved};
use switchboard_contract::{Position, Result, TenantId};

use super::errands::Errand;
use super::memory::{Memory, STREAM_SHIFT};
use super::sql;
use crate::store::content::fingerprint;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::signed;

/// The day of a row called `j`, in whole days since 1970.
macro_rules! day {
    () => {
        "((j.sent_at - ((j.sent_at % 86400000) + 86400000) % 86400000) / 86400000)"
    };
}
pub(crate) use day;

/// A row that still has what was archived.
macro_rules! full {
    () => {
        "j.place IN (SELECT value FROM json_each(?1)) AND j.message IS NOT NULL AND j.conversation IS NOT NULL
         AND length(j.json) > 0"
    };
}

/// Rows that one sweep of the indexes writes.
const SWEEP: usize = 4096;

/// Announces an archive of a tenant.
pub(crate) struct OpenArchive(pub(crate) TenantId);

impl Errand for OpenArchive {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let tenant = memory.tenant(db, &self.0)?;
        sql::execute(db, "INSERT OR IGNORE INTO archives (tenant) VALUES (?)", params![tenant])
            .map(drop)
            .map_err(failed("open_archive"))
    }
}

/// Writes a part of what waits for the indexes by conversation.
pub(crate) struct SweepIndexes;

impl Errand for SweepIndexes {
    /// Whether a sweep ended, and how many events wait.
    type Outcome = (bool, usize);

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<(bool, usize)> {
        memory.index.sweep(db, SWEEP)
    }
}

/// Removes the content of messages that the archive holds.
pub(crate) struct SettleMoved {
    pub(crate) tenant: TenantId,
    pub(crate) moved: Vec<Moved>,
}

impl Errand for SettleMoved {
    type Outcome = u64;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<u64> {
        let fail = failed("settle_archive");
        let tenant = memory.tenant(db, &self.tenant)?;
        let stream = memory.stream(db, tenant)?.id;
        let place = |position: Position| (stream << STREAM_SHIFT) | signed(position.0);
        let digests: HashMap<i64, [u8; 8]> =
            self.moved.iter().map(|moved| (place(moved.position), moved.digest)).collect();
        let places = serde_json::to_string(&digests.keys().collect::<Vec<_>>()).unwrap_or_default();
        let rows: Vec<(i64, Vec<u8>)> =
            sql::rows(db, concat!("SELECT j.place, j.json FROM journal j WHERE ", full!()), params![&places])
                .map_err(&fail)?;
        // A message that was recalled while its file was written: what counts is what the database has.
        let changed = rows.iter().filter(|(place, json)| digests.get(place) != Some(&fingerprint(json)));
        for (place, json) in changed {
            sql::execute(
                db,
                concat!(
                    "INSERT OR REPLACE INTO archive_changes (place, tenant, conversation, day, message, revision, json)
                 SELECT j.place, j.tenant, j.conversation, ",
                    day!(),
                    ", j.message, 1, ?2 FROM journal j WHERE j.place = ?1"
                ),
                params![place, json.as_slice()],
            )
            .map_err(&fail)?;
        }
        for sql in [
            concat!(
                "INSERT INTO archived_days (tenant, conversation, day, messages)
                 SELECT j.tenant, j.conversation, ",
                day!(),
                " AS day, count(*) FROM journal j WHERE ",
                full!(),
                " GROUP BY j.tenant, j.conversation, day
                 ON CONFLICT DO UPDATE SET messages = messages + excluded.messages"
            ),
            concat!(
                "DELETE FROM histories WHERE (tenant, conversation, sent_at, sort_key, message, place) IN
                 (SELECT j.tenant, j.conversation, j.sent_at, j.sort_key, j.message, j.place FROM journal j WHERE ",
                full!(),
                ")"
            ),
            concat!("DELETE FROM raws WHERE place IN (SELECT j.place FROM journal j WHERE ", full!(), ")"),
            // In the head (src/store/sqlite/head.rs) the length of the content becomes 0.
            concat!(
                "UPDATE journal AS j SET body = NULL, sort_key = '', json = x'',
                 head = CAST(substr(j.head, 1, 64) || x'00000000' || substr(j.head, 69) AS BLOB) WHERE ",
                full!()
            ),
        ] {
            sql::execute(db, sql, params![&places]).map_err(&fail)?;
        }
        Ok(rows.len() as u64)
    }
}

/// Notes how far an archive's list of files is settled.
pub(crate) struct SettleGeneration {
    pub(crate) tenant: TenantId,
    pub(crate) generation: u64,
    pub(crate) applied: Vec<(Position, u64)>,
    pub(crate) expired: Option<Day>,
}

impl Errand for SettleGeneration {
    type Outcome = ();

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<()> {
        let fail = failed("settle_archive");
        let tenant = memory.tenant(db, &self.tenant)?;
        let stream = memory.stream(db, tenant)?.id;
        for (position, revision) in &self.applied {
            sql::execute(
                db,
                "DELETE FROM archive_changes WHERE place = ? AND revision = ?",
                params![(stream << STREAM_SHIFT) | signed(position.0), signed(*revision)],
            )
            .map_err(&fail)?;
        }
        if let Some(day) = self.expired {
            for sql in [
                "DELETE FROM archived_days WHERE tenant = ? AND day <= ?",
                "DELETE FROM archive_changes WHERE tenant = ? AND day <= ?",
            ] {
                sql::execute(db, sql, params![tenant, day.0]).map_err(&fail)?;
            }
        }
        sql::execute(
            db,
            "INSERT INTO archives (tenant, generation) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET generation = excluded.generation",
            params![tenant, signed(self.generation)],
        )
        .map(drop)
        .map_err(fail)
    }
}

/// Notes that an archived message was recalled. The archive applies it when it is read and when its file is next written.
pub(super) fn bury_archived(db: &Connection, place: i64) -> Result<()> {
    let fail = failed("recall");
    let noted = sql::execute(
        db,
        concat!(
            "INSERT INTO archive_changes (place, tenant, conversation, day, message, revision, json)
         SELECT j.place, j.tenant, j.conversation, ",
            day!(),
            ", j.message, 1, NULL FROM journal j WHERE j.place = ? AND j.message IS NOT NULL
         AND j.conversation IS NOT NULL AND length(j.json) = 0
         ON CONFLICT DO UPDATE SET json = NULL, revision = revision + 1"
        ),
        params![place],
    )
    .map_err(&fail)?;
    if noted > 0 {
        sql::execute(db, "UPDATE variants SET raw = NULL WHERE place = ?", params![place]).map_err(fail)?;
    }
    Ok(())
}
