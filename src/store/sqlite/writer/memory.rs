//! What the writer keeps at hand between transactions: numbers of names, ends of streams and of conversations.
//! Bounded; whatever is missing is read from the database, which alone is the truth.

use rusqlite::{Connection, params};
use switchboard_contract::{App, ConversationId, Result, Shard, SubscriberName, TenantId};

use super::errands::Job;
use super::index::Index;
use super::sql;
use super::timelines::GateNames;
use crate::store::sqlite::SqliteOptions;
use crate::store::sqlite::behind::Shared;
use crate::store::sqlite::error::failed;
use crate::store::sqlite::recent::Recent;

/// The only shard there is without configuration.
pub(super) const SHARD: Shard = Shard(0);

/// A stream's number stands above the position's 40 bits.
pub(crate) const STREAM_SHIFT: u32 = 40;

/// The end of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) id: i64,
    pub(super) tail: u64,
    pub(super) received_max: i64,
}

/// The end of a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) last: u64,
}

pub(crate) struct Memory {
    pub(super) tenants: Recent<TenantId, i64>,
    pub(super) apps: Recent<App, i64>,
    pub(super) streams: Recent<i64, Stream>,
    pub(super) heads: Recent<(i64, ConversationId), Head>,
    /// By tenant and name.
    pub(super) subscribers: Recent<(i64, SubscriberName), i64>,
    pub(super) index: Index,
    /// The greatest key of each tenant, app and class. Whatever is greater is not journalled, and nobody has to look.
    pub(super) newest: Recent<(i64, i64, u8), String>,
    /// What is known of the self-hosted service's names.
    pub(super) gates: GateNames,
    /// Numbers for the next new rows.
    pub(super) next_conversation: i64,
    pub(super) next_send: i64,
    pub(super) next_leg: i64,
    /// Whether any recall waits for its message: nearly always none does, and then nobody has to look.
    pub(super) awaits: bool,
    /// Whether one was added in this transaction.
    pub(super) awaits_more: bool,
}

impl Memory {
    pub(super) fn load(db: &Connection, options: &SqliteOptions, behind: Shared) -> rusqlite::Result<Self> {
        let (next_conversation, next_send, next_leg, awaits) = sql::one(
            db,
            "SELECT (SELECT coalesce(max(id), 0) + 1 FROM conversations), (SELECT coalesce(max(id), 0) + 1 FROM sends),
                    (SELECT coalesce(max(id), 0) + 1 FROM legs), EXISTS (SELECT 1 FROM awaited)",
            (),
        )?;
        let index = Index::load(db, behind, options.index_behind)?;
        Ok(Self {
            tenants: Recent::new(4096),
            apps: Recent::new(4096),
            streams: Recent::new(4096),
            heads: Recent::new(options.conversations),
            subscribers: Recent::new(16_384),
            index,
            newest: Recent::new(4096),
            gates: GateNames::new(options.conversations),
            next_conversation,
            next_send,
            next_leg,
            awaits,
            awaits_more: false,
        })
    }

    /// After a commit: what this transaction assumed is true.
    pub(super) fn settle(&mut self) {
        self.awaits |= std::mem::take(&mut self.awaits_more);
        self.index.settle();
    }

    /// After a rollback: what was remembered may never have been written.
    pub(super) fn forget(&mut self) {
        self.tenants.clear();
        self.apps.clear();
        self.streams.clear();
        self.heads.clear();
        self.subscribers.clear();
        self.newest.clear();
        self.gates.forget();
    }

    pub(super) fn tenant(&mut self, db: &Connection, tenant: &TenantId) -> Result<i64> {
        if let Some(id) = self.tenants.get(tenant) {
            return Ok(id);
        }
        let id = sql::scalar(
            db,
            "INSERT INTO tenants (name) VALUES (?) ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id",
            params![tenant.as_str()],
        )
        .map_err(failed("tenant"))?;
        self.tenants.insert(tenant.clone(), id);
        Ok(id)
    }

    pub(super) fn app(&mut self, db: &Connection, app: &App) -> Result<i64> {
        if let Some(id) = self.apps.get(app) {
            return Ok(id);
        }
        let id = sql::scalar(
            db,
            "INSERT INTO apps (kind, key) VALUES (?, ?) ON CONFLICT DO UPDATE SET key = excluded.key RETURNING id",
            params![app.kind.as_str(), app.key.as_str()],
        )
        .map_err(failed("app"))?;
        self.apps.insert(app.clone(), id);
        Ok(id)
    }

    pub(super) fn stream(&mut self, db: &Connection, tenant: i64) -> Result<Stream> {
        if let Some(stream) = self.streams.get(&tenant) {
            return Ok(stream);
        }
        let (id, tail, received_max): (i64, i64, i64) = sql::one(
            db,
            "INSERT INTO streams (tenant, shard, tail, trimmed, received_max) VALUES (?, ?, 0, 0, 0)
             ON CONFLICT DO UPDATE SET tail = tail RETURNING id, tail, received_max",
            params![tenant, SHARD.0],
        )
        .map_err(failed("stream"))?;
        let stream = Stream { id, tail: tail.cast_unsigned(), received_max };
        self.streams.insert(tenant, stream);
        Ok(stream)
    }

    /// Runs a small write so that its failure leaves no trace.
    pub(super) fn errand(&mut self, db: &Connection, job: &mut dyn Job) -> Result<()> {
        let savepoint = failed("savepoint");
        sql::execute(db, "SAVEPOINT errand", ()).map_err(&savepoint)?;
        let dropped = self.index.dropped();
        if !job.run(db, self)? {
            self.forget();
            self.index.keep(dropped);
            sql::execute(db, "ROLLBACK TO errand", ()).map_err(&savepoint)?;
        }
        sql::execute(db, "RELEASE errand", ()).map_err(&savepoint)?;
        Ok(())
    }
}
