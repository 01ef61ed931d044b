//! The task of one app: looks when a look is due, and when somebody asks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use switchboard_contract::storage::{CoverageState, HourCoverage};
use switchboard_contract::{Error, ErrorKind, HourFile, Result, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::look::{Manner, Subject, given_up};
use super::schedule::{self, HOUR, Rules, Step};
use crate::recovery::{AppHealth, health};

/// Waits after the store failed.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Hours to reconcile now, whenever their next look would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) again: bool,
}

/// What became of one hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HourReport {
    /// When it begins, milliseconds since the epoch.
    pub hour: Timestamp,
    /// How much of it is here now.
    pub state: CoverageState,
    /// Why.
    pub reason: String,
    /// Events read; 0 when the file was the one read before.
    pub lines: u64,
    /// Messages inserted.
    pub repaired: u64,
    /// Messages inserted of a time before Switchboard had the app.
    pub history: u64,
    /// Other events inserted.
    pub others: u64,
    /// Lines that could not be read or journalled.
    pub skipped: u64,
}

/// What a call for reconciliation did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReconcileReport {
    /// The hours looked at, ascending.
    pub hours: Vec<HourReport>,
    /// Messages inserted.
    pub repaired: u64,
    /// Hours that needed no look.
    pub skipped_hours: u64,
}

pub(super) struct Request {
    pub(super) wanted: Wanted,
    /// The file of the one hour wanted, if somebody brought it.
    pub(super) file: Option<HourFile>,
    pub(super) reply: oneshot::Sender<Result<ReconcileReport>>,
}

/// What the task of an app is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Working, or about to.
    Busy,
    /// Nothing is due before this time.
    Resting(Timestamp),
}

pub(super) struct Worker {
    pub(super) subject: Subject,
    pub(super) rules: Rules,
    /// The first hour that counts.
    pub(super) since: Timestamp,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) doing: watch::Sender<Doing>,
    pub(super) known: BTreeMap<Timestamp, HourCoverage>,
    /// Whether the app can be reached.
    pub(super) health: Option<watch::Receiver<AppHealth>>,
    /// A look at this hour ended without its record: what it journalled is to be counted first.
    pub(super) cut_off: Option<Timestamp>,
}

impl Worker {
    /// Works until nobody can ask any more. The caller cancels it by dropping.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE.0;
        while let Err(error) = self.load().await {
            tracing::error!(provider = %self.subject.alias, %error, "the ledger of coverage cannot be read");
            self.subject.clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        pause = PAUSE.0;
        loop {
            if let Ok(request) = self.requests.try_recv() {
                self.serve(request).await;
                continue;
            }
            match self.step().await {
                Ok(Some(until)) => {
                    self.doing.send_replace(Doing::Resting(until));
                    let rest = self.subject.clock.sleep(until.since(self.subject.clock.now()));
                    tokio::select! {
                        request = self.requests.recv() => {
                            self.doing.send_replace(Doing::Busy);
                            let Some(request) = request else { return };
                            self.serve(request).await;
                        }
                        () = rest => {
                            self.doing.send_replace(Doing::Busy);
                        }
                        back = health::reachable(&mut self.health) => match back {
                            true => self.look_again(),
                            false => self.health = None,
                        },
                    }
                }
                Ok(None) => pause = PAUSE.0,
                Err(error) => {
                    tracing::error!(provider = %self.subject.alias, %error, "an hour's coverage could not be written");
                    self.subject.clock.sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Reads the ledger, and gives up the hours that went by unseen.
    async fn load(&mut self) -> Result<()> {
        let (store, app) = (&self.subject.store, self.subject.provider.app());
        let now = self.subject.clock.now();
        let records = store.hours(&self.subject.tenant, app, self.since, now).await?;
        self.known.clear();
        for record in records {
            let record = self.subject.recover(record).await?;
            self.known.insert(record.hour, record);
        }
        self.subject.telling.repaired_in_all(store.repaired_in_all(&self.subject.tenant, app).await?);
        let mut hour = self.since;
        while self.rules.gone_at(hour) <= now {
            if self.known.get(&hour).is_none_or(|record| record.state == CoverageState::Suspect) {
                self.give_up(hour).await?;
            }
            hour = hour + HOUR;
        }
        Ok(())
    }

    /// Does one thing that is due, or says until when nothing is.
    async fn step(&mut self) -> Result<Option<Timestamp>> {
        let now = self.subject.clock.now();
        if !self.subject.config.enabled {
            return Ok(Some(now + 24 * HOUR));
        }
        match schedule::next(&self.rules, self.since, &self.known, now) {
            Step::Wait(until) => return Ok(Some(until)),
            Step::GiveUp(hour) => self.give_up(hour).await?,
            Step::Look(hour) => self.look(hour, Manner::default(), None).await.map(drop)?,
        }
        self.forget(now);
        Ok(None)
    }

    async fn look(&mut self, hour: Timestamp, manner: Manner, given: Option<HourFile>) -> Result<HourReport> {
        self.recover().await?;
        self.cut_off = Some(hour);
        let (record, pass) = self.subject.look(&self.rules, self.known.get(&hour), hour, manner, given).await?;
        self.cut_off = None;
        let report = HourReport {
            hour,
            state: record.state,
            reason: record.reason.clone(),
            lines: pass.lines,
            repaired: pass.repaired,
            history: pass.history,
            others: pass.others,
            skipped: pass.skipped,
        };
        self.known.insert(hour, record);
        Ok(report)
    }

    async fn recover(&mut self) -> Result<()> {
        let Some(hour) = self.cut_off else { return Ok(()) };
        let (store, app) = (&self.subject.store, self.subject.provider.app());
        if let Some(record) = store.hours(&self.subject.tenant, app, hour, hour + HOUR).await?.pop() {
            let record = self.subject.recover(record).await?;
            self.known.insert(hour, record);
        }
        self.cut_off = None;
        Ok(())
    }

    async fn give_up(&mut self, hour: Timestamp) -> Result<()> {
        let record = given_up(self.known.get(&hour), hour, self.subject.clock.now());
        self.subject.store.put_hour(&self.subject.tenant, self.subject.provider.app(), &record).await?;
        self.subject.note_given_up(&record).await?;
        self.subject.telling.given_up(&record).await;
        self.known.insert(hour, record);
        Ok(())
    }

    /// The vendor is back: what could not be had from it is looked for at once.
    fn look_again(&mut self) {
        let now = self.subject.clock.now();
        let away = |hour: &&mut HourCoverage| {
            hour.state == CoverageState::Suspect && hour.reason == schedule::reason::UNREACHABLE
        };
        self.known.values_mut().filter(away).for_each(|hour| hour.next_look = Some(now));
    }

    /// Hours that are long over need no memory.
    fn forget(&mut self, now: Timestamp) {
        let keep = schedule::hour_of(self.rules.oldest(now) - 72 * HOUR);
        self.known = self.known.split_off(&keep);
        self.since = self.since.max(keep);
    }

    /// Serves a call, and with it every equal one that waits.
    async fn serve(&mut self, mut first: Request) {
        if let Some(file) = first.file.take() {
            // Whoever asked may have left.
            let _ = first.reply.send(self.read(first.wanted.from, file).await);
            return;
        }
        let mut waiting = vec![first];
        let mut others = Vec::new();
        while let Ok(request) = self.requests.try_recv() {
            let equal = request.file.is_none() && request.wanted == waiting[0].wanted;
            if equal { waiting.push(request) } else { others.push(request) }
        }
        let outcome = self.reconcile(waiting[0].wanted).await;
        for request in waiting {
            let answer = match &outcome {
                Ok(report) => Ok(report.clone()),
                Err(error) => Err(Error::new(error.kind(), error.message()).with_retry(error.retry())),
            };
            // Whoever asked may have left.
            let _ = request.reply.send(answer);
        }
        for request in others {
            Box::pin(self.serve(request)).await;
        }
    }

    /// Reads a file that somebody brought, of an hour of any age.
    async fn read(&mut self, hour: Timestamp, file: HourFile) -> Result<ReconcileReport> {
        if let Some(record) = self.record(hour).await? {
            self.known.insert(hour, record);
        }
        let one = self.look(hour, Manner { again: true, history: true }, Some(file)).await?;
        Ok(ReconcileReport { repaired: one.repaired, hours: vec![one], skipped_hours: 0 })
    }

    async fn reconcile(&mut self, wanted: Wanted) -> Result<ReconcileReport> {
        let now = self.subject.clock.now();
        let last = wanted.until.min(now - HOUR + Duration::from_millis(1));
        let mut hour = schedule::hour_of(wanted.from);
        if last.since(hour) > 400 * 24 * HOUR {
            return Err(Error::invalid("from", "must not be more than 400 days before until"));
        }
        let mut report = ReconcileReport::default();
        while hour < last {
            if self.needs_look(hour, wanted.again, now).await? {
                let again = wanted.again
                    || self.known.get(&hour).is_some_and(|hour| hour.reason == schedule::reason::ROWS_GONE);
                let one = self.look(hour, Manner { again, history: true }, None).await?;
                report.repaired += one.repaired;
                report.hours.push(one);
            } else {
                report.skipped_hours += 1;
            }
            hour = hour + HOUR;
        }
        Ok(report)
    }

    /// Whether a call has to look at an hour: not when it is complete and all of it is still there, and not when the
    /// file cannot be there.
    async fn needs_look(&mut self, hour: Timestamp, again: bool, now: Timestamp) -> Result<bool> {
        let possible = now < self.rules.gone_at(hour) && now >= self.rules.first_look(hour);
        let Some(record) = self.record(hour).await? else { return Ok(possible) };
        if !possible || again {
            return Ok(possible);
        }
        if self.subject.rows_gone(&record).await? > 0 {
            let reason = schedule::reason::ROWS_GONE.to_owned();
            let suspect = HourCoverage { state: CoverageState::Suspect, reason, next_look: Some(now), ..record };
            self.known.insert(hour, suspect);
            return Ok(true);
        }
        Ok(record.state != CoverageState::Complete)
    }

    async fn record(&self, hour: Timestamp) -> Result<Option<HourCoverage>> {
        if let Some(record) = self.known.get(&hour) {
            return Ok(Some(record.clone()));
        }
        let (store, app) = (&self.subject.store, self.subject.provider.app());
        Ok(store.hours(&self.subject.tenant, app, hour, hour + HOUR).await?.pop())
    }
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "reconciliation is stopped")
}
