//! One look at one hour: fetch its file, compare it with the journal, journal what is missing.

use std::sync::Arc;

use switchboard_contract::storage::{CoverageState, FileFact, HourCoverage, PositionRun, Store};
use switchboard_contract::{
    Clock, Error, ErrorKind, HistoryFile, HistoryFiles, HourFile, Position, Provider, ProviderId, Result, Shard,
    TenantId, Timestamp,
};

use super::ReconcileConfig;
use super::runs::Runs;
use super::schedule::{self, Finding, HOUR, Rules};
use super::telling::Telling;
use crate::ingest::WeakIngest;

/// The only shard there is without configuration.
const SHARD: Shard = Shard(0);

/// One app and everything needed to reconcile it.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) tenant: TenantId,
    pub(super) alias: ProviderId,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Arc<dyn Store>,
    pub(super) ingest: WeakIngest,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: ReconcileConfig,
    pub(super) telling: Telling,
    /// What was sent before this is history, and left alone unless somebody asks for it.
    pub(super) began: Timestamp,
}

/// How a look is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// Read a file that was read before once more.
    pub(super) again: bool,
    /// Take also what was sent before Switchboard had this app.
    pub(super) history: bool,
}

/// What a look did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// Events in the file.
    pub(super) lines: u64,
    /// Messages nobody else had brought.
    pub(super) repaired: u64,
    /// Messages of a time before Switchboard had the app.
    pub(super) history: u64,
    /// Other events nobody else had brought.
    pub(super) others: u64,
    /// Lines that could not be read or journalled.
    pub(super) skipped: u64,
    /// The ledger knows that this look journals something.
    pub(super) marked: bool,
}

/// What a look is at.
#[derive(Clone, Copy)]
pub(super) struct Aim<'a> {
    pub(super) hour: Timestamp,
    /// What was known of the hour.
    pub(super) before: Option<&'a HourCoverage>,
    pub(super) manner: Manner,
}

struct Found {
    finding: Finding,
    file: Option<FileFact>,
    runs: Option<Vec<PositionRun>>,
}

impl Found {
    fn only(finding: Finding) -> Self {
        Self { finding, file: None, runs: None }
    }
}

impl Subject {
    /// Looks at an hour's file and writes down what is known of the hour then.
    ///
    /// # Errors
    /// `Storage` when the ledger cannot be written; what was journalled stays. Whatever else fails is in the record.
    pub(super) async fn look(
        &self,
        rules: &Rules,
        before: Option<&HourCoverage>,
        hour: Timestamp,
        manner: Manner,
        given: Option<HourFile>,
    ) -> Result<(HourCoverage, Pass)> {
        let began = self.clock.now();
        let mut pass = Pass::default();
        let (found, error) =
            match self.find(Aim { hour, before, manner }, given, rules.gone_at(hour) <= began, &mut pass).await {
                Ok(found) => (found, None),
                Err(error) => (Found::only(finding_of(&error)), Some(error)),
            };
        if let Some(error) = &error {
            tracing::warn!(provider = %self.alias, hour = %hour.to_rfc3339(), %error, op = "history_file", "a look failed");
        }
        let looks = before.map_or(0, |before| before.looks) + 1;
        let verdict = schedule::judge(rules, hour, began, looks, found.finding);
        let file = found.file.or_else(|| before.and_then(|before| before.file.clone()));
        let runs = found.runs.or_else(|| before.map(|before| before.runs.clone())).unwrap_or_default();
        let journalled = self.count(&runs, hour).await?;
        let record = HourCoverage {
            hour,
            state: verdict.state,
            reason: verdict.reason.to_owned(),
            file,
            runs,
            journalled,
            repaired: before.map_or(0, |before| before.repaired) + pass.repaired,
            reading: None,
            looks,
            looked_at: began,
            next_look: verdict.next_look,
        };
        self.store.put_hour(&self.tenant, self.provider.app(), &record).await?;
        self.note(before, &record, error.as_ref()).await?;
        self.telling.looked(before, &record, &pass, &self.config).await;
        Ok((record, pass))
    }

    /// Messages of an hour that stand at these places now.
    pub(super) async fn count(&self, runs: &[PositionRun], hour: Timestamp) -> Result<u64> {
        self.store.messages_at(&self.tenant, self.provider.app(), SHARD, runs, hour, hour + HOUR).await
    }

    /// How many messages that stood in the journal when the file was last read are gone from it. Those that retention
    /// removed are not.
    pub(super) async fn rows_gone(&self, record: &HourCoverage) -> Result<u64> {
        let trimmed = self.store.trimmed(&self.tenant, SHARD).await?;
        if record.runs.iter().any(|run| run.first <= trimmed) {
            return Ok(0);
        }
        Ok(record.journalled.saturating_sub(self.count(&record.runs, record.hour).await?))
    }

    /// `given`: the file, if somebody brought it; `last`: no other file of this hour can come.
    async fn find(&self, aim: Aim<'_>, given: Option<HourFile>, last: bool, pass: &mut Pass) -> Result<Found> {
        let Aim { hour, before, manner } = aim;
        let files = self.provider.history_files().ok_or_else(|| Error::unsupported("history files"))?;
        self.journal_caught_up().await?;
        let file = match given {
            Some(file) => HistoryFile::Ready(file),
            None => self.fetch(files, hour).await?,
        };
        let HistoryFile::Ready(file) = file else {
            let expected = before.is_some_and(|before| before.file.is_some()) || self.expects(hour).await?;
            return Ok(Found::only(Finding::Absent { expected }));
        };
        let read_before = before.and_then(|before| before.file.as_ref());
        let same = last || read_before.is_some_and(|before| before.digest == file.digest);
        if same && !manner.again {
            return Ok(Found::only(Finding::Read { same }));
        }
        let (bytes, digest) = (file.bytes, file.digest);
        let mut runs = Runs::default();
        let damage = self.compare(file, aim, &mut runs, pass).await?;
        if let Some(error) = damage {
            tracing::warn!(provider = %self.alias, hour = %hour.to_rfc3339(), %error, "a history file is damaged");
            return Ok(Found { finding: Finding::Damaged, file: None, runs: Some(runs.into_list()) });
        }
        let file = Some(FileFact { bytes, digest, lines: pass.lines });
        Ok(Found { finding: Finding::Read { same }, file, runs: Some(runs.into_list()) })
    }

    async fn fetch(&self, files: &dyn HistoryFiles, hour: Timestamp) -> Result<HistoryFile> {
        tokio::select! {
            file = files.fetch(hour) => file,
            () = self.clock.sleep(self.config.fetch_within) => {
                Err(Error::new(ErrorKind::Timeout, "the history file did not come in time"))
            }
        }
    }

    /// What was received and is not yet journalled would be taken for missing.
    async fn journal_caught_up(&self) -> Result<()> {
        let ingest = self.ingest.upgrade().ok_or_else(closed)?;
        tokio::select! {
            () = ingest.idle() => Ok(()),
            () = self.clock.sleep(self.config.fetch_within) => {
                Err(Error::new(ErrorKind::Unavailable, "the journal is behind the inbox"))
            }
        }
    }

    /// Whether the journal has messages of this hour, looking at what came in the hour itself.
    async fn expects(&self, hour: Timestamp) -> Result<bool> {
        let first = self.store.position_before(&self.tenant, SHARD, hour - self.config.clock_margin).await?;
        let last = self.store.position_before(&self.tenant, SHARD, hour + HOUR + self.config.clock_margin).await?;
        let run = PositionRun { first: Position(first.0 + 1), last };
        Ok(run.first <= run.last && self.count(&[run], hour).await? > 0)
    }

    /// Notes where the journal ended before this look journalled anything: cut off from here on, it can be counted.
    pub(super) async fn mark(&self, aim: Aim<'_>) -> Result<()> {
        let end = self.store.tail(&self.tenant, SHARD).await?;
        let now = self.clock.now();
        let known = aim.before.cloned().unwrap_or_else(|| blank(aim.hour, now));
        // Until this look is over the hour counts as never read: whoever comes after a stop reads it anew.
        let record = HourCoverage {
            state: CoverageState::Suspect,
            reason: schedule::reason::CUT_OFF.to_owned(),
            file: None,
            next_look: Some(now),
            reading: Some(end),
            ..known
        };
        self.store.put_hour(&self.tenant, self.provider.app(), &record).await
    }

    /// Counts what a look that was cut off had journalled.
    ///
    /// # Errors
    /// `Storage`; then nothing is counted.
    pub(super) async fn recover(&self, record: HourCoverage) -> Result<HourCoverage> {
        let Some(after) = record.reading else { return Ok(record) };
        let app = self.provider.app();
        let brought = self.store.filed_since(&self.tenant, app, SHARD, after).await?;
        let record = HourCoverage { repaired: record.repaired + brought, reading: None, ..record };
        self.telling.recovered(&record, brought).await;
        self.store.put_hour(&self.tenant, app, &record).await?;
        Ok(record)
    }
}

fn finding_of(error: &Error) -> Finding {
    match error.kind() {
        ErrorKind::Unsupported => Finding::Unsupported,
        ErrorKind::Decode => Finding::Damaged,
        _ => Finding::Failed,
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the way in is closed")
}

/// A record of an hour whose file went before anybody looked.
pub(super) fn given_up(before: Option<&HourCoverage>, hour: Timestamp, now: Timestamp) -> HourCoverage {
    let expired =
        |before: &HourCoverage| HourCoverage { state: CoverageState::Unfillable, next_look: None, ..before.clone() };
    before.map_or_else(
        || HourCoverage {
            state: CoverageState::Unfillable,
            reason: schedule::reason::EXPIRED.to_owned(),
            next_look: None,
            ..blank(hour, now)
        },
        expired,
    )
}

/// An hour nobody has looked at to the end.
fn blank(hour: Timestamp, now: Timestamp) -> HourCoverage {
    HourCoverage {
        hour,
        state: CoverageState::Suspect,
        reason: schedule::reason::CUT_OFF.to_owned(),
        file: None,
        runs: Vec::new(),
        journalled: 0,
        repaired: 0,
        reading: None,
        looks: 0,
        looked_at: now,
        next_look: Some(now),
    }
}
