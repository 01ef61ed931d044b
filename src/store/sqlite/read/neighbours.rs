//! Many keys found in one walk over their index.

use sqlx::{Row as _, SqliteConnection};
use switchboard_contract::KeyClass;
use switchboard_contract::storage::PositionRun;

use super::bounded;
use crate::store::sqlite::sql::unsigned;
use crate::store::sqlite::writer::position_of;

/// Keys asked for together that mostly stand side by side in their index, as a vendor's do that count upwards.
pub(super) struct Neighbours {
    pub(super) tenant: i64,
    pub(super) app: i64,
    pub(super) class: KeyClass,
}

impl Neighbours {
    /// Where they stand, told by one walk from the first of them to the last, which costs a fraction of looking for each.
    /// `None` tells nothing: something else lies between them, or not all of them are there.
    pub(super) async fn known_run(
        &self,
        db: &mut SqliteConnection,
        keys: &[&str],
    ) -> sqlx::Result<Option<PositionRun>> {
        let mut wanted = keys.to_vec();
        wanted.sort_unstable();
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(None) };
        let (count, places, found): (i64, Option<(i64, i64)>, Option<String>) = {
            let row = sqlx::query(
                "SELECT count(*), min(place), max(place), group_concat(key, char(10)) FROM
                 (SELECT key, place FROM journal INDEXED BY journal_key
                  WHERE tenant = ? AND app = ? AND class = ? AND key BETWEEN ? AND ? ORDER BY key LIMIT ? + 0)",
            )
            .bind(self.tenant)
            .bind(self.app)
            .bind(i64::from(self.class.code()))
            .bind(*first)
            .bind(*last)
            .bind(bounded(keys.len() + 1))
            .fetch_one(db)
            .await?;
            let places = row.try_get::<Option<i64>, _>(1)?.zip(row.try_get::<Option<i64>, _>(2)?);
            (row.try_get(0)?, places, row.try_get(3)?)
        };
        let (Some((first, last)), Some(found)) = (places, found) else { return Ok(None) };
        // A key with a line break in it looks like two, and then there are more of them than rows.
        let same = unsigned(count) == wanted.len() as u64 && found.split('\n').eq(wanted);
        Ok(same.then_some(PositionRun { first: position_of(first), last: position_of(last) }))
    }
}
