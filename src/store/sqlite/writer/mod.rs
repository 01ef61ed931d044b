//! The one thread that writes.
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
mod sql;
mod subscribers;
mod tables;
mod timelines;
mod trim;
mod windows;

use std::collections::VecDeque;
use std::thread;
use std::time::Instant;

use rusqlite::Connection;
use switchboard_contract::storage::{Commit, Committed, Enqueued, Entry, NewSend};
use switchboard_contract::{Error, ErrorKind, Result, Retry, Shard, TenantId};
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

/// Tells when the writer has written everything, closed the file and let go of it.
pub(super) type Ended = oneshot::Receiver<()>;

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
    db: Connection,
    memory: Memory,
    listeners: Listeners,
    max_batch: usize,
    /// Goes last: the file is free only when everything is written.
    lock: Lock,
}

impl Writer {
    /// A writer in a thread of its own: SQLite works in whoever calls it, and a transaction is many calls. It writes until
    /// nobody can send any more and everything sent is written.
    pub(super) async fn start(
        lock: Lock,
        options: &SqliteOptions,
        listeners: Listeners,
        behind: Shared,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Ended> {
        let (opened, ready) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let options = options.clone();
        let run = move || {
            let writer = options.open().and_then(|db| {
                let memory = Memory::load(&db, &options, behind)?;
                Ok(Self { db, memory, listeners, max_batch: options.max_batch.max(1), lock })
            });
            match writer {
                Ok(writer) => {
                    // Whoever opens the store may have gone meanwhile; then nobody sends anything either.
                    let _ = opened.send(Ok(()));
                    writer.run(commands);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
            let _ = end.send(());
        };
        let fail = |error| Error::new(ErrorKind::Internal, "no thread is left for the store").with_source(error);
        thread::Builder::new().name("store".into()).spawn(run).map_err(fail)?;
        let gone = |_| Error::new(ErrorKind::Internal, "the store's thread ended early");
        ready.await.map_err(gone)?.map_err(failed("open"))?;
        Ok(ended)
    }

    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Vec::new();
        while let Some(first) = commands.blocking_recv() {
            let mut weight = first.weight();
            batch.push(first);
            while weight < self.max_batch
                && let Ok(next) = commands.try_recv()
            {
                weight += next.weight();
                batch.push(next);
            }
            let begun = Instant::now();
            self.write(std::mem::take(&mut batch));
            metrics::histogram!("switchboard_store_transaction_seconds").record(begun.elapsed().as_secs_f64());
            metrics::histogram!("switchboard_store_transaction_rows").record(weight as f64);
        }
        if let Err((_, error)) = self.db.close() {
            tracing::warn!(%error, "the database was not closed properly");
        }
        drop(self.lock);
    }

    fn write(&mut self, mut batch: Vec<Command>) {
        let alone = batch.len() == 1;
        let error = match self.transact(&mut batch) {
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
            self.write(vec![command]);
        }
    }

    /// One transaction, all of it or nothing.
    fn transact(&mut self, batch: &mut [Command]) -> Result<(VecDeque<Answer>, Vec<News>)> {
        sql::execute(&self.db, "BEGIN IMMEDIATE", ()).map_err(failed("begin"))?;
        let outcome = self.fill(batch).and_then(|outcome| {
            sql::execute(&self.db, "COMMIT", ()).map_err(failed("commit"))?;
            Ok(outcome)
        });
        if outcome.is_err() {
            // SQLite may have rolled back already; then there is nothing left to undo.
            let _ = sql::execute(&self.db, "ROLLBACK", ());
            self.memory.forget();
            self.memory.awaits_more = false;
            self.memory.index.forget();
        }
        outcome
    }

    fn fill(&mut self, batch: &mut [Command]) -> Result<(VecDeque<Answer>, Vec<News>)> {
        let (mut answers, mut news) = (VecDeque::new(), Vec::new());
        if batch.iter().any(|command| !matches!(command, Command::Errand(_))) {
            let mut facts = Facts::load(&self.db, &mut self.memory, batch)?;
            let plan;
            (plan, answers) = plan::plan(&mut facts, batch);
            news = flush::flush(&self.db, &mut self.memory, facts, plan)?;
            self.note(batch, &answers)?;
        }
        for command in batch {
            if let Command::Errand(job) = command {
                self.memory.errand(&self.db, job.as_mut())?;
            }
        }
        Ok((answers, news))
    }

    /// Writes what commits bring beside events, of those that were not refused.
    fn note(&mut self, batch: &[Command], answers: &VecDeque<Answer>) -> Result<()> {
        let written = batch.iter().filter(|command| !matches!(command, Command::Errand(_))).zip(answers);
        for (command, answer) in written {
            if let (Command::Commit(commit, _), Answer::Committed(Ok(committed))) = (command, answer) {
                receipts::note(&self.db, &mut self.memory, &commit.early)?;
                if let Some(page) = &commit.page {
                    let mut page = page.clone();
                    page.count(&committed.drafts);
                    let tenant = self.memory.tenant(&self.db, &page.tenant)?;
                    backfill::put(&self.db, tenant, &page.job, Some(&page.item))?;
                }
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
