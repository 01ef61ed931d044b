//! Receipts that came before their message was known to be a send's.

use async_trait::async_trait;
use sqlx::SqliteConnection;
use switchboard_contract::storage::EarlyReceipt;
use switchboard_contract::{App, KeyClass, Result, Timestamp};

use super::errands::Errand;
use super::memory::Memory;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::sql::{signed, unsigned};

/// Notes receipts, but those of messages that are journalled and no send's. In the transaction of their events, so that
/// whoever binds a send later finds them, and whoever bound it meanwhile is found.
pub(super) async fn note(db: &mut SqliteConnection, memory: &mut Memory, receipts: &[EarlyReceipt]) -> Result<()> {
    for receipt in receipts {
        sqlx::query(
            "INSERT OR IGNORE INTO early_receipts (tenant, app, vendor, kind, at) SELECT ?1, ?2, ?3, ?4, ?5
             WHERE EXISTS (SELECT 1 FROM legs WHERE tenant = ?1 AND app = ?2 AND vendor = ?3)
                OR NOT EXISTS (SELECT 1 FROM journal WHERE tenant = ?1 AND app = ?2 AND class = ?6 AND key = ?3)",
        )
        .bind(memory.tenant(db, &receipt.tenant).await?)
        .bind(memory.app(db, &receipt.app).await?)
        .bind(receipt.vendor_id.as_str())
        .bind(receipt.kind.code())
        .bind(receipt.at.0)
        .bind(KeyClass::Message.code())
        .execute(&mut *db)
        .await
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

#[async_trait]
impl Errand for ForgetReceipts {
    type Outcome = u64;

    async fn run(&mut self, db: &mut SqliteConnection, memory: &mut Memory) -> Result<u64> {
        let fail = failed("early_receipts");
        let app = memory.app(db, &self.app).await?;
        for id in &self.ids {
            sqlx::query("DELETE FROM early_receipts WHERE id = ? AND app = ?")
                .bind(signed(*id))
                .bind(app)
                .execute(&mut *db)
                .await
                .map_err(&fail)?;
        }
        sqlx::query(
            "DELETE FROM early_receipts WHERE app = ?1 AND (at < ?2 OR id IN (SELECT id FROM (
                 SELECT id, row_number() OVER (PARTITION BY tenant ORDER BY id DESC) AS number
                 FROM early_receipts WHERE app = ?1) WHERE number > ?3))",
        )
        .bind(app)
        .bind(self.before.0)
        .bind(self.keep)
        .execute(&mut *db)
        .await
        .map_err(&fail)?;
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM early_receipts WHERE app = ?")
            .bind(app)
            .fetch_one(db)
            .await
            .map_err(&fail)?;
        Ok(unsigned(left))
    }
}
