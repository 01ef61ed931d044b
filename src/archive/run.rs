//! Moving messages into the archive.
//!
//! In steps of some days each: write their files, replace the list, take the messages out of the database, note that the
//! list is settled. A crash before the list leaves files that nobody names, which the next run removes; a crash behind it
//! leaves messages in both places, which readers see once and the next run takes out of the database.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use object_store::{ObjectStoreExt as _, PutPayload};
use switchboard_contract::storage::{ArchiveChange, Day, Moved};
use switchboard_contract::{Error, ErrorKind, Event, Position, Result, TenantId, Timestamp};

use super::manifest::{self, ArchiveFile, Listed, Manifest};
use super::objects::failed;
use super::progress::RunReport;
use super::read::unreadable;
use super::rows::{Merged, Source};
use super::schema::Row;
use super::service::{Inner, older};
use super::write::DayWriter;
use crate::store::content;

/// Messages of one step, about: so much is in the database's and the archive's hands at once.
const STEP_MESSAGES: u64 = 100_000;
const STEP_DAYS: usize = 64;
/// Messages that one transaction takes out of the database: few enough that appends behind it do not wait long.
const SETTLE: usize = 500;
/// A day with more files than this is written anew, as one.
const MOST_FILES: usize = 8;
/// Somebody may read a file that long after it was replaced.
const READING: Duration = Duration::from_secs(3600);
/// Rows that are handed to a writer at once.
const PART: usize = 512;

/// What one step writes, and what it changes.
#[derive(Default)]
struct Step {
    gone: Vec<String>,
    fresh: Vec<ArchiveFile>,
    moved: Vec<Moved>,
    applied: Vec<(Position, u64)>,
    rewritten: u64,
}

/// A day to go over.
#[derive(Default)]
struct Work {
    messages: u64,
    changes: Vec<ArchiveChange>,
}

impl Inner {
    /// One run. The caller sees to it that there is no other.
    pub(super) async fn run(&self, tenant: &TenantId, age: Duration) -> Result<RunReport> {
        let begun = std::time::Instant::now();
        let (now, until) = (self.clock.now(), self.acknowledged(tenant).await?);
        let mut report = RunReport::default();
        let mut listed = self.prepare(tenant, &mut report).await?;
        let before = now - age;
        let plan = self.plan(tenant, &listed.manifest, before, until).await?;
        self.tell(tenant, |run| {
            run.days_total = plan.len() as u64;
            run.messages_total = plan.values().map(|work| work.messages).sum();
        });
        let mut plan = plan.into_iter().peekable();
        while plan.peek().is_some() {
            let (mut part, mut messages) = (BTreeMap::new(), 0);
            while part.len() < STEP_DAYS
                && let Some((day, work)) =
                    plan.next_if(|(_, work)| messages == 0 || messages + work.messages <= STEP_MESSAGES)
            {
                messages += work.messages;
                part.insert(day, work);
            }
            listed = self.step(tenant, listed, part, (before, until), &mut report).await?;
        }
        if let Some(after) = self.config.delete_after(tenant) {
            listed = self.expire(tenant, listed, Day(Day::of(now - after).0.saturating_sub(1)), &mut report).await?;
        }
        report.generation = listed.manifest.generation;
        metrics::histogram!("switchboard_archive_run_seconds").record(begun.elapsed().as_secs_f64());
        tracing::info!(%tenant, messages = report.messages, files = report.files, "the archive ran");
        Ok(report)
    }

    /// Brings archive and database to where a run may begin.
    async fn prepare(&self, tenant: &TenantId, report: &mut RunReport) -> Result<Listed> {
        let ledger = self.ledger()?;
        ledger.open_archive(tenant).await?;
        ledger.prepare_archive().await?;
        let listed = manifest::load(&self.objects, tenant, &self.owner).await?;
        let settled = ledger.archive_generation(tenant).await?;
        older(&listed.manifest, settled)?;
        let list = self.publish(listed.manifest.clone());
        if list.generation > settled {
            report.recovered = self.recover(tenant, &list, settled).await?;
        }
        report.removed = self.sweep(tenant, &list).await?;
        Ok(listed)
    }

    /// Ends what a run before began: its files are named, and the database still holds what they hold.
    async fn recover(&self, tenant: &TenantId, list: &Manifest, settled: u64) -> Result<u64> {
        let ledger = self.ledger()?;
        let mut taken = 0;
        for file in list.files.iter().filter(|file| file.generation > settled) {
            let open = self.open_file(tenant, file).await?;
            for unit in open.groups() {
                let rows = open.rows(&self.objects, &unit, false).await?;
                let moved = rows.iter().map(moved).collect();
                taken += self.settle(tenant, moved, |_| {}).await?;
            }
        }
        ledger.settle_generation(tenant, list.generation, Vec::new(), list.expired).await?;
        tracing::info!(%tenant, messages = taken, "an interrupted run of the archive was ended");
        Ok(taken)
    }

    /// Removes objects that the list does not name.
    async fn sweep(&self, tenant: &TenantId, list: &Manifest) -> Result<u64> {
        let fail = failed("archive_sweep");
        let folder = manifest::folder(&self.objects, tenant);
        let read = self.clock.now().since(list.written_at) < READING;
        let named: std::collections::HashSet<_> = list
            .files
            .iter()
            .map(|file| &file.name)
            .chain(list.replaced.iter().filter(|_| read))
            .map(|name| self.path(tenant, name))
            .collect();
        let mut objects = self.objects.store.list(Some(&folder));
        let mut removed = 0;
        while let Some(object) = objects.next().await {
            let object = object.map_err(fail)?;
            // Only what this program writes.
            if object.location.extension() == Some("parquet") && !named.contains(&object.location) {
                self.objects.store.delete(&object.location).await.map_err(fail)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The days to go over.
    async fn plan(
        &self,
        tenant: &TenantId,
        list: &Manifest,
        before: Timestamp,
        until: Position,
    ) -> Result<BTreeMap<Day, Work>> {
        let ledger = self.ledger()?;
        let mut plan: BTreeMap<Day, Work> = BTreeMap::new();
        for due in ledger.due_days(tenant, before, until).await? {
            plan.entry(due.day).or_default().messages = due.messages;
        }
        for change in ledger.archive_changes(tenant, None).await? {
            if !list.of_day(change.day).is_empty() {
                plan.entry(change.day).or_default().changes.push(change);
            }
        }
        Ok(plan)
    }

    async fn step(
        &self,
        tenant: &TenantId,
        listed: Listed,
        part: BTreeMap<Day, Work>,
        (before, until): (Timestamp, Position),
        report: &mut RunReport,
    ) -> Result<Listed> {
        let ledger = self.ledger()?;
        let (Some(first), Some(last)) = (part.keys().next().copied(), part.keys().next_back().copied()) else {
            return Ok(listed);
        };
        let days = part.len() as u64;
        let mut due: BTreeMap<Day, Vec<Position>> =
            ledger.due(tenant, first, last, before, until).await?.into_iter().collect();
        let mut step = Step::default();
        for (day, work) in part {
            if self.stop.is_cancelled() {
                return Err(Error::new(ErrorKind::Closed, "the archive is closed"));
            }
            let positions = due.remove(&day).unwrap_or_default();
            report.days += u64::from(!positions.is_empty());
            self.day(tenant, &listed.manifest, day, positions, work.changes, &mut step).await?;
        }
        report.files += step.fresh.len() as u64;
        report.bytes += step.fresh.iter().map(|file| file.bytes).sum::<u64>();
        report.rewritten += step.rewritten;
        metrics::counter!("switchboard_archive_files_total").increment(step.fresh.len() as u64);
        metrics::counter!("switchboard_archive_bytes_total").increment(step.fresh.iter().map(|file| file.bytes).sum());
        let next = listed.manifest.next(&step.gone, step.fresh, self.clock.now());
        // Everything before this can be thrown away; everything behind it can be done again.
        let listed = manifest::replace(&self.objects, &listed, next).await?;
        self.publish(listed.manifest.clone());
        let taken =
            self.settle(tenant, step.moved, |taken| self.tell(tenant, |run| run.messages_done += taken)).await?;
        ledger.settle_generation(tenant, listed.manifest.generation, step.applied, listed.manifest.expired).await?;
        report.messages += taken;
        metrics::counter!("switchboard_archive_messages_total").increment(taken);
        self.tell(tenant, |run| {
            run.days_done += days;
            run.report = report.clone();
        });
        Ok(listed)
    }

    async fn settle(&self, tenant: &TenantId, moved: Vec<Moved>, told: impl Fn(u64)) -> Result<u64> {
        let ledger = self.ledger()?;
        let mut taken = 0;
        for part in moved.chunks(SETTLE) {
            let some = ledger.settle_moved(tenant, part.to_vec()).await?;
            told(some);
            taken += some;
        }
        Ok(taken)
    }

    /// Writes the new messages of a day, beside its files or, with what changed in them, in their stead.
    async fn day(
        &self,
        tenant: &TenantId,
        list: &Manifest,
        day: Day,
        positions: Vec<Position>,
        changes: Vec<ArchiveChange>,
        step: &mut Step,
    ) -> Result<()> {
        let before = list.of_day(day);
        let anew = !changes.is_empty() || before.len() >= MOST_FILES;
        let ledger = self.ledger()?;
        let mut sources = vec![Source::Journal { ledger, tenant, positions: positions.into() }];
        if anew {
            for file in before {
                let open = Box::new(self.open_file(tenant, file).await?);
                let units = open.groups().into();
                sources.push(Source::File { objects: &self.objects, file: open, units });
            }
            step.gone.extend(before.iter().map(|file| file.name.clone()));
            step.rewritten += 1;
        }
        let changes: BTreeMap<u64, ArchiveChange> =
            changes.into_iter().map(|change| (change.position.0, change)).collect();
        let mut merged = Merged::new(sources);
        let (mut writer, mut part, mut number) = (DayWriter::new(tenant, day).map_err(unreadable)?, Vec::new(), 0);
        let mut last = None;
        while let Some((mut row, fresh)) = merged.next().await? {
            if fresh {
                step.moved.push(moved(&row));
            } else if let Some(change) = changes.get(&row.position) {
                apply(&mut row, change)?;
                step.applied.push((change.position, change.revision));
            }
            // An interrupted run may have left it in a file of its own.
            if last.replace(row.position) != Some(row.position) {
                part.push(row);
            }
            if part.len() >= PART {
                writer = pushed(writer, std::mem::take(&mut part)).await?;
                if writer.size() >= self.config.file_bytes {
                    let full = std::mem::replace(&mut writer, DayWriter::new(tenant, day).map_err(unreadable)?);
                    self.put(tenant, list.generation + 1, day, &mut number, full, step).await?;
                }
            }
        }
        writer = pushed(writer, part).await?;
        if !writer.is_empty() {
            self.put(tenant, list.generation + 1, day, &mut number, writer, step).await?;
        }
        Ok(())
    }

    async fn put(
        &self,
        tenant: &TenantId,
        generation: u64,
        day: Day,
        number: &mut u32,
        writer: DayWriter,
        step: &mut Step,
    ) -> Result<()> {
        let (bytes, facts) = blocking(move || writer.finish().map_err(unreadable)).await?;
        let name = format!("{day}/{generation:08}-{number:04}.parquet");
        *number += 1;
        let size = bytes.len() as u64;
        let path = self.path(tenant, &name);
        self.objects.store.put(&path, PutPayload::from(bytes)).await.map_err(failed("archive_put"))?;
        step.fresh.push(ArchiveFile::new(name, day, generation, size, facts));
        Ok(())
    }

    /// Takes whole days out of the archive for good.
    async fn expire(&self, tenant: &TenantId, listed: Listed, through: Day, report: &mut RunReport) -> Result<Listed> {
        let gone: Vec<&ArchiveFile> = listed.manifest.files.iter().filter(|file| file.day <= through).collect();
        if gone.is_empty() {
            return Ok(listed);
        }
        report.expired = gone.iter().map(|file| file.rows).sum();
        let gone: Vec<String> = gone.into_iter().map(|file| file.name.clone()).collect();
        let mut next = listed.manifest.next(&gone, Vec::new(), self.clock.now());
        next.expired = next.expired.max(Some(through));
        let listed = manifest::replace(&self.objects, &listed, next).await?;
        self.publish(listed.manifest.clone());
        let generation = listed.manifest.generation;
        self.ledger()?.settle_generation(tenant, generation, Vec::new(), listed.manifest.expired).await?;
        metrics::counter!("switchboard_archive_expired_total").increment(report.expired);
        Ok(listed)
    }
}

fn moved(row: &Row) -> Moved {
    Moved { position: Position(row.position), digest: content::fingerprint(&row.event) }
}

/// Brings what became of a message into its row: nothing of its content stays.
fn apply(row: &mut Row, change: &ArchiveChange) -> Result<()> {
    row.event = changed(&row.event, row.position, row.sequence, change)?;
    row.body = None;
    row.raw = None;
    Ok(())
}

/// The content that counts since a message changed.
pub(super) fn changed(event: &[u8], position: u64, sequence: u64, change: &ArchiveChange) -> Result<bytes::Bytes> {
    if let Some(json) = &change.json {
        return Ok(json.clone());
    }
    let mut event = Event::decode(event)?;
    content::bury(&mut event);
    event.encode(Position(position), Some(switchboard_contract::Sequence(sequence)))
}

/// To encode and compress takes a while.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome
        .map_err(|error| Error::new(ErrorKind::Internal, "a writer of the archive ended badly").with_source(error))?
}

async fn pushed(mut writer: DayWriter, rows: Vec<Row>) -> Result<DayWriter> {
    blocking(move || {
        rows.into_iter().try_for_each(|row| writer.push(row)).map_err(unreadable)?;
        Ok(writer)
    })
    .await
}
