//! Receipts that came before their message was known to be a send's.

use rusqlite::{Connection, params};
use switchboard_contract::storage::EarlyReceipt;
use switchboard_contract::{App, KeyClass, Result, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{signed, unsigned};

/// Notes receipts, but those of messages that are journalled and no send's. In the transaction of their events, so that
/// whoever binds a send later finds them, and whoever bound it meanwhile is found.
pub(super) fn note(db: &Connection, memory: &mut Memory, receipts: &[EarlyReceipt]) -> Result<()> {
    for receipt in receipts {
        sql::execute(
            db,
            "INSERT OR IGNORE INTO early_receipts (tenant, app, vendor, kind, at) SELECT ?1, ?2, ?3, ?4, ?5
             WHERE EXISTS (SELECT 1 FROM legs WHERE tenant = ?1 AND app = ?2 AND vendor = ?3)
                OR NOT EXISTS (SELECT 1 FROM journal WHERE tenant = ?1 AND app = ?2 AND class = ?6 AND key = ?3)",
            params![
                memory.tenant(db, &receipt.tenant)?,
                memory.app(db, &receipt.app)?,
                receipt.vendor_id.as_str(),
                receipt.kind.code(),
                receipt.at.0,
                KeyClass::Message.code()
            ],
        )
        .map_err(failed("early_receipts"))?;
    }
    Ok(())
}

/// Removes some, what is too old, and of each tenant the oldest beyond a number. Says how many stay.
pub(crate) struct ForgetReceipts {
    pub(crate) app: App,
    pub(crate) ids: Vec<u64>,
    pub(crate) before: Timestamp,
    pub(crate) keep: u32,
}

impl Errand for ForgetReceipts {
    type Outcome = u64;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<u64> {
        let fail = failed("early_receipts");
        let app = memory.app(db, &self.app)?;
        for id in &self.ids {
            sql::execute(db, "DELETE FROM early_receipts WHERE id = ? AND app = ?", params![signed(*id), app])
                .map_err(&fail)?;
        }
        sql::execute(
            db,
            "DELETE FROM early_receipts WHERE app = ?1 AND (at < ?2 OR id IN (SELECT id FROM (
                 SELECT id, row_number() OVER (PARTITION BY tenant ORDER BY id DESC) AS number
                 FROM early_receipts WHERE app = ?1) WHERE number > ?3))",
            params![app, self.before.0, self.keep],
        )
        .map_err(&fail)?;
        let left: i64 =
            sql::scalar(db, "SELECT count(*) FROM early_receipts WHERE app = ?", params![app]).map_err(&fail)?;
        Ok(unsigned(left))
    }
}
