//! The task of one app: which job runs, and what is asked of it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use switchboard_contract::storage::{BackfillItem, BackfillJob, BackfillState, Store};
use switchboard_contract::{
    BackfillId, Clock, Error, ErrorKind, Provider, ProviderId, Result, RoamingQuery, TenantId, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::BackfillAct;
use super::config::BackfillConfig;
use super::plan::Sources;
use super::telling::Telling;
use crate::catchup::Puller;
use crate::reconcile::Reconciler;

/// Jobs looked for at a start.
const MOST: usize = 10_000;

type Reply = oneshot::Sender<Result<BackfillJob>>;

pub(super) enum Command {
    Start(Box<BackfillJob>, Reply),
    Act(BackfillId, BackfillAct, Reply),
}

/// The part a job is at, with the query that goes on from it.
pub(super) struct At {
    pub(super) job: BackfillId,
    pub(super) item: BackfillItem,
    pub(super) query: Option<RoamingQuery>,
    /// What was sent before this is history, as it was found at the time that stands first.
    pub(super) history: Option<(Timestamp, Timestamp)>,
    /// Whether something of the last page was journalled already.
    pub(super) meets_known: bool,
}

impl At {
    pub(super) fn new(job: BackfillId, item: BackfillItem) -> Self {
        Self { job, item, query: None, history: None, meets_known: false }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// Something was done.
    On,
    /// Nothing can be done for so long.
    Rest(Duration),
    /// The job is over, or somebody stopped it.
    Over,
}

pub(super) struct Runner {
    pub(super) tenant: TenantId,
    pub(super) alias: ProviderId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Arc<dyn Store>,
    pub(super) puller: Puller,
    pub(super) reconciler: Reconciler,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: BackfillConfig,
    pub(super) sources: Arc<Sources>,
    pub(super) telling: Telling,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) resting: watch::Sender<bool>,
    /// Those with something left to do, in the order of their turns.
    pub(super) jobs: Vec<BackfillJob>,
    pub(super) at: Option<At>,
    /// Whether the vendor was spoken to: the first call of a run costs a connection and a token as well.
    pub(super) met: bool,
    /// When the last page was asked for.
    pub(super) page_at: Timestamp,
    /// Failures in a row that are nobody's fault but an outage's.
    pub(super) failures: u32,
}

impl Runner {
    /// Works until nobody can ask any more. The caller cancels it by dropping.
    pub(super) async fn run(mut self) {
        while let Err(error) = self.load().await {
            tracing::error!(provider = %self.alias, %error, "jobs of backfill cannot be read");
            self.failures += 1;
            self.clock.sleep(self.pause()).await;
        }
        self.failures = 0;
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.serve(command).await;
            }
            self.telling.open(self.jobs.len());
            match self.pick() {
                Some(id) => {
                    self.resting.send_replace(false);
                    self.turn(id).await;
                }
                None => {
                    self.resting.send_replace(true);
                    let Some(command) = self.commands.recv().await else { return };
                    self.resting.send_replace(false);
                    self.serve(command).await;
                }
            }
        }
    }

    async fn load(&mut self) -> Result<()> {
        let jobs = self.store.backfills(&self.tenant, true, MOST).await?;
        let own = jobs.into_iter().rev().filter(|job| job.app == *self.provider.app());
        self.jobs = own.collect();
        Ok(())
    }

    /// The job whose turn it is: the one that ran when we were stopped, else the first that waits.
    fn pick(&self) -> Option<BackfillId> {
        let of = |state| self.jobs.iter().find(|job| job.state == state).map(|job| job.id);
        of(BackfillState::Running).or_else(|| of(BackfillState::Queued))
    }

    pub(super) fn job(&mut self, id: BackfillId) -> Option<&mut BackfillJob> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    /// Runs a job until it is over, stopped, or another one has waited for a turn.
    async fn turn(&mut self, id: BackfillId) {
        let end = self.clock.now() + self.config.turn;
        match self.change(id, BackfillState::Running).await {
            Ok(Some(BackfillState::Queued)) => self.tell("backfill_started", id).await,
            Ok(_) => {}
            Err(error) => return self.trouble(&error).await,
        }
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.serve(command).await;
            }
            if self.job(id).is_none_or(|job| job.state != BackfillState::Running) {
                return;
            }
            let others = self.jobs.iter().any(|job| job.state == BackfillState::Queued);
            if others && self.clock.now() >= end {
                match self.change(id, BackfillState::Queued).await {
                    Ok(_) => return self.put_last(id),
                    Err(error) => self.trouble(&error).await,
                }
                continue;
            }
            match self.step(id).await {
                Ok(Stepped::On) => self.failures = 0,
                Ok(Stepped::Rest(wait)) => self.rest(wait).await,
                Ok(Stepped::Over) => return,
                Err(error) => self.trouble(&error).await,
            }
        }
    }

    fn put_last(&mut self, id: BackfillId) {
        if let Some(at) = self.jobs.iter().position(|job| job.id == id) {
            let job = self.jobs.remove(at);
            self.jobs.push(job);
        }
    }

    /// The store failed: everything stays as it is, and is tried again.
    async fn trouble(&mut self, error: &Error) {
        tracing::warn!(provider = %self.alias, %error, "a job of backfill cannot go on at present");
        // What is in memory may be ahead of what is written.
        self.at = None;
        if self.load().await.is_err() {
            tracing::debug!(provider = %self.alias, "the store does not answer");
        }
        self.failures += 1;
        self.rest(self.pause()).await;
    }

    /// The wait after so many failures in a row.
    pub(super) fn pause(&self) -> Duration {
        let doubled = self.config.retry_first.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        // Full jitter would let some of many runners ask at once; half of it spreads them as well.
        let longest = doubled.min(self.config.retry_longest);
        longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// Waits, and serves whoever asks meanwhile; not longer than until somebody did.
    async fn rest(&mut self, wait: Duration) {
        let sleep = self.clock.sleep(wait);
        tokio::select! {
            () = sleep => {}
            command = self.commands.recv() => match command {
                Some(command) => self.serve(command).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Writes a job's state; what it was before, `None` for a job that is no longer open.
    async fn change(&mut self, id: BackfillId, state: BackfillState) -> Result<Option<BackfillState>> {
        let now = self.clock.now();
        let Some(known) = self.jobs.iter().find(|job| job.id == id) else { return Ok(None) };
        let before = known.state;
        if before == state {
            return Ok(Some(before));
        }
        let job = BackfillJob { state, updated_at: now, ..known.clone() };
        self.store.put_backfill(&self.tenant, &job, None).await?;
        self.keep(job);
        Ok(Some(before))
    }

    /// Takes a job as written; one that is over is forgotten.
    pub(super) fn keep(&mut self, job: BackfillJob) {
        if !job.state.is_open() {
            self.jobs.retain(|known| known.id != job.id);
            self.at.take_if(|at| at.job == job.id);
        } else if let Some(known) = self.job(job.id) {
            *known = job;
        }
    }

    async fn tell(&mut self, kind: &'static str, id: BackfillId) {
        let now = self.clock.now();
        if let Some(job) = self.jobs.iter().find(|job| job.id == id).cloned() {
            self.telling.changed(kind, &job, now).await;
        }
    }

    pub(super) async fn serve(&mut self, command: Command) {
        // Whoever asked may have left.
        match command {
            Command::Start(job, reply) => drop(reply.send(self.accept(*job).await)),
            Command::Act(id, act, reply) => drop(reply.send(self.act(id, act).await)),
        }
    }

    async fn accept(&mut self, job: BackfillJob) -> Result<BackfillJob> {
        if self.jobs.len() >= self.config.max_open {
            return Err(Error::new(ErrorKind::Conflict, "too many jobs of this app are open"));
        }
        self.store.put_backfill(&self.tenant, &job, None).await?;
        self.jobs.push(job.clone());
        Ok(job)
    }

    async fn act(&mut self, id: BackfillId, act: BackfillAct) -> Result<BackfillJob> {
        let over = || Error::new(ErrorKind::Conflict, "the job is over");
        let known = self.jobs.iter().find(|job| job.id == id).cloned().ok_or_else(over)?;
        let (state, kind) = match (act, known.state) {
            (BackfillAct::Pause, BackfillState::Queued | BackfillState::Running) => {
                (BackfillState::Paused, "backfill_paused")
            }
            (BackfillAct::Resume, BackfillState::Paused) => (BackfillState::Queued, "backfill_resumed"),
            (BackfillAct::Cancel, _) => (BackfillState::Cancelled, "backfill_cancelled"),
            _ => return Ok(known),
        };
        let now = self.clock.now();
        let job = BackfillJob { state, updated_at: now, ..known };
        self.store.put_backfill(&self.tenant, &job, None).await?;
        self.keep(job.clone());
        self.telling.changed(kind, &job, now).await;
        Ok(job)
    }
}
