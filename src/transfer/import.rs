//! Reading conversations in.
//!
//! First every line is read and checked, then the lines are written, some hundred in one transaction together with how
//! far it has come: so an import that was killed goes on where it ended, and what is wrong with an export is found before
//! anything is written.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::{Appended, Commit, Draft, ImportMark, Store, StoredEvent};
use switchboard_contract::{Error, ErrorKind, Event, Origin, Position, Result, Shard};

use super::export::transfer;
use super::line::{self, Chain};
use super::manifest::{EVENTS_FILE, ExportManifest, MANIFEST_FILE};

/// Lines of one transaction.
const BATCH: usize = 500;
/// The longest line read: an event and the vendor's bytes of it.
const LONGEST: u64 = 64 << 20;

/// How to import.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Bring what is missing into a tenant that has events: it takes new sequences behind what is there, and counts as
    /// history. Repeating it brings nothing.
    pub merge: bool,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Lines in the export.
    pub events: u64,
    /// Written now.
    pub imported: u64,
    /// There before: from an import that was interrupted, or known.
    pub known: u64,
    /// Lines that contradict what the store has under their keys; it keeps its own.
    pub other: u64,
}

/// The lines of an export, checked as they are read.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
    chain: Chain,
    hash: Sha256,
    bytes: u64,
}

impl Lines {
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(EVENTS_FILE);
        let file = File::open(&path).map_err(|error| unreadable(&path, error))?;
        let (chain, hash) = (Chain::default(), Sha256::new());
        Ok(Self { reader: BufReader::new(file), path, number: 0, chain, hash, bytes: 0 })
    }

    fn next(&mut self) -> Result<Option<StoredEvent>> {
        use std::io::Read as _;

        let mut text = Vec::new();
        let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut text);
        if read.map_err(|error| unreadable(&self.path, error))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += text.len() as u64;
        self.hash.update(&text);
        if text.pop() != Some(b'\n') {
            return Err(self.wrong("has no end"));
        }
        let text = std::str::from_utf8(&text).map_err(|_| self.wrong("is no UTF-8"))?;
        let (event, chain) = line::read(text, &self.chain).map_err(|problem| self.wrong(&problem))?;
        self.chain = chain;
        Ok(Some(event))
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::new(ErrorKind::InvalidInput, format!("{}: line {} {problem}", self.path.display(), self.number))
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{}: cannot be read: {error}", path.display())).with_source(error)
}

/// Reads everything and compares it with the manifest. Nothing is written.
fn check(folder: &Path, manifest: &ExportManifest) -> Result<()> {
    let mut lines = Lines::open(folder)?;
    let (mut messages, mut last) = (0, None);
    while let Some(event) = lines.next()? {
        messages += u64::from(event.message_id.is_some());
        let tenant = Event::decode(&event.json)?.tenant;
        if tenant != manifest.tenant {
            return Err(lines.wrong("is of another tenant"));
        }
        let at = (event.conversation, event.sequence);
        if last.as_ref().is_some_and(|last| last >= &at) {
            return Err(lines.wrong("is out of order"));
        }
        last = Some(at);
    }
    let found = (lines.number, messages, lines.bytes, hex::encode(lines.hash.finalize()), lines.chain.to_hex());
    let told = (manifest.events, manifest.messages, manifest.bytes, manifest.sha256.clone(), manifest.chain.clone());
    if found != told {
        let text = format!(
            "{}: has {} lines that are not the {} of its manifest",
            folder.join(EVENTS_FILE).display(),
            found.0,
            told.0
        );
        return Err(Error::new(ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Imports the export in `folder` into its tenant. `told` hears of lines done and lines in all.
///
/// # Errors
/// `InvalidInput` for what is no export or was changed since, naming the line: then nothing was written. `Conflict` for a
/// tenant that has events, unless they are of this import or asked to be merged with; `Unsupported`; `Storage`.
pub async fn import(
    store: &dyn Store,
    folder: &Path,
    options: ImportOptions,
    mut told: impl FnMut(u64, u64) + Send,
) -> Result<ImportReport> {
    let path = folder.join(MANIFEST_FILE);
    let manifest = ExportManifest::from_json(&std::fs::read(&path).map_err(|error| unreadable(&path, error))?)?;
    check(folder, &manifest)?;
    let lines = Lines::open(folder)?;
    if options.merge {
        merge(store, &manifest, lines, &mut told).await
    } else {
        fresh(store, &manifest, lines, &mut told).await
    }
}

/// Takes some lines.
fn batch(lines: &mut Lines) -> Result<Vec<StoredEvent>> {
    let mut events = Vec::with_capacity(BATCH);
    while events.len() < BATCH
        && let Some(event) = lines.next()?
    {
        events.push(event);
    }
    Ok(events)
}

async fn fresh(
    store: &dyn Store,
    manifest: &ExportManifest,
    mut lines: Lines,
    told: &mut (impl FnMut(u64, u64) + Send),
) -> Result<ImportReport> {
    let (export, transfer) = (manifest.id()?, transfer(store)?);
    let tenant = &manifest.tenant;
    let mark = transfer.import_mark(tenant).await?.filter(|mark| mark.export == export);
    let done = mark.as_ref().map_or(0, |mark| mark.lines);
    if mark.is_none() && store.tail(tenant, Shard(0)).await? != Position::START {
        let text = "the store is not empty: import into an empty one, or merge";
        return Err(Error::new(ErrorKind::Conflict, text).with_operation("import"));
    }
    let mut report = ImportReport { events: manifest.events, known: done, ..ImportReport::default() };
    if mark.is_some_and(|mark| mark.complete) {
        return Ok(report);
    }
    while lines.number < done && lines.next()?.is_some() {}
    loop {
        let events = batch(&mut lines)?;
        let complete = events.len() < BATCH;
        report.imported += events.len() as u64;
        transfer.import(tenant, events, ImportMark { export: export.clone(), lines: lines.number, complete }).await?;
        told(lines.number, manifest.events);
        if complete {
            return Ok(report);
        }
    }
}

async fn merge(
    store: &dyn Store,
    manifest: &ExportManifest,
    mut lines: Lines,
    told: &mut (impl FnMut(u64, u64) + Send),
) -> Result<ImportReport> {
    let mut report = ImportReport { events: manifest.events, ..ImportReport::default() };
    loop {
        let events = batch(&mut lines)?;
        if events.is_empty() {
            return Ok(report);
        }
        let drafts = events.into_iter().map(draft).collect::<Result<Vec<_>>>()?;
        let committed = store.commit(Commit { drafts, ..Commit::default() }).await?;
        for outcome in committed.drafts {
            match outcome {
                Appended::Fresh { .. } => report.imported += 1,
                Appended::Known { .. } => report.known += 1,
                Appended::Variant { .. } | Appended::Conflict { .. } => report.other += 1,
            }
        }
        told(lines.number, manifest.events);
    }
}

/// Nobody who does not ask for history is given it.
fn draft(event: StoredEvent) -> Result<Draft> {
    let StoredEvent { key, sort_key, digest, raw, json, .. } = event;
    let event = Event { origin: Origin::History, ..Event::decode(&json)? };
    Ok(Draft { event, key, sort_key, digest, raw })
}
