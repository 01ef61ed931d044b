//! Small writes: each stands for itself, behind a savepoint of its own.

use rusqlite::{Connection, params};
use switchboard_contract::{App, Error, Result, Retry, SendState, TenantId};

use super::Reply;
use super::memory::Memory;
use super::sql;
use crate::store::sqlite::error::failed;

/// A small write.
pub(crate) trait Errand: Send + Sync + 'static {
    /// What the caller hears.
    type Outcome: Send + Sync + 'static;

    /// Does it. May be called again after the transaction was rolled back.
    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<Self::Outcome>;
}

/// An errand with its caller.
pub(crate) trait Job: Send + Sync {
    /// Whether what it wrote may stay. An error condemns the whole transaction.
    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<bool>;
    /// Tells the caller what came of it, after the commit.
    fn answer(self: Box<Self>);
    /// Tells the caller that nothing came of it.
    fn refuse(self: Box<Self>, error: Error);
}

struct Carried<E: Errand> {
    errand: E,
    outcome: Option<Result<E::Outcome>>,
    reply: Reply<E::Outcome>,
}

pub(super) fn job<E: Errand>(errand: E, reply: Reply<E::Outcome>) -> Box<dyn Job> {
    Box::new(Carried { errand, outcome: None, reply })
}

impl<E: Errand> Job for Carried<E> {
    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<bool> {
        match self.errand.run(db, memory) {
            Err(error) if error.retry() != Retry::Never => Err(error),
            outcome => {
                let stays = outcome.is_ok();
                self.outcome = Some(outcome);
                Ok(stays)
            }
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // A caller that no longer waits needs no answer.
            let _ = self.reply.send(outcome);
        }
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.reply.send(Err(error));
    }
}

/// Writes a value unless there is one; the one in force.
pub(crate) struct SettingOrInsert {
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
}

impl Errand for SettingOrInsert {
    type Outcome = Vec<u8>;

    fn run(&mut self, db: &Connection, _: &mut Memory) -> Result<Vec<u8>> {
        sql::scalar(
            db,
            "INSERT INTO settings (name, value) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET value = value RETURNING value",
            params![self.name.as_str(), self.value.as_slice()],
        )
        .map_err(failed("setting"))
    }
}

/// Hands queued legs to another app.
pub(crate) struct Reroute {
    pub(crate) tenant: TenantId,
    pub(crate) from: App,
    pub(crate) to: App,
}

impl Errand for Reroute {
    type Outcome = u64;

    fn run(&mut self, db: &Connection, memory: &mut Memory) -> Result<u64> {
        let tenant = memory.tenant(db, &self.tenant)?;
        let (from, to) = (memory.app(db, &self.from)?, memory.app(db, &self.to)?);
        let moved = sql::execute(
            db,
            "UPDATE legs SET app = ? WHERE app = ? AND state <= 2 AND state = ? AND tenant = ?",
            params![to, from, SendState::Queued.code(), tenant],
        )
        .map_err(failed("reroute"))?;
        Ok(moved as u64)
    }
}
