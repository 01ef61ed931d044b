//! Sends and their legs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use switchboard_contract::storage::{BoundReceipt, Enqueued, Leg, NewSend, Outbox, SendRecord};
use switchboard_contract::{
    App, ClientMessageId, MessageId, ReceiptKind, Result, SendId, SendState, TenantId, Timestamp, UserId,
    VendorMessageId,
};

use super::bounded;
use super::entries::message_id;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::{damaged, failed};
use crate::store::sqlite::sql::{Bulk, Values, unsigned};
use crate::store::sqlite::writer::{Command, ForgetReceipts, Reroute};

macro_rules! leg_columns {
    () => {
        "l.id, l.send, l.message, l.conversation, l.recipient, l.app, l.state, l.attempts, l.next_attempt_at,
         l.dispatched_at, l.reason, l.vendor, l.history FROM legs l "
    };
}

static SENDS: Bulk = Bulk::new(
    "SELECT s.id, s.send, t.name, s.client_id, s.payload, s.created_at, s.expires_at
     FROM sends s JOIN tenants t ON t.id = s.tenant WHERE s.id IN (",
    "?",
    ")",
);

/// By an index of its own: behind another tenant's long queue it would read all of that first.
const OPEN_LEGS_OF: &str = concat!(
    "SELECT ",
    leg_columns!(),
    "INDEXED BY legs_open_of WHERE l.app = ? AND l.tenant = ? AND l.state <= 2 AND l.id > ? ORDER BY l.id LIMIT ? + 0"
);
static KNOWN: Bulk = Bulk::new("SELECT vendor FROM legs WHERE tenant = ? AND app = ? AND vendor IN (", "?", ")");

fn send_id(bytes: &[u8]) -> Result<SendId> {
    bytes.try_into().map(SendId::from_bytes).map_err(|_| damaged("send id"))
}

fn record(row: &SqliteRow) -> Result<SendRecord> {
    let fail = failed("sends");
    let tenant: String = row.try_get(2).map_err(&fail)?;
    let client_message_id: Option<String> = row.try_get(3).map_err(&fail)?;
    let payload: &[u8] = row.try_get(4).map_err(&fail)?;
    let expires_at: Option<i64> = row.try_get(6).map_err(&fail)?;
    Ok(SendRecord {
        id: send_id(row.try_get(1).map_err(&fail)?)?,
        tenant: tenant.into(),
        client_message_id: client_message_id.map(ClientMessageId::from),
        payload: serde_json::from_slice(payload).map_err(|_| damaged("send"))?,
        created_at: Timestamp(row.try_get(5).map_err(&fail)?),
        expires_at: expires_at.map(Timestamp),
    })
}

fn leg(row: &SqliteRow, send: Arc<SendRecord>, app: App) -> Result<Leg> {
    let fail = failed("legs");
    let conversation: String = row.try_get(3).map_err(&fail)?;
    let recipient: Option<String> = row.try_get(4).map_err(&fail)?;
    let dispatched_at: Option<i64> = row.try_get(9).map_err(&fail)?;
    let vendor_id: Option<String> = row.try_get(11).map_err(&fail)?;
    let history: Option<&str> = row.try_get(12).map_err(&fail)?;
    let history = history.map(|text| serde_json::from_str(text).map_err(|_| damaged("attempts"))).transpose()?;
    Ok(Leg {
        send,
        order: unsigned(row.try_get(0).map_err(&fail)?),
        message_id: message_id(row.try_get(2).map_err(&fail)?)?,
        conversation: conversation.parse().map_err(|_| damaged("conversation"))?,
        recipient: recipient.map(UserId::from),
        app,
        state: SendState::from_code(row.try_get(6).map_err(&fail)?).ok_or_else(|| damaged("send state"))?,
        attempts: row.try_get(7).map_err(&fail)?,
        history: history.unwrap_or_default(),
        next_attempt_at: Timestamp(row.try_get(8).map_err(&fail)?),
        dispatched_at: dispatched_at.map(Timestamp),
        reason: row.try_get(10).map_err(&fail)?,
        vendor_id: vendor_id.map(VendorMessageId::from),
    })
}

impl SqliteStore {
    /// Legs with what they share, which is read once however many share it.
    async fn with_sends(&self, rows: Vec<SqliteRow>) -> Result<Vec<Leg>> {
        let number = |row: &SqliteRow| row.try_get::<i64, _>(1).map_err(failed("legs"));
        let mut wanted = rows.iter().map(number).collect::<Result<Vec<_>>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        let mut sends: HashMap<i64, Arc<SendRecord>> = HashMap::with_capacity(wanted.len());
        for part in wanted.chunks(1024) {
            let size = Bulk::padded(part.len());
            let mut values = Values::with_capacity(size);
            (0..size).for_each(|at| values.push(part[at.min(part.len() - 1)]));
            let values = values.done().map_err(failed("sends"))?;
            let found = sqlx::query_with(SENDS.text(size), values).fetch_all(self.readers()?).await;
            for row in found.map_err(failed("sends"))? {
                sends.insert(row.try_get(0).map_err(failed("sends"))?, Arc::new(record(&row)?));
            }
        }
        let mut legs = Vec::with_capacity(rows.len());
        for row in &rows {
            let send = sends.get(&number(row)?).cloned().ok_or_else(|| damaged("leg without a send"))?;
            let app = self.app(row.try_get(5).map_err(failed("legs"))?).await?;
            legs.push(leg(row, send, app.as_ref().clone())?);
        }
        Ok(legs)
    }

    async fn one_leg(&self, row: sqlx::Result<Option<SqliteRow>>) -> Result<Option<Leg>> {
        let row = row.map_err(failed("legs"))?;
        Ok(self.with_sends(row.into_iter().collect()).await?.pop())
    }
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn enqueue(&self, sends: Vec<NewSend>) -> Result<Vec<Enqueued>> {
        self.command(|reply| Command::Enqueue(sends, reply)).await
    }

    async fn open_legs(&self, app: &App, after: u64, limit: usize) -> Result<Vec<Leg>> {
        let Some(app) = self.app_number(app).await? else { return Ok(Vec::new()) };
        let rows = sqlx::query(concat!(
            "SELECT ",
            leg_columns!(),
            "WHERE l.app = ? AND l.state <= 2 AND l.id > ? ORDER BY l.id LIMIT ? + 0"
        ))
        .bind(app)
        .bind(bounded(usize::try_from(after).unwrap_or(usize::MAX)))
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("legs"))?;
        self.with_sends(rows).await
    }

    async fn open_legs_of(&self, app: &App, tenant: &TenantId, after: u64, limit: usize) -> Result<Vec<Leg>> {
        let (Some(app), Some(tenant)) = (self.app_number(app).await?, self.tenant_number(tenant).await?) else {
            return Ok(Vec::new());
        };
        let rows = sqlx::query(OPEN_LEGS_OF)
            .bind(app)
            .bind(tenant)
            .bind(bounded(usize::try_from(after).unwrap_or(usize::MAX)))
            .bind(bounded(limit))
            .fetch_all(self.readers()?)
            .await
            .map_err(failed("legs"))?;
        self.with_sends(rows).await
    }

    async fn open_count(&self, app: &App) -> Result<u64> {
        let Some(app) = self.app_number(app).await? else { return Ok(0) };
        sqlx::query_scalar("SELECT count(*) FROM legs WHERE app = ? AND state <= 2")
            .bind(app)
            .fetch_one(self.readers()?)
            .await
            .map(unsigned)
            .map_err(failed("legs"))
    }

    async fn open_apps(&self) -> Result<Vec<App>> {
        let apps: Vec<(String, String)> = sqlx::query_as(
            "SELECT kind, key FROM apps a WHERE EXISTS (SELECT 1 FROM legs l WHERE l.app = a.id AND l.state <= 2)
             ORDER BY kind, key",
        )
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("legs"))?;
        Ok(apps.into_iter().map(|(kind, key)| App::new(kind, key)).collect())
    }

    async fn legs(&self, tenant: &TenantId, send: SendId) -> Result<Vec<Leg>> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            leg_columns!(),
            "JOIN sends s ON s.id = l.send AND s.tenant = l.tenant
             WHERE l.tenant = (SELECT id FROM tenants WHERE name = ?) AND s.send = ? ORDER BY l.id"
        ))
        .bind(tenant.as_str())
        .bind(send.as_bytes().as_slice())
        .fetch_all(self.readers()?)
        .await
        .map_err(failed("legs"))?;
        self.with_sends(rows).await
    }

    async fn leg(&self, tenant: &TenantId, message: MessageId) -> Result<Option<Leg>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            leg_columns!(),
            "WHERE l.tenant = (SELECT id FROM tenants WHERE name = ?) AND l.message = ?"
        ))
        .bind(tenant.as_str())
        .bind(message.as_bytes().as_slice())
        .fetch_optional(self.readers()?)
        .await;
        self.one_leg(row).await
    }

    async fn leg_by_vendor_id(&self, tenant: &TenantId, app: &App, id: &VendorMessageId) -> Result<Option<Leg>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            leg_columns!(),
            "WHERE l.tenant = (SELECT id FROM tenants WHERE name = ?)
               AND l.app = (SELECT id FROM apps WHERE kind = ? AND key = ?) AND l.vendor = ? ORDER BY l.id LIMIT 1"
        ))
        .bind(tenant.as_str())
        .bind(app.kind.as_str())
        .bind(app.key.as_str())
        .bind(id.as_str())
        .fetch_optional(self.readers()?)
        .await;
        self.one_leg(row).await
    }

    async fn known_vendor_ids(
        &self,
        tenant: &TenantId,
        app: &App,
        ids: &[VendorMessageId],
    ) -> Result<HashSet<VendorMessageId>> {
        let (Some(tenant), Some(app)) = (self.tenant_number(tenant).await?, self.app_number(app).await?) else {
            return Ok(HashSet::new());
        };
        let mut known = HashSet::new();
        for part in ids.chunks(1024) {
            let size = Bulk::padded(part.len());
            let mut values = Values::with_capacity(size + 2);
            values.push(tenant);
            values.push(app);
            (0..size).for_each(|at| values.push(part[at.min(part.len() - 1)].as_str()));
            let values = values.done().map_err(failed("outbox"))?;
            let found: Vec<String> = sqlx::query_scalar_with(KNOWN.text(size), values)
                .fetch_all(self.readers()?)
                .await
                .map_err(failed("outbox"))?;
            known.extend(found.into_iter().map(VendorMessageId::from));
        }
        Ok(known)
    }

    async fn early_receipts(&self, app: &App, limit: usize) -> Result<Vec<BoundReceipt>> {
        let Some(app) = self.app_number(app).await? else { return Ok(Vec::new()) };
        let fail = failed("early_receipts");
        let rows = sqlx::query(
            "SELECT e.id, t.name, l.message, e.kind FROM early_receipts e JOIN tenants t ON t.id = e.tenant
             JOIN legs l ON l.tenant = e.tenant AND l.app = e.app AND l.vendor = e.vendor
             WHERE e.app = ? ORDER BY e.id LIMIT ? + 0",
        )
        .bind(app)
        .bind(bounded(limit))
        .fetch_all(self.readers()?)
        .await
        .map_err(&fail)?;
        let receipt = |row: &SqliteRow| {
            Ok(BoundReceipt {
                id: unsigned(row.try_get(0).map_err(&fail)?),
                tenant: row.try_get::<String, _>(1).map_err(&fail)?.into(),
                message_id: message_id(row.try_get(2).map_err(&fail)?)?,
                kind: ReceiptKind::from_code(row.try_get(3).map_err(&fail)?).ok_or_else(|| damaged("receipt kind"))?,
            })
        };
        rows.iter().map(receipt).collect()
    }

    async fn forget_receipts(&self, app: &App, ids: Vec<u64>, before: Timestamp, keep: u32) -> Result<u64> {
        self.write(ForgetReceipts { app: app.clone(), ids, before, keep }).await
    }

    async fn send_by_client_id(&self, tenant: &TenantId, id: &ClientMessageId) -> Result<Option<SendId>> {
        let send: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT send FROM sends WHERE tenant = (SELECT id FROM tenants WHERE name = ?) AND client_id = ?",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .fetch_optional(self.readers()?)
        .await
        .map_err(failed("sends"))?;
        send.map(|bytes| send_id(&bytes)).transpose()
    }

    async fn reroute(&self, tenant: &TenantId, from: &App, to: &App) -> Result<u64> {
        self.write(Reroute { tenant: tenant.clone(), from: from.clone(), to: to.clone() }).await
    }
}
