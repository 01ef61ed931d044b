//! The one task that writes.
//!
//! It drains its queue into one transaction: events and sends are planned together and written in lists, small writes
//! follow one by one behind a savepoint each. Nobody is answered before the commit, and listeners hear of it only
//! after, from here, in its order. When the transaction fails for a reason that may lie in one of its calls, each call
//! is tried again alone, so that only the guilty one fails.

mod archive;
mod backfill;
mod coverage;
mod errands;
mod facts;
mod flush;
mod import;
mod index;
mod lookups;
mod memory;
mod outbox;
mod plan;
mod ranges;
mod receipts;
mod setbacks;
mod subscribers;
mod tables;
mod timelines;
mod trim;
mod windows;

use std::collections::VecDeque;
use std::time::Instant;

use sqlx::{Connection as _, SqliteConnection};
use switchboard_contract::storage::{Commit, Committed, Enqueued, Entry, NewSend};
use switchboard_contract::{Error, Result, Retry, Shard, TenantId};
use tokio::sync::{mpsc, oneshot};

use super::behind::Shared;
use super::error::failed;
use super::lock::Lock;
use super::{Listeners, SqliteOptions};
pub(super) use archive::{OpenArchive, SettleGeneration, SettleMoved, SweepIndexes, day};
pub(super) use backfill::{PlanBackfill, PutBackfill, PutTraffic};
pub(super) use coverage::PutHour;
use errands::Job;
pub(super) use errands::{Errand, Reroute, SettingOrInsert};
use facts::Facts;
pub(super) use import::Import;
use memory::Memory;
pub(super) use memory::STREAM_SHIFT;
use plan::Answer;
pub(super) use plan::position_of;
pub(super) use ranges::PutRange;
pub(super) use receipts::ForgetReceipts;
pub(super) use subscribers::{PutSubscriber, RemoveSubscriber, RewindSubscriber, UpdateSubscribers};
pub(super) use tables::{Bind, ChangeMembers, PutAside, PutGroup, PutUser, Release, RemoveGroup, SetProvisioned};
pub(super) use timelines::{AppendLines, OpenGate, PutAccount, RaiseMarks, SaveDevices};
pub(super) use trim::Trim;
pub(super) use windows::{PutWindow, SetAlive};

/// Where a caller hears what came of its call.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// A call that waits for the writer.
pub(super) enum Command {
    Commit(Commit, Reply<Committed>),
    Enqueue(Vec<NewSend>, Reply<Vec<Enqueued>>),
    Errand(Box<dyn Job>),
}

impl Command {
    pub(super) fn errand<E: Errand>(errand: E, reply: Reply<E::Outcome>) -> Self {
        Self::Errand(errands::job(errand, reply))
    }

    /// How many rows it brings, about.
    fn weight(&self) -> usize {
        match self {
            Self::Commit(commit, _) => {
                commit.drafts.len()
                    + commit.setbacks.len()
                    + commit.changes.iter().map(|change| 1 + change.drafts.len()).sum::<usize>()
            }
            Self::Enqueue(sends, _) => sends.iter().map(|send| 1 + send.legs.len() + send.drafts.len()).sum(),
            Self::Errand(_) => 1,
        }
    }

    fn refuse(self, error: &Error) {
        // A caller that no longer waits needs no answer.
        match self {
            Self::Commit(_, reply) => drop(reply.send(Err(again(error)))),
            Self::Enqueue(_, reply) => drop(reply.send(Err(again(error)))),
            Self::Errand(job) => job.refuse(again(error)),
        }
    }
}

/// The same failure for one more caller. The cause stays with the log.
fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message()).with_retry(error.retry());
    match error.operation() {
        Some(operation) => copy.with_operation(operation),
        None => copy,
    }
}

/// Entries of one stream, for the listeners.
pub(super) struct News {
    tenant: TenantId,
    shard: Shard,
    entries: Vec<Entry>,
}

pub(super) struct Writer {
    connection: SqliteConnection,
    memory: Memory,
    listeners: Listeners,
    max_batch: usize,
    /// Goes last: the file is free only when everything is written.
    lock: Lock,
}

impl Writer {
    pub(super) async fn new(
        mut connection: SqliteConnection,
        lock: Lock,
        options: &SqliteOptions,
        listeners: Listeners,
        behind: Shared,
    ) -> Result<Self> {
        let memory = Memory::load(&mut connection, options, behind).await.map_err(failed("open"))?;
        Ok(Self { connection, memory, listeners, max_batch: options.max_batch.max(1), lock })
    }

    /// Writes until nobody can send any more and everything sent is written.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Vec::new();
        while let Some(first) = commands.recv().await {
            let mut weight = first.weight();
            batch.push(first);
            while weight < self.max_batch
                && let Ok(next) = commands.try_recv()
            {
                weight += next.weight();
                batch.push(next);
            }
            let begun = Instant::now();
            self.write(std::mem::take(&mut batch)).await;
            metrics::histogram!("switchboard_store_transaction_seconds").record(begun.elapsed().as_secs_f64());
            metrics::histogram!("switchboard_store_transaction_rows").record(weight as f64);
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database was not closed properly");
        }
        drop(self.lock);
    }

    async fn write(&mut self, mut batch: Vec<Command>) {
        let alone = batch.len() == 1;
        let error = match self.transact(&mut batch).await {
            Ok((answers, news)) => return self.answer(batch, answers, &news),
            Err(error) => error,
        };
        // A full disk or a lock is nobody's fault: tried alone, each would wait for the same thing in turn.
        if alone || error.retry() != Retry::Never {
            metrics::counter!("switchboard_store_failed_total", "kind" => error.kind().as_str()).increment(1);
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "a transaction failed");
            return batch.into_iter().for_each(|command| command.refuse(&error));
        }
        tracing::warn!(%error, calls = batch.len(), "a shared transaction failed; each call is tried alone");
        for command in batch {
            Box::pin(self.write(vec![command])).await;
        }
    }

    /// One transaction, all of it or nothing.
    async fn transact(&mut self, batch: &mut [Command]) -> Result<(VecDeque<Answer>, Vec<News>)> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await.map_err(failed("begin"))?;
        let outcome = self.fill(batch).await;
        let outcome = match outcome {
            Ok(outcome) => {
                let commit = sqlx::query("COMMIT").execute(&mut self.connection).await;
                commit.map(|_| outcome).map_err(failed("commit"))
            }
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // SQLite may have rolled back already; then there is nothing left to undo.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
            self.memory.forget();
            self.memory.awaits_more = false;
            self.memory.index.forget();
        }
        outcome
    }

    async fn fill(&mut self, batch: &mut [Command]) -> Result<(VecDeque<Answer>, Vec<News>)> {
        let (mut answers, mut news) = (VecDeque::new(), Vec::new());
        if batch.iter().any(|command| !matches!(command, Command::Errand(_))) {
            let mut facts = Facts::load(&mut self.connection, &mut self.memory, batch).await?;
            let plan;
            (plan, answers) = plan::plan(&mut facts, batch);
            news = flush::flush(&mut self.connection, &mut self.memory, facts, plan).await?;
            self.note_receipts(batch, &answers).await?;
        }
        for command in batch {
            if let Command::Errand(job) = command {
                self.memory.errand(&mut self.connection, job.as_mut()).await?;
            }
        }
        Ok((answers, news))
    }

    async fn note_receipts(&mut self, batch: &[Command], answers: &VecDeque<Answer>) -> Result<()> {
        let written = batch.iter().filter(|command| !matches!(command, Command::Errand(_))).zip(answers);
        for (command, answer) in written {
            if let (Command::Commit(commit, _), Answer::Committed(Ok(_))) = (command, answer) {
                receipts::note(&mut self.connection, &mut self.memory, &commit.early).await?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, batch: Vec<Command>, mut answers: VecDeque<Answer>, news: &[News]) {
        self.memory.settle();
        let listeners = self.listeners.read().clone();
        for News { tenant, shard, entries } in news {
            listeners.iter().for_each(|listener| listener.committed(tenant, *shard, entries));
        }
        for command in batch {
            match command {
                Command::Errand(job) => job.answer(),
                Command::Commit(_, reply) => {
                    if let Some(Answer::Committed(committed)) = answers.pop_front() {
                        let _ = reply.send(committed);
                    }
                }
                Command::Enqueue(_, reply) => {
                    if let Some(Answer::Enqueued(enqueued)) = answers.pop_front() {
                        let _ = reply.send(Ok(enqueued));
                    }
                }
            }
        }
    }
}
